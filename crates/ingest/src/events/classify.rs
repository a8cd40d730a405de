use std::time::SystemTime;

use bytes::Bytes;
use http::HeaderMap;
use refersion_relay_model::{
    CommandKind, DeadReason, Envelope, Event, EventType, Ignored, Judgement, MAX_EVENT_BYTES, Missing, Subject,
    judge_in,
};
use refersion_relay_queue::{Death, Headers, Message, Place};

use crate::AccountDoor;
use crate::access::credential::Credential;
use crate::context::EventId;

/// When and with what an event came in.
#[derive(Clone, Debug)]
pub struct Received {
    /// When its door was reached.
    pub at: SystemTime,
    /// The trace it belongs to.
    pub traceparent: Option<String>,
}

/// What becomes of one event at a door whose sender cannot be asked to send it again.
#[derive(Clone, Debug)]
pub enum Classified {
    /// It is to be worked.
    Work(Place, Message),
    /// It cannot be worked, and a person has to look at it.
    Dead(DeadReason, Message),
    /// Nothing is to be done about it, and that is right. With what it is known by, if its sender gave it an id.
    Ignored(Ignored, Option<EventId>),
}

impl Classified {
    /// The id under which the log and `dlq` show the event; `None` of what is not kept.
    pub(crate) fn message_id(&self) -> Option<&str> {
        match self {
            Self::Work(_, message) | Self::Dead(_, message) => Some(&message.headers.message_id),
            Self::Ignored(..) => None,
        }
    }
}

/// What stands in for the type of bytes that are no event.
pub(crate) const UNKNOWN_TYPE: &str = "unknown";

impl Received {
    /// Just now, and without a trace.
    #[must_use]
    pub fn now() -> Self {
        Self { at: SystemTime::now(), traceparent: None }
    }

    /// Just now, with a request of these headers.
    pub(crate) fn by_http(headers: &HeaderMap) -> Self {
        let trace = headers.get("traceparent").and_then(|value| traceparent(value.to_str().ok()?));
        Self { traceparent: trace, ..Self::now() }
    }
}

impl AccountDoor {
    /// Reads, judges and addresses the bytes of one event that stands alone. Keeps them as they are, whatever they are. What
    /// the credential gives no right to becomes a dead letter, or may only create.
    #[must_use]
    pub fn classify(&self, credential: Credential, body: Bytes, received: &Received) -> Classified {
        self.classify_in(credential, &Envelope::default(), body, received)
    }

    /// The same, with what is known beside the event.
    pub(crate) fn classify_in(
        &self,
        credential: Credential,
        envelope: &Envelope,
        body: Bytes,
        received: &Received,
    ) -> Classified {
        if MAX_EVENT_BYTES < body.len() {
            let error = format!("an event has at most {MAX_EVENT_BYTES} bytes, this one has {}", body.len());
            return self.dead(credential, None, body, received, DeadReason::TooLarge, error);
        }
        let event = match Event::parse_in(&body, envelope) {
            Ok(event) => event,
            Err(error) => {
                return self.dead(credential, None, body, received, error.dead_reason(), error.to_string());
            }
        };
        match self.judged(judge_in(&event, envelope, self.missing_last_name)) {
            Judgement::Work(command) => self.address(credential, &event, command.kind(), body, received),
            Judgement::Complete(_) => self.address(credential, &event, CommandKind::Deactivate, body, received),
            Judgement::Ignore(why) => Classified::Ignored(why, self.event_id(&event)),
            Judgement::Refuse(missing) => {
                let error = Missing::sentence(event.kind(), &missing);
                self.dead(credential, Some(&event), body, received, DeadReason::Incomplete, error)
            }
        }
    }

    /// What an event is known by, if its sender gave it an id.
    pub(crate) fn event_id(&self, event: &Event) -> Option<EventId> {
        let message_id = self.fingerprint.sender_id(event)?.as_str().to_owned();
        Some(EventId { account: self.name.clone(), message_id })
    }

    /// Makes the message of an event that asks for this command: work, or a dead letter where its credential gives no right to the
    /// command.
    pub(crate) fn address(
        &self,
        credential: Credential,
        event: &Event,
        command: CommandKind,
        body: Bytes,
        received: &Received,
    ) -> Classified {
        let message_id = self.fingerprint.message_id(event, &body);
        let subject = Subject::of(event, message_id.as_str());
        let token = self.fingerprint.subject(&subject);
        let headers = self.headers(message_id.as_str(), event.kind().as_str(), token, received);
        let rights = credential.rights(self.trust);
        let headers = Headers { create_only: rights.only_creates(command), vouched: rights.teach, ..headers };
        if rights.permit(command) {
            return Classified::Work(Place::Work(self.name.clone()), Message { body, headers });
        }
        let reason = DeadReason::Unsigned;
        let death = Some(death(reason, credential.objection().to_owned(), received.at));
        Classified::Dead(reason, Message { body, headers: Headers { death, ..headers } })
    }

    /// Makes a dead letter, which has no more rights than its sender: it may be worked one day, by a relay that reads more, or for an
    /// account that asks for less.
    fn dead(
        &self,
        credential: Credential,
        event: Option<&Event>,
        body: Bytes,
        received: &Received,
        reason: DeadReason,
        error: String,
    ) -> Classified {
        let message_id = match event {
            Some(event) => self.fingerprint.message_id(event, &body),
            None => self.fingerprint.minted(&body),
        };
        let subject = match event {
            Some(event) => Subject::of(event, message_id.as_str()),
            None => Subject::of_message(message_id.as_str()),
        };
        let kind = event.map_or(UNKNOWN_TYPE, |event| EventType::as_str(event.kind()));
        let headers = self.headers(message_id.as_str(), kind, self.fingerprint.subject(&subject), received);
        let (rights, is_delete) =
            (credential.rights(self.trust), event.is_some_and(|event| event.kind() == EventType::Delete));
        let (reason, error) = if is_delete && !rights.delete {
            (DeadReason::Unsigned, credential.objection().to_owned())
        } else {
            (reason, error)
        };
        let create_only = if is_delete { !rights.delete } else { !rights.update };
        let death = Some(death(reason, error, received.at));
        let headers = Headers { create_only, vouched: rights.teach, death, ..headers };
        Classified::Dead(reason, Message { body, headers })
    }

    fn headers(&self, message_id: &str, kind: &str, subject: String, received: &Received) -> Headers {
        let headers = Headers::received(message_id, kind, self.name.clone(), subject, received.at);
        Headers { traceparent: received.traceparent.clone(), ..headers }
    }
}

/// Why an event that never reached a worker is a dead letter.
pub(crate) fn death(reason: DeadReason, error: String, at: SystemTime) -> Death {
    Death {
        class: reason.class(),
        reason: reason.as_str().to_owned(),
        status: None,
        error: Some(error),
        dead_at: Some(at),
    }
}

/// A trace's name, if it has the form of W3C Trace Context.
pub(crate) fn traceparent(value: &str) -> Option<String> {
    let lengths: Vec<_> = value.split('-').map(str::len).collect();
    let hex = value.bytes().all(|c| c == b'-' || matches!(c, b'0'..=b'9' | b'a'..=b'f'));
    (hex && lengths == [2, 32, 16, 2]).then(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use refersion_relay_model::{AccountName, Class, KeyPair};
    use refersion_relay_telemetry::Metrics;

    use super::*;
    use crate::{Access, AccountAccess};

    fn classified(body: &str) -> Classified {
        classified_with(Credential::KeyPair, body)
    }

    fn classified_with(credential: Credential, body: &str) -> Classified {
        let (mut access, name) = (Access::default(), AccountName::try_from("acme").unwrap());
        access.admit(AccountAccess::new(name.clone(), KeyPair::new("pub_1", "sec_1")), &Metrics::new());
        let received = Received { at: SystemTime::UNIX_EPOCH, traceparent: None };
        access.by_name(&name).unwrap().classify(credential, Bytes::copy_from_slice(body.as_bytes()), &received)
    }

    #[test]
    fn a_dead_letter_has_no_more_rights_than_its_sender() {
        let (incomplete, unnamed) =
            (r#"{"type":"identify","traits":{"name":"Cher","email":"a@example.com"}}"#, r#"{"type":"delete"}"#);
        for (body, reason) in [(incomplete, DeadReason::Incomplete), ("no event", DeadReason::Unreadable)] {
            for (credential, create_only) in [(Credential::WriteKey, true), (Credential::KeyPair, false)] {
                let Classified::Dead(found, message) = classified_with(credential, body) else { panic!("{body}") };
                assert_eq!((found, message.headers.create_only), (reason, create_only), "{credential:?} {body}");
            }
        }
        for (credential, reason) in
            [(Credential::Unsigned, DeadReason::Unsigned), (Credential::KeyPair, DeadReason::Incomplete)]
        {
            let Classified::Dead(found, _) = classified_with(credential, unnamed) else { panic!("{credential:?}") };
            assert_eq!(found, reason, "{credential:?}");
        }
    }

    #[test]
    fn what_the_credential_gives_no_right_to_is_no_work_and_the_rest_says_that_it_only_creates() {
        let delete = r#"{"type":"delete","email":"peter@example.com","messageId":"m1"}"#;
        let identify = r#"{"type":"identify","traits":{"name":"A B","email":"peter@example.com"}}"#;
        for credential in [Credential::WriteKey, Credential::Unsigned] {
            let Classified::Dead(reason, message) = classified_with(credential, delete) else {
                panic!("{credential:?}")
            };
            assert_eq!(
                (reason, reason.class(), &message.body[..]),
                (DeadReason::Unsigned, Class::Unverified, delete.as_bytes())
            );
            assert_eq!((message.headers.message_id.as_str(), message.headers.kind.as_str()), ("m1", "delete"));
            let Classified::Work(_, message) = classified_with(credential, identify) else { panic!("{credential:?}") };
            assert!(message.headers.create_only, "{credential:?}");
        }
        for credential in [Credential::KeyPair, Credential::Signed, Credential::Exchange, Credential::Operator] {
            for body in [delete, identify] {
                let Classified::Work(_, message) = classified_with(credential, body) else { panic!("{credential:?}") };
                assert!(!message.headers.create_only, "{credential:?}");
            }
        }
    }

    #[test]
    fn an_event_that_can_be_worked_goes_to_its_accounts_work_queue_as_it_is() {
        let body = r#" {"type":"delete", "email":"Peter@example.com","messageId":"m1"}"#;
        let Classified::Work(place, message) = classified(body) else { panic!("work") };
        assert_eq!(place, Place::Work(AccountName::try_from("acme").unwrap()));
        assert_eq!(message.body, body);
        assert_eq!((message.headers.message_id.as_str(), message.headers.kind.as_str()), ("m1", "delete"));
    }

    #[test]
    fn what_cannot_be_worked_keeps_its_bytes_and_says_why() {
        let too_large = format!(r#"{{"type":"delete","email":"{}"}}"#, "x".repeat(MAX_EVENT_BYTES));
        let cases = [
            ("", DeadReason::Unreadable, Class::Malformed),
            ("{", DeadReason::Unreadable, Class::Malformed),
            (too_large.as_str(), DeadReason::TooLarge, Class::Malformed),
            ("5", DeadReason::NotAnEvent, Class::Invalid),
            ("{}", DeadReason::NotAnEvent, Class::Invalid),
            (r#"{"type":"delete"}"#, DeadReason::Incomplete, Class::Invalid),
        ];
        for (body, expected, class) in cases {
            let Classified::Dead(reason, message) = classified(body) else { panic!("dead") };
            let death = message.headers.death.unwrap();
            assert_eq!((reason, death.class, message.body), (expected, class, Bytes::copy_from_slice(body.as_bytes())));
            assert!(!message.headers.message_id.is_empty() && death.error.is_some());
        }
    }

    #[test]
    fn what_is_not_for_refersion_goes_nowhere() {
        for body in [r#"{"type":"track","event":"x"}"#, r#"{"type":"identify","userId":"1"}"#] {
            assert!(matches!(classified(body), Classified::Ignored(..)), "{body}");
        }
    }

    #[test]
    fn a_trace_has_the_form_of_trace_context() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(traceparent(good).as_deref(), Some(good));
        for bad in ["", "00-0af7-b7ad-01", &good.to_uppercase(), "peter@example.com"] {
            assert_eq!(traceparent(bad), None, "{bad}");
        }
    }
}
