use std::fmt;
use std::str::FromStr;

/// Where a dead letter lies, by what a person has to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// Cannot be read.
    Malformed,
    /// Can be read, but lacks what Refersion needs, or names an unknown account.
    Invalid,
    /// Would do what nothing shows its sender may do. Sent again only by somebody who means exactly that.
    Unverified,
    /// Refersion said no for good.
    Rejected,
    /// Out of attempts or of time.
    Exhausted,
    /// Made a worker crash, or the broker gave up on it.
    Poison,
    /// No queue took it: the broker's own lost property.
    Unrouted,
}

/// The text names no class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the classes are malformed, invalid, unverified, rejected, exhausted, poison and unrouted")]
pub struct UnknownClass;

impl Class {
    /// Every class, in the order of this enum.
    pub const ALL: [Self; 7] = [
        Self::Malformed,
        Self::Invalid,
        Self::Unverified,
        Self::Rejected,
        Self::Exhausted,
        Self::Poison,
        Self::Unrouted,
    ];

    /// The word in queue names, labels and on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Invalid => "invalid",
            Self::Unverified => "unverified",
            Self::Rejected => "rejected",
            Self::Exhausted => "exhausted",
            Self::Poison => "poison",
            Self::Unrouted => "unrouted",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Class {
    type Err = UnknownClass;

    fn from_str(text: &str) -> Result<Self, UnknownClass> {
        Self::ALL.into_iter().find(|class| class.as_str() == text).ok_or(UnknownClass)
    }
}

/// Why an event became a dead letter: a closed set, so that it can be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeadReason {
    /// Not JSON.
    Unreadable,
    /// Larger than an event may be.
    TooLarge,
    /// JSON, but no event: not an object, or without a type.
    NotAnEvent,
    /// Lacks what Refersion needs.
    Incomplete,
    /// Names no account, or one whose name cannot be one.
    UnknownAccount,
    /// Would delete somebody, and what its sender showed gives no right to that.
    Unsigned,
    /// Refersion refused the values.
    Refused,
    /// Refersion accepted the request and did not do it.
    NotDone,
    /// The address is taken, or was found, and the affiliate behind it could not be pinned down.
    NotIdentified,
    /// Every attempt was used up.
    Attempts,
    /// Too long ago since the first failure.
    Age,
    /// The worker panicked on it.
    Panicked,
    /// The broker delivered it too often without an answer.
    DeliveryLimit,
}

impl DeadReason {
    /// Every reason, in the order of this enum.
    pub const ALL: [Self; 13] = [
        Self::Unreadable,
        Self::TooLarge,
        Self::NotAnEvent,
        Self::Incomplete,
        Self::UnknownAccount,
        Self::Unsigned,
        Self::Refused,
        Self::NotDone,
        Self::NotIdentified,
        Self::Attempts,
        Self::Age,
        Self::Panicked,
        Self::DeliveryLimit,
    ];

    /// The class letters with this reason are put into.
    #[must_use]
    pub fn class(self) -> Class {
        match self {
            Self::Unreadable | Self::TooLarge => Class::Malformed,
            Self::NotAnEvent | Self::Incomplete | Self::UnknownAccount => Class::Invalid,
            Self::Unsigned => Class::Unverified,
            Self::Refused | Self::NotDone | Self::NotIdentified => Class::Rejected,
            Self::Attempts | Self::Age => Class::Exhausted,
            Self::Panicked | Self::DeliveryLimit => Class::Poison,
        }
    }

    /// The word in headers, labels and listings.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::TooLarge => "too_large",
            Self::NotAnEvent => "not_an_event",
            Self::Incomplete => "incomplete",
            Self::UnknownAccount => "unknown_account",
            Self::Unsigned => "unsigned",
            Self::Refused => "refused",
            Self::NotDone => "not_done",
            Self::NotIdentified => "not_identified",
            Self::Attempts => "attempts",
            Self::Age => "age",
            Self::Panicked => "panicked",
            Self::DeliveryLimit => "delivery_limit",
        }
    }
}
