//! One set of shards follows another.

use std::sync::Arc;
use std::time::Duration;

use lapin::BasicProperties;
use lapin::options::{BasicConsumeOptions, QueuePurgeOptions};
use lapin::types::FieldTable;
use refersion_relay_model::Shard;
use refersion_relay_queue::{Action, BrokerState, GatePace, Place, PublishError, Queue, RabbitMq, RabbitMqSettings};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::support::events::{DELIVERED, OTHER_SHARD, SHARD, TIER, account, bodies, event, events, moved, numbers};
use crate::support::judges::{by, spawn_sweep};
use crate::support::rabbitmq::{Relay, settings, shared_broker};
use crate::support::waiting::{eventually, stays, take, take_one};

/// Somebody whose number is 4: on the first of two shards, and on the second of three.
const SOMEBODY: Place = Place::Subject(4);
const THIRD: Place = Place::Shard(Shard { index: 1, count: 3 });
const LATER: Place = Place::Later(Shard { index: 0, count: 2 }, TIER);
/// How long it is watched that nothing happens: several tries.
const WATCHED: Duration = Duration::from_millis(1_500);

fn quick(settings: RabbitMqSettings) -> RabbitMqSettings {
    let pace = GatePace {
        look_every: Duration::from_millis(50),
        lease: Duration::from_millis(400),
        believed: Duration::from_millis(800),
        unknown_for: Duration::from_secs(1),
        quiet: Duration::from_millis(500),
        empty_for: Duration::from_millis(100),
        patience: Duration::from_secs(2),
        try_every: Duration::from_millis(100),
        rest: Duration::from_millis(200),
    };
    RabbitMqSettings { pace, ..settings }
}

fn drained(old: &RabbitMqSettings, drain: &[u16], shards: u16) -> RabbitMqSettings {
    RabbitMqSettings { shards, drain: drain.to_vec(), ..old.clone() }
}

/// Two processes: one that was not started again yet, with two shards, and one with three.
async fn two_and_three() -> (Relay, Relay) {
    let old = Relay::start_with(&shared_broker(), quick(settings(&shared_broker()))).await;
    let new = Relay::start_with(&shared_broker(), drained(&old.settings, &[2], 3)).await;
    (old, new)
}

/// Closes older shards for as long as the handle lives.
fn changing(relay: &Relay) -> AbortOnDropHandle<()> {
    let queue: Arc<RabbitMq> = relay.queue.clone();
    AbortOnDropHandle::new(tokio::spawn(async move { queue.change_shards(&|| true, &CancellationToken::new()).await }))
}

fn in_use(relay: &Relay) -> u16 {
    relay.queue.shards().borrow().count()
}

async fn until_in_use(relay: &Relay, count: u16) {
    eventually(&format!("{count} shards in use"), async || (in_use(relay) == count).then_some(())).await;
}

async fn publish(relay: &Relay, place: Place, body: &str) -> Result<(), PublishError> {
    relay.queue.publish(vec![(place, event("one", body))]).await.remove(0)
}

async fn clean(old: Relay, new: Relay) {
    drop(old);
    new.clean().await;
}

#[tokio::test]
async fn new_events_go_to_the_old_shards_until_everything_there_is_done() {
    let (old, new) = two_and_three().await;
    old.store(&SHARD, events(0..1)).await;
    assert_eq!(publish(&new, SOMEBODY, "1").await, Ok(()));
    let _changing = changing(&new);
    stays("in use", WATCHED, || in_use(&new) == 2).await;
    assert!(matches!(publish(&new, THIRD, "x").await, Err(PublishError::Refused(_))), "not yet");
    let mut owned = new.own(&SHARD).await;
    let taken = take(&mut owned, 2).await;
    assert_eq!(bodies(&taken), numbers(0..2));
    for delivery in taken {
        delivery.settle(DELIVERED).await.unwrap();
    }
    stays("in use, since somebody could have something in hand", WATCHED, || in_use(&new) == 2).await;

    owned.release().await;

    until_in_use(&new, 3).await;
    assert_eq!(publish(&new, SOMEBODY, "2").await, Ok(()));
    assert_eq!((new.depth(&THIRD).await, new.depth(&SHARD).await), (1, 0));
    assert!(matches!(publish(&new, SHARD, "x").await, Err(PublishError::Refused(_))), "not any more");
    clean(old, new).await;
}

#[tokio::test]
async fn what_waits_in_a_tier_or_behind_an_account_keeps_the_old_shards_in_use() {
    let (old, new) = two_and_three().await;
    let held = Place::Held(account("acme"));
    old.store(&held, events(0..1)).await;
    let _changing = changing(&new);
    stays("in use, since something is held", WATCHED, || in_use(&new) == 2).await;
    let mut owned = new.own(&held).await;
    let delivery = take_one(&mut owned).await;
    let settle = moved(&delivery, LATER);
    delivery.settle(settle).await.unwrap();
    owned.release().await;
    // What is in a tier comes back to the shard, where nobody takes it.
    new.until_depth(&SHARD, 1).await;
    assert_eq!(in_use(&new), 2);
    let mut owned = new.own(&SHARD).await;
    take_one(&mut owned).await.settle(DELIVERED).await.unwrap();
    owned.release().await;
    until_in_use(&new, 3).await;
    clean(old, new).await;
}

#[tokio::test]
async fn nothing_new_is_taken_while_somebody_closes_the_shards_and_he_may_die_over_it() {
    let (old, new) = two_and_three().await;
    old.store(&SHARD, events(0..1)).await;
    let channel = new.admin.channel().await;
    let gate = new.name("events.n2.gate");
    let sign =
        channel.basic_consume(gate.as_str().into(), "".into(), BasicConsumeOptions::default(), FieldTable::default());
    let sign = sign.await.unwrap();

    for relay in [&old, &new] {
        let closing = async || relay.queue.shards().borrow().is_closing(2).then_some(());
        eventually("closing for everybody", closing).await;
        let refused = publish(relay, SOMEBODY, "x").await;
        assert!(
            matches!(&refused, Err(PublishError::Refused(why)) if why.contains("about to be given up")),
            "{refused:?}"
        );
        assert_eq!(publish(relay, Place::Dead(refersion_relay_model::Class::Invalid), "y").await, Ok(()));
    }
    let mut owned = new.own(&SHARD).await;
    let delivery = take_one(&mut owned).await;
    let settle = moved(&delivery, OTHER_SHARD);
    delivery.settle(settle).await.unwrap();
    // What came in and waits somewhere goes on waiting there.
    new.admin.publish(&new.name("intake.acme"), "", b"intake", BasicProperties::default()).await;
    let mut intake = new.own(&Place::Intake).await;
    let delivery = take_one(&mut intake).await;
    let settle = moved(&delivery, SOMEBODY);
    let mut passing_on = tokio::spawn(delivery.settle(settle));
    let replay =
        by(|letter| Action::Move { place: SOMEBODY, headers: Box::new(letter.message.headers.replayed()), subject: 4 });
    let mut replaying = spawn_sweep(&new, 1, replay);
    assert!(timeout(Duration::from_millis(300), &mut passing_on).await.is_err());
    assert!(timeout(Duration::from_millis(300), &mut replaying).await.is_err());
    assert_eq!((new.depth(&SHARD).await, new.queue.stuck().borrow().len()), (0, 0));

    channel.close(200, "gone".into()).await.unwrap();
    drop(sign);

    eventually("open again", async || (!new.queue.shards().borrow().is_closing(2)).then_some(())).await;
    passing_on.await.unwrap().unwrap();
    assert_eq!(replaying.await.unwrap().unwrap().acted, 2, "what was refused there above");
    assert_eq!(publish(&new, SOMEBODY, "2").await, Ok(()));
    assert_eq!((new.depth(&OTHER_SHARD).await, in_use(&new)), (1, 2));
    assert_eq!(take(&mut owned, 4).await.len(), 4);
    owned.release().await;
    intake.release().await;
    clean(old, new).await;
}

#[tokio::test]
async fn where_nothing_says_what_is_in_use_nothing_is_taken_until_it_is_said_again() {
    let (old, new) = two_and_three().await;
    let channel = new.admin.channel().await;
    let gate = new.name("events.n2.gate");
    let purged = channel.queue_purge(gate.as_str().into(), QueuePurgeOptions::default()).await.unwrap();
    assert_eq!(purged, 1);

    let refused = eventually("new events are not taken", async || publish(&new, SOMEBODY, "x").await.err()).await;

    assert!(matches!(&refused, PublishError::Refused(_)), "{refused:?}");
    eventually("new events are taken again", async || publish(&new, SOMEBODY, "y").await.ok()).await;
    assert_eq!((in_use(&old), in_use(&new)), (2, 2));
    clean(old, new).await;
}

#[tokio::test]
async fn what_was_never_there_is_not_drained() {
    let fresh = drained(&quick(settings(&shared_broker())), &[2, 4], 3);

    let relay = Relay::start_with(&shared_broker(), fresh).await;

    assert_eq!(in_use(&relay), 3);
    assert_eq!(publish(&relay, SOMEBODY, "0").await, Ok(()));
    assert_eq!(relay.depth(&THIRD).await, 1);
    relay.clean().await;
}

#[tokio::test]
async fn a_process_that_only_knows_shards_that_were_given_up_says_so() {
    let (old, new) = two_and_three().await;
    let _changing = changing(&new);
    until_in_use(&new, 3).await;

    let wrong =
        |state: &BrokerState| matches!(state, BrokerState::Mismatch { why } if why.contains("set queue.shards"));
    old.until("a mismatch", wrong).await;
    let refused = publish(&old, SOMEBODY, "x").await;
    assert!(matches!(refused, Err(PublishError::Refused(_))), "{refused:?}");
    let another = Relay::begin(&shared_broker(), old.settings.clone()).await;
    another.until("a mismatch", wrong).await;
    drop(another);
    clean(old, new).await;
}

#[tokio::test]
async fn an_older_number_can_come_back() {
    let (old, new) = two_and_three().await;
    {
        let _changing = changing(&new);
        until_in_use(&new, 3).await;
    }
    let back = Relay::start_with(&shared_broker(), drained(&new.settings, &[3], 2)).await;
    assert_eq!(in_use(&back), 3);

    let _changing = changing(&back);

    until_in_use(&back, 2).await;
    assert_eq!(publish(&back, SOMEBODY, "0").await, Ok(()));
    assert_eq!(back.depth(&SHARD).await, 1);
    drop((old, new));
    back.clean().await;
}

/// Where all sets before the last one were given up it is the last one's turn, whatever stands between them.
#[tokio::test]
async fn an_older_number_can_come_back_from_behind_another_one() {
    let (old, new) = two_and_three().await;
    let next = Relay::start_with(&shared_broker(), drained(&new.settings, &[2, 3], 4)).await;
    {
        let _changing = [changing(&new), changing(&next)];
        until_in_use(&next, 4).await;
    }
    let back = Relay::start_with(&shared_broker(), drained(&new.settings, &[4, 2], 3)).await;
    assert_eq!(in_use(&back), 4);

    let _changing = changing(&back);

    until_in_use(&back, 3).await;
    assert_eq!(publish(&back, SOMEBODY, "0").await, Ok(()));
    assert_eq!(back.depth(&THIRD).await, 1);
    drop((old, new, next));
    back.clean().await;
}

#[tokio::test]
async fn several_try_at_once_and_one_closes_the_shards() {
    let (old, new) = two_and_three().await;
    let other = Relay::start_with(&shared_broker(), new.settings.clone()).await;
    let _changing = [changing(&new), changing(&other)];

    until_in_use(&new, 3).await;
    until_in_use(&other, 3).await;

    let channel = new.admin.channel().await;
    let gate = new.name("events.n2.closed");
    eventually("the one who closed it is gone", async || {
        let purged = channel.queue_purge(gate.as_str().into(), QueuePurgeOptions::default()).await.unwrap();
        (purged == 1).then_some(())
    })
    .await;
    drop(other);
    clean(old, new).await;
}
