//! What holds for an event whatever its bytes are.

use std::sync::LazyLock;

use serde_json::Value;

use crate::judge;
use crate::segment::surrogates::mended;
use crate::segment::text::{clean, is_invisible};
use crate::shown::may_be_shown;
use crate::{
    Command, Email, Envelope, Event, EventType, Fingerprint, Judgement, KeyPair, MAX_PLAIN_ID, Missing,
    MissingLastName, ParseError, Subject, completed, judge_in, without_byte_order_mark,
};

/// Stands for what is personal: where it is in the input, it is in nothing that may be shown.
const MARKER: &str = "Vqx7Personal";

static FINGERPRINT: LazyLock<Fingerprint> = LazyLock::new(|| Fingerprint::new(&KeyPair::new("public", "secret")));

const REFUSE: MissingLastName = MissingLastName::Refuse;

/// Reads `body` as every door and every worker might, and checks what comes of it.
///
/// # Panics
/// When something does not hold.
pub fn event(body: &[u8]) {
    let unmarked = without_byte_order_mark(body);
    let root = object(unmarked);
    for envelope in envelopes(root.as_ref()) {
        match (Event::parse_in(body, &envelope), Event::parse_in(body, &envelope)) {
            (Err(error), Err(again)) => {
                assert_eq!(error, again);
                check_refusal(error, unmarked, root.as_ref(), &envelope);
            }
            (Ok(event), Ok(again)) => {
                assert_eq!(judge_in(&event, &envelope, REFUSE), judge_in(&again, &envelope, REFUSE));
                assert!(root.is_some(), "nothing but a JSON object is an event");
                check_event(&event, body, &envelope);
            }
            (one, other) => panic!("the same bytes were read as {one:?} and as {other:?}"),
        }
    }
}

/// The JSON object that the bytes are, in the words of the library that everybody uses.
fn object(body: &[u8]) -> Option<Value> {
    let read = |bytes: &[u8]| serde_json::from_slice(bytes).ok().filter(Value::is_object);
    read(body).or_else(|| read(&mended(body)?))
}

/// An event alone, from a library, of a known type, and with what a batch might say, which is taken from the event.
fn envelopes(root: Option<&Value>) -> Vec<Envelope> {
    let batch = |envelope: Envelope| {
        let of = |key: &str| root.and_then(|root| root.get(key));
        envelope.with_batch(of("integrations").or(of("context")), of("context").or(of("integrations")))
    };
    let known =
        [EventType::Identify, EventType::Delete, EventType::Page].map(|kind| Envelope::unfiltered().with_kind(kind));
    let more = [Envelope::default(), Envelope::unfiltered()];
    more.iter().cloned().chain(more.iter().cloned().map(batch)).chain(known).collect()
}

fn check_refusal(error: ParseError, body: &[u8], root: Option<&Value>, envelope: &Envelope) {
    let shown: String = error.to_string().chars().filter(|c| !c.is_ascii_digit()).collect();
    match error {
        ParseError::NotJson { .. } => {
            assert_eq!(shown, "the body is not valid JSON (line , column )", "it quotes something");
            assert!(serde_json::from_slice::<Value>(body).is_err());
        }
        ParseError::NotAnObject => assert_eq!(shown, "the body is not a JSON object: send one Segment event"),
        ParseError::NoType => {
            assert_eq!(shown, "the event has no `type`: send \"identify\" or \"delete\"");
            assert!(root.is_some() && envelope.kind().is_none());
        }
    }
}

fn check_event(event: &Event, body: &[u8], envelope: &Envelope) {
    assert!(envelope.kind().is_none_or(|kind| kind == event.kind()), "a type that is known is right");
    let fingerprint = &*FINGERPRINT;
    let id = fingerprint.message_id(event, body);
    assert!((1..=MAX_PLAIN_ID).contains(&id.as_str().len()) && id.as_str().chars().all(|c| c.is_ascii_graphic()));
    assert!(!id.as_str().contains(['@', '%', '+', '.', '=']), "an address is no id that may be shown");
    let is_ours = ["hashed-", "minted-"].iter().any(|ours| id.as_str().starts_with(ours));
    assert!(is_ours || may_be_shown(id.as_str()), "what is no form of the list is hashed");
    assert!(!id.as_str().contains(MARKER), "{id:?}");
    assert_eq!(id, fingerprint.message_id(event, body));

    let subject = Subject::of(event, id.as_str());
    assert!(!subject.expose().is_empty() && subject == Subject::of(event, id.as_str()));
    check_shown(&subject, fingerprint);

    check_mark(event, body, envelope, &subject);
    let judgement = judge_in(event, envelope, REFUSE);
    check_last_name(event, envelope, &judgement);
    match &judgement {
        Judgement::Work(command) => {
            assert_eq!(judge(event, REFUSE), judgement, "a worker does what the door saw");
            assert_eq!(subject.expose(), command.email().folded(), "events about one address are one subject");
            check_command(command, event.kind());
        }
        Judgement::Complete(_) => {
            let email = Email::parse("peter@example.com").expect("an address");
            if let Ok(completed) = completed(body, &email) {
                let event = Event::parse_in(&completed, envelope).expect("it is an event still");
                assert_eq!(judge(&event, REFUSE), Judgement::Work(Command::Deactivate(email)));
            }
        }
        Judgement::Refuse(missing) => {
            assert!(!missing.is_empty() && missing.iter().enumerate().all(|(n, one)| !missing[..n].contains(one)));
        }
        Judgement::Ignore(_) => {}
    }
    if body.windows(MARKER.len()).any(|part| part == MARKER.as_bytes()) {
        let shown = format!("{event:?} {envelope:?} {judgement:?} {subject:?} {}", fingerprint.subject(&subject));
        assert!(!shown.contains(MARKER), "{shown}");
    }
}

/// A byte order mark before the bytes changes nothing.
fn check_mark(event: &Event, body: &[u8], envelope: &Envelope, subject: &Subject) {
    let marked = [b"\xef\xbb\xbf", body].concat();
    let read = Event::parse_in(&marked, envelope).expect("it is the same event");
    assert_eq!(judge_in(&read, envelope, REFUSE), judge_in(event, envelope, REFUSE));
    let id = FINGERPRINT.message_id(&read, &marked);
    assert_eq!((&id, Subject::of(&read, id.as_str())), (&FINGERPRINT.message_id(event, body), subject.clone()));
}

/// What stands for a missing last name decides nothing else.
fn check_last_name(event: &Event, envelope: &Envelope, refusing: &Judgement) {
    for policy in [MissingLastName::Repeat, MissingLastName::Dash] {
        let judged = judge_in(event, envelope, policy);
        if judged != *refusing {
            let lacked = match refusing {
                Judgement::Refuse(missing) => {
                    missing.contains(&Missing::LastName) && !missing.contains(&Missing::FirstName)
                }
                // What Segment computed is taken if it is a whole person.
                Judgement::Ignore(_) => envelope.is_computed(None) || event.is_computed(envelope),
                Judgement::Work(_) | Judgement::Complete(_) => false,
            };
            assert!(lacked, "{refusing:?} became {judged:?}");
        }
        if let Judgement::Work(command) = &judged {
            check_command(command, event.kind());
        }
    }
}

fn check_shown(subject: &Subject, fingerprint: &Fingerprint) {
    let shown = fingerprint.subject(subject);
    assert!(shown.len() == 16 && shown.chars().all(|c| c.is_ascii_hexdigit()), "{shown}");
}

fn check_command(command: &Command, kind: EventType) {
    let email = command.email();
    assert!(email.is(email.expose()) && email.expose().contains('@'));
    assert_eq!(Email::parse(email.expose()).as_ref(), Ok(email), "what was read reads as itself");
    assert!(!email.expose().contains(is_invisible), "no address has what cannot be seen");
    assert!(!email.expose().contains(|c: char| c.is_whitespace() || c.is_control()));
    match command {
        Command::Create(affiliate) => {
            assert_eq!(kind, EventType::Identify);
            let names = [&affiliate.first_name, &affiliate.last_name];
            assert!(names.iter().all(|name| clean(name.expose()).is_some()), "Refersion wants both");
            assert!(!names.iter().any(|name| name.expose().contains(char::is_control)), "a name is one line");
            let omitted = &affiliate.omitted;
            assert!(omitted.iter().enumerate().all(|(n, one)| !omitted[..n].contains(one)), "each is said once");
            let id = affiliate.unique_merchant_id.as_ref();
            assert!(id.is_none_or(|id| id.expose().chars().all(|c| c.is_ascii_alphanumeric())));
        }
        Command::Deactivate(_) => assert_eq!(kind, EventType::Delete),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn whatever_the_bytes_are() {
        refersion_relay_mutations::drive("event", super::event);
    }
}
