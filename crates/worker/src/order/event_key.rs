use std::hash::{BuildHasher, Hash, RandomState};
use std::time::SystemTime;

use refersion_relay_model::{AccountName, EventType, MessageId, Subject};

/// Makes keys. Two independent, secret hashes make a digest of 128 bits: an event that shares another's would not be
/// worked, so 64 are not enough.
pub(crate) struct KeyHasher([RandomState; 2]);

pub(crate) type Digest = [u64; 2];

/// What makes two events the same one.
#[derive(Clone, Copy)]
pub(crate) struct Identity<'a> {
    pub(crate) account: &'a AccountName,
    pub(crate) kind: EventType,
    pub(crate) subject: &'a Subject,
    pub(crate) message_id: &'a MessageId,
    pub(crate) generation: u32,
    /// What may only create has not done what the same event with more rights would do.
    pub(crate) create_only: bool,
}

/// Stands for an identity in memory, in little space and without anything personal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EventKey {
    /// The subject of this account.
    pub(crate) subject: Digest,
    /// The whole identity.
    pub(crate) event: Digest,
    /// When it was accepted, in milliseconds since 1970. The same event sent twice is accepted twice, a copy of it that a
    /// queue made is not.
    pub(crate) accepted_ms: u64,
    /// The id was made from the bytes: the same bytes later are the same identity and may be meant again.
    pub(crate) is_minted: bool,
}

impl KeyHasher {
    pub(crate) fn new() -> Self {
        Self([RandomState::new(), RandomState::new()])
    }

    pub(crate) fn of(&self, identity: Identity<'_>, accepted_at: SystemTime) -> EventKey {
        let Identity { account, kind, subject, message_id, generation, create_only } = identity;
        let since_1970 = accepted_at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        EventKey {
            subject: self.digest((account.as_str(), subject)),
            event: self.digest((account.as_str(), kind, subject, message_id.as_str(), generation, create_only)),
            accepted_ms: u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX),
            is_minted: message_id.is_minted(),
        }
    }

    pub(crate) fn digest(&self, value: impl Hash) -> Digest {
        self.0.each_ref().map(|hash| hash.hash_one(&value))
    }
}
