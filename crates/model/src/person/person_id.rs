use std::fmt;

use crate::Event;

/// What a merchant knows a person by where there is no address: `userId`, else `anonymousId`. Personal data, so `Debug` hides
/// it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PersonId {
    kind: PersonIdKind,
    id: String,
}

/// Which of the two ids of Segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PersonIdKind {
    /// `userId`: of somebody who signed in.
    User,
    /// `anonymousId`: of a browser or a device.
    Anonymous,
}

impl PersonId {
    /// An id of this kind.
    #[must_use]
    pub fn new(kind: PersonIdKind, id: impl Into<String>) -> Self {
        Self { kind, id: id.into() }
    }

    /// The `userId` of somebody.
    #[must_use]
    pub fn user(id: impl Into<String>) -> Self {
        Self::new(PersonIdKind::User, id)
    }

    /// Reads the id in `event`, if it has one.
    #[must_use]
    pub fn of(event: &Event) -> Option<Self> {
        let user = event.user_id().map(|id| (PersonIdKind::User, id));
        let (kind, id) = user.or_else(|| event.anonymous_id().map(|id| (PersonIdKind::Anonymous, id)))?;
        Some(Self { kind, id: id.into_owned() })
    }

    /// Which id it is.
    #[must_use]
    pub fn kind(&self) -> PersonIdKind {
        self.kind
    }

    /// The id, for making a key of it only.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.id
    }
}

impl PersonIdKind {
    /// Segment's name of the field.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "userId",
            Self::Anonymous => "anonymousId",
        }
    }
}

impl fmt::Debug for PersonId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PersonId({}, ***)", self.kind.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_who_signed_in_comes_first() {
        let id = |body: &str| PersonId::of(&Event::parse(body.as_bytes()).unwrap());
        let both = id(r#"{"type":"delete","userId":7,"anonymousId":"a"}"#).unwrap();
        assert_eq!((both.kind(), both.expose()), (PersonIdKind::User, "7"));
        let anonymous = id(r#"{"type":"delete","userId":null,"anonymous_id":"a"}"#).unwrap();
        assert_eq!((anonymous.kind(), anonymous.expose()), (PersonIdKind::Anonymous, "a"));
        assert_eq!(id(r#"{"type":"delete","userId":" "}"#), None);
        assert_eq!(format!("{both:?}"), "PersonId(userId, ***)");
    }
}
