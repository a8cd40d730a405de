use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use refersion_relay_model::{AccountName, Fingerprint, KeyPair, MissingLastName};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use crate::protection::{Away, Bucket, admitted};
use crate::signature::SharedSecret;

/// Which account a key belongs to.
///
/// Keys are kept and compared as SHA-256 digests, so how long a comparison takes says nothing about a key.
#[derive(Clone, Debug, Default)]
pub struct Access {
    key_pairs: HashMap<[u8; 32], Arc<AccountDoor>>,
    write_keys: HashMap<[u8; 32], Arc<AccountDoor>>,
    names: HashMap<AccountName, Arc<AccountDoor>>,
}

/// What a door needs to know of an account.
#[derive(Clone, Debug)]
pub struct AccountDoor {
    /// What it is called on the queue.
    pub name: AccountName,
    /// Makes the ids of its messages and subjects.
    pub fingerprint: Fingerprint,
    /// What it wants of people without a last name.
    pub missing_last_name: MissingLastName,
    pub(crate) webhook: Option<Webhook>,
    /// Its limit of requests. A new one begins when the accounts change.
    pub(crate) requests: Option<Arc<Bucket>>,
}

/// How the account of a Webhooks destination is told from strangers. Without this there is no such door for it.
#[derive(Clone, Debug)]
pub struct WebhookAccess {
    /// What Segment signs with.
    pub secret: Option<SecretString>,
    /// Whether requests without a signature are taken all the same.
    pub unsigned: bool,
    /// Whether elements that no signature covers may delete.
    pub trust_batches: bool,
}

/// The same, ready for use.
#[derive(Clone, Debug)]
pub(crate) struct Webhook {
    pub(crate) secret: Option<SharedSecret>,
    pub(crate) unsigned: bool,
    pub(crate) trust_batches: bool,
}

impl From<&WebhookAccess> for Webhook {
    fn from(access: &WebhookAccess) -> Self {
        let WebhookAccess { secret, unsigned, trust_batches } = access;
        Self { secret: secret.as_ref().map(SharedSecret::new), unsigned: *unsigned, trust_batches: *trust_batches }
    }
}

impl Access {
    /// Lets an account in: by its Refersion key pair at the door of Segment's Direct Destination, by its write key, if it has
    /// one, at those of the Tracking API, and by its signature at the one of Segment's Webhooks destination. At most so many
    /// requests in a second; zero: any number.
    pub fn admit(
        &mut self,
        name: AccountName,
        keys: &KeyPair,
        write_key: Option<&SecretString>,
        webhook: Option<&WebhookAccess>,
        max_requests_per_second: u32,
        missing_last_name: MissingLastName,
    ) {
        let (fingerprint, webhook) = (Fingerprint::new(keys), webhook.map(Webhook::from));
        let requests = Bucket::new(max_requests_per_second).map(Arc::new);
        let door = Arc::new(AccountDoor { name: name.clone(), fingerprint, missing_last_name, webhook, requests });
        self.key_pairs.insert(digest(keys.expose_joined().expose_secret()), door.clone());
        if let Some(key) = write_key {
            self.write_keys.insert(digest(key.expose_secret()), door.clone());
        }
        self.names.insert(name, door);
    }

    /// The account of this name, where something else than a key has shown that the sender may speak for it.
    #[must_use]
    pub fn by_name(&self, name: &AccountName) -> Option<&Arc<AccountDoor>> {
        self.names.get(name)
    }

    /// Finds the account by `Authorization: Basic base64(publickey.secretkey:)`. The colon may be missing.
    pub(crate) fn by_key_pair(&self, headers: &HeaderMap) -> Option<&Arc<AccountDoor>> {
        self.key_pairs.get(&digest(&basic_user(headers)?))
    }

    pub(crate) fn by_write_key(&self, key: &str) -> Option<&Arc<AccountDoor>> {
        self.write_keys.get(&digest(key))
    }
}

impl AccountDoor {
    /// Lets one of its requests through, once it is known to be one.
    pub(crate) fn admit(&self) -> Result<(), Away> {
        admitted(self.requests.as_deref())
    }
}

/// The user of `Authorization: Basic`, which is where senders put their key; the password and its colon may be missing.
/// Nothing is a user but a key.
pub(crate) fn basic_user(headers: &HeaderMap) -> Option<String> {
    let (scheme, encoded) = headers.get(AUTHORIZATION)?.to_str().ok()?.trim().split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let user = decoded.strip_suffix(':').unwrap_or(&decoded);
    (!user.is_empty()).then(|| user.to_owned())
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

    fn access() -> Access {
        let mut access = Access::default();
        let (name, write_key) = (AccountName::try_from("acme").unwrap(), SecretString::from("write_1"));
        access.admit(name, &KeyPair::new("pub_1", "sec_1"), Some(&write_key), None, 0, MissingLastName::Refuse);
        access
    }

    #[track_caller]
    fn check(authorization: &str, expected: Option<&str>) {
        let access = access();
        let headers = headers(authorization);
        let found = access.by_key_pair(&headers).map(|door| door.name.as_str());
        assert_eq!(found, expected, "{authorization}");
    }

    #[test]
    fn the_key_pair_opens_the_door() {
        let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
        check(&basic("pub_1.sec_1:"), Some("acme"));
        check(&basic("pub_1.sec_1"), Some("acme"));
        check(&basic("pub_1.sec_1:").replace("Basic", "bAsIc"), Some("acme"));
        for wrong in ["pub_1.sec_2:", "pub_1.sec_1:x", ":pub_1.sec_1", "pub_1:sec_1", "write_1:", "", ":"] {
            check(&basic(wrong), None);
        }
        for wrong in ["", "Basic", "Basic !!!", "Bearer pub_1.sec_1", "Basic /////w=="] {
            check(wrong, None);
        }
    }

    #[test]
    fn the_write_key_opens_the_other_doors_and_the_key_pair_does_not() {
        assert_eq!(access().by_write_key("write_1").map(|door| door.name.as_str()), Some("acme"));
        assert!(access().by_write_key("pub_1.sec_1").is_none() && access().by_write_key("").is_none());
    }
}
