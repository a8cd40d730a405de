//! What is asked of a broker by a relay in good health is no error, and every connection is closed.

use refersion_relay_model::Class;
use refersion_relay_private_broker::PrivateBroker;
use refersion_relay_queue::{Place, Queue};

use super::node;
use refersion_relay_queue_testkit::events::{DELIVERED, crowd, events, other_work, work};
use refersion_relay_queue_testkit::rabbitmq::{Relay, settings};
use refersion_relay_queue_testkit::waiting::take;

/// The lines of the broker's log that a person would look into.
async fn complaints(node: &PrivateBroker) -> Vec<String> {
    let log = node.log().await.unwrap();
    log.lines().filter(|line| line.contains("[error]") || line.contains("[warning]")).map(str::to_owned).collect()
}

#[tokio::test]
async fn a_healthy_relay_writes_no_error_into_the_brokers_log() {
    let node = node().await;
    let before = complaints(&node).await.len();
    let settings = settings(&node.url());
    let first = Relay::start_with(&node.url(), settings.clone()).await;
    first.store(&work(), crowd(0..5)).await;
    first.store(&Place::Dead(Class::Rejected), events(0..3)).await;
    let second = Relay::start_with(&node.url(), settings.clone()).await;
    let mut owned = second.own(&work()).await;
    let mut other = second.own(&other_work()).await;
    let kept = second.own(&Place::Intake).await;
    for delivery in take(&mut owned, 5).await {
        delivery.settle(DELIVERED).await.unwrap();
    }
    second.store(&other_work(), events(0..1)).await;
    take(&mut other, 1).await;
    for relay in [&first, &second] {
        assert_eq!(relay.queue.check().await.unwrap().differences, [""; 0]);
        assert_eq!(relay.queue.alarm().await.unwrap(), None);
        relay.queue.conservation().await.unwrap();
        assert_eq!(relay.bodies(Class::Rejected).await.len(), 3);
    }
    first.queue.set_baseline().await.unwrap();
    owned.release().await;
    other.release().await;
    let idle = Relay::start_with(&node.url(), settings).await;
    idle.queue.check().await.unwrap();
    idle.queue.conservation().await.unwrap();
    for relay in [&idle, &second, &first] {
        relay.queue.close().await;
    }

    assert!(kept.ended().is_cancelled(), "what is not given up ends with the queue");
    let found = complaints(&node).await.split_off(before);

    assert!(found.is_empty(), "{found:#?}");
}
