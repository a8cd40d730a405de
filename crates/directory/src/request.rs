use std::time::{Duration, SystemTime};

use refersion_relay_model::{AccountName, Email, PersonId, PersonIdKind};
use serde::{Deserialize, Serialize};

use crate::Keys;
use crate::store::{Doubt, LookedUp};

/// What a worker asks of whoever keeps the directory, as it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// [`Directory::learn`](crate::Directory::learn)
    Learn {
        /// Whose ids are meant.
        account: AccountName,
        /// Whose address it is.
        person: PersonId,
        /// The address.
        email: Email,
        /// When the event was accepted that says so.
        accepted: SystemTime,
    },
    /// [`Directory::notice`](crate::Directory::notice)
    Notice {
        /// Whose ids are meant.
        account: AccountName,
        /// Who is there.
        person: PersonId,
        /// When the event was accepted that says so.
        accepted: SystemTime,
    },
    /// [`Directory::erase`](crate::Directory::erase)
    Erase {
        /// Whose affiliates are meant.
        account: AccountName,
        /// What is forgotten.
        email: Email,
        /// When the delete was accepted.
        accepted: SystemTime,
        /// When it was carried out.
        done: SystemTime,
    },
    /// [`Directory::look_up`](crate::Directory::look_up)
    LookUp {
        /// Whose ids are meant.
        account: AccountName,
        /// Who is asked for.
        person: PersonId,
        /// Later events say nothing.
        until: SystemTime,
    },
}

/// Who a sealed text is for: with what is sealed for one, the other is not opened.
const REQUEST: &[u8] = b"request v1";
const ANSWER: &[u8] = b"answer v1";

impl Keys {
    /// Seals a request. Nobody without the keys can read or write one.
    #[must_use]
    pub fn seal_request(&self, request: &Request) -> Vec<u8> {
        self.seal_sent(REQUEST, &serde_json::to_vec(&RequestText::from(request)).expect("it is plain data"))
    }

    /// The request in it. `None`: it was sealed with other keys, or by a later release.
    #[must_use]
    pub fn open_request(&self, sealed: &[u8]) -> Option<Request> {
        serde_json::from_slice::<RequestText>(&self.open_sent(REQUEST, sealed)?).ok()?.try_into().ok()
    }

    /// Seals what is known of a person, as the answer to this sealed request and to no other.
    #[must_use]
    pub fn seal_answer(&self, request: &[u8], answer: &LookedUp) -> Vec<u8> {
        let text = serde_json::to_vec(&AnswerText::from(answer)).expect("it is plain data");
        self.seal_sent(&[ANSWER, request].concat(), &text)
    }

    /// What is known, if it is the answer to this sealed request.
    #[must_use]
    pub fn open_answer(&self, request: &[u8], sealed: &[u8]) -> Option<LookedUp> {
        let text = self.open_sent(&[ANSWER, request].concat(), sealed)?;
        serde_json::from_slice::<AnswerText>(&text).ok()?.try_into().ok()
    }
}

/// A request as it is written. Times are milliseconds since 1970.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "do")]
enum RequestText {
    Learn { account: String, person: PersonText, email: String, accepted: u64 },
    Notice { account: String, person: PersonText, accepted: u64 },
    Erase { account: String, email: String, accepted: u64, done: u64 },
    LookUp { account: String, person: PersonText, until: u64 },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum PersonText {
    User(String),
    Anonymous(String),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum AnswerText {
    Addresses(Vec<String>),
    Shared,
    Several,
    Erased,
    Unknown { since: u64 },
}

/// It was written by another release, or not by a relay.
struct Foreign;

impl From<&Request> for RequestText {
    fn from(request: &Request) -> Self {
        match request {
            Request::Learn { account, person, email, accepted } => Self::Learn {
                account: account.to_string(),
                person: person.into(),
                email: email.expose().to_owned(),
                accepted: millis(*accepted),
            },
            Request::Notice { account, person, accepted } => {
                Self::Notice { account: account.to_string(), person: person.into(), accepted: millis(*accepted) }
            }
            Request::Erase { account, email, accepted, done } => Self::Erase {
                done: millis(*done),
                account: account.to_string(),
                email: email.expose().to_owned(),
                accepted: millis(*accepted),
            },
            Request::LookUp { account, person, until } => {
                Self::LookUp { account: account.to_string(), person: person.into(), until: millis(*until) }
            }
        }
    }
}

impl TryFrom<RequestText> for Request {
    type Error = Foreign;

    fn try_from(text: RequestText) -> Result<Self, Foreign> {
        let named = |name: String| AccountName::try_from(name).map_err(|_| Foreign);
        let address = |text: &str| Email::parse(text).map_err(|_| Foreign);
        Ok(match text {
            RequestText::Learn { account, person, email, accepted } => Self::Learn {
                account: named(account)?,
                person: person.into(),
                email: address(&email)?,
                accepted: at(accepted)?,
            },
            RequestText::Notice { account, person, accepted } => {
                Self::Notice { account: named(account)?, person: person.into(), accepted: at(accepted)? }
            }
            RequestText::Erase { account, email, accepted, done } => Self::Erase {
                account: named(account)?,
                email: address(&email)?,
                accepted: at(accepted)?,
                done: at(done)?,
            },
            RequestText::LookUp { account, person, until } => {
                Self::LookUp { account: named(account)?, person: person.into(), until: at(until)? }
            }
        })
    }
}

impl From<&PersonId> for PersonText {
    fn from(person: &PersonId) -> Self {
        let id = person.expose().to_owned();
        match person.kind() {
            PersonIdKind::User => Self::User(id),
            PersonIdKind::Anonymous => Self::Anonymous(id),
        }
    }
}

impl From<PersonText> for PersonId {
    fn from(text: PersonText) -> Self {
        match text {
            PersonText::User(id) => Self::new(PersonIdKind::User, id),
            PersonText::Anonymous(id) => Self::new(PersonIdKind::Anonymous, id),
        }
    }
}

impl From<&LookedUp> for AnswerText {
    fn from(answer: &LookedUp) -> Self {
        match answer {
            LookedUp::Addresses(emails) => {
                Self::Addresses(emails.iter().map(|email| email.expose().to_owned()).collect())
            }
            LookedUp::Uncertain(Doubt::Shared) => Self::Shared,
            LookedUp::Uncertain(Doubt::Several) => Self::Several,
            LookedUp::Erased => Self::Erased,
            LookedUp::Unknown { since } => Self::Unknown { since: millis(*since) },
        }
    }
}

impl TryFrom<AnswerText> for LookedUp {
    type Error = Foreign;

    fn try_from(text: AnswerText) -> Result<Self, Foreign> {
        Ok(match text {
            AnswerText::Addresses(emails) => {
                let emails = emails.iter().map(|email| Email::parse(email).map_err(|_| Foreign));
                Self::Addresses(emails.collect::<Result<_, _>>()?)
            }
            AnswerText::Shared => Self::Uncertain(Doubt::Shared),
            AnswerText::Several => Self::Uncertain(Doubt::Several),
            AnswerText::Erased => Self::Erased,
            AnswerText::Unknown { since } => Self::Unknown { since: at(since)? },
        })
    }
}

fn millis(at: SystemTime) -> u64 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn at(millis: u64) -> Result<SystemTime, Foreign> {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(millis)).ok_or(Foreign)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acme() -> AccountName {
        AccountName::try_from("acme").unwrap()
    }

    fn peter() -> Email {
        Email::parse("peter@example.com").unwrap()
    }

    fn requests() -> Vec<Request> {
        let (account, accepted) = (acme(), SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123));
        let person = PersonId::user("5678");
        let (browser, email) = (PersonId::new(PersonIdKind::Anonymous, "a\0b\"é"), peter());
        vec![
            Request::Learn { account: account.clone(), person: browser.clone(), email: email.clone(), accepted },
            Request::Notice { account: account.clone(), person: person.clone(), accepted },
            Request::Erase { account: account.clone(), email, accepted, done: accepted + Duration::from_secs(1) },
            Request::LookUp { account, person, until: accepted },
        ]
    }

    #[test]
    fn a_request_is_opened_as_it_was_sealed_and_by_nobody_else() {
        let keys = Keys::random();
        for request in requests() {
            let sealed = keys.seal_request(&request);
            assert_eq!(keys.open_request(&sealed).as_ref(), Some(&request));
            assert_eq!(Keys::random().open_request(&sealed), None);
            for (n, _) in sealed.iter().enumerate() {
                let mut other = sealed.clone();
                other[n] ^= 1;
                assert_eq!(keys.open_request(&other), None, "{n}");
                assert_eq!(keys.open_request(&sealed[..n]), None, "{n}");
            }
            let text = String::from_utf8_lossy(&sealed).into_owned();
            assert!(!text.contains("peter") && !text.contains("acme") && !text.contains("5678"), "{text}");
        }
    }

    #[test]
    fn an_answer_is_one_to_this_request_only() {
        let (keys, since) = (Keys::random(), SystemTime::UNIX_EPOCH + Duration::from_hours(1));
        let request = keys.seal_request(&requests()[3]);
        let again = keys.seal_request(&requests()[3]);
        for answer in [
            LookedUp::Addresses(vec![peter(), Email::parse("p@example.org").unwrap()]),
            LookedUp::Uncertain(Doubt::Shared),
            LookedUp::Uncertain(Doubt::Several),
            LookedUp::Erased,
            LookedUp::Unknown { since },
        ] {
            let sealed = keys.seal_answer(&request, &answer);
            assert_eq!(keys.open_answer(&request, &sealed), Some(answer));
            assert_eq!(keys.open_answer(&again, &sealed), None, "it says what was known once");
            assert_eq!(keys.open_request(&sealed), None, "an answer asks for nothing");
        }
    }
}
