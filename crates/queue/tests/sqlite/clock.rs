//! A clock that was set back since something was written.

use std::time::Duration;

use refersion_relay_queue::Ahead;

use refersion_relay_queue_testkit::events::{DELIVERED, bodies, events, later, numbers, work};
use refersion_relay_queue_testkit::sqlite::Embedded;
use refersion_relay_queue_testkit::waiting::{nothing_comes, take};

/// Writes the times of a kind as a clock would have done that was so far ahead.
fn ahead(relay: &Embedded, column: &str, by: Duration) {
    let by = i64::try_from(by.as_millis()).unwrap();
    let changed = relay.connection().execute(&format!("UPDATE event SET {column} = {column} + ?1"), [by]).unwrap();
    assert!(0 < changed);
}

#[tokio::test]
async fn what_waits_in_a_tier_does_not_wait_for_the_clock_to_catch_up() {
    let relay = Embedded::start().await;
    relay.store(&later(), events(0..3)).await;
    ahead(&relay, "due_at", Duration::from_hours(24 * 365));
    let expected = Ahead { place: "retry.1s".to_owned(), events: 3 };
    assert_eq!(relay.queue.ahead().await.unwrap(), [expected]);

    let mut owned = relay.own(&work()).await;

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
    let mut owned = relay.own(&work()).await;
    relay.store(&later(), events(0..1)).await;
    nothing_comes(&mut owned).await;
    assert_eq!(relay.queue.ahead().await.unwrap(), []);
    take(&mut owned, 1).await.remove(0).settle(DELIVERED).await.unwrap();
    owned.release().await;
    relay.clean().await;
}
