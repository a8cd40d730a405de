use std::time::Duration;

use refersion_relay_model::{DeadReason, EventType, Ignored, Missing};
use refersion_relay_refersion::Applied;

/// How an event leaves the worker's hand. Each outcome can be settled: see [`settlement`](super::settle::settlement).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Its effect has happened.
    Delivered(Applied),
    /// It says what Refersion has been told before.
    Known,
    /// It named nobody by address, and its addresses were found: ordinary deletes have taken its place.
    Completed,
    /// It is not for Refersion, and that is right.
    Ignored(Ignored),
    /// It is a copy of an event that ended delivered or ignored.
    Copy,
    /// It failed, and may succeed later: it goes into the retry queue with this delay.
    Retry(Duration),
    /// It is not its turn: it goes away until earlier events of its subject have ended. It is as good as it was.
    Aside(Aside),
    /// It will not succeed as it is.
    Dead(Defect),
}

/// Where an event goes that has to let others go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aside {
    /// Into the retry queue with this delay.
    Tier(Duration),
    /// To the end of its work queue.
    Round,
}

/// What is wrong with an event that will not succeed as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Defect {
    /// Why it is dead; the class of the dead letter follows from it.
    pub(crate) reason: DeadReason,
    /// The HTTP status of Refersion's answer, if one stands behind it.
    pub(crate) status: Option<u16>,
    /// A sentence for the person who reads it, without any value of the event.
    pub(crate) error: String,
}

impl Outcome {
    /// Whether what was asked for is done with; otherwise it goes on, as this event or as others.
    pub(crate) fn is_end(&self) -> bool {
        match self {
            Self::Delivered(_) | Self::Known | Self::Ignored(_) | Self::Copy | Self::Dead(_) => true,
            Self::Completed | Self::Retry(_) | Self::Aside(_) => false,
        }
    }

    /// A word for it.
    pub(crate) fn as_str(&self) -> &'static str {
        match self {
            Self::Delivered(_) => "delivered",
            Self::Known => "known",
            Self::Completed => "completed",
            Self::Ignored(_) => "ignored",
            Self::Copy => "copy",
            Self::Retry(_) => "retry",
            Self::Aside(_) => "aside",
            Self::Dead(_) => "dead",
        }
    }

    /// A dead letter of an event that Refersion was not asked about.
    pub(crate) fn dead(reason: DeadReason, error: impl Into<String>) -> Self {
        Self::Dead(Defect { reason, status: None, error: error.into() })
    }

    pub(crate) fn incomplete(kind: EventType, missing: &[Missing]) -> Self {
        Self::dead(DeadReason::Incomplete, Missing::sentence(kind, missing))
    }

    /// So many workers died while they worked this event and no other.
    pub(crate) fn deadly(times: u32) -> Self {
        let error = format!("{times} workers ended without a word while they worked nothing but this event");
        Self::dead(DeadReason::DeliveryLimit, error)
    }

    pub(crate) fn panicked() -> Self {
        Self::dead(DeadReason::Panicked, "the worker panicked on this event; its log has the place")
    }
}
