use std::fmt;
use std::str::FromStr;

use refersion_relay_model::Class;
use sha2::{Digest, Sha256};

use crate::{Message, rfc3339_millis};

/// A dead letter, as it lies in its class.
#[derive(Clone, Debug)]
pub struct Letter {
    /// Stays the same wherever in the queue it lies.
    pub id: LetterId,
    /// Where it lies.
    pub class: Class,
    /// The event and why it is dead.
    pub message: Message,
}

/// A name for a dead letter: 16 hex digits made from its contents, so that two are equal only when the letters are.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LetterId(String);

/// The text is no letter's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a dead letter's id has 16 hex digits, as `dlq list` shows them")]
pub struct InvalidLetterId;

/// How much of a class to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scan {
    /// Letters from the head. At most 65,535 are read: more cannot be in hand at once.
    pub letters: usize,
}

/// What a browse saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Browsed {
    /// How many letters it showed.
    pub seen: u64,
    /// How many there were in all when it began.
    pub total: u64,
}

impl Letter {
    pub(crate) fn new(class: Class, message: Message) -> Self {
        Self { id: LetterId::of(class, &message), class, message }
    }
}

impl LetterId {
    fn of(class: Class, message: &Message) -> Self {
        let headers = &message.headers;
        let mut hash = Sha256::new();
        let dead_at = headers.death.as_ref().and_then(|death| death.dead_at);
        let dead_at = dead_at.map(rfc3339_millis);
        let account = headers.account.as_ref().map_or("", |account| account.as_str());
        for part in [class.as_str(), account, &headers.message_id, dead_at.as_deref().unwrap_or("")] {
            hash.update(part.as_bytes());
            hash.update([0]);
        }
        hash.update(headers.generation.to_be_bytes());
        hash.update(&message.body);
        let digest: [u8; 32] = hash.finalize().into();
        let first = u64::from_be_bytes(std::array::from_fn(|index| digest[index]));
        Self(format!("{first:016x}"))
    }
}

impl fmt::Display for LetterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for LetterId {
    type Err = InvalidLetterId;

    fn from_str(text: &str) -> Result<Self, InvalidLetterId> {
        let text = text.trim().to_ascii_lowercase();
        let valid = text.len() == 16 && text.bytes().all(|c| c.is_ascii_hexdigit());
        valid.then_some(Self(text)).ok_or(InvalidLetterId)
    }
}
