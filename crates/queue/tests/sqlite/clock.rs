//! A clock that was set back since something was written.

use std::time::{Duration, SystemTime};

use refersion_relay_model::Shard;
use refersion_relay_queue::{Ahead, Place};

use crate::support::events::{DELIVERED, TIER, account, bodies, event, events, numbers};
use crate::support::sqlite::Embedded;
use crate::support::waiting::{nothing_comes, take};

const SHARD: Place = Place::Shard(Shard { index: 0, count: 2 });
const LATER: Place = Place::Later(Shard { index: 0, count: 2 }, TIER);

/// Writes the times of a kind as a clock would have done that was so far ahead.
fn ahead(relay: &Embedded, column: &str, by: Duration) {
    let by = i64::try_from(by.as_millis()).unwrap();
    let changed = relay.connection().execute(&format!("UPDATE event SET {column} = {column} + ?1"), [by]).unwrap();
    assert!(0 < changed);
}

#[tokio::test]
async fn what_waits_in_a_tier_does_not_wait_for_the_clock_to_catch_up() {
    let relay = Embedded::start().await;
    relay.store(&LATER, events(0..3)).await;
    ahead(&relay, "due_at", Duration::from_hours(24 * 365));
    let expected = Ahead { place: "retry.1s".to_owned(), events: 3 };
    assert_eq!(relay.queue.ahead().await.unwrap(), [expected]);

    let mut owned = relay.own(&SHARD).await;

    let taken = take(&mut owned, 3).await;
    assert_eq!(bodies(&taken), numbers(0..3));
    for delivery in taken {
        delivery.settle(DELIVERED).await.unwrap();
    }
    assert_eq!(relay.queue.ahead().await.unwrap(), []);
    owned.release().await;
    relay.clean().await;
}

#[tokio::test]
async fn what_waits_for_its_delay_waits_for_it() {
    let relay = Embedded::start().await;
    let mut owned = relay.own(&SHARD).await;
    relay.store(&LATER, events(0..1)).await;
    nothing_comes(&mut owned).await;
    assert_eq!(relay.queue.ahead().await.unwrap(), []);
    take(&mut owned, 1).await.remove(0).settle(DELIVERED).await.unwrap();
    owned.release().await;
    relay.clean().await;
}

#[tokio::test]
async fn what_was_held_at_a_time_that_lies_ahead_is_named() {
    let relay = Embedded::start().await;
    let mut held = event("one", "0");
    held.headers.held_at = Some(SystemTime::now());
    relay.store(&Place::Held(account("acme")), [held]).await;
    assert_eq!(relay.queue.ahead().await.unwrap(), []);

    ahead(&relay, "held_at", Duration::from_hours(1));

    let expected = Ahead { place: "held.acme".to_owned(), events: 1 };
    assert_eq!(relay.queue.ahead().await.unwrap(), [expected]);
    relay.clean().await;
}
