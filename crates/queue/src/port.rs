use std::time::Duration;

use async_trait::async_trait;
use refersion_relay_model::{AccountName, Class, Shard};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{Browsed, Conservation, InFlight, Judge, Letter, Message, Owned, Scan, Shards, Stuck, Swept};

/// A durable queue. `Ok` means durable. One behaviour for every backend.
#[async_trait]
pub trait Queue: Send + Sync {
    /// Publishes each message to its place and returns, in the same order, what became of each.
    ///
    /// Of the messages of one subject at most one is unconfirmed at any time, and after one that failed the later ones
    /// of that subject are not sent: their order survives whatever the sender does next.
    async fn publish(&self, batch: Vec<(Place, Message)>) -> Vec<Result<(), PublishError>>;

    /// Takes deliveries from `place` until the returned [`Owned`] ends. Resolves once this process is the owner, or
    /// stands by to become it; for held events only as the owner, since whoever works those takes a silence for their end.
    async fn own(&self, place: Place, room: Room) -> Result<Owned, QueueError>;

    /// Makes the places of these accounts, now and whenever the queue is reached again. What is at the places of other
    /// accounts stays there. After an error it is as before: the accounts that were admitted still are, and no others.
    async fn admit(&self, accounts: &[AccountName]) -> Result<(), QueueError>;

    /// How much waits at `place`. A place that does not exist yet is empty.
    async fn depth(&self, place: &Place) -> Result<Depth, QueueError>;

    /// Whether every event is accounted for. On RabbitMQ the processes store what they have counted every few seconds, so the
    /// numbers are of one moment only when nothing has moved for 10 s.
    async fn conservation(&self) -> Result<Conservation, QueueError>;

    /// Ends the tolerance of [`Queue::conservation`], if nothing has happened since it was `before`, some 10 s ago or more:
    /// what the difference is then is known exactly, and is taken for right if the tolerance explains it. Returns the sum
    /// as it was. `None`: not now, since something moves, a place does not answer, or somebody else is doing so.
    async fn end_tolerance(&self, _before: &Conservation) -> Result<Option<Conservation>, QueueError> {
        Ok(None)
    }

    /// Shows the first letters of a class to `visit`, in order. They stay where they are.
    ///
    /// `visit` has to be quick: what it has not seen yet waits in memory, and nobody else can read the class meanwhile.
    async fn browse(
        &self,
        class: Class,
        scan: Scan,
        visit: &mut (dyn FnMut(Letter) + Send),
    ) -> Result<Browsed, QueueError>;

    /// Shows each letter of a class that is there at the beginning to `judge` once, and does what it says. What arrives
    /// meanwhile is not touched.
    ///
    /// A letter that is kept goes to the tail, as a confirmed copy, before its original is gone; so does one that moves
    /// elsewhere. At most `in_flight` letters are in hand: when this process dies, so many may be there twice, and none is
    /// missing. Copies are made in the order of the letters, and of one subject at most one is unconfirmed at any time.
    ///
    /// Ends early, with everything in order, when `stop` is cancelled. Ends early with an error when a copy cannot be
    /// confirmed for long, or when the queue is lost; what `judge` has not heard of as settled is where it was, and
    /// perhaps there twice.
    async fn sweep(
        &self,
        class: Class,
        in_flight: InFlight,
        judge: &mut dyn Judge,
        stop: &CancellationToken,
    ) -> Result<Swept, QueueError>;

    /// Whether the queue can confirm anything now.
    fn state(&self) -> watch::Receiver<BrokerState>;

    /// The sets of shards, and which of them is in use, as far as is known here.
    fn shards(&self) -> watch::Receiver<Shards>;

    /// Gives older sets of shards up for the configured one as soon as everything there is done, until `stop`. Everybody
    /// who works the queue calls it; one process at a time acts. `works`: whether what is on the shards is being worked, so
    /// that new events may wait some seconds for it.
    async fn change_shards(&self, works: &(dyn Fn() -> bool + Send + Sync), stop: &CancellationToken);

    /// The places that take no copies of events that are to move there, while the queue itself is up. None where a move
    /// cannot fail alone.
    fn stuck(&self) -> watch::Receiver<Vec<Stuck>> {
        watch::channel(Vec::new()).1
    }

    /// Ends everything in an orderly way. A program that is about to exit calls it last.
    async fn close(&self);
}

/// Where a message can be.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// Where pipelines publish plain events.
    Intake,
    /// The work queue of the subject with this number, among those in use. Only for publishing and moving: what is there
    /// is on a shard.
    Subject(u64),
    /// A work queue.
    Shard(Shard),
    /// A work queue, but not before the delay has passed. The delay is one of the configured tiers.
    Later(Shard, Duration),
    /// Behind a held account.
    Held(AccountName),
    /// Among the dead letters.
    Dead(Class),
}

/// How much may be in hand at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Unsettled deliveries. Bodies on a shard are bounded, so this bounds memory too.
    pub events: u16,
}

/// How much waits somewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    /// Messages that could be delivered now.
    pub ready: u64,
    /// Messages that were delivered and are not settled. RabbitMQ does not say, so there it is 0.
    pub in_hand: u64,
    /// Whether it is so. Of a queue whose leader does not answer RabbitMQ says that it is empty and has no consumers.
    pub is_certain: bool,
    /// Whether somebody is known to own it: on RabbitMQ, who is said to have a consumer there.
    pub has_owner: bool,
}

/// Whether the queue can confirm anything now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BrokerState {
    /// Not reached yet, or lost; being reached again.
    Away {
        /// A few words without an address or a password.
        why: String,
    },
    /// Reached, but what exists there is not what is configured. A person has to act.
    Mismatch {
        /// Exactly what differs, and what to do.
        why: String,
    },
    /// Takes no publishes until its alarm ends.
    Blocked {
        /// The broker's own words.
        why: String,
    },
    /// Everything works.
    Up,
}

impl BrokerState {
    /// Whether an event can be confirmed now.
    #[must_use]
    pub fn is_up(&self) -> bool {
        matches!(self, Self::Up)
    }
}

impl std::fmt::Display for BrokerState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Away { why } => write!(f, "the queue is away: {why}"),
            Self::Mismatch { why } => write!(f, "the queue is not set up as configured: {why}"),
            Self::Blocked { why } => write!(f, "the queue takes no messages: {why}"),
            Self::Up => f.write_str("the queue is up"),
        }
    }
}

/// Why a publish is not confirmed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// Certainly not stored.
    #[error("not sent: {0}")]
    Refused(String),
    /// Perhaps stored; publishing it again may make a copy.
    #[error("not confirmed: {0}")]
    Unknown(String),
}

/// Why the queue could not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// Not reachable, or lost meanwhile. Trying again later can help.
    #[error("the queue is away: {0}")]
    Away(String),
    /// What exists differs from what is configured.
    #[error("{0}")]
    Mismatch(String),
    /// The queue does not let us do that. A person has to act.
    #[error("the queue refused access: {0}")]
    Forbidden(String),
    /// Somebody else is reading the class; only one can.
    #[error("another command is working on the dead letters of class {0}; try again when it has ended")]
    Busy(Class),
    /// A copy could not be confirmed; the original is where it was.
    #[error("a copy could not be stored, nothing was lost: {0}")]
    NotCopied(#[from] PublishError),
}
