use std::borrow::Cow;
use std::fmt;

use crate::Event;

/// Whom an event is about, by what Refersion knows people by. Events of one subject are worked in order.
///
/// The e-mail address the command will use (bare, lower-cased), else `userId`, else `anonymousId`, else the message
/// id. Personal data, so `Debug` hides it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Subject(String);

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
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Subject(***)")
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
}
