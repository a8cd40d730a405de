//! What a broker can do to one of several places, and to the connection of all.

use std::collections::BTreeSet;
use std::slice;
use std::time::Duration;

use refersion_relay_private_broker::{Options, PrivateBroker};
use refersion_relay_queue::{Queue, Terms};
use refersion_relay_telemetry::Connection;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::node;
use super::unfinished::leave_unfinished;
use crate::sharing::{PLACES, consuming, goes_on, own_from, place, queue, six};
use refersion_relay_queue_testkit::events::{DELIVERED, bodies, crowd, events, numbers};
use refersion_relay_queue_testkit::instance::ROOM;
use refersion_relay_queue_testkit::rabbitmq::Relay;
use refersion_relay_queue_testkit::waiting::{PATIENCE, eventually, take};

#[tokio::test]
async fn a_place_whose_delivery_was_not_acknowledged_in_time_ends_alone_and_at_once() {
    let conf = "consumer_timeout = 2000".to_owned();
    let node = PrivateBroker::start_with(Options { extra_conf: conf, ..Options::default() }).await.unwrap();
    node.ctl(&["eval", "application:set_env(rabbit, channel_tick_interval, 200)."]).await.unwrap();
    let relay = Relay::start_with(&node.url(), six(&node.url())).await;
    relay.store(&place(0), events(0..10)).await;
    let mut owned = own_from(&relay, 0).await;
    let mut in_hand = take(&mut owned[0], 10).await;
    for delivery in in_hand.drain(..3) {
        delivery.settle(DELIVERED).await.unwrap();
    }

    timeout(PATIENCE, owned[0].ended().cancelled()).await.expect("its term does not end"); // and nobody asks it for deliveries

    assert!(in_hand.remove(0).settle(DELIVERED).await.is_err());
    owned.remove(0).release().await;
    for (index, owned) in (1..).zip(&mut owned) {
        assert!(!owned.ended().is_cancelled(), "at place {index}");
        goes_on(&relay, owned, index, 0).await;
    }
    let mut again = relay.own(&place(0)).await;
    for delivery in take(&mut again, 7).await {
        assert!(delivery.redelivered);
        delivery.settle(DELIVERED).await.unwrap();
    }
    assert_eq!(relay.metrics.connections_lost(Connection::Consume), 0);
    relay.queue.close().await;
    // Whether the broker took the three before it closed the channel, nobody here can say. From 4.3 on it leaves the channel open
    // and only takes the consumer away.
    let version = node.ctl(&["version"]).await.unwrap();
    let mut numbers = version.trim().split('.').map(|number| number.parse().unwrap());
    let uncertain = if (numbers.next(), numbers.next()) < (Some(4), Some(3)) { 3 } else { 0 };
    let sum = Relay::start_with(&node.url(), relay.settings.clone()).await.queue.conservation().await.unwrap();
    assert_eq!((sum.tolerance.uncertain, sum.difference(), sum.delivered), (uncertain, 0, 15), "{version}: {sum}");
}

#[tokio::test]
async fn all_places_come_back_when_their_connection_was_closed() {
    const EVENTS: usize = 200;
    // As many of each place are settled before it is closed. The next ones are in hand then.
    const FIRST: usize = 50;
    let node = node().await;
    let relay = Relay::start_with(&node.url(), six(&node.url())).await;
    for index in 0..PLACES {
        relay.store(&place(index), crowd(0..EVENTS)).await;
    }
    let (stop, closed) = (CancellationToken::new(), CancellationToken::new());
    let mut working = JoinSet::new();
    for index in 0..PLACES {
        let (queue, stop, closed) = (relay.queue.clone(), stop.clone(), closed.clone());
        working.spawn(async move {
            let (mut terms, mut begun) = (Terms::new(queue, place(index)), 0);
            let mut missing: BTreeSet<_> = numbers(0..EVENTS).into_iter().collect();
            while let Some(mut owned) = terms.next(ROOM, &stop).await {
                begun += 1;
                while let Some(Some(delivery)) = stop.run_until_cancelled(owned.next()).await {
                    let body = bodies(slice::from_ref(&delivery)).remove(0);
                    if missing.len() == EVENTS - FIRST {
                        closed.cancelled().await;
                    }
                    if delivery.settle(DELIVERED).await.is_ok() {
                        missing.remove(&body);
                    }
                    if missing.is_empty() {
                        stop.cancelled().await;
                    }
                }
                owned.release().await;
            }
            (missing.len(), begun)
        });
    }
    eventually("all are owned and worked", async || {
        let mut waiting = 0;
        for index in 0..PLACES {
            waiting += relay.depth(&place(index)).await;
        }
        (waiting == u64::from(PLACES) * (EVENTS as u64 - FIRST as u64 - u64::from(ROOM.events))).then_some(())
    })
    .await;

    node.ctl(&["close_all_connections", "maintenance"]).await.unwrap();
    closed.cancel();

    relay.until_up().await;
    eventually("everything is worked", async || {
        let sum = relay.queue.conservation().await.ok()?;
        (EVENTS as u64 * u64::from(PLACES) <= sum.delivered && sum.waiting() == 0).then_some(())
    })
    .await;
    stop.cancel();
    for (missing, begun) in working.join_all().await {
        assert_eq!((missing, begun), (0, 2));
    }
    assert_eq!((consuming(&relay), relay.metrics.connections_lost(Connection::Consume)), (1, 1));
}

/// A broker that cannot do what it was asked ends the connection it was asked over, a minute later or when the queue is deleted: once.
#[tokio::test]
async fn a_queue_that_answers_nobody_keeps_no_other_place_from_going_on() {
    let node = node().await;
    let relay = Relay::start_with(&node.url(), six(&node.url())).await;
    let silent = queue(&relay, 0);
    leave_unfinished(&node, &silent).await;
    let mut others = own_from(&relay, 2).await;

    // Another place is taken up meanwhile, and does not have to wait for it.
    let (refused, second) = tokio::join!(relay.queue.own(place(0), ROOM), async {
        timeout(Duration::from_secs(5), relay.own(&place(1))).await.expect("it has to wait for the other one")
    });
    others.insert(0, second);
    let again = relay.queue.own(place(0), ROOM).await;

    let (third, open) = (relay.queue.own(place(0), ROOM).await, consuming(&relay));
    assert_eq!(open, 2, "what does not answer is waited for over one connection beside that of the others");
    for refused in [refused, again, third] {
        let why = refused.err().expect("nobody leads it").to_string();
        assert!(why.ends_with(&format!("the queue {silent} does not answer")), "{why}");
    }
    for (index, owned) in (1..).zip(&mut others) {
        assert!(!owned.ended().is_cancelled(), "at place {index}");
        goes_on(&relay, owned, index, 0).await;
    }
    relay.admin.delete_queue(&silent).await;
    eventually("it works, and is with the others again", async || {
        let owned = relay.queue.own(place(0), ROOM).await.ok()?;
        let is_shared = consuming(&relay) == 1;
        owned.release().await;
        is_shared.then_some(())
    })
    .await;
    let is_declared = async || relay.metrics.render().contains("queue_declared_again_total 1").then_some(());
    eventually("it is bound too", is_declared).await;
    goes_on(&relay, &mut relay.own(&place(0)).await, 0, 0).await;
    for (index, mut owned) in (1..).zip(others) {
        if owned.ended().is_cancelled() {
            owned.release().await;
            owned = relay.own(&place(index)).await;
        }
        goes_on(&relay, &mut owned, index, 1).await;
    }
    relay.queue.close().await;
}
