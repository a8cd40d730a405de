//! What no configuration names is found by the rows.

use std::sync::Arc;
use std::time::Duration;

use refersion_relay_model::{Class, Shard};
use refersion_relay_queue::{Former, LeftBehind, Place, Queue, Remnant, Sqlite, SqliteSettings};
use refersion_relay_telemetry::Metrics;

use crate::support::events::{INVALID, SHARD, TIER, account, crowd, events};
use crate::support::instance::Instance;
use crate::support::sqlite::{Embedded, settings};

async fn left(relay: &Instance<Sqlite>) -> Vec<(Former, u64)> {
    let LeftBehind { remnants, unseen } = relay.queue.left_behind().await.unwrap();
    assert!(unseen.is_empty(), "the rows tell exactly");
    remnants.into_iter().map(|Remnant { of, events }| (of, events)).collect()
}

#[tokio::test]
async fn a_former_account_tier_and_number_of_shards_and_an_unknown_place_are_left_behind() {
    let old = Embedded::start().await;
    old.store(&SHARD, events(0..1)).await;
    old.store(&Place::Later(Shard { index: 0, count: 2 }, TIER), events(1..3)).await;
    old.store(&Place::Held(account("renamed")), crowd(3..6)).await;
    old.store(&Place::Held(account("acme")), crowd(6..7)).await;
    old.store(&INVALID, crowd(7..8)).await;
    old.connection().execute("INSERT INTO place VALUES (99, 'dead.later', 4, 0, 0)", []).unwrap();
    let place = (Former::Place("dead.later".to_owned()), 4);
    assert_eq!(left(&old).await, [(Former::Account(account("renamed")), 3), place.clone()]);

    let other = SqliteSettings { shards: 3, tiers: vec![Duration::from_mins(1)], ..settings(&old.path()) };
    let new = Instance { queue: Arc::new(Sqlite::start(other, Metrics::new())) };
    new.until_up().await;

    // Nobody works, so nothing in the tier becomes due.
    let expected = [(Former::Account(account("renamed")), 3), (Former::Tier(TIER), 2), (Former::Shards(2), 1), place];
    assert_eq!(left(&new).await, expected);
    new.queue.admit(&[account("renamed")]).await.unwrap();
    assert_eq!(left(&new).await[0], (Former::Account(account("acme")), 1), "by the accounts as they are now");
    assert_eq!(new.depth(&Place::Dead(Class::Invalid)).await, 1);
}
