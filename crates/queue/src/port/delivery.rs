use std::ops::Range;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use crate::{Headers, Message, Place};

/// The right to the deliveries of one place, for one term. A term ends when the queue is lost, or when it is released.
pub struct Owned {
    inner: Box<dyn Ownership>,
    ended: CancellationToken,
}

/// The notes of one event. There are never more than this: whoever finds fewer gives the event up.
pub(crate) const MOST_NOTES: u32 = 8;

/// One event in hand. Settled once, by value; when the term it belongs to has ended it cannot be settled at all, and the
/// queue gives it to the next owner.
pub struct Delivery {
    /// The event.
    pub message: Message,
    /// How often the queue delivered it before, and it was not settled.
    pub delivery_count: u32,
    /// Whether the queue delivered it before.
    pub redelivered: bool,
    settler: Box<dyn Settler>,
}

/// A durable note that an event is about to be worked alone. It stays with the event while that is where it is, whoever owns
/// it, until it is erased: so it is there after a process that died of the event.
#[must_use]
pub struct Note<'a> {
    delivery: &'a Delivery,
    /// From zero.
    number: u32,
}

/// What is to become of a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settle {
    /// Nothing more is to be done about it.
    Done(Ending),
    /// It goes on elsewhere, under these headers. The copy is confirmed before the original is acknowledged.
    Move(Place, Box<Headers>),
}

/// How an event ended, for a queue that keeps count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Its effect has happened.
    Delivered,
    /// Nothing was to be done: it is not for Refersion, or a copy of one that was delivered.
    Ignored,
}

/// The delivery was not settled: the term had ended. It comes again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the queue was lost before the event could be settled; it comes again")]
pub struct SettleError;

/// What a backend implements behind [`Owned`].
#[async_trait]
pub(crate) trait Ownership: Send {
    /// The next delivery, or `None` when the term has ended.
    async fn next(&mut self) -> Option<Delivery>;
    /// Ends the term; whatever is unsettled goes back in order.
    async fn release(self: Box<Self>);
}

/// What a backend implements behind [`Delivery`].
#[async_trait]
pub(crate) trait Settler: Send + Sync {
    async fn settle(self: Box<Self>, message: Message, settle: Settle) -> Result<(), SettleError>;
    /// Makes a note and returns its number, from zero: how many there were before.
    async fn note(&self, message: &Message) -> Result<u32, SettleError>;
    /// Erases notes by their numbers.
    async fn erase(&self, message: &Message, notes: Range<u32>);
}

impl Owned {
    pub(crate) fn new(inner: Box<dyn Ownership>, ended: CancellationToken) -> Self {
        Self { inner, ended }
    }

    /// The next delivery, or `None` when the term has ended.
    pub async fn next(&mut self) -> Option<Delivery> {
        self.inner.next().await
    }

    /// Cancelled when the term has ended, so that nothing more is begun for deliveries that cannot be settled.
    #[must_use]
    pub fn ended(&self) -> CancellationToken {
        self.ended.clone()
    }

    /// Gives the place up. Call it when everything in hand is settled or will not be begun: the next owner starts at once.
    pub async fn release(self) {
        self.inner.release().await;
    }
}

impl Delivery {
    pub(crate) fn new(message: Message, delivery_count: u32, redelivered: bool, settler: Box<dyn Settler>) -> Self {
        Self { message, delivery_count, redelivered, settler }
    }

    /// Notes that the event is about to be worked alone.
    pub async fn note(&self) -> Result<Note<'_>, SettleError> {
        let number = self.settler.note(&self.message).await?;
        Ok(Note { delivery: self, number })
    }

    /// Erases every note of the event. At best: one that stays speaks against the event without need.
    pub async fn erase_notes(&self) {
        self.settler.erase(&self.message, 0..MOST_NOTES).await;
    }

    /// Settles the delivery. Waits as long as the term lasts for a copy to be confirmed.
    pub async fn settle(self, settle: Settle) -> Result<(), SettleError> {
        self.settler.settle(self.message, settle).await
    }
}

impl Note<'_> {
    /// How many notes of the event there were before this one.
    #[must_use]
    pub fn earlier(&self) -> u32 {
        self.number
    }

    /// Erases this note and no other. At best, as with [`Delivery::erase_notes`].
    pub async fn erase(self) {
        self.delivery.settler.erase(&self.delivery.message, self.number..self.number + 1).await;
    }

    /// Erases this note and the earlier ones.
    pub async fn erase_with_earlier(self) {
        self.delivery.settler.erase(&self.delivery.message, 0..self.number + 1).await;
    }
}
