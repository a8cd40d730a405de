use std::time::{SystemTime, UNIX_EPOCH};

use prometheus::{IntGauge, IntGaugeVec};
use refersion_relay_model::AccountName;

use super::Metrics;
use crate::register::Register;

/// When the doors last met each key: what shows that nobody uses an old one any more.
#[derive(Clone, Debug)]
pub(super) struct KeyMetrics {
    last_use: IntGaugeVec,
}

/// What a sender to a door shows that it is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DoorKey {
    /// The account's Refersion keys, now or formerly.
    KeyPair,
    /// A write key.
    WriteKey,
    /// What a Webhooks destination signs with.
    WebhookSecret,
}

/// Where the use of one key is noted.
#[derive(Clone, Debug)]
pub struct LastUse(IntGauge);

impl LastUse {
    /// Somebody was let in with it just now.
    pub fn now(&self) {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.0.set(i64::try_from(since_1970.as_secs()).unwrap_or(i64::MAX));
    }
}

impl KeyMetrics {
    pub(super) fn new(add: &Register<'_>) -> Self {
        Self {
            last_use: add.gauges(
                "ingest_key_last_use_timestamp_seconds",
                "When this process last let somebody in with a key, 0 if it never has, by account, kind and key.",
                &["account", "kind", "key"],
            ),
        }
    }
}

impl Metrics {
    /// Where the use of a key is noted. `key` stands for it, and says nothing about what it is.
    #[must_use]
    pub fn key_last_use(&self, account: &AccountName, kind: DoorKey, key: &str) -> LastUse {
        LastUse(self.keys.last_use.with_label_values(&[account.as_str(), kind.as_str(), key]))
    }

    /// A key opens nothing any more.
    pub fn key_is_gone(&self, account: &AccountName, kind: DoorKey, key: &str) {
        // What never was there needs not go.
        let _ = self.keys.last_use.remove_label_values(&[account.as_str(), kind.as_str(), key]);
    }
}

impl DoorKey {
    /// The word in labels and findings.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::KeyPair => "key_pair",
            Self::WriteKey => "write_key",
            Self::WebhookSecret => "webhook_secret",
        }
    }
}
