use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use lru::LruCache;

use crate::order::event_key::{Digest, EventKey};

/// How many events are remembered, and for how many subjects the last one. About 10 MiB.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(50_000).expect("not zero");

/// Remembers which events have ended delivered or ignored, so that a copy of one costs no call, and sees when they end
/// in another order than they were accepted in. Bounded: what was not seen for long is forgotten. Nothing but calls is
/// saved, since repeating an event does no harm.
pub(crate) struct RecentlyDone {
    memory: Mutex<Memory>,
}

struct Memory {
    /// Events with an id from their sender.
    events: LruCache<Digest, ()>,
    /// The last event of each subject.
    last: LruCache<Digest, Last>,
}

struct Last {
    event: Digest,
    /// When the latest of those that were delivered had been accepted.
    accepted_at: Option<SystemTime>,
}

/// Whether an event ended in its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Sequence {
    Kept,
    /// One that was accepted later had been delivered before.
    Broken,
}

impl RecentlyDone {
    pub(crate) fn new() -> Self {
        let memory = Memory { events: LruCache::new(REMEMBERED), last: LruCache::new(REMEMBERED) };
        Self { memory: Mutex::new(memory) }
    }

    /// Remembers an event that has ended delivered or ignored. `accepted_at`: when it had been accepted, if its place
    /// among the events of its subject matters. Two that were accepted in the same millisecond are in order either way.
    pub(crate) fn remember(&self, event: &EventKey, accepted_at: Option<SystemTime>) -> Sequence {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let before = memory.last.get(&event.subject).and_then(|last| last.accepted_at);
        memory.last.put(event.subject, Last { event: event.event, accepted_at: accepted_at.max(before) });
        if !event.is_minted {
            memory.events.put(event.event, ());
        }
        if accepted_at.is_some() && accepted_at < before { Sequence::Broken } else { Sequence::Kept }
    }

    /// Whether this is a copy, whatever else its subject has to wait for: it has ended under the id that its sender gave it.
    pub(crate) fn is_copy(&self, event: &EventKey) -> bool {
        !event.is_minted && self.contains(event)
    }

    /// Whether this is a copy, now that it is its turn: the same bytes, without an id from a sender, were the last event of their
    /// subject. Asked earlier the answer may change, since another event of the subject can come between the two.
    pub(crate) fn is_copy_in_its_turn(&self, event: &EventKey) -> bool {
        event.is_minted && self.contains(event)
    }

    /// Whether this event has ended before. One without an id from its sender is the same only as the last one of its
    /// subject: the same bytes again, after something else happened, are meant again.
    pub(crate) fn contains(&self, event: &EventKey) -> bool {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        if event.is_minted {
            memory.last.get(&event.subject).is_some_and(|last| last.event == event.event)
        } else {
            memory.events.get(&event.event).is_some()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use refersion_relay_model::{AccountName, Event, EventType, Fingerprint, KeyPair, MessageId, Subject};

    use super::*;
    use crate::order::event_key::{Identity, KeyHasher};

    /// A [`RecentlyDone`] that is asked about events as they are read.
    struct Asked(RecentlyDone, KeyHasher);

    impl Asked {
        fn new() -> Self {
            Self(RecentlyDone::new(), KeyHasher::new())
        }

        fn remember(&self, identity: Identity<'_>) {
            let _ = self.0.remember(&self.1.of(identity, SystemTime::UNIX_EPOCH), None);
        }

        fn contains(&self, identity: Identity<'_>) -> bool {
            self.0.contains(&self.1.of(identity, SystemTime::UNIX_EPOCH))
        }
    }

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
            Identity { account, kind: *kind, subject, message_id, generation, create_only: false }
        }
    }

    #[test]
    fn an_event_is_the_same_only_in_every_part() {
        let ended = Asked::new();
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
        let ended = Asked::new();
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
        let ended = Asked::new();
        let event = |n: usize| Read::of(&format!(r#"{{"type":"delete","messageId":"m{n}","email":"a@example.com"}}"#));
        for n in 0..=REMEMBERED.get() {
            ended.remember(event(n).identity(0));
        }
        assert!(!ended.contains(event(0).identity(0)) && ended.contains(event(1).identity(0)));
    }

    #[test]
    fn an_event_that_ends_after_a_later_one_of_its_subject_is_noticed() {
        let (ended, hasher) = (RecentlyDone::new(), KeyHasher::new());
        let at = |millis| Some(SystemTime::UNIX_EPOCH + Duration::from_millis(millis));
        let event_key = |id: &str, email: &str| {
            let event = Read::of(&format!(r#"{{"type":"delete","messageId":"{id}","email":"{email}"}}"#));
            hasher.of(event.identity(0), SystemTime::UNIX_EPOCH)
        };
        let steps = [
            ("m1", "a@example.com", at(2_000), Sequence::Kept),
            ("m2", "b@example.com", at(1_000), Sequence::Kept),
            ("m3", "a@example.com", at(2_000), Sequence::Kept),
            ("m4", "a@example.com", at(1_999), Sequence::Broken),
            ("m5", "a@example.com", at(1_998), Sequence::Broken),
            ("m6", "a@example.com", None, Sequence::Kept),
            ("m7", "a@example.com", at(1_999), Sequence::Broken),
            ("m8", "a@example.com", at(2_001), Sequence::Kept),
        ];
        for (id, email, accepted_at, expected) in steps {
            assert_eq!(ended.remember(&event_key(id, email), accepted_at), expected, "{id}");
        }
    }
}
