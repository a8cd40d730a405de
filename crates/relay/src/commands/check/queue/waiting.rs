use std::cmp::Reverse;

use refersion_relay_model::AccountName;
use refersion_relay_queue::{Place, Queue, QueueError};

use crate::commands::check::finding::Finding;
use crate::config::AccountSettings;
use crate::output::words::{counted, form};
use crate::parts;

const WHAT: &str = "work queues";
/// How many accounts are named.
const MOST_NAMED: usize = 10;

/// How many events wait to be worked, and for which accounts.
pub(crate) async fn look(queue: &dyn Queue, accounts: &[AccountSettings]) -> Finding {
    match count(queue, parts::names(accounts)).await {
        Ok(waiting) => Finding::ok(WHAT, said(waiting)),
        Err(error) => Finding::warning(WHAT, format!("were not looked at: {error}")).following("queue"),
    }
}

async fn count(queue: &dyn Queue, accounts: Vec<AccountName>) -> Result<Vec<(AccountName, u64)>, QueueError> {
    let mut waiting = Vec::new();
    for account in accounts {
        let depth = queue.depth(&Place::Work(account.clone())).await?;
        waiting.push((account, depth.ready.saturating_add(depth.in_hand)));
    }
    Ok(waiting)
}

/// Those with the most come first.
fn said(mut waiting: Vec<(AccountName, u64)>) -> String {
    waiting.retain(|(_, events)| 0 < *events);
    waiting.sort_by_key(|(_, events)| Reverse(*events));
    let total = waiting.iter().fold(0_u64, |total, (_, events)| total.saturating_add(*events));
    if total == 0 {
        return "nothing waits for any account".to_owned();
    }
    let named: Vec<_> =
        waiting.iter().take(MOST_NAMED).map(|(account, events)| format!("{events} for {account}")).collect();
    let others = waiting.len().saturating_sub(MOST_NAMED);
    let others = if 0 < others { format!(", and some for {others} more") } else { String::new() };
    let (events, wait) = (counted(total, "event"), form(total, "waits", "wait"));
    format!("{events} {wait}: {}{others}", named.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accounts_with_the_most_are_named_and_the_rest_counted() {
        let said = |waiting: &[(&str, u64)]| {
            let account = |name: &str| AccountName::try_from(name).unwrap();
            super::said(waiting.iter().map(|(name, events)| (account(name), *events)).collect())
        };
        assert_eq!(said(&[("acme", 0)]), "nothing waits for any account");
        assert_eq!(said(&[("acme", 1), ("other", 0)]), "1 event waits: 1 for acme");
        assert_eq!(said(&[("acme", 1), ("other", 4)]), "5 events wait: 4 for other, 1 for acme");
        let names: Vec<_> = (0..12).map(|n| format!("a{n}")).collect();
        let many: Vec<_> = names.iter().map(|name| (name.as_str(), 1)).collect();
        assert!(said(&many).ends_with("1 for a9, and some for 2 more"), "{}", said(&many));
    }
}
