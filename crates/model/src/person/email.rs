use std::borrow::Cow;
use std::fmt;

use crate::segment::text::{is_blank, is_invisible};

/// An e-mail address as its owner writes it. `Debug` hides it; there is no `Display`.
///
/// Only what cannot be an address at all is refused here (no `@` between two parts, white space, control characters):
/// whether it is a good one is Refersion's decision.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Email(String);

/// The text cannot be an e-mail address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an e-mail address")]
pub struct InvalidEmail;

/// Far more than an address has (RFC 5321, section 4.5.3.1), with what a mail program writes around it.
const LONGEST: usize = 1024;

impl Email {
    /// Reads an address, without the blanks around it and without characters that cannot be seen, wherever they stand: no
    /// address has any. `<ann@example.com>`, `Ann <ann@example.com>` and `mailto:ann@example.com` are the address in them.
    pub fn parse(text: &str) -> Result<Self, InvalidEmail> {
        // What is longer is not even looked at: reading it must cost nobody anything.
        if LONGEST < text.trim_matches(is_blank).len() || text.contains(is_broken) {
            return Err(InvalidEmail);
        }
        let address = bare(&visible(text)).ok_or(InvalidEmail)?.to_owned();
        let (local, domain) = address.rsplit_once('@').ok_or(InvalidEmail)?;
        // Between quotes everything may stand.
        let is_bracketed = address.contains(['<', '>']) && !local.starts_with('"');
        let is_no_domain = domain.is_empty() || domain.contains(['&', ';', '\'', '"', '(', ')', '\\', '|']);
        let is_no_local = local.is_empty() || (local.contains(':') && !local.starts_with('"'));
        if is_no_local || is_no_domain || is_bracketed || address.contains(is_blank) {
            return Err(InvalidEmail);
        }
        Ok(Self(address))
    }

    /// Whether a text that need not be an address at all, such as an id, is meant as one: the domain has two parts, and
    /// nothing stands in it that only an address between quotes could have.
    pub(crate) fn is_meant_by(id: &str) -> bool {
        let Ok(Self(address)) = Self::parse(id) else { return false };
        let Some((local, domain)) = address.rsplit_once('@') else { return false };
        let in_domain = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-');
        domain.split_once('.').is_some_and(|(name, rest)| !name.is_empty() && !rest.is_empty())
            && domain.chars().all(in_domain)
            && !local.contains(['@', '|', ':', '/', '\\', ',', ';', '"', '(', ')', '<', '>', '[', ']'])
    }

    /// The address, for building a request only.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The address in the form under which two spellings are the same person: lower-cased.
    #[must_use]
    pub fn folded(&self) -> String {
        self.0.to_lowercase()
    }

    /// Whether `other`, as Refersion answered it, is this address.
    #[must_use]
    pub fn is(&self, other: &str) -> bool {
        self.0.eq_ignore_ascii_case(other) || Self::parse(other).is_ok_and(|other| other.folded() == self.folded())
    }
}

/// The text without what cannot be seen in it and without blanks around it.
fn visible(text: &str) -> Cow<'_, str> {
    if text.contains(is_invisible) {
        let text: String = text.chars().filter(|c| !is_invisible(*c)).collect();
        Cow::Owned(text.trim_matches(is_blank).to_owned())
    } else {
        Cow::Borrowed(text.trim_matches(is_blank))
    }
}

/// What stands where a character was lost, and what is none.
fn is_broken(c: char) -> bool {
    matches!(c, '\u{fffd}' | '\u{fdd0}'..='\u{fdef}') || u32::from(c) & 0xfffe == 0xfffe
}

/// The address in what a mail program writes around it. `None` where there might be two.
fn bare(text: &str) -> Option<&str> {
    let text = without_scheme(without_quotes(text));
    let Some(text) = text.strip_suffix('>') else { return Some(text) };
    let (name, address) = text.rsplit_once('<')?;
    let (name, address) =
        (name.trim_matches(|c| is_blank(c) || c == '"'), without_scheme(address.trim_matches(is_blank)));
    // A name may be an address only if it is the same one.
    let is_one = !name.contains('<') && (!name.contains('@') || name.eq_ignore_ascii_case(address));
    (is_one && !address.contains('>')).then_some(address)
}

/// What a link to an address has around it: `mailto:`, and a question mark before what is to be written.
fn without_scheme(text: &str) -> &str {
    match text.split_at_checked("mailto:".len()) {
        Some((scheme, address)) if scheme.eq_ignore_ascii_case("mailto:") => {
            address.split('?').next().unwrap_or_default().trim_matches(is_blank)
        }
        _ => text,
    }
}

/// Quotes around all of an address. Those around its first part alone belong to it.
fn without_quotes(text: &str) -> &str {
    let inner = |quote| text.strip_prefix(quote)?.strip_suffix(quote);
    inner('\'').or_else(|| inner('"')).unwrap_or(text)
}

impl fmt::Debug for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Email(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(Email::parse(text).as_ref().map(Email::expose), Ok(expected), "{text:?}");
    }

    #[test]
    fn an_address_has_two_parts_and_no_white_space() {
        for good in ["peter@example.com", "a+b@c", "\"a@b\"@c.de", "jürgen@bücher.example", "\"a<b\"@c.de"] {
            check(good, good);
        }
        for bad in
            ["", "peter", "@example.com", "peter@", "peter gibbons@example.com", "a\0b@c", "a@b\nc", "a@\u{200b}"]
        {
            assert_eq!(Email::parse(bad), Err(InvalidEmail), "{bad:?}");
        }
    }

    #[test]
    fn what_cannot_be_seen_is_no_part_of_an_address() {
        for c in
            ['\u{200b}', '\u{feff}', '\u{200d}', '\u{2060}', '\u{ad}', '\u{202a}', '\u{180e}', '\u{fe0f}', '\u{2800}']
        {
            check(&format!("{c}ann{c}@exa{c}mple.com{c}"), "ann@example.com");
        }
        for blank in ["\0", "\n", "\t", "\r\n", " ", "\u{a0}", "\u{3000}"] {
            check(&format!("{blank}Ann@example.com{blank}"), "Ann@example.com");
        }
    }

    #[test]
    fn a_lost_character_is_no_part_of_an_address_and_a_long_text_is_not_looked_at() {
        for c in ['\u{fffd}', '\u{fffe}', '\u{fdd0}', '\u{1ffff}'] {
            for text in [format!("ann@example.com{c}"), format!("a{c}nn@example.com")] {
                assert_eq!(Email::parse(&text), Err(InvalidEmail), "{c:?}");
            }
        }
        check("ann@example.com\u{1d159}", "ann@example.com");
        assert_eq!(Email::parse(&format!("{}ann@example.com", "mailto:".repeat(70_000))), Err(InvalidEmail));
        assert_eq!(Email::parse(&format!("{}@example.com", "a".repeat(1_024))), Err(InvalidEmail));
    }

    #[test]
    fn what_a_mail_program_writes_around_an_address_is_no_part_of_it() {
        for text in [
            "<ann@example.com>",
            " < ann@example.com > ",
            "Ann <ann@example.com>",
            "\"Ford, Ann\" <ann@example.com>",
            "Ford, Ann<ann@example.com>",
            "ann@example.com <ann@example.com>",
            "mailto:ann@example.com",
            "MailTo: ann@example.com",
            "<mailto:ann@example.com>",
            "mailto:ann@example.com?subject=Hello",
            "Ann\u{200b} <mailto:ann@example.com\u{feff}>",
        ] {
            check(text, "ann@example.com");
        }
        for text in ["'ann@example.com'", "\"ann@example.com\"", "'mailto:ann@example.com'"] {
            check(text, "ann@example.com");
        }
        check("o'brien@example.com", "o'brien@example.com");
        for bad in [
            "mailto:mailto:ann@example.com",
            "&lt;ann@example.com&gt;",
            "ann@example.com'",
            "<>",
            "Ann <>",
            "Ann <ann>",
            "mailto:",
            "ann@example.com>",
            "<ann@example.com",
            "<<ann@example.com>",
            "<ann@example.com>>",
            "Ann <ann@example.com>, Bob <bob@example.com>",
            "ann@example.com <bob@example.com>",
        ] {
            assert_eq!(Email::parse(bad), Err(InvalidEmail), "{bad}");
        }
    }

    #[test]
    fn an_id_is_meant_as_an_address_only_if_it_is_plainly_one() {
        for id in ["ann@example.com", " Ann.Ford+x@mail.example.co.uk\n", "<ann@example.com>", "jürgen@bücher.example"]
        {
            assert!(Email::is_meant_by(id), "{id}");
        }
        for id in [
            "",
            "u1",
            "@handle",
            "ann@tenant",
            "auth0|ann@example.com",
            "a@b@example.com",
            "ann@.com",
            "ann@example.",
            "git@example.com:x/y",
        ] {
            assert!(!Email::is_meant_by(id), "{id}");
        }
    }

    #[test]
    fn two_spellings_are_one_person() {
        let email = Email::parse(" Peter@Example.COM ").unwrap();
        for other in ["peter@example.com ", "PETER@EXAMPLE.COM", "<peter@example.com>", "peter@example.com\u{200b}"] {
            assert!(email.is(other), "{other}");
        }
        assert!(!email.is("xpeter@example.com"));
        assert_eq!(format!("{email:?}"), "Email(***)");
    }
}
