use crate::person::address::{Address, omit};
use crate::person::name::PersonName;
use crate::segment::event::{Event, EventType};
use crate::{Command, Email, Envelope, MissingLastName, NewAffiliate, OmittedField, PersonId, Personal};

/// What is to be done about an event. Every door and the worker ask the same function, so that none contradicts another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// Refersion is to be told.
    Work(Command),
    /// A delete that says who is meant only by the merchant's own id, and not by any address. Who knows the address can make work of
    /// it: see [`crate::completed`].
    Complete(PersonId),
    /// Nothing is to be done, and that is right.
    Ignore(Ignored),
    /// Something would have to be done, and this much is missing for it. Never empty.
    Refuse(Vec<Missing>),
}

/// Why nothing is done about an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ignored {
    /// Refersion has nothing that corresponds to this type.
    UnsupportedType(EventType),
    /// An identify with neither an address nor a name: anonymous traffic.
    Anonymous,
    /// Something Segment computed about a person, such as an audience, and not enough to be an affiliate.
    Computed,
    /// The sender excluded Refersion.
    OptedOut,
}

/// Something an event lacks for Refersion to accept it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Missing {
    /// No address at all.
    Email,
    /// No address, where the id would do if there were a directory.
    EmailOfId,
    /// An address that cannot be one.
    ValidEmail,
    /// Traits that are an object. Nothing is known of the person then.
    Traits,
    /// No first name.
    FirstName,
    /// No last name; a one-word `name` has none.
    LastName,
}

/// Decides what is to be done about an event that stands alone and that Segment has let through, or that a door has judged
/// before: a worker never sees what stood around an event, and need not.
#[must_use]
pub fn judge(event: &Event, missing_last_name: MissingLastName) -> Judgement {
    judge_in(event, &Envelope::default(), missing_last_name)
}

/// Decides what is to be done about `event`, with what is known beside it and what its account wants. Says everything that
/// is missing at once.
#[must_use]
pub fn judge_in(event: &Event, envelope: &Envelope, missing_last_name: MissingLastName) -> Judgement {
    if event.is_excluded(envelope) {
        return Judgement::Ignore(Ignored::OptedOut);
    }
    match event.kind() {
        EventType::Identify => match judge_identify(event, missing_last_name) {
            // Segment sends these to whoever takes identifies, one for each person of an audience; there is nobody who
            // could complete them.
            Judgement::Refuse(_) | Judgement::Ignore(Ignored::Anonymous) if event.is_computed(envelope) => {
                Judgement::Ignore(Ignored::Computed)
            }
            judged => judged,
        },
        EventType::Delete => match email(event) {
            Ok(email) => Judgement::Work(Command::Deactivate(email)),
            Err(Missing::Email) if let Some(person) = PersonId::of(event) => Judgement::Complete(person),
            Err(missing) => Judgement::Refuse(vec![missing]),
        },
        kind @ (EventType::Track
        | EventType::Page
        | EventType::Screen
        | EventType::Group
        | EventType::Alias
        | EventType::Other) => Judgement::Ignore(Ignored::UnsupportedType(kind)),
    }
}

fn judge_identify(event: &Event, missing_last_name: MissingLastName) -> Judgement {
    if event.has_unreadable_traits() {
        return Judgement::Refuse(vec![Missing::Traits]);
    }
    let traits = event.traits();
    let (email, name) = (email(event), PersonName::of(traits));
    if email == Err(Missing::Email) && name.is_empty() && !PersonName::is_unreadable(traits) {
        return Judgement::Ignore(Ignored::Anonymous);
    }
    let name = missing_last_name.complete(name);
    match (email, name) {
        (Ok(email), PersonName { first: Some(first), last: Some(last) }) => {
            Judgement::Work(Command::Create(Box::new(affiliate(event, email, first, last))))
        }
        (email, name) => Judgement::Refuse(
            [
                email.err(),
                name.first.is_none().then_some(Missing::FirstName),
                name.last.is_none().then_some(Missing::LastName),
            ]
            .into_iter()
            .flatten()
            .collect(),
        ),
    }
}

fn email(event: &Event) -> Result<Email, Missing> {
    event.email().ok_or(Missing::Email)?.map_err(|_| Missing::ValidEmail)
}

fn affiliate(event: &Event, email: Email, first: String, last: String) -> NewAffiliate {
    let Address { address1, city, state, zip, country, mut omitted } = Address::of(event.traits());
    let company = event.company().unwrap_or_else(|_| {
        omit(&mut omitted, OmittedField::Company);
        None
    });
    let phone = event.traits().read(&["phone"]).unwrap_or_else(|_| {
        omit(&mut omitted, OmittedField::Phone);
        None
    });
    let unique_merchant_id = event.user_id().and_then(|id| {
        let fits = id.chars().all(|c| c.is_ascii_alphanumeric());
        if !fits {
            omit(&mut omitted, OmittedField::UniqueMerchantId);
        }
        fits.then_some(id)
    });
    NewAffiliate {
        email,
        first_name: Personal::new(first),
        last_name: Personal::new(last),
        company: company.map(Personal::new),
        phone: phone.map(Personal::new),
        address1,
        city,
        state,
        zip,
        country,
        unique_merchant_id: unique_merchant_id.map(Personal::new),
        omitted,
    }
}

impl Judgement {
    /// The same where nobody knows addresses.
    #[must_use]
    pub fn without_directory(self) -> Self {
        match self {
            Self::Complete(_) => Self::Refuse(vec![Missing::EmailOfId]),
            Self::Work(_) | Self::Ignore(_) | Self::Refuse(_) => self,
        }
    }
}

impl Ignored {
    /// Every reason, for declaring metrics.
    pub const REASONS: [&str; 4] = ["unsupported_type", "anonymous", "computed", "opted_out"];

    /// The word in labels and reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UnsupportedType(_) => "unsupported_type",
            Self::Anonymous => "anonymous",
            Self::Computed => "computed",
            Self::OptedOut => "opted_out",
        }
    }
}

impl Missing {
    /// Says in one sentence, without any value of the event, what an event of this type lacks.
    #[must_use]
    pub fn sentence(kind: EventType, missing: &[Self]) -> String {
        let needed: Vec<_> = missing.iter().map(|missing| missing.advice(kind)).collect();
        format!("this {} event cannot be used without {}", kind.as_str(), needed.join(" and "))
    }

    /// The word in dead letters and reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Email | Self::EmailOfId => "missing_email",
            Self::ValidEmail => "invalid_email",
            Self::Traits => "invalid_traits",
            Self::FirstName => "missing_first_name",
            Self::LastName => "missing_last_name",
        }
    }

    /// What the merchant has to send, for an event of this type.
    #[must_use]
    pub fn advice(self, kind: EventType) -> &'static str {
        match (self, kind) {
            (Self::Email, EventType::Delete) => "`email` (Refersion finds affiliates by e-mail address only)",
            (Self::EmailOfId, _) => {
                "`email` (Refersion finds affiliates by e-mail address only, and the relay's directory, which would know it by \
                 the id, is off)"
            }
            (Self::Email, _) => "`traits.email`",
            (Self::ValidEmail, EventType::Delete) => "an `email` that is an e-mail address",
            (Self::ValidEmail, _) => "a `traits.email` that is an e-mail address",
            (Self::Traits, _) => "`traits` (or `context.traits`) that are a JSON object",
            (Self::FirstName, _) => "`traits.firstName` (or `first_name`, or `name`)",
            (Self::LastName, _) => {
                "`traits.lastName` (or `last_name`, or a `name` of two words; or set `account.missing_last_name` at the relay)"
            }
        }
    }
}

#[cfg(test)]
mod tests;
