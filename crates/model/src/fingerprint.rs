use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::segment::text::without_byte_order_mark;
use crate::shown::may_be_shown;
use crate::{AccountName, Event, KeyPair, Subject};

/// No id that is shown is longer, in characters. Segment's own limit.
pub const MAX_PLAIN_ID: usize = 100;

/// Turns what may be personal into a token that only this account's key can make again.
///
/// A plain hash of an e-mail address can be undone with a list of addresses; this one cannot without the account's
/// secret. The key is derived from that secret, so the secret itself can be learnt from no token.
#[derive(Clone)]
pub struct Fingerprint {
    key: [u8; 32],
}

/// The id of a message in a form that may be shown: in logs, in the queue's `message_id`, in listings.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MessageId {
    text: String,
    minted: bool,
}

impl Fingerprint {
    /// Derives the key from the account's secret.
    #[must_use]
    pub fn new(keys: &KeyPair) -> Self {
        Self { key: mac(keys.expose_secret().as_bytes(), &[b"refersion-relay fingerprint v1"]) }
    }

    /// 16 hex digits that stand for a subject in headers and logs.
    #[must_use]
    pub fn subject(&self, subject: &Subject) -> String {
        hex(&mac(&self.key, &[b"subject", &[0], subject.expose().as_bytes()])[..8])
    }

    /// 8 hex digits that stand for a key of one of an account's senders, where the key itself must not.
    ///
    /// They come of that key and the account's name alone. So they stay as they are while other keys of the account are
    /// changed, which is when somebody asks whether the old one is idle. The key cannot be computed from them, but a guess at it
    /// can be tried.
    #[must_use]
    pub fn of_key(account: &AccountName, key: &str) -> String {
        hex(&mac(key.as_bytes(), &[b"refersion-relay door key v1", &[0], account.as_str().as_bytes()])[..4])
    }

    /// The id of `event`: its sender's own where that may be shown, else a token for it. A message without an id gets
    /// one from its bytes, so that a repeat of the same bytes has the same id.
    #[must_use]
    pub fn message_id(&self, event: &Event, body: &[u8]) -> MessageId {
        self.sender_id(event).unwrap_or_else(|| self.minted(body))
    }

    /// The id of `event`, if its sender gave it one.
    #[must_use]
    pub fn sender_id(&self, event: &Event) -> Option<MessageId> {
        let id = event.sender_message_id()?;
        Some(MessageId { text: self.shown(&id), minted: false })
    }

    /// What a sender's id is shown as: itself where it may be shown, else a token for it.
    #[must_use]
    pub fn shown(&self, id: &str) -> String {
        if may_be_shown(id) { id.to_owned() } else { format!("hashed-{}", self.token(b"message id", id.as_bytes())) }
    }

    /// An id for bytes that carry none, with or without a byte order mark.
    #[must_use]
    pub fn minted(&self, body: &[u8]) -> MessageId {
        let body = without_byte_order_mark(body);
        MessageId { text: format!("minted-{}", self.token(b"body", body)), minted: true }
    }

    fn token(&self, what: &[u8], value: &[u8]) -> String {
        hex(&mac(&self.key, &[what, &[0], value])[..16])
    }
}

impl std::fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fingerprint(***)")
    }
}

impl MessageId {
    /// The id, at most [`MAX_PLAIN_ID`] characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the relay made it because the sender gave none. Such an id says nothing about when it was sent.
    #[must_use]
    pub fn is_minted(&self) -> bool {
        self.minted
    }
}

fn mac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes everything");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fingerprint() -> Fingerprint {
        Fingerprint::new(&KeyPair::new("pub_1", "sec_1"))
    }

    #[track_caller]
    fn id_of(body: &str) -> MessageId {
        fingerprint().message_id(&Event::parse(body.as_bytes()).unwrap(), body.as_bytes())
    }

    #[test]
    fn an_ordinary_id_stays_readable() {
        for id in ["9e1f8f4c-7d5b-4c0a-8a3e-2f6b1d0c9e8f", "delete-022bb90c-bbac-11e4-8dfc-aa07a5b093db", "42"] {
            assert_eq!(id_of(&format!(r#"{{"type":"identify","messageId":"{id}"}}"#)).as_str(), id);
        }
    }

    #[test]
    fn an_id_that_may_be_personal_is_hashed() {
        let long = "x".repeat(101);
        for id in ["peter@example.com", "+1 555 123 4567", "cGV0ZXJAZXhhbXBsZS5jb20", "Peter Gibbons", "peter-1", &long]
        {
            let shown = id_of(&format!(r#"{{"type":"identify","messageId":"{id}"}}"#));
            assert!(shown.as_str().starts_with("hashed-") && shown.as_str().len() == 39, "{id}: {shown:?}");
            assert!(!shown.is_minted());
        }
    }

    #[test]
    fn what_stands_for_a_key_depends_on_the_key_and_its_account_and_on_nothing_else() {
        let name = |name| AccountName::try_from(name).unwrap();
        // `printf 'refersion-relay door key v1\0acme' | openssl dgst -sha256 -hmac write_1`
        assert_eq!(Fingerprint::of_key(&name("acme"), "write_1"), "e464dc1b");
        assert_ne!(Fingerprint::of_key(&name("acme"), "write_1"), Fingerprint::of_key(&name("acme"), "write_2"));
        assert_ne!(Fingerprint::of_key(&name("acme"), "write_1"), Fingerprint::of_key(&name("other"), "write_1"));
    }

    #[test]
    fn a_minted_id_depends_on_the_bytes_and_the_account() {
        let body = r#"{"type":"identify","userId":"1"}"#;
        assert!(id_of(body).is_minted());
        assert_eq!(id_of(body), id_of(body));
        assert_ne!(id_of(body), id_of(r#"{"type":"identify","userId":"2"}"#));
        let other = Fingerprint::new(&KeyPair::new("pub_1", "sec_2"));
        assert_ne!(other.minted(body.as_bytes()), id_of(body));
    }
}
