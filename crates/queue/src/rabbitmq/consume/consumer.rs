use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::term::Term;
use crate::port::delivery::{Ownership, Settler};
use crate::rabbitmq::consume::ack_writer::{Acknowledger, Fate, acknowledger};
use crate::rabbitmq::consume::isolation_notes;
use crate::rabbitmq::consume::moves::Moves;
use crate::rabbitmq::consume::shared_connection::SharedConnection;
use crate::rabbitmq::publish::publisher::Publisher;
use crate::rabbitmq::tally::InHand;
use crate::rabbitmq::wire::arrival;
use crate::rabbitmq::wire::cause::Cause;
use crate::rabbitmq::wire::properties;
use crate::rabbitmq::wire::requests;
use crate::{Backoff, BrokerState, Delivery, Group, Message, Owned, Place, QueueError, Room, Settle, SettleError};

/// How many refusals of a copy in a row, by a broker that is up, mean that its place takes nothing.
const STUCK_AFTER: u32 = 2;

/// Consumes one place, over a channel of its own.
pub(crate) async fn own(
    consuming: &Arc<SharedConnection>,
    publisher: Arc<Publisher>,
    moves: Arc<Moves>,
    place: &Place,
    room: Room,
) -> Result<Owned, lapin::Error> {
    let queue = publisher.topology.names.queue(place);
    let used = consuming.generation(&queue).await?;
    let generation = Arc::clone(&used);
    let ended = generation.term();
    let if_dropped = ended.clone().drop_guard();
    let (acknowledger, settled) = acknowledger();
    let (say, said) = oneshot::channel();
    let (sender, deliveries) = mpsc::unbounded_channel();
    let term = Term {
        generation: used,
        disturbing: consuming.disturbing.clone(),
        publisher: publisher.clone(),
        place: place.clone(),
        queue,
        room,
        ended: ended.clone(),
    };
    let term = generation.parts.supervise(
        &format!("queue/consumer of {}", term.queue),
        &ended,
        term.run(say, sender, settled),
    );
    let term = generation.spawn(term);
    let begun = said.await.unwrap_or_else(|_| Err(requests::io_error("the term was broken off".to_owned())));
    if let Err(error) = begun {
        if requests::has_code(&error, requests::NOT_FOUND) {
            publisher.look_now();
        }
        return Err(error);
    }
    let owned = RabbitOwned {
        deliveries,
        publisher,
        moves,
        ended: if_dropped.disarm(),
        term,
        origin: arrival::Origin::place(place),
        group: Group::of(place),
        acknowledger,
        _consuming: consuming.clone(),
    };
    Ok(Owned::new(Box::new(owned), ended))
}

impl From<lapin::Error> for QueueError {
    fn from(error: lapin::Error) -> Self {
        Self::Away(Cause::of(&error).to_string())
    }
}

struct RabbitOwned {
    deliveries: mpsc::UnboundedReceiver<lapin::message::Delivery>,
    publisher: Arc<Publisher>,
    moves: Arc<Moves>,
    ended: CancellationToken,
    /// Gives back what is in hand when it has ended.
    term: JoinHandle<()>,
    origin: arrival::Origin,
    group: Option<Group>,
    acknowledger: Acknowledger,
    /// What others are consumed over is there for as long as any of them is.
    _consuming: Arc<SharedConnection>,
}

#[async_trait]
impl Ownership for RabbitOwned {
    async fn next(&mut self) -> Option<Delivery> {
        let delivery = tokio::select! {
            // A term that has ended yields nothing more, even if something is buffered: it could not be settled.
            biased;
            () = self.ended.cancelled() => return None,
            delivery = self.deliveries.recv() => delivery,
        };
        let mut delivery = delivery?;
        // A publisher can have written a count too; from the second delivery on it is the broker's own.
        let count = if delivery.redelivered { properties::delivery_count(&delivery.properties) } else { 0 };
        let message = arrival::message(&self.publisher.topology.names, &self.origin, &mut delivery);
        let (publisher, moves, ended) = (self.publisher.clone(), self.moves.clone(), self.ended.clone());
        let (tag, group, acknowledger) = (delivery.delivery_tag, self.group, self.acknowledger.clone());
        let in_hand = publisher.tally.in_hand(group);
        let settler = RabbitSettler { tag, publisher, moves, ended, group, acknowledger, _in_hand: in_hand };
        Some(Delivery::new(message, count, delivery.redelivered, Box::new(settler)))
    }

    async fn release(mut self: Box<Self>) {
        self.ended.cancel();
        let _ = (&mut self.term).await;
    }
}

impl Drop for RabbitOwned {
    /// An owner that is only dropped, by a panic for example, gives the place up too.
    fn drop(&mut self) {
        self.ended.cancel();
    }
}

struct RabbitSettler {
    /// Its number on the channel of the term.
    tag: u64,
    publisher: Arc<Publisher>,
    moves: Arc<Moves>,
    ended: CancellationToken,
    /// Where the original is.
    group: Option<Group>,
    acknowledger: Acknowledger,
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
        let noted = isolation_notes::note(&link.connection, &self.publisher.topology.names, message).await;
        Ok(noted.unwrap_or_else(|error| {
            let why = Cause::of(&error);
            tracing::warn!("an event that came back often is worked alone without a note of it: {why}");
            0
        }))
    }

    async fn erase(&self, message: &Message, notes: Range<u32>) {
        let Ok(link) = self.publisher.link() else { return };
        if let Err(error) =
            isolation_notes::erase(&link.connection, &self.publisher.topology.names, message, notes).await
        {
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
        let ended = self.ended.is_cancelled();
        let fate = if ended { Fate::NotWritten } else { self.acknowledger.acknowledge(self.tag).await };
        match (fate, ending) {
            (Fate::Written, Some(ending)) => tally.ended(from, ending),
            (Fate::Written, None) => tally.left(from),
            (Fate::NotWritten, Some(_)) => return Err(SettleError),
            (Fate::NotWritten, None) => {
                tally.stayed(from);
                return Err(SettleError);
            }
            (Fate::Uncertain, _) => {
                tally.uncertain(1);
                return Err(SettleError);
            }
        }
        Ok(())
    }
}

impl RabbitSettler {
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
                    stuck = Some(self.moves.is_stuck(place, to, &error.to_string()));
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
