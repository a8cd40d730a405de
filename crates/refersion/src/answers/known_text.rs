/// What a text of Refersion's means, where the relay knows it.
///
/// There are no error codes, only English sentences, some with stray characters. They are matched by lower-cased parts,
/// and only this enum, never the text itself, leaves the crate: the texts may quote what was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KnownText {
    /// The address belongs to an affiliate already.
    EmailTaken,
    /// No affiliate matches the search.
    NoMatch,
    /// No affiliate has this id.
    AffiliateNotFound,
    /// More elements in one request than Refersion takes.
    TooManyElements,
    /// A value is longer than Refersion takes; it does not say which.
    TooLong,
    /// A value is not among those Refersion takes.
    ValueNotAllowed,
    /// A field of the request is not known.
    InvalidField,
    /// A field of the request is missing.
    MissingField,
    /// The generated password was refused.
    Password,
    /// The merchant's plan has no access to this.
    PlanLimit,
    /// The offer does not exist.
    NoOffer,
    /// The request had no body.
    NoBody,
    /// The keys were refused.
    Credentials,
}

impl KnownText {
    /// The parts by which each text is recognised; the first that matches counts.
    const PARTS: [(&'static str, Self); 17] = [
        ("taken by another affiliate", Self::EmailTaken),
        ("email has already been taken", Self::EmailTaken),
        ("could not find affiliates", Self::NoMatch),
        ("affiliate not found", Self::AffiliateNotFound),
        ("max number of elements", Self::TooManyElements),
        ("exceed the char limit", Self::TooLong),
        ("is not a allowed value", Self::ValueNotAllowed),
        ("is not an allowed value", Self::ValueNotAllowed),
        ("invalid field", Self::InvalidField),
        ("missing required field", Self::MissingField),
        ("request filter not provided", Self::MissingField),
        ("field is required", Self::MissingField),
        ("the password", Self::Password),
        ("plan does not support", Self::PlanLimit),
        ("offer does not exist", Self::NoOffer),
        ("no body", Self::NoBody),
        ("invalid api credentials", Self::Credentials),
    ];

    /// Recognises one text.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let text = text.to_lowercase();
        Self::PARTS.into_iter().find(|(part, _)| text.contains(part)).map(|(_, known)| known)
    }

    /// A sentence for the operator who reads a dead letter. Our own words, without any value.
    #[must_use]
    pub fn explain(self) -> &'static str {
        match self {
            Self::EmailTaken => "the e-mail address is taken by another affiliate",
            Self::NoMatch => "no affiliate matches",
            Self::AffiliateNotFound => "affiliate not found",
            Self::TooManyElements => "too many elements in one request",
            Self::TooLong => "a value is longer than Refersion takes (it does not say which)",
            Self::ValueNotAllowed => "a value is not among those Refersion takes",
            Self::InvalidField => "Refersion does not know a field of the request",
            Self::MissingField => "a required field is missing",
            Self::Password => "the generated password was refused",
            Self::PlanLimit => "the merchant's Refersion plan does not include this",
            Self::NoOffer => "the offer does not exist",
            Self::NoBody => "the request had no body",
            Self::Credentials => "the API keys were refused",
        }
    }
}
