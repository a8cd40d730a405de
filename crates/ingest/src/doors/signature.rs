use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha1::Sha1;

/// What a Webhooks destination signs with: Segment and the relay share it.
#[derive(Clone)]
pub(crate) struct SharedSecret(Hmac<Sha1>);

/// Which elements of a body its signature covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Covered {
    All,
    /// Segment signs only the first element of a batch.
    First,
    Nothing,
}

impl Covered {
    /// Whether the element at `position` is covered.
    pub(crate) fn covers(self, position: usize) -> bool {
        match self {
            Self::All => true,
            Self::First => position == 0,
            Self::Nothing => false,
        }
    }
}

impl SharedSecret {
    pub(crate) fn new(secret: &SecretString) -> Self {
        let key = secret.expose_secret().as_bytes();
        Self(Hmac::new_from_slice(key).expect("HMAC takes a key of any length"))
    }

    /// What `signature`, as it stands in `X-Signature`, covers of a body: HMAC-SHA1 over its bytes, or over those of its first
    /// element, in hexadecimal. `None`: it is of something else. Takes as long for every signature.
    pub(crate) fn covered(&self, signature: &str, body: &[u8], first: Option<&[u8]>) -> Option<Covered> {
        let signature = hex(signature.trim())?;
        let is_of = |bytes: &[u8]| self.0.clone().chain_update(bytes).verify_slice(&signature).is_ok();
        let (of_all, of_first) = (is_of(body), first.is_some_and(is_of));
        if of_all { Some(Covered::All) } else { of_first.then_some(Covered::First) }
    }
}

impl std::fmt::Debug for SharedSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SharedSecret(***)")
    }
}

fn hex(text: &str) -> Option<[u8; 20]> {
    let text: &[u8; 40] = text.as_bytes().try_into().ok()?;
    let digit = |c: u8| char::from(c).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut bytes = [0; 20];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = br#"{"type":"delete","userId":"1"}"#;
    /// Made with another implementation: `openssl dgst -sha1 -hmac secret`.
    const SIGNATURE: &str = "f0cbec8a9da4d1b1fb03f375e795eb134f1a4f0c";

    fn secret() -> SharedSecret {
        SharedSecret::new(&SecretString::from("secret"))
    }

    #[test]
    fn a_body_is_covered_by_its_own_signature_only() {
        assert_eq!(secret().covered(SIGNATURE, BODY, None), Some(Covered::All));
        assert_eq!(secret().covered(&SIGNATURE.to_uppercase(), BODY, None), Some(Covered::All));
        for position in 0..BODY.len() {
            let mut tampered = BODY.to_vec();
            tampered[position] ^= 1;
            assert_eq!(secret().covered(SIGNATURE, &tampered, None), None, "byte {position}");
        }
        for position in 0..SIGNATURE.len() {
            let mut tampered = SIGNATURE.as_bytes().to_vec();
            tampered[position] = if tampered[position] == b'0' { b'1' } else { b'0' };
            assert_eq!(secret().covered(std::str::from_utf8(&tampered).unwrap(), BODY, None), None, "digit {position}");
        }
        for bad in ["", "0", &SIGNATURE[1..], &format!("{SIGNATURE}0"), &"x".repeat(40)] {
            assert_eq!(secret().covered(bad, BODY, None), None, "{bad}");
        }
        assert_eq!(SharedSecret::new(&SecretString::from("other")).covered(SIGNATURE, BODY, None), None);
    }

    #[test]
    fn a_batch_is_covered_whole_or_in_its_first_element() {
        let batch = [b"[".as_slice(), BODY, b",{}]"].concat();
        assert_eq!(secret().covered(SIGNATURE, &batch, Some(BODY)), Some(Covered::First));
        assert_eq!(secret().covered(SIGNATURE, &batch, Some(b"{}")), None);
        assert!(Covered::First.covers(0) && !Covered::First.covers(1) && !Covered::Nothing.covers(0));
    }
}
