use std::fmt;

/// An e-mail address as its owner writes it, trimmed. `Debug` hides it; there is no `Display`.
///
/// Only what cannot be an address at all is refused here (no `@` between two parts, white space, control characters):
/// whether it is a good one is Refersion's decision.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Email(String);

/// The text cannot be an e-mail address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an e-mail address")]
pub struct InvalidEmail;

impl Email {
    /// Reads an address, ignoring white space around it.
    pub fn parse(text: &str) -> Result<Self, InvalidEmail> {
        let text = text.trim();
        let (local, domain) = text.rsplit_once('@').ok_or(InvalidEmail)?;
        if local.is_empty() || domain.is_empty() || text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(InvalidEmail);
        }
        Ok(Self(text.to_owned()))
    }

    /// The address, for building a request only.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The address in the form under which two spellings are the same person: trimmed and lower-cased.
    #[must_use]
    pub fn folded(&self) -> String {
        self.0.to_lowercase()
    }

    /// Whether `other`, as Refersion answered it, is this address.
    #[must_use]
    pub fn is(&self, other: &str) -> bool {
        other.trim().to_lowercase() == self.folded()
    }
}

impl fmt::Debug for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Email(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_two_parts_and_no_white_space() {
        for good in ["peter@example.com", "  Peter@Example.com\n", "a+b@c", "\"a@b\"@c.de", "jürgen@bücher.example"] {
            assert!(Email::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "peter", "@example.com", "peter@", "peter gibbons@example.com", "a@b\u{0}"] {
            assert_eq!(Email::parse(bad), Err(InvalidEmail), "{bad}");
        }
    }

    #[test]
    fn two_spellings_are_one_person() {
        let email = Email::parse(" Peter@Example.COM ").unwrap();
        assert!(email.is("peter@example.com "));
        assert!(!email.is("xpeter@example.com"));
        assert_eq!(format!("{email:?}"), "Email(***)");
    }
}
