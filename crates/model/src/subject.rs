use std::borrow::Cow;
use std::fmt;

use xxhash_rust::xxh64::xxh64;

use crate::{AccountName, Event};

/// Whom an event is about, by what Refersion knows people by. Events of one subject are worked in order.
///
/// The e-mail address the command will use (bare, lower-cased), else `userId`, else `anonymousId`, else the message
/// id. Personal data, so `Debug` hides it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Subject(String);

/// One of the work queues: the events of a subject are always on the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Shard {
    /// From zero.
    pub index: u16,
    /// How many shards there are.
    pub count: u16,
}

impl Subject {
    /// Reads the subject of `event`; `message_id` stands in where the event names nobody.
    #[must_use]
    pub fn of(event: &Event, message_id: &str) -> Self {
        let email = event.email().and_then(Result::ok).map(|email| Cow::Owned(email.folded()));
        let id = email.or_else(|| event.user_id()).or_else(|| event.anonymous_id());
        Self(id.map_or_else(|| message_id.to_owned(), Cow::into_owned))
    }

    /// The subject of bytes that are no event: nobody but the message itself.
    #[must_use]
    pub fn of_message(message_id: &str) -> Self {
        Self(message_id.to_owned())
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }

    /// A number that stands for this subject of this account. The same in every process and every version; two subjects
    /// may have the same one.
    #[must_use]
    pub fn number(&self, account: &AccountName) -> u64 {
        let mut key = Vec::with_capacity(account.as_str().len() + 1 + self.0.len());
        key.extend_from_slice(account.as_str().as_bytes());
        key.push(0);
        key.extend_from_slice(self.0.as_bytes());
        xxh64(&key, 0)
    }

    /// The shard this subject's events are on, among `count`. The same in every process and every version.
    #[must_use]
    pub fn shard(&self, account: &AccountName, count: u16) -> Shard {
        Shard::of(self.number(account), count)
    }
}

impl Shard {
    /// The shard of a subject with this number, among `count`.
    #[must_use]
    pub fn of(subject: u64, count: u16) -> Self {
        let count = count.max(1);
        let index = subject % u64::from(count);
        Self { index: u16::try_from(index).expect("the remainder of a u16"), count }
    }

    /// Every one of `count` shards.
    pub fn all(count: u16) -> impl Iterator<Item = Self> + Clone + use<> {
        (0..count).map(move |index| Self { index, count })
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Subject(***)")
    }
}

impl fmt::Display for Shard {
    /// As in queue names: `n8.3` is shard 3 of 8.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{}.{}", self.count, self.index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(body: &str, expected: &str) {
        let event = Event::parse(body.as_bytes()).unwrap();
        assert_eq!(Subject::of(&event, "m1").expose(), expected, "{body}");
    }

    #[test]
    fn an_identify_and_a_delete_of_one_person_are_one_subject() {
        check(
            r#"{"type":"identify","email":"top@example.org","userId":"1","traits":{"email":" Peter@Example.com"}}"#,
            "peter@example.com",
        );
        check(r#"{"type":"delete","userId":"2","context":[],"email":"peter@example.com"}"#, "peter@example.com");
    }

    #[test]
    fn without_an_address_the_ids_stand_in() {
        check(r#"{"type":"track","userId":7,"anonymousId":"a"}"#, "7");
        check(r#"{"type":"track","userId":null,"anonymousId":"a"}"#, "a");
        check(r#"{"type":"track","traits":[]}"#, "m1");
        check(r#"{"type":"identify","traits":{"email":"no address"},"userId":"u"}"#, "u");
    }

    #[test]
    fn the_shard_of_a_subject_never_changes() {
        let account = AccountName::try_from("acme").unwrap();
        let shard = |text: &str| Subject(text.to_owned()).shard(&account, 8).to_string();
        // Fixed values, computed with another implementation of xxh64: changing them would send the events of one person to two queues during an upgrade.
        assert_eq!(shard("peter@example.com"), "n8.2");
        assert_eq!(shard("7"), "n8.3");
        assert_eq!(Subject("x".to_owned()).shard(&account, 0).to_string(), "n1.0");
    }

    #[test]
    fn subjects_spread_over_the_shards() {
        let account = AccountName::try_from("acme").unwrap();
        let mut counts = [0_u32; 8];
        for n in 0..8_000 {
            counts[usize::from(Subject(format!("user{n}@example.com")).shard(&account, 8).index)] += 1;
        }
        assert!(counts.iter().all(|count| (800..1_200).contains(count)), "{counts:?}");
    }
}
