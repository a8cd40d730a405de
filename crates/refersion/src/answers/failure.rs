use std::time::Duration;

use crate::KnownText;

/// Why an operation did not succeed, by what its caller can do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// No answer: refused, reset, timed out, or cut off. A write may have happened.
    #[error("no answer from Refersion: {what}")]
    Transport {
        /// Which of them, in a few words without an address.
        what: &'static str,
    },
    /// Refersion, or something before it, is in trouble: 408 or 5xx. A write may have happened.
    #[error("Refersion is unavailable (status {status})")]
    Unavailable {
        /// As answered.
        status: u16,
        /// How long it asked us to wait, if it did.
        retry_after: Option<Duration>,
    },
    /// Refersion asked us to slow down.
    #[error("Refersion asked us to slow down (status 429)")]
    Limited {
        /// How long it asked us to wait, if it did.
        retry_after: Option<Duration>,
    },
    /// An answer that does not say what happened. A write may have happened.
    #[error("unrecognised answer (status {status}, {bytes} bytes): {why}")]
    Unclear {
        /// As answered.
        status: u16,
        /// Length of its body.
        bytes: usize,
        /// What is wrong with it.
        why: Unreadable,
    },
    /// The account's keys were refused, or something before Refersion refused this one event.
    #[error("Refersion refused the account's keys (status {status})")]
    Unauthorized {
        /// 401 or 403.
        status: u16,
    },
    /// The answer is a proper no to this event; asking again cannot help.
    #[error("{0}")]
    Rejected(Rejection),
}

/// What is wrong with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Not JSON, or JSON cut off.
    #[error("not Refersion's JSON")]
    NotJson,
    /// JSON without the keys that mean success.
    #[error("success without its keys")]
    NoSuccessKeys,
    /// Larger than any answer of Refersion's.
    #[error("larger than an answer can be")]
    TooLarge,
    /// Pages that move under the search, or never end.
    #[error("the pages of the search did not add up")]
    Inconclusive,
    /// An affiliate that an answer before this one had shown.
    #[error("the affiliate was there a moment ago and is not found any more")]
    Vanished,
}

/// A proper no.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// Refersion refused the request. A 204 has no text.
    #[error("{}", refused_text(*.status, known, *.bytes))]
    Refused {
        /// As answered.
        status: u16,
        /// The texts that were recognised.
        known: Vec<KnownText>,
        /// Length of its body.
        bytes: usize,
    },
    /// Refersion accepted the request, and the affiliate is not what it was asked to be.
    #[error("Refersion accepted the request and did not change the affiliate")]
    NotDone,
    /// The affiliate's numeric id could not be established, and acting on a guess could hit somebody else.
    #[error("the affiliate's id could not be confirmed")]
    NotIdentified,
    /// A creation hears that the address is taken, and no search finds whose it is.
    #[error("the e-mail address is taken, and the search finds no affiliate that has it")]
    TakenNotFound,
    /// Which of them the event is about cannot be known.
    #[error("several affiliates have this e-mail address")]
    SeveralFound,
}

impl Rejection {
    /// The HTTP status, where one answer stands behind it.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            Self::NotDone | Self::NotIdentified | Self::TakenNotFound | Self::SeveralFound => None,
        }
    }
}

fn refused_text(status: u16, known: &[KnownText], bytes: usize) -> String {
    if status == 204 {
        return "Refersion does not accept a field of the request (status 204)".to_owned();
    }
    if known.is_empty() {
        return format!("unrecognised answer (status {status}, {bytes} bytes)");
    }
    let texts: Vec<_> = known.iter().map(|known| known.explain()).collect();
    format!("{} (status {status})", texts.join("; "))
}

impl Failure {
    /// The HTTP status, where there was an answer.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Transport { .. } => None,
            Self::Limited { .. } => Some(429),
            Self::Unavailable { status, .. } | Self::Unclear { status, .. } | Self::Unauthorized { status } => {
                Some(*status)
            }
            Self::Rejected(rejection) => rejection.status(),
        }
    }

    /// The word in metric labels.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Transport { .. } => "no_answer",
            Self::Unavailable { .. } => "unavailable",
            Self::Limited { .. } => "limited",
            Self::Unclear { .. } => "unclear",
            Self::Unauthorized { .. } => "unauthorized",
            Self::Rejected(_) => "rejected",
        }
    }
}
