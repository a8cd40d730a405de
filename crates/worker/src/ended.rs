use std::hash::{BuildHasher, Hash, RandomState};
use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};

use lru::LruCache;
use refersion_relay_model::{AccountName, EventType, MessageId, Subject};

/// How many events are remembered, and for how many subjects the last one. About 10 MiB.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(50_000).expect("not zero");

/// Remembers which events have ended delivered or ignored, so that a copy of one costs no call. Bounded: what was not
/// seen for long is forgotten. Nothing but calls is saved, since repeating an event does no harm.
pub(crate) struct Ended {
    /// Two independent, secret hashes make a digest of 128 bits: an event that shares another's would not be worked, so
    /// 64 are not enough.
    hashes: [RandomState; 2],
    memory: Mutex<Memory>,
}

struct Memory {
    /// Events with an id from their sender.
    events: LruCache<Digest, ()>,
    /// The last event of each subject.
    last: LruCache<Digest, Digest>,
}

type Digest = [u64; 2];

/// What makes two events the same one.
#[derive(Clone, Copy)]
pub(crate) struct Identity<'a> {
    pub(crate) account: &'a AccountName,
    pub(crate) kind: EventType,
    pub(crate) subject: &'a Subject,
    pub(crate) message_id: &'a MessageId,
    pub(crate) generation: u32,
}

impl Ended {
    pub(crate) fn new() -> Self {
        let memory = Memory { events: LruCache::new(REMEMBERED), last: LruCache::new(REMEMBERED) };
        Self { hashes: [RandomState::new(), RandomState::new()], memory: Mutex::new(memory) }
    }

    /// Remembers an event that has ended delivered or ignored.
    pub(crate) fn remember(&self, event: Identity<'_>) {
        let (event_digest, subject) = (self.event(event), self.subject(event));
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        memory.last.put(subject, event_digest);
        if !event.message_id.is_minted() {
            memory.events.put(event_digest, ());
        }
    }

    /// Whether this event has ended before. One without an id from its sender is the same only as the last one of its
    /// subject: the same bytes again, after something else happened, are meant again.
    pub(crate) fn contains(&self, event: Identity<'_>) -> bool {
        let (event_digest, subject) = (self.event(event), self.subject(event));
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        if event.message_id.is_minted() {
            memory.last.get(&subject) == Some(&event_digest)
        } else {
            memory.events.get(&event_digest).is_some()
        }
    }

    fn event(&self, event: Identity<'_>) -> Digest {
        let Identity { account, kind, subject, message_id, generation } = event;
        self.digest((account.as_str(), kind, subject, message_id.as_str(), generation))
    }

    fn subject(&self, event: Identity<'_>) -> Digest {
        self.digest((event.account.as_str(), event.subject))
    }

    fn digest(&self, value: impl Hash) -> Digest {
        self.hashes.each_ref().map(|hash| hash.hash_one(&value))
    }
}

#[cfg(test)]
mod tests {
    use refersion_relay_model::{Event, Fingerprint, KeyPair};

    use super::*;

    /// An event, read as a worker reads it.
    struct Read {
        account: AccountName,
        kind: EventType,
        subject: Subject,
        message_id: MessageId,
    }

    impl Read {
        fn of(body: &str) -> Self {
            let event = Event::parse(body.as_bytes()).unwrap();
            let message_id = Fingerprint::new(&KeyPair::new("p", "s")).message_id(&event, body.as_bytes());
            let subject = Subject::of(&event, message_id.as_str());
            Self { account: AccountName::try_from("acme").unwrap(), kind: event.kind(), subject, message_id }
        }

        fn identity(&self, generation: u32) -> Identity<'_> {
            let Self { account, kind, subject, message_id } = self;
            Identity { account, kind: *kind, subject, message_id, generation }
        }
    }

    #[test]
    fn an_event_is_the_same_only_in_every_part() {
        let ended = Ended::new();
        let event = Read::of(r#"{"type":"identify","messageId":"m1","email":"a@example.com"}"#);
        assert!(!ended.contains(event.identity(0)));
        ended.remember(event.identity(0));

        assert!(ended.contains(event.identity(0)));
        assert!(!ended.contains(event.identity(1)), "a replay is meant");
        for other in [
            r#"{"type":"delete","messageId":"m1","email":"a@example.com"}"#,
            r#"{"type":"identify","messageId":"m2","email":"a@example.com"}"#,
            r#"{"type":"identify","messageId":"m1","email":"b@example.com"}"#,
        ] {
            assert!(!ended.contains(Read::of(other).identity(0)), "{other}");
        }
        let elsewhere = Read { account: AccountName::try_from("other").unwrap(), ..event };
        assert!(!ended.contains(elsewhere.identity(0)));
    }

    #[test]
    fn without_an_id_only_the_last_event_of_a_subject_has_copies() {
        let ended = Ended::new();
        let identify = Read::of(r#"{"type":"identify","email":"a@example.com"}"#);
        let delete = Read::of(r#"{"type":"delete","email":"a@example.com"}"#);
        ended.remember(identify.identity(0));
        assert!(ended.contains(identify.identity(0)));

        ended.remember(delete.identity(0));

        assert!(!ended.contains(identify.identity(0)), "they came back");
        assert!(ended.contains(delete.identity(0)));
    }

    #[test]
    fn what_was_not_seen_for_long_is_forgotten() {
        let ended = Ended::new();
        let event = |n: usize| Read::of(&format!(r#"{{"type":"delete","messageId":"m{n}","email":"a@example.com"}}"#));
        for n in 0..=REMEMBERED.get() {
            ended.remember(event(n).identity(0));
        }
        assert!(!ended.contains(event(0).identity(0)) && ended.contains(event(1).identity(0)));
    }
}
