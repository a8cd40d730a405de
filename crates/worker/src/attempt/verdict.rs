use std::time::Duration;

use refersion_relay_model::{DeadReason, Ignored};
use refersion_relay_refersion::Applied;

/// What a worker decided about an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Its effect has happened.
    Delivered(Applied),
    /// It is not for Refersion, and that is right.
    Ignored(Ignored),
    /// It is a copy of an event that ended delivered or ignored.
    Copy,
    /// It may succeed later.
    Retry(Retry),
    /// It is not its turn: it goes away until earlier events of its subject have ended. It is as good as it was.
    Parked(Aside),
    /// Its account's keys were refused: the queue gets it back. The event is as good as it was.
    Hold,
    /// It will not succeed as it is.
    DeadLetter {
        /// Why; the class follows from it.
        reason: DeadReason,
        /// The HTTP status of Refersion's answer, if one stands behind it.
        status: Option<u16>,
        /// A sentence for the person who reads it, without any value of the event.
        error: String,
    },
}

/// How an event waits for its next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// In its lane, unacknowledged; what is behind it waits too.
    InHand(Duration),
    /// In the retry queue with this delay.
    Tier(Duration),
    /// Refersion asked to be left alone for so long: that is the account's wait, not the event's, and costs it nothing.
    Pause(Duration),
    /// Refersion asked for fewer calls, and not for how long: the account pauses, for longer each time. It costs nothing.
    Slower,
    /// In its lane, until Refersion is back from an outage: that is nobody's fault, and costs nothing.
    Outage,
}

/// Where an event goes that has to let others go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aside {
    /// Into the retry queue with this delay.
    Tier(Duration),
    /// To the end of its work queue.
    Round,
}
