use futures_util::StreamExt;
use refersion_relay_refersion::{Client, ClockReading, Failure, KeyCheck};

use super::finding::Finding;
use crate::config::{AccountSettings, Examined};
use crate::parts;

/// How many accounts are asked for at once. Each takes `refersion.timeout_ms` at most.
const AT_ONCE: usize = 8;

/// What was found out about the accounts, and what time it is at Refersion.
pub(crate) struct Asked {
    pub(crate) findings: Vec<Finding>,
    pub(crate) readings: Vec<ClockReading>,
    /// Whether Refersion has answered anything at all.
    pub(crate) answered: bool,
}

/// Asks Refersion whether each account's keys work.
pub(crate) async fn ask(examined: &Examined, client: &Client) -> Asked {
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

/// Which keys the doors take of each account, by what the metric of their last use calls them.
pub(crate) fn door_keys(examined: &Examined) -> impl Iterator<Item = Finding> {
    let knows = |account: &&AccountSettings| examined.knows(&format!("account {}: secret_key", account.name));
    examined.settings.accounts.iter().filter(knows).map(|account| {
        let keys = parts::account_access(account, false).key_names();
        let said: Vec<_> = keys.iter().map(|(kind, key)| format!("{} {key}", kind.as_str())).collect();
        Finding::ok(format!("account {}: keys of the doors", account.name), said.join(", "))
    })
}

async fn one(examined: &Examined, client: &Client, account: &AccountSettings) -> (Finding, Option<KeyCheck>) {
    let what = format!("account {}", account.name);
    let secret = format!("{what}: secret_key");
    if !examined.knows(&secret) {
        let says = "its keys were not tried: mend its secret_key_file and check again";
        return (Finding::warning(what, says).following(secret), None);
    }
    if !examined.knows_way() {
        let says = "its keys were not tried: mend refersion.proxy_url_file and check again";
        return (Finding::warning(what, says), None);
    }
    let check = client.check_keys_and_clock(&account.keys).await;
    let finding = match &check.keys {
        Ok(()) => Finding::ok(what, "its keys work"),
        Err(failure @ Failure::Transport { .. }) => {
            let base = &examined.settings.base_url;
            Finding::failed(what, format!("{failure}, at refersion.base_url = {base}"))
        }
        Err(failure) => Finding::failed(what, failure.to_string()),
    };
    (finding, Some(check))
}
