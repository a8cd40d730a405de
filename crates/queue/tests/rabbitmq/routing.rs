//! Which queue a subject's events are on.

use refersion_relay_model::{Shard, Subject};
use refersion_relay_queue::{Place, RabbitMqSettings};

use crate::support::events::{account, event};
use crate::support::rabbitmq::{Relay, settings, shared_broker};
use crate::support::wire::Wire;

/// Subjects of the account acme, and their queue of four; worked out with another implementation of xxh64.
const FIXED: [(&str, u16); 5] =
    [("peter@example.com", 2), ("7", 3), ("0b1e6a3c-anonymous", 1), ("mia@example.com", 0), ("olga@example.org", 3)];

pub(crate) fn four_shards(url: &str) -> RabbitMqSettings {
    RabbitMqSettings { shards: 4, ..settings(url) }
}

/// Publishes an event of every fixed subject and looks for it where it belongs.
pub(crate) async fn assert_fixed_subjects(relay: &Relay) {
    for (subject, index) in FIXED {
        let shard = Subject::of_message(subject).shard(&account("acme"), 4);
        assert_eq!(shard, Shard { index, count: 4 }, "of {subject}");
        relay.store(&Place::Shard(shard), [event(subject, subject)]).await;
    }
    for (subject, index) in FIXED {
        assert_eq!(relay.admin.drain(&relay.shard_queue(index), 1).await, [subject]);
    }
}

#[tokio::test]
async fn a_subject_stays_on_its_queue_over_connections_and_processes() {
    let url = shared_broker();
    let wire = Wire::to(&url).await;
    let relay = Relay::start_with(&url, four_shards(&wire.url(&url))).await;
    assert_fixed_subjects(&relay).await;

    wire.cut();
    relay.until("away", |state| !state.is_up()).await;
    relay.until_up().await;
    assert_fixed_subjects(&relay).await;

    let other = Relay::start_with(&url, relay.settings.clone()).await;
    assert_fixed_subjects(&other).await;
    drop(other);
    relay.clean().await;
}
