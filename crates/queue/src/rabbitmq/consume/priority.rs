use refersion_relay_model::AccountName;
use sha2::{Digest, Sha256};

use crate::Place;

/// How much a worker wants a place, against other workers who do not know of it: each account goes to the worker
/// with the highest number for it, so the accounts of one that goes are spread over the others, and no other account moves.
///
/// A broker from RabbitMQ 4.0 on makes the consumer with the highest priority the active one, once whoever was it before has
/// settled what it has in hand. Before 4.0 whoever came first stays, whatever the priorities are. Only work queues are shared like
/// that.
pub(crate) fn priority(worker: u64, place: &Place) -> Option<i32> {
    match place {
        Place::Work(account) => Some(weight(worker, account)),
        Place::Intake | Place::Later(..) | Place::Dead(_) => None,
    }
}

/// From 0 to `i32::MAX`.
fn weight(worker: u64, account: &AccountName) -> i32 {
    let mut hash = Sha256::new();
    hash.update(worker.to_be_bytes());
    hash.update(account.as_str());
    let hash = hash.finalize();
    i32::from_be_bytes([hash[0] & 0x7f, hash[1], hash[2], hash[3]])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const ACCOUNTS: u64 = 64;

    fn account(number: u64) -> AccountName {
        AccountName::try_from(format!("account-{number}")).unwrap()
    }

    /// Who gets which account.
    fn shared(workers: &[u64]) -> BTreeMap<u64, u64> {
        let owner = |number| *workers.iter().max_by_key(|worker| weight(**worker, &account(number))).unwrap();
        (0..ACCOUNTS).map(|number| (number, owner(number))).collect()
    }

    #[test]
    fn every_worker_gets_about_its_share() {
        for workers in 2..=8 {
            let shared = shared(&(1..=workers).collect::<Vec<_>>());
            for worker in 1..=workers {
                let accounts = shared.values().filter(|owner| **owner == worker).count() as u64;
                let share = ACCOUNTS / workers;
                assert!((share / 3..=share * 2).contains(&accounts), "{worker} of {workers} has {accounts} accounts");
            }
        }
    }

    #[test]
    fn only_the_accounts_of_whoever_goes_get_another_owner() {
        let (before, after) = (shared(&[1, 2, 3, 4]), shared(&[1, 2, 4]));
        for (account, owner) in before {
            assert!(owner == 3 || after[&account] == owner, "account {account}");
        }
    }

    #[test]
    fn only_work_queues_are_shared() {
        assert!(priority(1, &Place::Work(account(0))).is_some_and(|priority| 0 <= priority));
        assert_eq!(priority(1, &Place::Intake), None);
    }
}
