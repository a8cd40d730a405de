use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use refersion_relay_model::{AccountName, Fingerprint, KeyPair};
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};

/// Which account a key belongs to.
///
/// Keys are kept and compared as SHA-256 digests, so how long a comparison takes says nothing about a key.
#[derive(Clone, Debug, Default)]
pub struct Access {
    by_key_pair: HashMap<[u8; 32], Arc<AccountDoor>>,
}

/// What a door needs to know of an account.
#[derive(Clone, Debug)]
pub struct AccountDoor {
    /// What it is called on the queue.
    pub name: AccountName,
    /// Makes the ids of its messages and subjects.
    pub fingerprint: Fingerprint,
}

impl Access {
    /// Lets an account in by its Refersion key pair, as Segment sends it.
    pub fn admit(&mut self, name: AccountName, keys: &KeyPair) {
        let door = AccountDoor { name, fingerprint: Fingerprint::new(keys) };
        self.by_key_pair.insert(digest(keys.expose_joined().expose_secret()), Arc::new(door));
    }

    /// Finds the account by `Authorization: Basic base64(publickey.secretkey:)`. The colon may be missing.
    pub(crate) fn by_basic(&self, headers: &HeaderMap) -> Option<&Arc<AccountDoor>> {
        let (scheme, encoded) = headers.get(AUTHORIZATION)?.to_str().ok()?.trim().split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let decoded = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
        let key = decoded.strip_suffix(':').unwrap_or(&decoded);
        self.by_key_pair.get(&digest(key))
    }
}

fn digest(key: &str) -> [u8; 32] {
    Sha256::digest(key.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(value: &str) -> HeaderMap {
        [(AUTHORIZATION, value.parse().unwrap())].into_iter().collect()
    }

    #[track_caller]
    fn check(authorization: &str, expected: Option<&str>) {
        let mut access = Access::default();
        access.admit(AccountName::try_from("acme").unwrap(), &KeyPair::new("pub_1", "sec_1"));
        let headers = headers(authorization);
        let found = access.by_basic(&headers).map(|door| door.name.as_str());
        assert_eq!(found, expected, "{authorization}");
    }

    #[test]
    fn the_key_pair_opens_the_door() {
        let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
        check(&basic("pub_1.sec_1:"), Some("acme"));
        check(&basic("pub_1.sec_1"), Some("acme"));
        check(&basic("pub_1.sec_1:").replace("Basic", "bAsIc"), Some("acme"));
        for wrong in ["pub_1.sec_2:", "pub_1.sec_1:x", ":pub_1.sec_1", "pub_1:sec_1", "", ":"] {
            check(&basic(wrong), None);
        }
        for wrong in ["", "Basic", "Basic !!!", "Bearer pub_1.sec_1", "Basic /////w=="] {
            check(wrong, None);
        }
    }
}
