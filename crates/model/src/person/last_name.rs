use std::str::FromStr;

use crate::person::name::PersonName;

/// What an account wants of a person who has a first name and no last one, which Refersion insists on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MissingLastName {
    /// The event lacks something.
    #[default]
    Refuse,
    /// The first name stands for it.
    Repeat,
    /// A dash stands for it.
    Dash,
}

/// The text is none of the words in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("has to be refuse, repeat or -")]
pub struct UnknownMissingLastName;

impl MissingLastName {
    /// The word in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refuse => "refuse",
            Self::Repeat => "repeat",
            Self::Dash => "-",
        }
    }

    pub(crate) fn complete(self, name: PersonName) -> PersonName {
        let PersonName { first, last } = name;
        let last = last.or_else(|| match self {
            Self::Refuse => None,
            Self::Repeat => first.clone(),
            Self::Dash => first.is_some().then(|| self.as_str().to_owned()),
        });
        PersonName { first, last }
    }
}

impl FromStr for MissingLastName {
    type Err = UnknownMissingLastName;

    fn from_str(text: &str) -> Result<Self, UnknownMissingLastName> {
        let all = [Self::Refuse, Self::Repeat, Self::Dash];
        all.into_iter().find(|word| word.as_str() == text).ok_or(UnknownMissingLastName)
    }
}
