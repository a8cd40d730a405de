//! What no configuration names is found by what the processes have remembered.

use std::time::Duration;

use refersion_relay_queue::{Former, Place, Queue, RabbitMq, RabbitMqSettings, Remnant, Shown};

use refersion_relay_queue_testkit::events::{TIER, account, crowd, other_work, work};
use refersion_relay_queue_testkit::instance::Instance;
use refersion_relay_queue_testkit::rabbitmq::{Relay, settings, shared_broker};
use refersion_relay_queue_testkit::waiting::eventually;

/// A delay that nothing comes back from during a test.
const LONG: Duration = Duration::from_hours(1);

fn not_asked() -> Shown {
    Shown::Nothing { why: "set queue.management_url".to_owned() }
}

/// A relay with a tier in which events stay.
async fn before() -> Relay {
    let url = shared_broker();
    let settings = RabbitMqSettings { tiers: vec![LONG], ..settings(&url) };
    let relay = Relay::start_with(&url, settings).await;
    relay.queue.remember().await.unwrap();
    relay
}

/// The same with another configuration: another account, another delay.
async fn after(relay: &Relay) -> Instance<RabbitMq> {
    let settings = RabbitMqSettings { accounts: vec![account("new")], tiers: vec![TIER], ..relay.settings.clone() };
    Relay::start_with(&shared_broker(), settings).await.instance
}

async fn left(relay: &Instance<RabbitMq>) -> Vec<(Former, u64)> {
    let found = relay.queue.left_behind(not_asked()).await.unwrap();
    found.remnants.into_iter().map(|Remnant { of, events }| (of, events)).collect()
}

async fn clean(relay: Relay) {
    for settings in [
        RabbitMqSettings { accounts: vec![account("new")], tiers: vec![TIER], ..relay.settings.clone() },
        relay.settings.clone(),
    ] {
        relay.admin.delete_everything(&settings).await;
    }
    relay.admin.delete_queue(&relay.name("retry.1h")).await;
    relay.admin.delete_exchange(&relay.name("retry.1h")).await;
}

#[tokio::test]
async fn a_former_account_and_tier_are_left_behind_and_still_add_up() {
    let old = before().await;
    assert_eq!(left(&old).await, []);
    old.store(&other_work(), crowd(0..1)).await;
    old.store(&Place::Later(account("acme"), LONG), crowd(1..3)).await;
    old.store(&work(), crowd(3..6)).await;
    old.instance.queue.close().await;

    let new = after(&old).await;
    new.queue.remember().await.unwrap();

    let expected =
        [(Former::Account(account("acme")), 3), (Former::Account(account("other")), 1), (Former::Tier(LONG), 2)];
    eventually("they are found", async || (left(&new).await == expected).then_some(())).await;
    let sum = eventually("the sum", async || new.queue.conservation().await.ok()).await;
    assert_eq!((sum.accepted, sum.waiting(), sum.difference()), (6, 6, 0), "{sum}");
    clean(old).await;
}

#[tokio::test]
async fn what_is_deleted_on_the_broker_is_forgotten_and_what_comes_later_is_remembered() {
    let old = before().await;
    old.store(&Place::Later(account("acme"), LONG), crowd(0..1)).await;
    old.instance.queue.close().await; // it would declare again what is deleted
    let new = after(&old).await;
    old.admin.delete_queue(&old.work_queue("acme")).await;

    // Several at once, as when everything starts at the same time.
    let (first, second) = tokio::join!(new.queue.remember(), new.queue.remember());
    first.and(second).unwrap();

    new.store(&Place::Work(account("new")), crowd(1..2)).await;
    let third =
        Relay::start_with(&shared_broker(), RabbitMqSettings { accounts: Vec::new(), ..old.settings.clone() }).await;
    eventually("it is found", async || (left(&third).await == [(Former::Account(account("new")), 1)]).then_some(()))
        .await;
    drop(third);
    let journal = String::from_utf8(old.admin.bodies(&old.name("tally")).await.concat()).unwrap();
    assert!(journal.contains("new") && !journal.contains("acme"), "{journal}");
    clean(old).await;
}

#[tokio::test]
async fn what_cannot_be_known_is_said() {
    let relay = Relay::start().await;
    let unseen = async || relay.queue.left_behind(not_asked()).await.unwrap().unseen.concat();
    assert!(unseen().await.contains("no relay has remembered yet") && unseen().await.contains("queue.management_url"));

    relay.queue.remember().await.unwrap();

    assert!(unseen().await.contains("below another prefix"), "{}", unseen().await);
    relay.clean().await;
}
