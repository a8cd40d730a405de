use std::collections::HashMap;
use std::hint::black_box;
use std::sync::{Arc, Mutex};

use http::HeaderMap;
use refersion_relay_model::{AccountName, Fingerprint, Judgement, KeyPair, MissingLastName};
use refersion_relay_rate_limit::RateLimit;
use refersion_relay_telemetry::{DoorKey, LastUse, Metrics};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use crate::access::basic::basic_user;
use crate::access::credential::Trust;
use crate::doors::signature::{Covered, SharedSecret};
use crate::front::protection::{self, TurnedAway, admitted};

/// Which account a key belongs to.
///
/// Keys are kept and compared as SHA-256 digests, so how long a comparison takes says nothing about a key.
#[derive(Clone, Debug, Default)]
pub struct Access {
    key_pairs: HashMap<[u8; 32], Entry>,
    write_keys: HashMap<[u8; 32], Entry>,
    names: HashMap<AccountName, Arc<AccountDoor>>,
    /// The most webhook secrets that an account has.
    most_secrets: usize,
}

/// What a key opens, and where its use is noted.
#[derive(Clone, Debug)]
struct Entry {
    door: Arc<AccountDoor>,
    last_use: LastUse,
}

/// An account, as the doors are told of it. Of each kind of key there may be several, so that they can be changed without a
/// moment in which senders have none that works.
#[derive(Clone, Debug)]
pub struct AccountAccess {
    /// What it is called on the queue.
    pub name: AccountName,
    /// Its Refersion keys.
    pub keys: KeyPair,
    /// Refersion keys that it had before, and that senders still use.
    pub former_keys: Vec<KeyPair>,
    /// For the doors of the Tracking API.
    pub write_keys: Vec<SecretString>,
    /// What its Webhooks destination signs with.
    pub webhook_secrets: Vec<SecretString>,
    /// Whether its webhook also takes requests without a signature.
    pub webhook_unsigned: bool,
    /// What it trusts beyond what is safe.
    pub trust: Trust,
    /// What it wants of people without a last name.
    pub missing_last_name: MissingLastName,
    /// Whether its worker can complete deletes that name only an id.
    pub has_directory: bool,
    /// Zero: any number.
    pub max_requests_per_second: u32,
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
    has_directory: bool,
    /// What it trusts beyond what is safe.
    pub(crate) trust: Trust,
    webhook: Webhook,
    /// Its limit of requests. A new one begins when the accounts change.
    requests: Arc<Mutex<RateLimit>>,
}

/// How senders to an account's webhook are told from strangers. With no secret, and nothing taken unsigned, all are strangers.
#[derive(Clone, Debug)]
struct Webhook {
    secrets: Vec<(SharedSecret, LastUse)>,
    unsigned: bool,
}

impl AccountAccess {
    /// An account that is let in by its Refersion keys only, as often as it likes.
    #[must_use]
    pub fn new(name: AccountName, keys: KeyPair) -> Self {
        Self {
            name,
            keys,
            former_keys: Vec::new(),
            write_keys: Vec::new(),
            webhook_secrets: Vec::new(),
            webhook_unsigned: false,
            trust: Trust::default(),
            missing_last_name: MissingLastName::default(),
            has_directory: false,
            max_requests_per_second: 0,
        }
    }

    /// What stands for each of its keys where the key itself must not, in the order of the fields.
    #[must_use]
    pub fn key_names(&self) -> Vec<(DoorKey, String)> {
        let name = |key: &SecretString| Fingerprint::of_key(&self.name, key.expose_secret());
        self.secrets().into_iter().map(|(kind, key)| (kind, name(&key))).collect()
    }

    fn secrets(&self) -> Vec<(DoorKey, SecretString)> {
        let pairs = [&self.keys].into_iter().chain(&self.former_keys).map(KeyPair::expose_joined);
        let pairs = pairs.map(|pair| (DoorKey::KeyPair, pair));
        let write_keys = self.write_keys.iter().cloned().map(|key| (DoorKey::WriteKey, key));
        let webhook_secrets = self.webhook_secrets.iter().cloned().map(|key| (DoorKey::WebhookSecret, key));
        pairs.chain(write_keys).chain(webhook_secrets).collect()
    }
}

impl AccountDoor {
    /// What is to be done about an event, as far as this relay can do it.
    pub(crate) fn judged(&self, judgement: Judgement) -> Judgement {
        if self.has_directory { judgement } else { judgement.without_directory() }
    }
}

impl Access {
    /// Lets an account in: by its Refersion keys at the door of Segment's Direct Destination, by its write keys at those of the
    /// Tracking API, and by its signatures at the one of Segment's Webhooks destination. The metrics show when each key was
    /// last used, and go on with what they showed of a key before.
    pub fn admit(&mut self, account: AccountAccess, metrics: &Metrics) {
        let fingerprint = Fingerprint::new(&account.keys);
        let (mut pairs, mut write_keys, mut secrets) = (Vec::new(), Vec::new(), Vec::new());
        for (kind, key) in account.secrets() {
            let key_name = Fingerprint::of_key(&account.name, key.expose_secret());
            let last_use = metrics.key_last_use(&account.name, kind, &key_name);
            match kind {
                DoorKey::KeyPair => pairs.push((digest(key.expose_secret()), last_use)),
                DoorKey::WriteKey => write_keys.push((digest(key.expose_secret()), last_use)),
                DoorKey::WebhookSecret => secrets.push((SharedSecret::new(&key), last_use)),
            }
        }
        self.most_secrets = self.most_secrets.max(secrets.len());
        let AccountAccess {
            name,
            webhook_unsigned,
            trust,
            missing_last_name,
            has_directory,
            max_requests_per_second,
            ..
        } = account;
        let webhook = Webhook { secrets, unsigned: webhook_unsigned };
        let requests = Arc::new(protection::requests(max_requests_per_second));
        let door = Arc::new(AccountDoor {
            name: name.clone(),
            fingerprint,
            missing_last_name,
            has_directory,
            trust,
            webhook,
            requests,
        });
        let entry = |(digest, last_use)| (digest, Entry { door: door.clone(), last_use });
        self.key_pairs.extend(pairs.into_iter().map(entry));
        self.write_keys.extend(write_keys.into_iter().map(entry));
        self.names.insert(name, door);
    }

    /// The account of this name, where something else than a key has shown that the sender may speak for it.
    #[must_use]
    pub fn by_name(&self, name: &AccountName) -> Option<&Arc<AccountDoor>> {
        self.names.get(name)
    }

    /// Finds the account by `Authorization: Basic base64(publickey.secretkey:)`. The colon may be missing.
    pub(crate) fn by_key_pair(&self, headers: &HeaderMap) -> Option<&Arc<AccountDoor>> {
        self.key_pairs.get(&digest(&basic_user(headers)?)).map(Entry::used)
    }

    pub(crate) fn by_write_key(&self, key: &str) -> Option<&Arc<AccountDoor>> {
        self.write_keys.get(&digest(key)).map(Entry::used)
    }

    /// What a request to a webhook may claim of its body; `None`: nothing shows who sent it. Where there is no such account this
    /// takes as long as with a wrong signature where there is one.
    pub(crate) fn covered(
        &self,
        account: Option<&AccountDoor>,
        signature: Option<&str>,
        body: &[u8],
        first: Option<&[u8]>,
    ) -> Option<Covered> {
        if account.is_some_and(|account| account.needs_no_proof(signature)) {
            return Some(Covered::Nothing);
        }
        let signature = signature?;
        let secrets = account.map_or(&[][..], |account| &account.webhook.secrets);
        for (secret, last_use) in secrets {
            if let Some(covered) = secret.covered(signature, body, first) {
                last_use.now();
                return Some(covered);
            }
        }
        let decoy = SharedSecret::new(&SecretString::from(String::new()));
        for _ in secrets.len()..self.most_secrets {
            black_box(decoy.covered(black_box(signature), body, first));
        }
        None
    }
}

impl Entry {
    fn used(&self) -> &Arc<AccountDoor> {
        self.last_use.now();
        &self.door
    }
}

impl AccountDoor {
    /// Whether its webhook takes a request as that of anybody. A signature that can be checked has to be right all the same.
    pub(crate) fn needs_no_proof(&self, signature: Option<&str>) -> bool {
        self.webhook.unsigned && (signature.is_none() || self.webhook.secrets.is_empty())
    }

    /// Lets one of its requests through, once it is known to be one.
    pub(crate) fn admit(&self) -> Result<(), TurnedAway> {
        admitted(&self.requests)
    }
}

fn digest(key: &str) -> [u8; 32] {
    Sha256::digest(key.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use http::header::AUTHORIZATION;

    use super::*;

    fn headers(value: &str) -> HeaderMap {
        [(AUTHORIZATION, value.parse().unwrap())].into_iter().collect()
    }

    fn access(metrics: &Metrics) -> Access {
        let mut access = Access::default();
        let account = AccountAccess::new(AccountName::try_from("acme").unwrap(), KeyPair::new("pub_1", "sec_1"));
        let account = AccountAccess {
            former_keys: vec![KeyPair::new("pub_0", "sec_0")],
            write_keys: vec![SecretString::from("write_1"), SecretString::from("write_0")],
            ..account
        };
        access.admit(account, metrics);
        access
    }

    #[track_caller]
    fn check(authorization: &str, expected: Option<&str>) {
        let access = access(&Metrics::new());
        let headers = headers(authorization);
        let found = access.by_key_pair(&headers).map(|door| door.name.as_str());
        assert_eq!(found, expected, "{authorization}");
    }

    #[test]
    fn the_key_pair_opens_the_door_and_so_does_a_former_one() {
        let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
        check(&basic("pub_1.sec_1:"), Some("acme"));
        check(&basic("pub_1.sec_1"), Some("acme"));
        check(&basic("pub_0.sec_0:"), Some("acme"));
        check(&basic("pub_1.sec_1:").replace("Basic", "bAsIc"), Some("acme"));
        for wrong in
            ["pub_1.sec_2:", "pub_1.sec_0:", "pub_1.sec_1:x", ":pub_1.sec_1", "pub_1:sec_1", "write_1:", "", ":"]
        {
            check(&basic(wrong), None);
        }
        for wrong in ["", "Basic", "Basic !!!", "Bearer pub_1.sec_1", "Basic /////w=="] {
            check(wrong, None);
        }
    }

    #[test]
    fn write_keys_open_the_other_doors_and_the_key_pair_does_not() {
        let access = access(&Metrics::new());
        for key in ["write_1", "write_0"] {
            assert_eq!(access.by_write_key(key).map(|door| door.name.as_str()), Some("acme"));
        }
        assert!(access.by_write_key("pub_1.sec_1").is_none() && access.by_write_key("").is_none());
    }

    #[test]
    fn a_key_that_stays_goes_on_with_its_last_use_while_the_key_pair_is_changed() {
        let metrics = Metrics::new();
        let account = |keys, former_keys| AccountAccess {
            former_keys,
            write_keys: vec![SecretString::from("write_1")],
            webhook_secrets: vec![SecretString::from("hook_1")],
            ..AccountAccess::new(AccountName::try_from("acme").unwrap(), keys)
        };
        let shown = || {
            let page = metrics.render();
            let lines = page.lines().filter(|line| line.starts_with("refersion_relay_ingest_key_last_use_"));
            lines.map(ToOwned::to_owned).collect::<Vec<_>>()
        };
        let before = account(KeyPair::new("pub_1", "sec_1"), Vec::new());
        let mut access = Access::default();
        access.admit(before.clone(), &metrics);
        let pair = headers(&format!("Basic {}", STANDARD.encode("pub_1.sec_1:")));
        access.by_key_pair(&pair).unwrap();
        access.by_write_key("write_1").unwrap();
        let door = access.by_name(&before.name).cloned();
        // `printf body | openssl dgst -sha1 -hmac hook_1`
        let signature = "1fcb16218b6804bb02d10df39eeec039dbe461a1";
        access.covered(door.as_deref(), Some(signature), b"body", None).unwrap();
        let used = shown();
        assert!(used.len() == 3 && used.iter().all(|line| !line.ends_with(" 0")), "{used:?}");

        let after = account(KeyPair::new("pub_2", "sec_2"), vec![KeyPair::new("pub_1", "sec_1")]);
        Access::default().admit(after.clone(), &metrics);

        let (names, former_names) = (after.key_names(), before.key_names());
        assert!(former_names.iter().all(|name| names.contains(name)), "{former_names:?} {names:?}");
        let (unused, still_used): (Vec<_>, Vec<_>) = shown().into_iter().partition(|line| line.ends_with(" 0"));
        assert_eq!(still_used, used);
        assert!(unused.len() == 1 && unused[0].contains(&names[0].1), "only the new pair is: {unused:?}");
    }

    #[test]
    fn each_key_shows_when_it_was_last_used_and_none_shows_what_it_is() {
        let metrics = Metrics::new();
        let access = access(&metrics);
        let used = || {
            let page = metrics.render();
            let lines = page.lines().filter(|line| line.starts_with("refersion_relay_ingest_key_last_use_"));
            lines.filter(|line| !line.ends_with(" 0")).map(ToOwned::to_owned).collect::<Vec<_>>()
        };
        assert!(used().is_empty(), "but there are four: {}", metrics.render());
        assert_eq!(metrics.render().matches("refersion_relay_ingest_key_last_use_timestamp_seconds{").count(), 4);

        access.by_write_key("write_0").unwrap();
        access.by_write_key("nobody's");

        let used = used();
        assert!(used.len() == 1 && used[0].contains("kind=\"write_key\""), "{used:?}");
        for secret in ["write_0", "sec_", "pub_"] {
            assert!(!metrics.render().contains(&format!("\"{secret}")), "{secret}");
        }
    }
}
