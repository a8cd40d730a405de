use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use refersion_relay_model::{AccountName, Class};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{Browsed, Conservation, InFlight, Letter, LetterVisitor, Message, Owned, Scan, Stuck, Swept};

/// A durable queue. `Ok` means durable. One behaviour for every backend.
#[async_trait]
pub trait Queue: Send + Sync {
    /// Publishes each message to its place and returns, in the same order, what became of each.
    ///
    /// Of the messages of one subject at most one is unconfirmed at any time, and after one that failed the later ones
    /// of that subject are not sent: their order survives whatever the sender does next.
    ///
    /// What is for an account that was never admitted is stored among the unrouted, and so is what comes out of a tier for
    /// one.
    async fn publish(&self, batch: Vec<(Place, Message)>) -> Vec<Result<(), PublishError>>;

    /// Takes deliveries from `place` until the returned [`Owned`] ends. Resolves once this process is the owner, or
    /// stands by to become it: one owner at a time gets deliveries.
    ///
    /// The queue names the account: what is taken from a work queue has its account in the headers, whatever the message
    /// says.
    async fn own(&self, place: Place, room: Room) -> Result<Owned, QueueError>;

    /// Makes the work queues of these accounts, now and whenever the queue is reached again. Those of other accounts stay,
    /// with what is in them and what comes to them. After an error it is as before: the accounts that were admitted still
    /// are, and no others.
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
        visitor: &mut dyn LetterVisitor,
        stop: &CancellationToken,
    ) -> Result<Swept, QueueError>;

    /// Whether the queue can confirm anything now.
    fn state(&self) -> watch::Receiver<BrokerState>;

    /// The places that take no copies of events that are to move there, while the queue itself is up. None where a move
    /// cannot fail alone.
    fn stuck(&self) -> watch::Receiver<Vec<Stuck>> {
        watch::channel(Vec::new()).1
    }

    /// Whether somebody else may have owned a place, and given it back, within one term of this process, in which that had nothing of
    /// the place in hand.
    fn changes_owners_unseen(&self) -> bool {
        false
    }

    /// Ends everything in an orderly way. A program that is about to exit calls it last.
    async fn close(&self);
}

/// Where a message can be.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// Where pipelines publish plain events.
    Intake,
    /// An account's work queue.
    Work(AccountName),
    /// The same, but not before the delay has passed. The delay is one of the configured tiers.
    Later(AccountName, Duration),
    /// Among the dead letters.
    Dead(Class),
}

/// How much may be in hand at a time. An owner with a large room need not use all of it: it may wait until there is place for several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Unsettled deliveries. Bodies on a work queue are bounded, so this bounds memory too.
    pub events: u16,
}

/// How much waits somewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    /// Messages that could be delivered now.
    pub ready: u64,
    /// Messages that were delivered and are not settled. RabbitMQ does not say, so there it is 0.
    pub in_hand: u64,
    /// When the event was accepted that is first there and not settled. RabbitMQ does not say, so there it is `None`.
    pub oldest: Option<SystemTime>,
}

/// Whether the queue can confirm anything now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BrokerState {
    /// Not reached yet since the process began; being reached.
    Connecting,
    /// Lost, or an attempt to reach it has failed; being reached again.
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

    /// Whether it is not reached, now or yet.
    #[must_use]
    pub fn is_away(&self) -> bool {
        matches!(self, Self::Connecting | Self::Away { .. })
    }
}

impl std::fmt::Display for BrokerState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Connecting => f.write_str("the queue is away: not reached yet"),
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
