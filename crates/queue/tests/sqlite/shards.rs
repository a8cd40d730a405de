//! One set of shards follows another.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use refersion_relay_model::Shard;
use refersion_relay_queue::{
    BrokerState, Former, LeftBehind, Place, PublishError, Queue, Remnant, Sqlite, SqliteSettings,
};
use refersion_relay_telemetry::Metrics;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::support::events::{DELIVERED, SHARD, TIER, account, event, events, moved};
use crate::support::instance::Instance;
use crate::support::sqlite::{Embedded, begin, settings};
use crate::support::waiting::{eventually, stays, take_one};

/// Somebody whose number is 4: on the first of two shards, and on the second of three.
const SOMEBODY: Place = Place::Subject(4);
const THIRD: Place = Place::Shard(Shard { index: 1, count: 3 });
const LATER: Place = Place::Later(Shard { index: 0, count: 2 }, TIER);
/// How long it is watched that nothing happens: more than one try.
const WATCHED: Duration = Duration::from_millis(2_500);

async fn open(path: &Path, drain: &[u16], shards: u16) -> Instance<Sqlite> {
    let settings = SqliteSettings { shards, drain: drain.to_vec(), ..settings(path) };
    let instance = Instance { queue: Arc::new(Sqlite::start(settings, Metrics::new())) };
    instance.until_up().await;
    instance
}

fn changing(relay: &Instance<Sqlite>) -> AbortOnDropHandle<()> {
    let queue = relay.queue.clone();
    AbortOnDropHandle::new(tokio::spawn(async move { queue.change_shards(&|| true, &CancellationToken::new()).await }))
}

fn in_use(relay: &Instance<Sqlite>) -> u16 {
    relay.queue.shards().borrow().count()
}

async fn until_in_use(relay: &Instance<Sqlite>, count: u16) {
    eventually(&format!("{count} shards in use"), async || (in_use(relay) == count).then_some(())).await;
}

async fn publish(relay: &Instance<Sqlite>, place: Place) -> Result<(), PublishError> {
    relay.queue.publish(vec![(place, event("one", "x"))]).await.remove(0)
}

#[tokio::test]
async fn new_events_go_to_the_old_shards_until_everything_there_is_done() {
    let old = Embedded::start().await;
    old.store(&SHARD, events(0..1)).await;
    old.store(&Place::Held(account("acme")), events(1..2)).await;
    let new = open(&old.path(), &[2], 3).await;
    let _changing = changing(&new);
    assert_eq!(publish(&new, SOMEBODY).await, Ok(()));
    assert_eq!((new.depth(&SHARD).await, new.depth(&THIRD).await), (2, 0));
    assert!(matches!(publish(&new, THIRD).await, Err(PublishError::Refused(_))), "not yet");
    let mut owned = new.own(&SHARD).await;
    let in_hand = take_one(&mut owned).await;
    take_one(&mut owned).await.settle(DELIVERED).await.unwrap();
    let mut held = new.own(&Place::Held(account("acme"))).await;
    let delivery = take_one(&mut held).await;
    let settle = moved(&delivery, LATER);
    delivery.settle(settle).await.unwrap();
    held.release().await;
    take_one(&mut owned).await.settle(DELIVERED).await.unwrap();
    stays("in use, since something is in hand", WATCHED, || in_use(&new) == 2).await;

    in_hand.settle(DELIVERED).await.unwrap();

    until_in_use(&new, 3).await;
    assert_eq!(publish(&new, SOMEBODY).await, Ok(()));
    assert_eq!((new.depth(&THIRD).await, new.depth(&SHARD).await), (1, 0));
    assert!(matches!(publish(&new, SHARD).await, Err(PublishError::Refused(_))), "not any more");
    // Whoever was not started again, or is started as before, says what is wrong.
    let wrong =
        |state: &BrokerState| matches!(state, BrokerState::Mismatch { why } if why.contains("set queue.shards"));
    old.until("a mismatch", wrong).await;
    assert!(matches!(publish(&old, SOMEBODY).await, Err(PublishError::Refused(_))));
    begin(&old.path()).until("a mismatch", wrong).await;
    owned.release().await;
    old.clean().await;
}

#[tokio::test]
async fn an_event_that_waits_keeps_the_old_shards_in_use() {
    let old = Embedded::start().await;
    old.store(&SHARD, events(0..1)).await;
    let mut owned = old.own(&SHARD).await;
    take_one(&mut owned).await.settle(DELIVERED).await.unwrap();
    owned.release().await;
    let held = Place::Held(account("acme"));
    old.store(&held, events(1..2)).await;
    let new = open(&old.path(), &[2], 3).await;
    let _changing = changing(&new);
    stays("in use", WATCHED, || in_use(&new) == 2).await;
    let mut owned = new.own(&held).await;
    take_one(&mut owned).await.settle(DELIVERED).await.unwrap();
    until_in_use(&new, 3).await;
}

#[tokio::test]
async fn closing_ends_by_itself_and_nothing_new_is_taken_meanwhile() {
    let old = Embedded::start().await;
    old.store(&SHARD, events(0..1)).await;
    let new = open(&old.path(), &[2], 3).await;
    // Somebody has begun to close them, and died.
    let until = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap() + Duration::from_millis(1_500);
    let until = i64::try_from(until.as_millis()).unwrap();
    old.connection().execute("INSERT INTO gate VALUES (2, 0, ?1)", [until]).unwrap();

    let refused = publish(&new, SOMEBODY).await;
    assert!(matches!(&refused, Err(PublishError::Refused(why)) if why.contains("about to be given up")), "{refused:?}");
    assert_eq!(publish(&new, Place::Dead(refersion_relay_model::Class::Invalid)).await, Ok(()));

    eventually("open again", async || publish(&new, SOMEBODY).await.ok()).await;
    assert_eq!(new.depth(&SHARD).await, 2);
}

#[tokio::test]
async fn what_was_never_there_is_not_drained() {
    let folder = tempfile::tempdir().unwrap();
    let relay = open(&folder.path().join("relay.db"), &[2, 4], 3).await;
    assert_eq!(in_use(&relay), 3);
    assert_eq!(publish(&relay, SOMEBODY).await, Ok(()));
    assert_eq!(relay.depth(&THIRD).await, 1);
}

#[tokio::test]
async fn an_older_number_can_come_back() {
    let old = Embedded::start().await;
    old.store(&SHARD, events(0..1)).await;
    let mut owned = old.own(&SHARD).await;
    take_one(&mut owned).await.settle(DELIVERED).await.unwrap();
    owned.release().await;
    let new = open(&old.path(), &[2], 3).await;
    {
        let _changing = changing(&new);
        until_in_use(&new, 3).await;
    }
    let back = open(&old.path(), &[3], 2).await;
    // Nothing was ever on the three shards.
    let _changing = changing(&back);
    until_in_use(&back, 2).await;
    assert_eq!(publish(&back, SOMEBODY).await, Ok(()));
    assert_eq!(back.depth(&SHARD).await, 1);
}

/// Where all sets before the last one were given up it is the last one's turn, whatever stands between them.
#[tokio::test]
async fn an_older_number_can_come_back_from_behind_another_one() {
    let old = Embedded::start().await;
    let path = [(&[][..], 2, SHARD), (&[2], 3, THIRD), (&[3], 4, Place::Shard(Shard { index: 0, count: 4 }))];
    for (drain, shards, place) in &path {
        let relay = open(&old.path(), drain, *shards).await;
        let _changing = changing(&relay);
        until_in_use(&relay, *shards).await;
        assert_eq!(publish(&relay, SOMEBODY).await, Ok(()));
        let mut owned = relay.own(place).await;
        take_one(&mut owned).await.settle(DELIVERED).await.unwrap();
        owned.release().await;
    }
    let back = open(&old.path(), &[4, 2], 3).await;
    assert_eq!(in_use(&back), 4);

    let _changing = changing(&back);

    until_in_use(&back, 3).await;
    assert_eq!(publish(&back, SOMEBODY).await, Ok(()));
}

#[tokio::test]
async fn events_on_shards_that_nobody_knows_are_seen() {
    let old = Embedded::start().await;
    old.store(&SHARD, events(0..2)).await;
    let new = open(&old.path(), &[], 3).await;
    let left = new.queue.left_behind().await.unwrap();
    assert_eq!(left.remnants, [Remnant { of: Former::Shards(2), events: 2 }]);
    assert_eq!(open(&old.path(), &[2], 3).await.queue.left_behind().await.unwrap(), LeftBehind::default());
}
