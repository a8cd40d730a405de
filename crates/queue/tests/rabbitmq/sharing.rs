//! Several places of one process are channels of one connection, and what becomes of one is nothing to the others.

use std::slice;
use std::time::Duration;

use futures_util::future::join_all;
use refersion_relay_model::AccountName;
use refersion_relay_queue::{Delivery, Owned, Place, Queue, RabbitMqSettings, Terms};
use refersion_relay_telemetry::Connection;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use refersion_relay_queue_testkit::events::{DELIVERED, account, bodies, events, numbers};
use refersion_relay_queue_testkit::instance::ROOM;
use refersion_relay_queue_testkit::rabbitmq::{Relay, settings, shared_broker};
use refersion_relay_queue_testkit::waiting::{PATIENCE, eventually, take, take_one};
use refersion_relay_queue_testkit::wire::Wire;

/// How many places there are.
pub(crate) const PLACES: u16 = 6;

pub(crate) fn six(url: &str) -> RabbitMqSettings {
    RabbitMqSettings { accounts: (0..PLACES).map(of).collect(), ..settings(url) }
}

pub(crate) fn place(index: u16) -> Place {
    Place::Work(of(index))
}

fn of(index: u16) -> AccountName {
    account(&format!("a{index}"))
}

/// The name of a place's queue.
pub(crate) fn queue(relay: &Relay, index: u16) -> String {
    relay.work_queue(of(index).as_str())
}

/// Owns all places from here on.
pub(crate) async fn own_from(relay: &Relay, first: u16) -> Vec<Owned> {
    join_all((first..PLACES).map(async |index| relay.own(&place(index)).await)).await
}

/// What is delivered next at a place where nothing was ever given back is this, for the first time.
pub(crate) async fn goes_on(relay: &Relay, owned: &mut Owned, index: u16, number: usize) {
    relay.store(&place(index), events([number])).await;
    let delivery = take_one(owned).await;
    assert!(!delivery.redelivered, "at place {index}");
    assert_eq!(bodies(slice::from_ref(&delivery)), numbers([number]), "at place {index}");
    delivery.settle(DELIVERED).await.unwrap();
}

/// How many connections a page of metrics counts that are for consuming.
pub(crate) fn consuming(relay: &Relay) -> u64 {
    let page = relay.metrics.render();
    let line =
        page.lines().find_map(|line| line.strip_prefix("refersion_relay_queue_connections{connection=\"consume\"} "));
    line.expect("it is always there").parse().unwrap()
}

async fn another(relay: &Relay) -> Relay {
    Relay::start_with(&shared_broker(), relay.settings.clone()).await
}

#[tokio::test]
async fn all_places_are_consumed_over_one_connection_and_none_is_left_when_the_queue_is_closed() {
    let url = shared_broker();
    let wire = Wire::to(&url).await;
    let relay = Relay::start_with(&url, six(&wire.url(&url))).await;
    relay.store(&place(0), events(0..1)).await;
    eventually("one that publishes and one that counts", async || (wire.connections() == 2).then_some(())).await;

    let mut owned = own_from(&relay, 0).await;

    take_one(&mut owned[0]).await;
    assert_eq!((wire.connections(), consuming(&relay)), (3, 1));
    owned.pop().unwrap().release().await;
    drop(owned.pop()); // as when a task panics or is aborted
    relay.queue.close().await;
    assert!(owned.iter().all(|owned| owned.ended().is_cancelled()));
    assert!(relay.queue.own(place(0), ROOM).await.is_err());
    eventually("no connection", async || (wire.connections() == 0).then_some(())).await;
    assert_eq!((consuming(&relay), relay.metrics.connections_lost(Connection::Consume)), (0, 0));
    relay.clean().await;
}

#[tokio::test]
async fn whoever_waits_for_a_place_gets_what_is_left_of_it_in_order_and_the_other_places_go_on() {
    let url = shared_broker();
    let first = Relay::start_with(&url, six(&url)).await;
    let second = another(&first).await;
    for index in 0..PLACES {
        first.store(&place(index), events(0..20)).await;
    }
    let mut owned = own_from(&first, 0).await;
    let mut in_hand: Vec<Vec<Delivery>> = Vec::new();
    for owned in &mut owned {
        in_hand.push(take(owned, 10).await);
    }
    let mut waiting = second.own(&place(0)).await;
    let mut of_the_first = in_hand.remove(0).into_iter();
    for delivery in of_the_first.by_ref().take(3) {
        delivery.settle(DELIVERED).await.unwrap();
    }

    owned.remove(0).release().await;

    let rest = take(&mut waiting, 17).await;
    assert_eq!(bodies(&rest), numbers(3..20));
    assert!(of_the_first.next().unwrap().settle(DELIVERED).await.is_err(), "it is somebody else's");
    for (index, (owned, in_hand)) in (1..).zip(owned.iter_mut().zip(in_hand)) {
        assert!(!owned.ended().is_cancelled(), "at place {index}");
        for delivery in in_hand {
            delivery.settle(DELIVERED).await.unwrap();
        }
        let more = take(owned, 10).await;
        assert_eq!(bodies(&more), numbers(10..20), "at place {index}");
        assert!(more.iter().all(|delivery| !delivery.redelivered), "at place {index}");
    }
    first.queue.close().await;
    second.queue.close().await;
    first.clean().await;
}

#[tokio::test]
async fn an_owner_that_goes_away_while_it_takes_a_place_up_leaves_nothing_in_hand() {
    let url = shared_broker();
    let first = Relay::start_with(&url, six(&url)).await;
    let second = another(&first).await;
    let mut others = own_from(&first, 1).await;
    first.store(&place(0), events(0..50)).await;

    let mut was_late = false;
    for micros in (0..).map(|round| round * 100) {
        let owning = timeout(Duration::from_micros(micros), first.queue.own(place(0), ROOM));
        if let Ok(owned) = owning.await {
            was_late = true;
            drop(owned.unwrap());
            break;
        }
    }

    assert!(was_late);
    let mut owned = second.own(&place(0)).await;
    assert_eq!(bodies(&take(&mut owned, 50).await), numbers(0..50));
    for (index, owned) in (1..).zip(&mut others) {
        goes_on(&first, owned, index, 0).await;
    }
    first.queue.close().await;
    second.queue.close().await;
    first.clean().await;
}

#[tokio::test]
async fn a_place_whose_queue_is_deleted_ends_alone_though_nobody_asks_it_for_deliveries() {
    let url = shared_broker();
    let relay = Relay::start_with(&url, six(&url)).await;
    for index in 0..PLACES {
        relay.store(&place(index), events(0..3)).await;
    }
    let mut owned = own_from(&relay, 0).await;
    let (mut in_hand, mut last) = (Vec::new(), Vec::new());
    for owned in &mut owned {
        in_hand.extend(take(owned, 2).await);
        last.push(take_one(owned).await);
    }

    relay.admin.delete_queue(&queue(&relay, 0)).await;

    timeout(PATIENCE, owned[0].ended().cancelled()).await.expect("its term does not end");
    let deleted = owned.remove(0);
    assert!(last.remove(0).settle(DELIVERED).await.is_err());
    deleted.release().await;
    let mut again = eventually("the queue again", async || relay.queue.own(place(0), ROOM).await.ok()).await;
    let is_declared = async || relay.metrics.render().contains("queue_declared_again_total 1").then_some(());
    eventually("it is bound too", is_declared).await;
    goes_on(&relay, &mut again, 0, 3).await;
    for delivery in last {
        delivery.settle(DELIVERED).await.unwrap();
    }
    for (index, owned) in (1..).zip(&mut owned) {
        assert!(!owned.ended().is_cancelled(), "at place {index}");
        goes_on(&relay, owned, index, 3).await;
    }
    relay.queue.close().await;
    relay.clean().await;
}

#[tokio::test]
async fn places_whose_queues_were_deleted_share_a_second_connection_until_their_next_term() {
    let url = shared_broker();
    let relay = Relay::start_with(&url, six(&url)).await;
    let owned = own_from(&relay, 0).await;
    for index in 0..3 {
        relay.admin.delete_queue(&queue(&relay, index)).await;
    }
    for owned in &owned[..3] {
        timeout(PATIENCE, owned.ended().cancelled()).await.expect("its term does not end");
    }
    let are_declared = async || relay.metrics.render().contains("queue_declared_again_total 3").then_some(());
    eventually("they are there again", are_declared).await;

    let mut again = join_all((0..3).map(async |index| relay.own(&place(index)).await)).await;

    assert_eq!(consuming(&relay), 2);
    for (index, owned) in (0..).zip(&mut again) {
        goes_on(&relay, owned, index, 0).await;
    }
    let last = again.pop().unwrap();
    for owned in again {
        owned.release().await;
    }
    goes_on(&relay, &mut relay.own(&place(0)).await, 0, 1).await;
    assert_eq!(consuming(&relay), 2, "the last one of them is still there");
    last.release().await;
    eventually("the second one is closed", async || (consuming(&relay) == 1).then_some(())).await;
    relay.queue.close().await;
    relay.clean().await;
}

/// As RabbitMQ 4 does where a queue has no leader.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_place_that_ends_the_connection_when_it_is_consumed_does_so_once() {
    let url = shared_broker();
    let wire = Wire::to(&url).await;
    let relay = Relay::start_with(&url, six(&wire.url(&url))).await;
    let others = own_from(&relay, 1).await;
    let stop = CancellationToken::new();
    wire.fail_consuming(Some(&queue(&relay, 0)));

    let failed = relay.queue.own(place(0), ROOM).await.err().expect("its queue has no leader").to_string();

    assert!(failed.contains(&format!("the queue {} does not answer", queue(&relay, 0))), "{failed}");
    for owned in others {
        timeout(PATIENCE, owned.ended().cancelled()).await.expect("it was on the same connection");
        owned.release().await;
    }
    let mut others = own_from(&relay, 1).await;
    let mut terms = Terms::new(relay.queue.clone(), place(0));
    let trying = tokio::spawn(async move { terms.next(ROOM, &stop).await });
    eventually("five attempts", async || (6 <= relay.metrics.connections_lost(Connection::Consume)).then_some(()))
        .await;
    for (index, owned) in (1..).zip(&mut others) {
        assert!(!owned.ended().is_cancelled(), "at place {index}");
        goes_on(&relay, owned, index, 0).await;
    }

    wire.fail_consuming(None);

    let mut alone = timeout(PATIENCE, trying).await.expect("it works again").unwrap().expect("nobody stops it");
    goes_on(&relay, &mut alone, 0, 0).await;
    assert_eq!(consuming(&relay), 2, "it was tried over the second connection");
    alone.release().await;
    eventually("that one is closed", async || (consuming(&relay) == 1).then_some(())).await;
    let mut shared = relay.own(&place(0)).await;
    goes_on(&relay, &mut shared, 0, 1).await;
    assert_eq!(consuming(&relay), 1, "it is with the others again");
    relay.queue.close().await;
    relay.clean().await;
}

#[tokio::test]
async fn a_connection_that_says_nothing_when_a_place_is_taken_up_is_given_up_by_all() {
    let url = shared_broker();
    let wire = Wire::to(&url).await;
    let relay = Relay::start_with(&url, six(&wire.url(&url))).await;
    let others = own_from(&relay, 1).await;
    wire.stall();

    let refused = relay.queue.own(place(0), ROOM).await.err().expect("nothing answers").to_string();

    assert!(refused.contains("the broker opens no channel"), "{refused}");
    assert!(others.iter().all(|owned| owned.ended().is_cancelled()));
    let owned = join_all((0..PLACES).map(async |index| relay.own(&place(index)).await)).await;
    assert_eq!(relay.metrics.connections_lost(Connection::Consume), 1);
    eventually("it is closed", async || (consuming(&relay) == 1).then_some(())).await;
    drop((others, owned));
    wire.cut();
    relay.clean().await;
}

#[tokio::test]
async fn a_place_whose_giving_up_is_not_answered_is_given_up_with_the_connection() {
    let url = shared_broker();
    let wire = Wire::to(&url).await;
    let relay = Relay::start_with(&url, six(&wire.url(&url))).await;
    relay.store(&place(0), events(0..5)).await;
    let mut owned = own_from(&relay, 0).await;
    for delivery in take(&mut owned[0], 3).await {
        delivery.settle(DELIVERED).await.unwrap();
    }
    wire.stall();

    owned.remove(0).release().await;

    assert!(owned.iter().all(|owned| owned.ended().is_cancelled()));
    assert_eq!(relay.metrics.connections_lost(Connection::Consume), 1);
    wire.cut();
    relay.until("away", |state| !state.is_up()).await;
    relay.until_up().await;
    let mut again = relay.own(&place(0)).await;
    // An acknowledgement is not confirmed by anybody, so some of the three may be on the way still.
    let from: usize = bodies(&[take_one(&mut again).await])[0].parse().unwrap();
    assert!(from <= 3, "from {from}");
    assert_eq!(bodies(&take(&mut again, 4 - from).await), numbers(from + 1..5));
    let sum = eventually("the sum", async || {
        let sum = relay.queue.conservation().await.ok();
        sum.filter(|sum| 0 < sum.tolerance.uncertain)
    });
    assert_eq!(sum.await.tolerance.uncertain, 3, "nobody here can say whether the broker took them");
    relay.queue.close().await;
    relay.clean().await;
}

/// A place as the test knows it: each event is settled in the order of publishing.
struct Known {
    owned: Option<Owned>,
    published: usize,
    settled: usize,
}

impl Known {
    /// Takes what is there, which is this many, and settles it.
    async fn settle(&mut self, count: usize, what: &str) {
        let owned = self.owned.as_mut().expect("it is owned");
        let taken = take(owned, count).await;
        assert_eq!(bodies(&taken), numbers(self.settled..self.settled + count), "{what}");
        for delivery in taken {
            assert!(!delivery.redelivered, "{what}: {:?} came again", bodies(&[delivery]));
            delivery.settle(DELIVERED).await.unwrap();
        }
        self.settled += count;
    }
}

#[tokio::test]
async fn in_two_hundred_rounds_of_giving_places_up_nothing_is_lost_and_nothing_comes_again_elsewhere() {
    const ROUNDS: usize = 200;
    const EVENTS: usize = 5;
    let url = shared_broker();
    let first = Relay::start_with(&url, six(&url)).await;
    let relays = [another(&first).await, first];
    let mut known = Vec::new();
    for owned in own_from(&relays[0], 0).await {
        known.push(Known { owned: Some(owned), published: 0, settled: 0 });
    }

    for round in 0..ROUNDS {
        let index = u16::try_from(round).unwrap() % PLACES;
        let publishing = (0..PLACES).zip(&mut known).map(async |(index, known)| {
            relays[0].store(&place(index), events(known.published..known.published + EVENTS)).await;
            known.published += EVENTS;
        });
        join_all(publishing).await;
        let giving_up = &mut known[usize::from(index)];
        let mut owned = giving_up.owned.take().expect("it is owned");
        let mut taken = take(&mut owned, EVENTS).await;
        assert_eq!(bodies(&taken), numbers(giving_up.settled..giving_up.published), "in round {round}");
        for delivery in taken.drain(..round % EVENTS) {
            delivery.settle(DELIVERED).await.unwrap();
            giving_up.settled += 1;
        }
        let next = &relays[round / 3 % 2];
        let next = match round % 3 {
            0 => {
                let waiting = next.own(&place(index)).await;
                owned.release().await;
                waiting
            }
            1 => {
                owned.release().await;
                next.own(&place(index)).await
            }
            _ => {
                drop(owned);
                next.own(&place(index)).await
            }
        };
        let next = giving_up.owned.insert(next);
        let again = take(next, EVENTS - round % EVENTS).await;
        assert_eq!(bodies(&again), numbers(giving_up.settled..giving_up.published), "in round {round}");
        for delivery in again {
            assert!(delivery.redelivered, "in round {round}");
            delivery.settle(DELIVERED).await.unwrap();
            giving_up.settled += 1;
        }
        for (other, known) in (0..PLACES).zip(&mut known) {
            if other != index {
                known.settle(EVENTS, &format!("place {other} in round {round}")).await;
            }
        }
        drop(taken);
    }

    for known in known {
        let owned = known.owned.expect("it is owned");
        assert!(!owned.ended().is_cancelled());
        owned.release().await;
    }
    for index in 0..PLACES {
        assert_eq!(relays[0].depth(&place(index)).await, 0);
    }
    for relay in &relays {
        assert_eq!(relay.metrics.connections_lost(Connection::Consume), 0);
        relay.queue.close().await;
    }
    let [_, first] = relays;
    first.clean().await;
}
