use refersion_relay_queue::{BrokerUrl, Queue, QueueError, RabbitMqSettings};

use super::node;
use refersion_relay_queue_testkit::events::{account, events, work};
use refersion_relay_queue_testkit::rabbitmq::{Relay, settings};
use refersion_relay_queue_testkit::waiting::eventually;

#[tokio::test]
async fn accounts_whose_places_may_not_be_made_are_not_admitted() {
    let node = node().await;
    node.ctl(&["add_user", "relay", "secret"]).await.unwrap();
    node.ctl(&["set_permissions", "relay", r"^((?!\.new$).)*$", ".*", ".*"]).await.unwrap();
    let (administrator, own) = (node.url(), node.url().replace("guest:guest@", "relay:secret@"));
    let relay = Relay::start_with(&administrator, settings(&own)).await;

    for _ in 0..2 {
        let refused = relay.queue.admit(&[account("acme"), account("new")]).await;
        assert!(matches!(refused, Err(QueueError::Forbidden(_))), "{refused:?}");
    }
    relay.queue.check().await.unwrap();
}

#[tokio::test]
async fn what_was_counted_without_the_right_to_store_it_is_stored_as_soon_as_there_is_one() {
    let node = node().await;
    node.ctl(&["add_user", "relay", "secret"]).await.unwrap();
    node.ctl(&["set_permissions", "relay", ".*", r"^((?!\.notes$).)*$", ".*"]).await.unwrap();
    let (administrator, own) = (node.url(), node.url().replace("guest:guest@", "relay:secret@"));
    let relay = Relay::start_with(&administrator, settings(&own)).await;
    relay.store(&work(), events(0..5)).await;
    let other = Relay::start_with(
        &administrator,
        RabbitMqSettings { url: BrokerUrl::parse(&administrator).unwrap(), ..relay.settings.clone() },
    )
    .await;
    assert_eq!(other.queue.conservation().await.unwrap().accepted, 0);

    node.ctl(&["set_permissions", "relay", ".*", ".*", ".*"]).await.unwrap();

    let sum =
        eventually("the sum", async || other.queue.conservation().await.ok().filter(|sum| sum.accepted == 5)).await;
    assert_eq!((sum.difference(), sum.tolerance.deaths), (0, 0), "{sum}");
}
