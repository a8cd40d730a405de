use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use http::HeaderMap;
use http::header::AUTHORIZATION;

/// What is odd about the way in which a key was sent. It is told from the header alone, so it says nothing about which keys
/// there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyForm {
    /// Nothing is.
    Fine,
    /// There is no header `Authorization`.
    Missing,
    /// The header is of another scheme.
    OtherScheme,
    /// What follows the scheme is no base64.
    NotBase64,
    /// It would be, with `=` at its end.
    Unpadded,
    /// The key is empty.
    Empty,
    /// There is a blank, a line break or something invisible in it.
    Spaced,
    /// There is a user as well as a password.
    Password,
}

impl KeyForm {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        match basic(headers) {
            Err(form) => form,
            Ok(text) if text.chars().any(is_out_of_place) => Self::Spaced,
            Ok(text) => match text.split_once(':') {
                Some((user, password)) if !user.is_empty() && !password.is_empty() => Self::Password,
                _ => Self::Fine,
            },
        }
    }

    /// What to look at, where there is something.
    pub(crate) fn hint(self) -> Option<&'static str> {
        Some(match self {
            Self::Fine => return None,
            Self::Missing => "the request has no header Authorization",
            Self::OtherScheme => {
                "the header Authorization is not of the form: Basic, a blank, base64 of the key and a colon"
            }
            Self::NotBase64 => "what follows Basic in the header Authorization is not base64 of a text",
            Self::Unpadded => "the base64 in the header Authorization lacks the = at its end",
            Self::Empty => "the header Authorization has no user, and the user is the key",
            Self::Spaced => {
                "the key in the header Authorization has a blank, a line break or an invisible character in it: it may have \
                 been copied with it"
            }
            Self::Password => {
                "the header Authorization has a user and a password: the whole key is the user, and the password stays empty"
            }
        })
    }
}

/// The user of `Authorization: Basic`, which is where senders put their key; the password and its colon may be missing.
/// Nothing is a user but a key.
pub(crate) fn basic_user(headers: &HeaderMap) -> Option<String> {
    let text = basic(headers).ok()?;
    Some(text.strip_suffix(':').unwrap_or(&text).to_owned())
}

/// User, colon and password, of which there is at least one.
fn basic(headers: &HeaderMap) -> Result<String, KeyForm> {
    let header = headers.get(AUTHORIZATION).ok_or(KeyForm::Missing)?;
    let (scheme, encoded) =
        header.to_str().ok().and_then(|text| text.trim().split_once(' ')).ok_or(KeyForm::OtherScheme)?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(KeyForm::OtherScheme);
    }
    let encoded = encoded.trim();
    let unpadded = |_| if STANDARD_NO_PAD.decode(encoded).is_ok() { KeyForm::Unpadded } else { KeyForm::NotBase64 };
    let text = String::from_utf8(STANDARD.decode(encoded).map_err(unpadded)?).map_err(|_| KeyForm::NotBase64)?;
    if text.is_empty() || text == ":" { Err(KeyForm::Empty) } else { Ok(text) }
}

/// No key has any of these, and people paste them.
fn is_out_of_place(c: char) -> bool {
    c.is_whitespace() || c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(value: &str) -> KeyForm {
        KeyForm::of(&[(AUTHORIZATION, value.parse().unwrap())].into_iter().collect())
    }

    #[test]
    fn what_is_odd_about_a_key_is_told_from_its_form() {
        assert_eq!(KeyForm::of(&HeaderMap::new()), KeyForm::Missing);
        let cases = [
            ("pub.sec:", KeyForm::Fine),
            ("pub.sec", KeyForm::Fine),
            (":sec", KeyForm::Fine),
            (" pub.sec:", KeyForm::Spaced),
            ("pub.sec\n:", KeyForm::Spaced),
            ("pub.sec\n", KeyForm::Spaced),
            ("\u{feff}pub.sec:", KeyForm::Spaced),
            ("pub:sec", KeyForm::Password),
            ("pub.sec:x", KeyForm::Password),
            (":", KeyForm::Empty),
        ];
        for (text, expected) in cases {
            assert_eq!(form(&format!("Basic {}", STANDARD.encode(text))), expected, "{text:?}");
        }
        assert_eq!(form(&format!("Basic {}", STANDARD_NO_PAD.encode("pub_1.sec:"))), KeyForm::Unpadded);
        for (header, expected) in [
            ("Basic !!!", KeyForm::NotBase64),
            ("Basic /////w==", KeyForm::NotBase64),
            ("Bearer x", KeyForm::OtherScheme),
            ("pub.sec", KeyForm::OtherScheme),
            ("Basic", KeyForm::OtherScheme),
        ] {
            assert_eq!(form(header), expected, "{header}");
        }
    }
}
