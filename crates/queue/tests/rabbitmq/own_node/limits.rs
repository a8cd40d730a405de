//! A limit is what it is called, and nothing that exists is to be deleted for it.

use refersion_relay_broker_doctor::ManagementUrl;
use refersion_relay_private_broker::{Options, PrivateBroker};
use refersion_relay_queue::{BrokerState, BrokerUrl, Queue, RabbitMqSettings};

use super::node;
use refersion_relay_queue_testkit::events::{other_work, work};
use refersion_relay_queue_testkit::instance::ROOM;
use refersion_relay_queue_testkit::rabbitmq::{Relay, settings};

/// A vhost of its own for a user of its own.
async fn limited(node: &PrivateBroker, limits: &str) -> RabbitMqSettings {
    for order in [
        &["add_vhost", "small"][..],
        &["add_user", "lim", "lim"],
        &["set_permissions", "-p", "small", "lim", ".*", ".*", ".*"],
        &["set_permissions", "-p", "small", "guest", ".*", ".*", ".*"],
        &["set_vhost_limits", "-p", "small", limits],
    ] {
        node.ctl(order).await.unwrap();
    }
    let url = node.url().replace("guest:guest@", "lim:lim@").replace("/%2f", "/small");
    RabbitMqSettings { url: BrokerUrl::parse(&url).unwrap(), ..settings(&url) }
}

#[tokio::test]
async fn a_limit_of_queues_is_named_and_nobody_is_told_to_delete_one() {
    let node = PrivateBroker::start_with(Options { management: true, ..Options::default() }).await.unwrap();
    let relay = Relay::begin(&node.url(), limited(&node, r#"{"max-queues": 10}"#).await).await;

    let state = relay.until("refused", |state| matches!(state, BrokerState::Mismatch { .. })).await.to_string();
    let differences = relay.queue.check().await.unwrap().differences;

    for said in [&state, &differences.join("; ")] {
        assert!(said.contains("allows the vhost 10 queues") && !said.contains("delete"), "{said}");
    }
    assert_eq!(differences.len(), 1, "once for all queues that are missing: {differences:?}");
    let api = ManagementUrl::parse(&node.management_url().unwrap()).unwrap();
    let limits = api.limits(relay.queue.url()).await.unwrap();
    assert_eq!((limits.queues, limits.connections), (Some(10), None));
    assert!(10 < relay.queue.needs().queues);
}

#[tokio::test]
async fn a_limit_of_connections_is_named_by_whoever_runs_into_it() {
    let node = node().await;
    let relay = Relay::start_with(&node.url(), limited(&node, "{}").await).await;
    node.ctl(&["set_vhost_limits", "-p", "small", r#"{"max-connections": 1}"#]).await.unwrap();

    for place in [work(), other_work()] {
        let refused = relay.queue.own(place, ROOM).await.err().expect("there is a connection already").to_string();
        assert!(refused.contains("allows the vhost 1 of the connections"), "{refused}");
    }
    assert!(relay.queue.state().borrow().is_up());
}
