use std::time::Duration;

use refersion_relay_queue::{Queue, QueueError};

use super::node;
use crate::support::events::{account, events, work};
use crate::support::rabbitmq::{Relay, settings};
use crate::support::waiting::eventually;

#[tokio::test]
async fn accounts_whose_places_may_not_be_made_are_not_admitted() {
    let node = node().await;
    node.ctl(&["add_user", "relay", "secret"]).await.unwrap();
    node.ctl(&["set_permissions", "relay", r"^((?!\.new$).)*$", ".*", ".*"]).await.unwrap();
    let (administrator, own) = (node.url(), node.url().replace("guest:guest@", "relay:secret@"));
    let relay = Relay::start_with(&administrator, settings(&own)).await;

    for _ in 0..2 {
        let refused = relay.queue.admit(&[account("acme"), account("new")]).await;
        assert!(matches!(refused, Err(QueueError::Forbidden(_))), "{refused:?}");
    }
    relay.queue.check().await.unwrap();
}

#[tokio::test]
async fn what_was_counted_without_the_right_to_store_it_is_in_the_first_slot_as_soon_as_there_is_one() {
    let node = node().await;
    node.ctl(&["add_user", "relay", "secret"]).await.unwrap();
    node.ctl(&["set_permissions", "relay", r"^((?!\.tally\.).)*$", ".*", ".*"]).await.unwrap();
    let (administrator, own) = (node.url(), node.url().replace("guest:guest@", "relay:secret@"));
    let relay = Relay::start_with(&administrator, settings(&own)).await;
    relay.store(&work(), events(0..5)).await;
    tokio::time::sleep(Duration::from_secs(4)).await; // for two tries

    node.ctl(&["set_permissions", "relay", ".*", ".*", ".*"]).await.unwrap();

    let sum = eventually("the sum", async || relay.queue.conservation().await.ok().filter(|sum| sum.accepted == 5));
    assert_eq!(sum.await.difference(), 0);
    assert!(relay.admin.queue_exists(&relay.name("tally.0")).await);
}
