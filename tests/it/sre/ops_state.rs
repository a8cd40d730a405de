//! What one process knows, as `/ops/state` tells it.

use refersion_relay_simulator::Operation;
use refersion_relay_tests::{Config, Refersion, Relay, eventually, identify, shared_broker};
use serde_json::{Value, json};

async fn state(relay: &Relay) -> Value {
    let (status, body) = relay.ops("/ops/state").await.expect("it answers");
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).expect("JSON")
}

/// What is said of an account.
async fn account(relay: &Relay, name: &str) -> Value {
    let state = state(relay).await;
    let accounts = state["accounts"].as_array().expect("a list");
    accounts.iter().find(|account| account["account"] == name).expect("it is configured").clone()
}

#[tokio::test]
async fn it_tells_whose_keys_are_refused_and_what_doors_did_last() {
    let refersion = Refersion::start().await;
    refersion.simulator.set_keys_valid("pub_2", false);
    let config = Config::new(&shared_broker(), refersion.url(), &[]);
    let door = Relay::start("ingest", &config).await;
    let before = state(&door).await;
    assert_eq!(
        (&before["role"], &before["accounts"], &before["refersion"]),
        (&json!("ingest"), &json!([]), &json!(null))
    );
    let expected = json!({"door": "destination", "last_accepted": null, "last_refused": null});
    assert_eq!(before["doors"][0], expected);

    assert_eq!(door.post(1, identify("peter@example.com")).await.status, 202);
    assert_eq!(door.post(2, identify("peter@example.com")).await.status, 202);
    assert_eq!(door.post(3, identify("peter@example.com")).await.status, 401);

    let after = state(&door).await;
    assert!(after["doors"][0]["last_accepted"].is_string(), "{after}");
    assert_eq!(after["doors"][0]["last_refused"]["reason"], "unauthorized");
    assert_eq!(after["doors"][1], json!({"door": "webhook", "last_accepted": null, "last_refused": null}));
    let worker = Relay::start("worker", &config).await;
    assert_eq!(state(&worker).await["doors"], json!([]));
    eventually("he is there", || async { refersion.statuses("peter@example.com") == ["PENDING"] }).await;
    let open = account(&worker, "acme").await;
    assert_eq!(
        (&open["condition"], &open["work_queue"], &open["calls_per_second"]),
        (&json!("open"), &json!("worked"), &json!(null))
    );
    assert!(1 <= open["calls_allowed"].as_u64().expect("a number"), "{open}");
    eventually("the other is held", || async { account(&worker, "other").await["condition"] == "held" }).await;
    eventually("nobody reads its queue", || async { account(&worker, "other").await["work_queue"] == "unread" }).await;
    assert_eq!(refersion.count(Operation::New), 1);

    // Whoever is taken out of the configuration is gone.
    let since = open["since"].clone();
    config.edit("name = \"acme\"", "name = \"renamed\"");
    eventually("it is gone", || async { account(&worker, "acme").await["condition"] == "gone" }).await;
    assert_ne!(account(&worker, "acme").await["since"], since);
}
