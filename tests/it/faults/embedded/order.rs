use refersion_relay_simulator::{Fault, Operation};
use refersion_relay_tests::{Config, Refersion, Relay, delete, eventually, identify};

use crate::order::order::hot;
use crate::order::order::oracle;
use crate::order::order::{self, TIERS};

#[tokio::test]
async fn events_behind_one_that_waits_keep_their_order_when_the_worker_dies() {
    let refersion = Refersion::start().await;
    let config = Config::embedded(refersion.url(), &[]);
    order::a_worker_that_dies_changes_nothing(&refersion, &config).await;
}

#[tokio::test]
async fn events_behind_one_in_a_tier_wait_for_it() {
    let refersion = Refersion::start().await;
    let config = Config::embedded(refersion.url(), &[TIERS]);
    order::what_is_in_a_tier_is_not_overtaken(&refersion, &config).await;
}

#[tokio::test]
async fn an_event_in_a_tier_is_not_overtaken_while_its_account_is_held() {
    let refersion = Refersion::start().await;
    let config = Config::embedded(refersion.url(), &[TIERS]);
    order::what_is_in_a_tier_is_not_overtaken_while_its_account_is_held(&refersion, &config).await;
}

#[tokio::test]
async fn one_busy_subject_leaves_room_for_others() {
    let refersion = hot::slow_refersion().await;
    let config = Config::embedded(refersion.url(), &[hot::ROOM]);
    hot::leaves_room(&refersion, &config).await;
}

#[tokio::test]
async fn affiliates_become_what_their_last_events_say() {
    let refersion = Refersion::start().await;
    let config = Config::embedded(refersion.url(), &[TIERS]);
    oracle::agrees(&refersion, &config, "update").await;
}

#[tokio::test]
async fn affiliates_become_what_their_last_events_say_while_most_failures_wait_in_hand() {
    let refersion = Refersion::start().await;
    let retry = ("retry", "in_hand = \"3s\"\ntiers = [\"1s\", \"2s\"]");
    let config = Config::embedded(refersion.url(), &[retry]);
    oracle::agrees(&refersion, &config, "update").await;
}

#[tokio::test]
async fn affiliates_stay_what_their_first_events_said() {
    let refersion = Refersion::start().await;
    let config = Config::embedded(refersion.url(), &[TIERS]);
    oracle::agrees(&refersion, &config, "keep").await;
}

#[tokio::test]
async fn events_that_wait_in_a_tier_come_when_they_are_due() {
    let refersion = Refersion::start().await;
    let retry = ("retry", "in_hand = \"0s\"\ntiers = [\"1s\"]");
    let config = Config::embedded(refersion.url(), &[retry]);
    let relay = Relay::start("run", &config).await;
    refersion.fail(Operation::New, "late@", Some(1), Fault::status(500, None));

    assert_eq!(relay.post(1, identify("late@example.com")).await.status, 202);

    eventually("it waits in its tier", || async {
        relay.metric(r#"refersion_relay_retries_total{wait="tier"}"#).await == 1
    })
    .await;
    assert_eq!(config.ledger().await["waiting"], 1);
    eventually("it has its effect", || async { refersion.statuses("late@example.com") == ["PENDING"] }).await;
    eventually("the ledger says so", || async { config.ledger().await["delivered"] == 1 }).await;
}

#[tokio::test]
async fn a_held_account_is_worked_in_order_when_its_keys_work_again() {
    let refersion = Refersion::start().await;
    let config = Config::embedded(refersion.url(), &[]);
    let relay = Relay::start("run", &config).await;
    refersion.simulator.set_keys_valid("pub_1", false);

    for n in 0..40 {
        let email = format!("held{n}@example.com");
        assert_eq!(relay.post(1, identify(&email)).await.status, 202);
        assert_eq!(relay.post(1, delete(&email)).await.status, 202);
    }
    assert_eq!(relay.post(2, identify("free@example.com")).await.status, 202);
    eventually("the other account is worked", || async { !refersion.with_email("free@example.com").is_empty() }).await;
    // A crash in the middle of it changes nothing.
    relay.kill().await;
    let _relay = Relay::start("run", &config).await;
    refersion.simulator.set_keys_valid("pub_1", true);

    eventually("each was created and then deactivated", || async {
        let affiliates = refersion.simulator.affiliates();
        affiliates.iter().filter(|affiliate| affiliate.status.as_str() == "DISABLED").count() == 40
    })
    .await;
    assert_eq!(refersion.simulator.affiliates().len(), 41);
    eventually("the ledger says so", || async { config.ledger().await["delivered"] == 81 }).await;
}
