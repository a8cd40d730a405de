use refersion_relay_model::Shard;
use sha2::{Digest, Sha256};

use crate::Place;

/// How much a worker wants a place, against other workers who do not know of it: each shard goes to the worker with the
/// highest number for it, so the shards of one that goes are spread over the others, and no other shard moves.
///
/// A broker from RabbitMQ 4.0 on makes the consumer with the highest priority the active one, once whoever was it before has
/// settled what it has in hand. Before 4.0 whoever came first stays, whatever the priorities are. Only shards are shared like that.
pub(super) fn priority(worker: u64, place: &Place) -> Option<i32> {
    match place {
        Place::Shard(shard) => Some(weight(worker, *shard)),
        Place::Intake | Place::Subject(_) | Place::Later(..) | Place::Held(_) | Place::Dead(_) => None,
    }
}

/// From 0 to `i32::MAX`.
fn weight(worker: u64, shard: Shard) -> i32 {
    let mut hash = Sha256::new();
    hash.update(worker.to_be_bytes());
    hash.update(shard.count.to_be_bytes());
    hash.update(shard.index.to_be_bytes());
    let hash = hash.finalize();
    i32::from_be_bytes([hash[0] & 0x7f, hash[1], hash[2], hash[3]])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const COUNT: u16 = 64;

    /// Who gets which shard.
    fn shared(workers: &[u64]) -> BTreeMap<u16, u64> {
        let owner = |index| {
            let shard = Shard { index, count: COUNT };
            *workers.iter().max_by_key(|worker| weight(**worker, shard)).unwrap()
        };
        (0..COUNT).map(|index| (index, owner(index))).collect()
    }

    #[test]
    fn every_worker_gets_about_its_share() {
        for workers in 2..=8 {
            let shared = shared(&(1..=workers).collect::<Vec<_>>());
            for worker in 1..=workers {
                let shards = shared.values().filter(|owner| **owner == worker).count() as u64;
                let share = u64::from(COUNT) / workers;
                assert!((share / 3..=share * 2).contains(&shards), "{worker} of {workers} has {shards} shards");
            }
        }
    }

    #[test]
    fn only_the_shards_of_whoever_goes_get_another_owner() {
        let (before, after) = (shared(&[1, 2, 3, 4]), shared(&[1, 2, 4]));
        for (shard, owner) in before {
            assert!(owner == 3 || after[&shard] == owner, "shard {shard}");
        }
    }

    #[test]
    fn only_shards_are_shared() {
        assert!(priority(1, &Place::Shard(Shard { index: 0, count: 8 })).is_some_and(|priority| 0 <= priority));
        assert_eq!(priority(1, &Place::Intake), None);
    }
}
