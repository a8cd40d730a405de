use refersion_relay_queue::{Queue, QueueError};

use super::node;
use crate::support::events::account;
use crate::support::rabbitmq::{Relay, settings};

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
