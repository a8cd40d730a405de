use std::time::Duration;

use refersion_relay_queue::{Message, Place, PublishError, Queue};
use tokio::time::{Instant, timeout};

use super::node;
use refersion_relay_queue_testkit::events::{DELIVERED, crowd, event, events, work};
use refersion_relay_queue_testkit::instance::ROOM;
use refersion_relay_queue_testkit::rabbitmq::{Relay, settings};
use refersion_relay_queue_testkit::waiting::{PATIENCE, eventually, stays, take, until_ended};

fn batch(messages: Vec<Message>) -> Vec<(Place, Message)> {
    messages.into_iter().map(|message| (work(), message)).collect()
}

#[tokio::test]
async fn subjects_wait_for_their_confirms_side_by_side_and_one_subject_for_each() {
    let node = node().await;
    let relay = Relay::start_on(&node.url()).await;
    relay.store(&work(), events(0..1)).await; // the first one has to register
    node.freeze();
    let mut messages: Vec<_> = (0..50).map(|number| event("subject 0", &format!("more {number}"))).collect();
    messages.extend(crowd(0..300));
    let queue = relay.queue.clone();
    let publishing = tokio::spawn(async move { queue.publish(batch(messages)).await });

    eventually("300 publishes in flight", async || (300 <= relay.metrics.publishes_in_flight()).then_some(())).await;

    let one_of_each = || relay.metrics.publishes_in_flight() == 300;
    stays("one publish in flight for each of 300 subjects", Duration::from_millis(200), one_of_each).await;
    node.thaw();
    let results = timeout(PATIENCE, publishing).await.unwrap().unwrap();
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    assert_eq!(relay.metrics.publishes_in_flight(), 0);
}

#[tokio::test]
async fn a_broker_that_stands_still_is_given_up_in_time_and_used_again() {
    const CONFIRM: Duration = Duration::from_secs(2);
    let node = node().await;
    let mut settings = settings(&node.url());
    settings.confirm_timeout = CONFIRM;
    let relay = Relay::start_with(&node.url(), settings).await;
    relay.store(&work(), events(0..1)).await;
    node.freeze();
    let begin = Instant::now();

    let publishing = timeout(PATIENCE, relay.queue.publish(batch(crowd(1..21))));
    let results = publishing.await.expect("confirms wait for ever");

    assert!(begin.elapsed() < CONFIRM + Duration::from_secs(1), "after {:?}", begin.elapsed());
    assert!(results.iter().all(|result| matches!(result, Err(PublishError::Unknown(_)))), "{results:?}");
    eventually("a state that says so", async || (!relay.queue.state().borrow().is_up()).then_some(())).await;
    assert!(begin.elapsed() < CONFIRM + Duration::from_secs(1), "said after {:?}", begin.elapsed());
    let owned = timeout(Duration::from_secs(7), relay.queue.own(work(), ROOM)).await.expect("own waits for ever");
    assert!(owned.is_err());
    node.thaw();
    relay.until_up().await;
    relay.store(&work(), crowd(21..25)).await;
    assert!(5 <= relay.depth(&work()).await);
}

#[tokio::test]
async fn connections_that_the_broker_closes_are_made_anew() {
    let node = node().await;
    let relay = Relay::start_on(&node.url()).await;
    relay.store(&work(), events(0..3)).await;
    let mut owned = relay.own(&work()).await;
    let in_hand = take(&mut owned, 3).await;

    node.ctl(&["close_all_connections", "maintenance"]).await.unwrap();

    until_ended(&mut owned).await;
    for delivery in in_hand {
        assert!(delivery.settle(DELIVERED).await.is_err());
    }
    relay.until_up().await;
    eventually("a publish that works", async || {
        let results = relay.queue.publish(batch(events(3..4))).await;
        results[0].is_ok().then_some(())
    })
    .await;
    let mut owned = relay.own(&work()).await;
    let again = take(&mut owned, 4).await;
    assert!(again[..3].iter().all(|delivery| delivery.redelivered));
    owned.release().await;
}
