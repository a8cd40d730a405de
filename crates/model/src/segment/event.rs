use std::borrow::Cow;
use std::fmt;

use serde_json::{Map, Value};

use crate::segment::fields::{Fields, NoText, scalar};
use crate::segment::surrogates::mended;
use crate::segment::text::without_byte_order_mark;
use crate::segment::traits::{Traits, opened};
use crate::{DeadReason, Email, Envelope, InvalidEmail, PersonId};

/// One Segment message, read tolerantly: unknown fields are ignored, and every scalar may be a string, a number or null.
///
/// Holds personal data, so `Debug` shows the type only.
#[derive(Clone)]
pub struct Event {
    kind: EventType,
    root: Map<String, Value>,
    traits: Traits,
}

/// What a Segment message is. Only the first two mean something to Refersion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventType {
    /// A person was recorded, or their traits changed.
    Identify,
    /// A person asked to be forgotten.
    Delete,
    /// Something somebody did.
    Track,
    /// A page view.
    Page,
    /// A screen view in an app.
    Screen,
    /// A person belongs to a group.
    Group,
    /// Two ids are one person.
    Alias,
    /// A type that Segment's specification does not name.
    Other,
}

impl EventType {
    /// Every type, in the order of this enum.
    pub const ALL: [Self; 8] =
        [Self::Identify, Self::Delete, Self::Track, Self::Page, Self::Screen, Self::Group, Self::Alias, Self::Other];

    /// The word that stands in `type`, in the AMQP property of that name and in metric labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Identify => "identify",
            Self::Delete => "delete",
            Self::Track => "track",
            Self::Page => "page",
            Self::Screen => "screen",
            Self::Group => "group",
            Self::Alias => "alias",
            Self::Other => "other",
        }
    }

    fn read(text: &str) -> Self {
        Self::named(&text.to_ascii_lowercase()).unwrap_or(Self::Other)
    }

    /// The type with exactly this word, if it is one that Segment's specification names.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word && *kind != Self::Other)
    }
}

/// Why bytes are not an event. Never quotes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Not JSON, cut off, not UTF-8, or nested more than 127 levels deep.
    #[error("the body is not valid JSON (line {line}, column {column})")]
    NotJson {
        /// Where reading stopped, from 1.
        line: usize,
        /// Where reading stopped, from 0.
        column: usize,
    },
    /// JSON, but an array or a scalar.
    #[error("the body is not a JSON object: send one Segment event")]
    NotAnObject,
    /// An object that does not say what it is.
    #[error("the event has no `type`: send \"identify\" or \"delete\"")]
    NoType,
}

impl ParseError {
    /// Why bytes like these are a dead letter, where nobody can be asked to send them again.
    #[must_use]
    pub fn dead_reason(&self) -> DeadReason {
        match self {
            Self::NotJson { .. } => DeadReason::Unreadable,
            Self::NotAnObject | Self::NoType => DeadReason::NotAnEvent,
        }
    }
}

impl Event {
    /// Reads one event from its bytes.
    pub fn parse(body: &[u8]) -> Result<Self, ParseError> {
        Self::parse_in(body, &Envelope::default())
    }

    /// Reads one event from its bytes and what is known beside them: a type that is known needs not stand in the event,
    /// and is right where another one stands there.
    pub fn parse_in(body: &[u8], envelope: &Envelope) -> Result<Self, ParseError> {
        let mut root = match read_json(without_byte_order_mark(body)) {
            Ok(Value::Object(root)) => root,
            Ok(_) => return Err(ParseError::NotAnObject),
            Err(error) => return Err(ParseError::NotJson { line: error.line(), column: error.column() }),
        };
        // Old libraries say `action` where the specification says `type`.
        let said = || Fields::of_map(&root).text(&["type", "action"]).map(|kind| EventType::read(&kind));
        let kind = envelope.kind().or_else(said).ok_or(ParseError::NoType)?;
        let traits = Traits::settle(&mut root);
        Ok(Self { kind, root, traits })
    }

    /// What the event is.
    #[must_use]
    pub fn kind(&self) -> EventType {
        self.kind
    }

    /// The key that some of Segment's libraries put into every event: a secret of its sender.
    #[must_use]
    pub fn write_key(&self) -> Option<String> {
        self.root().text(&["writeKey", "write_key"]).map(Cow::into_owned)
    }

    pub(crate) fn root(&self) -> Fields<'_> {
        Fields::of_map(&self.root)
    }

    pub(crate) fn traits(&self) -> Fields<'_> {
        match self.traits {
            Traits::Own => self.root().object(&["traits"]),
            Traits::Context => self.root().object(&["context"]).object(&["traits"]),
            Traits::Unreadable => Fields::default(),
        }
    }

    /// Whether what should be its traits is something else than an object, and not nothing.
    pub(crate) fn has_unreadable_traits(&self) -> bool {
        self.traits == Traits::Unreadable
    }

    /// The id its sender gave, as text, whatever its length and shape.
    pub(crate) fn sender_message_id(&self) -> Option<Cow<'_, str>> {
        self.root().text(&["messageId", "message_id"])
    }

    pub(crate) fn user_id(&self) -> Option<Cow<'_, str>> {
        self.root().text(&["userId", "user_id"])
    }

    pub(crate) fn anonymous_id(&self) -> Option<Cow<'_, str>> {
        self.root().text(&["anonymousId", "anonymous_id"])
    }

    /// The address that the command for this event will use; `None` if there is none at all.
    ///
    /// An identify means its trait: Segment's documented example has another address at the top. A delete has no
    /// traits, so there it is the other way round. Where both say nothing, the user's id may be an address.
    pub(crate) fn email(&self) -> Option<Result<Email, InvalidEmail>> {
        let (top, trait_) = (|| self.root().read(&["email"]), || self.traits().read(&["email"]));
        let said = match self.kind {
            EventType::Delete => first(top(), trait_),
            _ => first(trait_(), top),
        };
        match said {
            Ok(Some(text)) => Some(Email::parse(&text)),
            Ok(None) => self.user_id().filter(|id| Email::is_meant_by(id)).map(|id| Email::parse(&id)),
            Err(NoText) => Some(Err(InvalidEmail)),
        }
    }

    /// What the event teaches: whose address it names.
    #[must_use]
    pub fn lesson(&self) -> Option<(PersonId, Email)> {
        Some((PersonId::of(self)?, self.email()?.ok()?))
    }

    /// Whether the sender said that this event is not for Refersion.
    pub(crate) fn is_excluded(&self, envelope: &Envelope) -> bool {
        envelope.excludes(self.root.get("integrations").and_then(Value::as_object))
    }

    /// Whether Segment computed it, as a trait or an audience of a person.
    pub(crate) fn is_computed(&self, envelope: &Envelope) -> bool {
        envelope.is_computed(self.root().get(&["context"]))
    }

    /// `traits.company` is a name in some libraries, an object with a `name` in others, and JSON text of one in tables.
    pub(crate) fn company(&self) -> Result<Option<Cow<'_, str>>, NoText> {
        let Some(company) = self.traits().get(&["company"]) else { return Ok(None) };
        let object = company.as_str().and_then(opened);
        let name = match &object {
            Some(object) => Fields::of(Some(object)).text(&["name"]).map(|name| Cow::Owned(name.into_owned())),
            None => scalar(company).or_else(|| Fields::of(Some(company)).text(&["name"])),
        };
        name.map(Some).ok_or(NoText)
    }
}

/// What is said first; what says nothing leaves it to the next.
fn first<'a>(
    one: Result<Option<Cow<'a, str>>, NoText>,
    next: impl FnOnce() -> Result<Option<Cow<'a, str>>, NoText>,
) -> Result<Option<Cow<'a, str>>, NoText> {
    match one {
        Ok(Some(text)) => Ok(Some(text)),
        Ok(None) => next(),
        // A text in the other place is better than something else in this one.
        Err(NoText) => next().and_then(|text| text.map(Some).ok_or(NoText)),
    }
}

/// Reads JSON, also with half of an emoji in it.
pub(crate) fn read_json(json: &[u8]) -> Result<Value, serde_json::Error> {
    serde_json::from_slice(json).or_else(|error| match mended(json) {
        Some(json) => serde_json::from_slice(&json),
        None => Err(error),
    })
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event").field("kind", &self.kind).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn kind_of(body: &str) -> EventType {
        Event::parse(body.as_bytes()).unwrap().kind()
    }

    #[test]
    fn the_type_is_read_in_any_casing_and_from_its_old_name() {
        assert_eq!(kind_of(r#"{"type":"identify"}"#), EventType::Identify);
        assert_eq!(kind_of(r#"{"Type":"DELETE"}"#), EventType::Delete);
        assert_eq!(kind_of(r#"{"action":"track"}"#), EventType::Track);
        assert_eq!(kind_of(r#"{"type":"checkout"}"#), EventType::Other);
    }

    #[test]
    fn half_of_an_emoji_hides_nothing() {
        let cut = br#"{"type":"identify","traits":{"bio":"party \ud83c","email":"a@example.com"}}"#;
        assert_eq!(Event::parse(cut).unwrap().email(), Some(Email::parse("a@example.com")));
    }

    #[test]
    fn what_is_not_an_event_says_why_and_quotes_nothing() {
        let deep = format!("{}1{}", "[".repeat(1_000_000), "]".repeat(1_000_000));
        for bad in [b"".as_slice(), b"{", b"\xff\xfe", b"{\"type\":\"\xff\"}", deep.as_bytes()] {
            assert!(matches!(Event::parse(bad), Err(ParseError::NotJson { .. })));
        }
        for bad in ["[]", "null", "1", "\"identify\"", r#"[{"type":"identify"}]"#] {
            assert_eq!(Event::parse(bad.as_bytes()).unwrap_err(), ParseError::NotAnObject, "{bad}");
        }
        for bad in ["{}", r#"{"type":null}"#, r#"{"type":""}"#, r#"{"type":{}}"#] {
            assert_eq!(Event::parse(bad.as_bytes()).unwrap_err(), ParseError::NoType, "{bad}");
        }
        let shown = Event::parse(br#"{"email":"peter@example.com" oops"#).unwrap_err().to_string();
        assert!(!shown.contains("peter"), "{shown}");
    }

    #[test]
    fn a_type_that_is_known_beside_the_event_is_right() {
        let known = |word: &str, body: &str| {
            Event::parse_in(body.as_bytes(), &Envelope::default().with_word(word)).map(|event| event.kind())
        };
        assert_eq!(known("identify", "{}"), Ok(EventType::Identify));
        assert_eq!(known("identify", r#"{"type":"track"}"#), Ok(EventType::Identify));
        for nothing in ["", "unknown", "other", "Identify"] {
            assert_eq!(known(nothing, r#"{"type":"delete"}"#), Ok(EventType::Delete), "{nothing}");
            assert_eq!(known(nothing, "{}"), Err(ParseError::NoType), "{nothing}");
        }
    }

    #[test]
    fn debug_shows_no_personal_data() {
        let event = Event::parse(br#"{"type":"identify","traits":{"email":"peter@example.com"}}"#).unwrap();
        assert_eq!(format!("{event:?}"), "Event { kind: Identify, .. }");
    }
}
