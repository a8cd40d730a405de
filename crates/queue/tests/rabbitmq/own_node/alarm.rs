use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use refersion_relay_queue::{BrokerState, MailboxReader, PublishError, Queue, RabbitMq, RabbitMqSettings};
use refersion_relay_telemetry::{Connection, Metrics};
use tokio_util::sync::CancellationToken;

use super::node;
use refersion_relay_queue_testkit::events::{DELIVERED, events, work};
use refersion_relay_queue_testkit::rabbitmq::{Relay, settings};
use refersion_relay_queue_testkit::waiting::{eventually, stays, take};

const CONFIRM: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_broker_without_memory_blocks_refuses_and_recovers() {
    let node = node().await;
    let mut settings = settings(&node.url());
    settings.confirm_timeout = CONFIRM;
    let relay = Relay::start_with(&node.url(), settings).await;
    relay.store(&work(), events(0..1)).await;
    node.ctl(&["set_vm_memory_high_watermark", "0.0001"]).await.unwrap();

    // The broker tells a connection of the alarm when it next publishes.
    let caught = relay.queue.publish(vec![(work(), events(1..2).remove(0))]).await;

    assert!(matches!(caught[..], [Err(PublishError::Unknown(_) | PublishError::Refused(_))]), "{caught:?}");
    let state = relay.queue.state();
    let blocked = || matches!(&*state.borrow(), BrokerState::Blocked { why } if why.contains("memory"));
    stays("blocked", 3 * CONFIRM, blocked).await;
    let refused = relay.queue.publish(vec![(work(), events(2..3).remove(0))]).await;
    assert!(matches!(&refused[..], [Err(PublishError::Refused(why))] if why.contains("memory")), "{refused:?}");
    assert_eq!(relay.queue.alarm().await.unwrap().as_deref(), Some("low on memory"), "a new connection hears it too");
    assert!(relay.metrics.render().contains("queue_blocked 1"));
    assert_eq!(relay.metrics.connections_lost(Connection::Publish), 0, "an alarm is no lost connection");

    node.ctl(&["set_vm_memory_high_watermark", "0.6"]).await.unwrap();

    relay.until_up().await;
    assert_eq!(relay.queue.alarm().await.unwrap(), None);
    relay.store(&work(), events(3..4)).await;
    assert!(relay.metrics.render().contains("queue_blocked 0"));
    eventually("what was confirmed, and perhaps what was caught", async || {
        (2..=3).contains(&relay.depth(&work()).await).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_worker_that_cannot_store_what_it_counts_does_so_when_the_broker_has_memory_again() {
    let node = node().await;
    let relay = Relay::start_on(&node.url()).await;
    relay.store(&work(), events(0..5)).await;
    let worker = Relay::start_with(&node.url(), relay.settings.clone()).await;
    let mut owned = worker.own(&work()).await;
    let deliveries = take(&mut owned, 5).await;
    node.ctl(&["set_vm_memory_high_watermark", "0.0001"]).await.unwrap();

    for delivery in deliveries {
        delivery.settle(DELIVERED).await.unwrap();
    }
    // The entry that is blocked is given up after 10 s.
    let state = worker.queue.state();
    stays("up, since it publishes nothing else", Duration::from_secs(14), || state.borrow().is_up()).await;
    node.ctl(&["set_vm_memory_high_watermark", "0.6"]).await.unwrap();

    let settled = async || relay.queue.conservation().await.ok().filter(|sum| sum.delivered == 5);
    let sum = eventually("what was counted", settled).await;
    assert_eq!((sum.difference(), sum.tolerance.deaths), (0, 0), "{sum}");
    owned.release().await;
}

#[tokio::test]
async fn whoever_reads_the_mailbox_goes_on_though_no_answer_leaves() {
    let node = node().await;
    let url = node.url();
    let settings = RabbitMqSettings { directory: Some("0a1b2c3d".to_owned()), ..settings(&url) };
    let relay = Relay::start_with(&url, settings.clone()).await;
    let mailbox = relay.queue.mailbox().unwrap();
    for n in 1..=3 {
        let mailbox = mailbox.clone();
        tokio::spawn(async move { mailbox.ask("ask").await });
        let is_stored = async || relay.queue.mailbox_depth().await.ok().filter(|depth| depth.messages == n);
        eventually("it is stored", is_stored).await;
    }
    node.ctl(&["set_vm_memory_high_watermark", "0.0001"]).await.unwrap();

    let (keeper, reader, stop) =
        (Arc::new(RabbitMq::start(settings, Metrics::new())), Arc::<Counts>::default(), CancellationToken::new());
    let (reads, stopped) = (reader.clone(), stop.clone());
    let reading = tokio::spawn(async move { keeper.read_mailbox(&*reads, &stopped).await });

    let read = async || (reader.0.load(Ordering::Relaxed) == 3).then_some(());
    eventually("all are read", read).await;
    // They are gone for good, and do not come again.
    stop.cancel();
    reading.await.unwrap();
    let is_empty = async || (relay.admin.ready(&relay.name("directory.0a1b2c3d")).await == 0).then_some(());
    eventually("none is left", is_empty).await;
    node.ctl(&["set_vm_memory_high_watermark", "0.6"]).await.unwrap();
}

/// Counts what it is asked, and answers.
#[derive(Default)]
struct Counts(AtomicUsize);

#[async_trait]
impl MailboxReader for Counts {
    async fn read(&self, requests: Vec<Bytes>) -> Option<Vec<Option<Bytes>>> {
        self.0.fetch_add(requests.len(), Ordering::Relaxed);
        Some(vec![Some(Bytes::from_static(b"answer")); requests.len()])
    }
}
