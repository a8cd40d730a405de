use std::time::Duration;

use refersion_relay_queue::{BrokerState, PublishError, Queue};
use refersion_relay_telemetry::Connection;

use super::node;
use crate::support::events::{SHARD, events};
use crate::support::rabbitmq::{Relay, settings};
use crate::support::waiting::{eventually, stays};

const CONFIRM: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_broker_without_memory_blocks_refuses_and_recovers() {
    let node = node().await;
    let mut settings = settings(&node.url());
    settings.confirm_timeout = CONFIRM;
    let relay = Relay::start_with(&node.url(), settings).await;
    relay.store(&SHARD, events(0..1)).await;
    node.ctl(&["set_vm_memory_high_watermark", "0.0001"]).await.unwrap();

    // The broker tells a connection of the alarm when it next publishes.
    let caught = relay.queue.publish(vec![(SHARD, events(1..2).remove(0))]).await;

    assert!(matches!(caught[..], [Err(PublishError::Unknown(_) | PublishError::Refused(_))]), "{caught:?}");
    let state = relay.queue.state();
    let blocked = || matches!(&*state.borrow(), BrokerState::Blocked { why } if why.contains("memory"));
    stays("blocked", 3 * CONFIRM, blocked).await;
    let refused = relay.queue.publish(vec![(SHARD, events(2..3).remove(0))]).await;
    assert!(matches!(&refused[..], [Err(PublishError::Refused(why))] if why.contains("memory")), "{refused:?}");
    assert!(relay.metrics.render().contains("queue_blocked 1"));
    assert_eq!(relay.metrics.connections_lost(Connection::Publish), 0, "an alarm is no lost connection");

    node.ctl(&["set_vm_memory_high_watermark", "0.6"]).await.unwrap();

    relay.until_up().await;
    relay.store(&SHARD, events(3..4)).await;
    assert!(relay.metrics.render().contains("queue_blocked 0"));
    eventually("what was confirmed, and perhaps what was caught", async || {
        (2..=3).contains(&relay.depth(&SHARD).await).then_some(())
    })
    .await;
}
