use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

/// The name an operator gave one Refersion merchant. It is part of queue names and metric labels.
///
/// One to 63 characters of `a-z`, `0-9`, `-` and `_`, beginning with a letter or a digit.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AccountName(String);

/// Why a text is not an [`AccountName`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an account's name has 1 to 63 characters of a-z, 0-9, - and _, and begins with a letter or a digit")]
pub struct InvalidAccountName;

impl AccountName {
    /// The name as it stands in queue names, headers and labels.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for AccountName {
    type Error = InvalidAccountName;

    fn try_from(name: String) -> Result<Self, InvalidAccountName> {
        let begins_well = name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        if begins_well && name.len() <= 63 && name.chars().all(allowed) {
            Ok(Self(name))
        } else {
            Err(InvalidAccountName)
        }
    }
}

impl TryFrom<&str> for AccountName {
    type Error = InvalidAccountName;

    fn try_from(name: &str) -> Result<Self, InvalidAccountName> {
        Self::try_from(name.to_owned())
    }
}

impl From<AccountName> for String {
    fn from(name: AccountName) -> Self {
        name.0
    }
}

impl fmt::Display for AccountName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The two keys of one merchant. `Debug` shows neither; Segment sends both in one field, as `public.secret`.
#[derive(Clone, Debug)]
pub struct KeyPair {
    public: SecretString,
    secret: SecretString,
}

impl KeyPair {
    /// Takes the keys as Refersion's dashboard shows them.
    #[must_use]
    pub fn new(public: impl Into<String>, secret: impl Into<String>) -> Self {
        Self { public: SecretString::from(public.into()), secret: SecretString::from(secret.into()) }
    }

    /// The public key, for the request header only.
    #[must_use]
    pub fn expose_public(&self) -> &str {
        self.public.expose_secret()
    }

    /// The secret key, for the request header and for deriving a [`crate::Fingerprint`] only.
    #[must_use]
    pub fn expose_secret(&self) -> &str {
        self.secret.expose_secret()
    }

    /// The pair in the one-field form a merchant pastes into Segment: `public.secret`.
    #[must_use]
    pub fn expose_joined(&self) -> SecretString {
        SecretString::from(format!("{}.{}", self.expose_public(), self.expose_secret()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_fits_into_a_queue_name_and_a_label() {
        for good in ["acme", "a", "0-shop_2", &"x".repeat(63)] {
            assert!(AccountName::try_from(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "Acme", "a.b", "a b", "ä", &"x".repeat(64)] {
            assert!(AccountName::try_from(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn debug_shows_no_key() {
        let shown = format!("{:?}", KeyPair::new("pub_visible", "sec_visible"));
        assert!(!shown.contains("visible"), "{shown}");
    }
}
