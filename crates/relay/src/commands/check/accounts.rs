use futures_util::StreamExt;
use refersion_relay_refersion::{Client, ClockReading, Failure, KeyCheck};

use super::finding::Finding;
use crate::config::{AccountSettings, Examined};

/// How many accounts are asked for at once. Each takes `refersion.timeout_ms` at most.
const AT_ONCE: usize = 8;

/// What was found out about the accounts, and what time it is at Refersion.
pub(super) struct Asked {
    pub(super) findings: Vec<Finding>,
    pub(super) readings: Vec<ClockReading>,
    /// Whether Refersion has answered anything at all.
    pub(super) answered: bool,
}

/// Asks Refersion whether each account's keys work.
pub(super) async fn ask(examined: &Examined, client: &Client) -> Asked {
    let asking = futures_util::stream::iter(&examined.settings.accounts).map(|account| one(examined, client, account));
    let checks: Vec<_> = asking.buffered(AT_ONCE).collect().await;
    let mut asked = Asked { findings: Vec::new(), readings: Vec::new(), answered: false };
    for (finding, check) in checks {
        asked.findings.push(finding);
        if let Some(KeyCheck { keys, clock }) = check {
            asked.readings.extend(clock);
            asked.answered |= !matches!(keys, Err(Failure::Transport { .. }));
        }
    }
    asked
}

async fn one(examined: &Examined, client: &Client, account: &AccountSettings) -> (Finding, Option<KeyCheck>) {
    let what = format!("account {}", account.name);
    let secret = format!("{what}: secret_key");
    if !examined.knows(&secret) {
        let says = "its keys were not tried: mend its secret_key_file and check again";
        return (Finding::warning(what, says).following(secret), None);
    }
    let check = client.check_keys_and_clock(&account.keys).await;
    let finding = match &check.keys {
        Ok(()) => Finding::ok(what, "its keys work"),
        Err(failure) => Finding::failed(what, failure.to_string()),
    };
    (finding, Some(check))
}
