//! What no configuration names is found by the rows.

use std::sync::Arc;
use std::time::Duration;

use refersion_relay_model::Class;
use refersion_relay_queue::{Former, LeftBehind, Place, Queue, Remnant, Sqlite, SqliteSettings};
use refersion_relay_telemetry::Metrics;

use refersion_relay_queue_testkit::events::{INVALID, TIER, account, crowd, events, later, other_work};
use refersion_relay_queue_testkit::instance::Instance;
use refersion_relay_queue_testkit::sqlite::{Embedded, settings};

async fn left(relay: &Instance<Sqlite>) -> Vec<(Former, u64)> {
    let LeftBehind { remnants, unseen } = relay.queue.left_behind().await.unwrap();
    assert!(unseen.is_empty(), "the rows tell exactly");
    remnants.into_iter().map(|Remnant { of, events }| (of, events)).collect()
}

#[tokio::test]
async fn a_former_account_and_tier_and_an_unknown_place_are_left_behind() {
    let old = Embedded::start().await;
    let renamed = Place::Work(account("renamed"));
    old.queue.admit(&["acme", "other", "renamed"].map(account)).await.unwrap();
    old.store(&later(), events(0..2)).await;
    old.store(&renamed, crowd(2..4)).await;
    old.store(&other_work(), crowd(4..5)).await;
    old.store(&INVALID, crowd(5..6)).await;
    old.connection().execute("INSERT INTO place VALUES (99, 'dead.later', 4, 0, 0, 0)", []).unwrap();
    let place = (Former::Place("dead.later".to_owned()), 4);
    assert_eq!(left(&old).await, std::slice::from_ref(&place));
    let accounts = ["acme", "other"].map(account);

    old.queue.admit(&accounts).await.unwrap();
    let other =
        SqliteSettings { accounts: accounts.to_vec(), tiers: vec![Duration::from_mins(1)], ..settings(&old.path()) };
    let new = Instance { queue: Arc::new(Sqlite::start(other, Metrics::new())) };
    new.until_up().await;

    // What comes stays there too.
    new.store(&renamed, crowd(6..7)).await;
    assert_eq!(left(&old).await, [(Former::Account(account("renamed")), 3), place.clone()]);
    // Nobody works, so nothing in the tier becomes due.
    let expected = [(Former::Account(account("renamed")), 3), (Former::Tier(TIER), 2), place];
    assert_eq!(left(&new).await, expected);
    new.queue.admit(&[account("renamed")]).await.unwrap();
    assert_eq!(left(&new).await[0], (Former::Account(account("other")), 1), "by the accounts as they are now");
    assert_eq!((new.depth(&INVALID).await, new.depth(&Place::Dead(Class::Unrouted)).await), (1, 0));
}
