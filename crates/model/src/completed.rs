use crate::segment::event::read_json;
use crate::segment::text::without_byte_order_mark;
use crate::{Email, MAX_EVENT_BYTES};

/// Why an address cannot be put into an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotCompletable {
    /// It is no JSON object.
    #[error("the event is no JSON object")]
    NoObject,
    /// It would be larger than an event may be.
    #[error("with an address in it the event would have more than {MAX_EVENT_BYTES} bytes")]
    TooLarge,
}

/// The same event with an address: the bytes as they were received, and one field more.
///
/// The field is the last one, because the last one counts where a name stands twice: a sender may have written `"email": null`.
pub fn completed(body: &[u8], email: &Email) -> Result<Vec<u8>, NotCompletable> {
    let is_object = read_json(without_byte_order_mark(body)).is_ok_and(|value| value.is_object());
    let end = body.iter().rposition(|byte| *byte == b'}').filter(|_| is_object).ok_or(NotCompletable::NoObject)?;
    let is_empty = body[..end].trim_ascii_end().ends_with(b"{");
    let mut completed = Vec::with_capacity(body.len() + email.expose().len() + 16);
    completed.extend_from_slice(&body[..end]);
    completed.extend_from_slice(if is_empty { b"\"email\":" } else { b",\"email\":" });
    completed.extend_from_slice(serde_json::Value::from(email.expose()).to_string().as_bytes());
    completed.extend_from_slice(&body[end..]);
    if completed.len() <= MAX_EVENT_BYTES { Ok(completed) } else { Err(NotCompletable::TooLarge) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Command, Event, Judgement, MissingLastName, judge};

    fn judged(body: &[u8]) -> Judgement {
        judge(&Event::parse(body).unwrap(), MissingLastName::Refuse)
    }

    /// The shapes of deletes without an address that Segment documents, and some that its customers might write.
    const DELETES: [&str; 8] = [
        r#"{"type":"delete","channel":"server","messageId":"delete-1","projectId":"p","userId":"5678","context":[],"integrations":[],"receivedAt":"2019-02-19T23:58:54.387Z"}"#,
        r#"{"context":null,"integrations":null,"messageId":"delete-reg-6543321::job-2-P0OJ3CTID1","originalTimestamp":"2020-05-09 23:54:49.209808489 +0000 UTC m=+70366.29","type":"delete","userId":"5678"}"#,
        r#"{"type":"delete","userId":"5678","timestamp":"2020-05-09T23:54:49Z"}"#,
        r#"{"type":"delete","anonymousId":"5678","email":null}"#,
        r#"{"type":"delete","userId":5678,"email":"","Email":" ","traits":{"email":null}}"#,
        "\u{feff} {\"type\":\"delete\",\"userId\":\"5678\" }\r\n",
        r#"{"email":false,"type":"delete","userId":"}","context":{"a":{}}}"#,
        r#"{"type":"delete","userId":"5678","traits":{"bio":"party \ud83c"}}"#,
    ];

    #[test]
    fn a_delete_with_its_address_is_an_ordinary_one_and_keeps_its_bytes() {
        for delete in DELETES {
            assert!(matches!(judged(delete.as_bytes()), Judgement::Complete(_)), "{delete}");
            let email = Email::parse("peter@example.com").unwrap();
            let completed = completed(delete.as_bytes(), &email).unwrap();
            assert_eq!(judged(&completed), Judgement::Work(Command::Deactivate(email)), "{delete}");
            let text = String::from_utf8(completed).unwrap();
            assert_eq!(text.replacen(r#","email":"peter@example.com""#, "", 1), delete);
        }
    }

    #[test]
    fn what_is_no_object_or_would_get_too_large_is_left_alone() {
        let email = Email::parse("peter@example.com").unwrap();
        for bad in ["", "[]", "{}}", "null", r#""}""#] {
            assert_eq!(completed(bad.as_bytes(), &email), Err(NotCompletable::NoObject), "{bad}");
        }
        let large = format!(r#"{{"type":"delete","userId":"{}"}}"#, "x".repeat(MAX_EVENT_BYTES - 40));
        assert_eq!(completed(large.as_bytes(), &email), Err(NotCompletable::TooLarge));
        assert_eq!(completed(b"{ }", &email).as_deref(), Ok(&br#"{ "email":"peter@example.com"}"#[..]));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn whatever_the_address_it_is_the_one_that_is_used(local in r"[ -~]{1,20}|\PC{1,20}", delete in 0..DELETES.len()) {
            let Ok(email) = Email::parse(&format!("{local}@example.com")) else { return Ok(()) };
            let completed = completed(DELETES[delete].as_bytes(), &email).unwrap();
            prop_assert_eq!(judged(&completed), Judgement::Work(Command::Deactivate(email)));
        }
    }
}
