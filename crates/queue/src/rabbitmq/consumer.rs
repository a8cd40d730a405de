use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use lapin::Acker;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Connection, Consumer};
use refersion_relay_telemetry::{self as telemetry, Counted};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::cause::Cause;
use super::connection::{self, Notice};
use super::publisher::Publisher;
use super::tally::InHand;
use super::url::BrokerUrl;
use super::{alone, arrival, priority, properties, reader};
use crate::owned::{Ownership, Settler};
use crate::{Backoff, BrokerState, Delivery, Group, Message, Owned, Place, QueueError, Room, Settle, SettleError};

/// How many refusals of a copy in a row, by a broker that is up, mean that its place takes nothing.
const STUCK_AFTER: u32 = 2;

/// Consumes one place over a connection of its own. Giving the place up is closing that connection, which returns
/// everything unsettled in order and disturbs nothing else. A `basic.cancel` would activate the next consumer while
/// deliveries of ours are still being worked; dropping a consumer on a shared connection can kill that connection.
pub(crate) async fn own(
    url: &BrokerUrl,
    publisher: Arc<Publisher>,
    place: &Place,
    room: Room,
) -> Result<Owned, lapin::Error> {
    let queue = publisher.topology.names.queue(place);
    let connection = match connection::connect(url, &queue).await {
        Ok(connection) => connection,
        Err(error) => return Err(reader::io_error(error.to_string())),
    };
    let priority = priority::priority(publisher.topology.worker, place);
    let consuming = async {
        let consuming = reader::answer(consume(&connection, &queue, room, priority)).await;
        consuming.map_err(|error| reader::of_queue(error, &queue))
    };
    let consumer = match consuming.await {
        Ok(consumer) => consumer,
        Err(error) => {
            if reader::is(&error, reader::NOT_FOUND) {
                publisher.look_now();
            }
            connection::close(&connection).await;
            return Err(error);
        }
    };
    let ended = CancellationToken::new();
    let acknowledged = Arc::<AtomicU64>::default();
    let closing = {
        let (consumer, ended, publisher) = (consumer.clone(), ended.clone(), publisher.clone());
        let acknowledged = acknowledged.clone();
        async move {
            connection::watch(&connection, &ended, |notice| match notice {
                // It has one channel, so that is of no more use than a connection that is gone.
                Notice::Broken(why) | Notice::Error(why) => {
                    tracing::debug!(queue.error = why, "a consuming connection was lost");
                    publisher.metrics.connection_lost(telemetry::Connection::Consume);
                    // The broker never has more unsettled deliveries out, so no more acknowledgements can be lost.
                    let lost = acknowledged.load(Ordering::Relaxed).min(room.events.into());
                    publisher.tally.uncertain(lost);
                    ended.cancel();
                }
                Notice::Blocked(_) | Notice::Unblocked => {}
            })
            .await;
            connection::close(&connection).await;
            drop(consumer); // not before, since that cancels it
        }
    };
    let closing = tokio::spawn(publisher.parts.supervise(&format!("queue/consumer of {queue}"), &ended, closing));
    let open = publisher.metrics.connected(telemetry::Connection::Consume);
    let origin = arrival::Origin::place(place);
    let group = Group::of(place);
    let owned =
        RabbitOwned { consumer, publisher, ended: ended.clone(), closing, origin, group, acknowledged, _open: open };
    Ok(Owned::new(Box::new(owned), ended))
}

async fn consume(
    connection: &Connection,
    queue: &str,
    room: Room,
    priority: Option<i32>,
) -> Result<Consumer, lapin::Error> {
    let channel = connection.create_channel().await?;
    // Never zero: that would be "everything", into unbounded memory.
    channel.basic_qos(room.events.max(1), BasicQosOptions::default()).await?;
    let mut arguments = FieldTable::default();
    if let Some(priority) = priority {
        arguments.insert("x-priority".into(), AMQPValue::LongInt(priority));
    }
    channel.basic_consume(queue.into(), "".into(), BasicConsumeOptions::default(), arguments).await
}

impl From<lapin::Error> for QueueError {
    fn from(error: lapin::Error) -> Self {
        Self::Away(Cause::of(&error).to_string())
    }
}

struct RabbitOwned {
    consumer: Consumer,
    publisher: Arc<Publisher>,
    ended: CancellationToken,
    /// Closes the connection when the term has ended.
    closing: JoinHandle<()>,
    origin: arrival::Origin,
    group: Option<Group>,
    acknowledged: Arc<AtomicU64>,
    _open: Counted,
}

#[async_trait]
impl Ownership for RabbitOwned {
    async fn next(&mut self) -> Option<Delivery> {
        let delivery = tokio::select! {
            // A term that has ended yields nothing more, even if something is buffered: it could not be settled.
            biased;
            () = self.ended.cancelled() => return None,
            delivery = self.consumer.next() => delivery,
        };
        let Some(Ok(mut delivery)) = delivery else {
            // The stream is not fused, and after an error or a cancel by the server nothing comes from it any more.
            self.ended.cancel();
            self.publisher.look_now(); // the queue may have been deleted
            return None;
        };
        // A publisher can have written a count too; from the second delivery on it is the broker's own.
        let count = if delivery.redelivered { properties::delivery_count(&delivery.properties) } else { 0 };
        let message = arrival::message(&self.publisher.topology.names, &self.origin, &mut delivery);
        let (publisher, ended) = (self.publisher.clone(), self.ended.clone());
        let (group, acknowledged) = (self.group, self.acknowledged.clone());
        let in_hand = publisher.tally.in_hand(group);
        let settler = RabbitSettler { acker: delivery.acker, publisher, ended, group, acknowledged, _in_hand: in_hand };
        Some(Delivery::new(message, count, delivery.redelivered, Box::new(settler)))
    }

    async fn release(mut self: Box<Self>) {
        self.ended.cancel();
        let _ = (&mut self.closing).await;
    }
}

impl Drop for RabbitOwned {
    /// An owner that is only dropped, by a panic for example, gives the place up too.
    fn drop(&mut self) {
        self.ended.cancel();
    }
}

struct RabbitSettler {
    acker: Acker,
    publisher: Arc<Publisher>,
    ended: CancellationToken,
    /// Where the original is.
    group: Option<Group>,
    acknowledged: Arc<AtomicU64>,
    _in_hand: InHand,
}

#[async_trait]
impl Settler for RabbitSettler {
    /// Where no note can be made the event is worked without one: nobody will know what its worker died of, but it goes on.
    async fn note(&self, message: &Message) -> Result<u32, SettleError> {
        if self.ended.is_cancelled() {
            return Err(SettleError);
        }
        let Ok(link) = self.publisher.link() else { return Err(SettleError) };
        let noted = alone::note(&link.connection, &self.publisher.topology.names, message).await;
        Ok(noted.unwrap_or_else(|error| {
            let why = Cause::of(&error);
            tracing::warn!("an event that came back often is worked alone without a note of it: {why}");
            0
        }))
    }

    async fn erase(&self, message: &Message, notes: Range<u32>) {
        let Ok(link) = self.publisher.link() else { return };
        if let Err(error) = alone::erase(&link.connection, &self.publisher.topology.names, message, notes).await {
            tracing::debug!(queue.error = %Cause::of(&error), "a note could not be erased");
        }
    }

    async fn settle(self: Box<Self>, message: Message, settle: Settle) -> Result<(), SettleError> {
        let (tally, from) = (self.publisher.tally.clone(), self.group);
        let ending = match settle {
            Settle::Done(ending) => Some(ending),
            Settle::Move(place, headers) => {
                self.copy(&place, Message { headers: *headers, ..message }).await?;
                if let Some(to) = Group::of(&place) {
                    tally.copied(from, to);
                }
                None
            }
        };
        let acknowledged = if self.ended.is_cancelled() { Ok(false) } else { self.acknowledge().await };
        match (acknowledged, ending) {
            (Ok(true), Some(ending)) => tally.ended(from, ending),
            (Ok(true), None) => tally.left(from),
            (Ok(false), Some(_)) => return Err(SettleError),
            (Ok(false), None) => {
                tally.stayed(from);
                return Err(SettleError);
            }
            (Err(_), _) => {
                tally.uncertain(1);
                return Err(SettleError);
            }
        }
        self.acknowledged.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

impl RabbitSettler {
    /// lapin refuses to acknowledge on a channel that is gone, and says so with `false`. Of one that it was writing when
    /// the connection broke it may never say anything.
    async fn acknowledge(&self) -> Result<bool, lapin::Error> {
        tokio::select! {
            biased;
            acknowledged = self.acker.ack(BasicAckOptions::default()) => acknowledged,
            () = self.ended.cancelled() => Err(reader::io_error("the connection broke before this was acknowledged".to_owned())),
        }
    }

    /// Publishes the copy until it is confirmed, or until the original cannot be acknowledged any more.
    async fn copy(&self, place: &Place, message: Message) -> Result<(), SettleError> {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
        let (mut refusals, mut stuck) = (0, None);
        let mut state = self.publisher.state();
        loop {
            // Nothing is published for an original that comes again: the next owner may have done so.
            if self.ended.is_cancelled() {
                return Err(SettleError);
            }
            let published = tokio::select! {
                biased;
                published = self.publisher.publish(place, &message) => published,
                () = self.ended.cancelled() => {
                    self.publisher.tally.uncertain(1); // it may be on its way
                    return Err(SettleError);
                }
            };
            let Err(error) = published else { return Ok(()) };
            tracing::debug!(queue.error = %error, "a copy was not confirmed, trying again");
            // A queue that is away or blocked says so itself; and one failure may only be the first that is heard of that.
            if state.borrow().is_up() {
                refusals += 1;
                if stuck.is_none() && STUCK_AFTER <= refusals {
                    let to = self.publisher.topology.names.queue(place);
                    stuck = Some(self.publisher.moves.is_stuck(place, to, &error.to_string()));
                }
            } else {
                (refusals, stuck) = (0, None);
            }
            let next = async {
                tokio::time::sleep(backoff.next_wait()).await;
                let _ = state.wait_for(BrokerState::is_up).await;
            };
            tokio::select! {
                () = self.ended.cancelled() => return Err(SettleError),
                () = next => {}
            }
        }
    }
}
