//! `explain` about events in ten states: right on the embedded queue, and on RabbitMQ right or honest.

use refersion_relay_simulator::{Fault, FaultRule, Operation};
use refersion_relay_tests::{Config, Refersion, Relay, delete, eventually, identify, shared_broker, with_id};
use serde_json::Value;

const MORE: [(&str, &str); 2] = [("retry", "in_hand = \"1s\"\ntiers = [\"1h\"]"), ("worker", "prefetch = 8")];

async fn explained(config: &Config, relay: &Relay, id: &str) -> (Option<i32>, Value) {
    let output = config.command(&["explain", id, "--json", "--ops", &relay.ops_door().to_string()]).await;
    (output.code, serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}")))
}

/// What `explain` calls the state of an event; empty if it knows nothing.
async fn state(config: &Config, relay: &Relay, id: &str) -> String {
    let (code, explanation) = explained(config, relay, id).await;
    let events = explanation["events"].as_array().expect("a list");
    assert_eq!(code, Some(i32::from(events.is_empty())), "{explanation}");
    assert!(events.len() <= 1, "{explanation}");
    events.first().map(|event| event["state"].as_str().expect("a word").to_owned()).unwrap_or_default()
}

async fn until(config: &Config, relay: &Relay, id: &str, expected: &str) {
    eventually(&format!("{id} is {expected}"), || async { state(config, relay, id).await == expected }).await;
}

fn always(operation: Option<Operation>, email: &str, fault: Fault) -> FaultRule {
    FaultRule { operation, email_contains: Some(email.to_owned()), ..FaultRule::always(fault) }
}

/// Brings events into all the states, and compares what is said of each. `waiting`: of one that waits in a work queue.
async fn ten_states(config: Config, waiting: &str) {
    let refersion = Refersion::start().await;
    config.edit("http://127.0.0.1:1/v2", refersion.url());
    config.edit("timeout_ms = 2000", "timeout_ms = 60000");
    let relay = Relay::start("run", &config).await;
    let accepted = async |account: u8, id: &str, event: Vec<u8>| {
        assert_eq!(relay.post(account, with_id(&event, id)).await.status, 202, "{id}");
    };

    accepted(1, "m1", identify("ok@example.com")).await;
    until(&config, &relay, "m1", "delivered").await;

    let refusal = Fault::Status { status: 204, body: None, content_type: None, retry_after: None };
    refersion.simulator.add_fault(always(Some(Operation::New), "refused", refusal));
    accepted(1, "m2", identify("refused1@example.com")).await;
    accepted(1, "m3", identify("refused2@example.com")).await;
    until(&config, &relay, "m2", "dead").await;
    until(&config, &relay, "m3", "dead").await;
    refersion.simulator.clear_faults();
    let again = config.command(&["dlq", "replay", "--message-id", "m2", "--yes"]).await;
    assert_eq!(again.code, Some(0), "{again:?}");
    until(&config, &relay, "m2", "delivered").await;
    let (_, explanation) = explained(&config, &relay, "m2").await;
    assert!(explanation["events"][0]["now"].as_str().expect("a sentence").contains("replayed"), "{explanation}");

    let batch = r#"{"batch":[{"type":"track","event":"x","messageId":"m4","userId":"u"}]}"#;
    assert_eq!(relay.post_batch("write_1", batch).await.status, 200);
    assert_eq!(state(&config, &relay, "m4").await, "ignored");

    let broken = Fault::Status { status: 500, body: None, content_type: None, retry_after: None };
    refersion.simulator.add_fault(always(None, "tier", broken));
    accepted(1, "m5", identify("tier@example.com")).await;
    until(&config, &relay, "m5", "in_tier").await;
    let (_, explanation) = explained(&config, &relay, "m5").await;
    let before = explanation["events"][0]["before"].to_string();
    assert!(before.contains("attempts that failed and count") && before.contains("unavailable"), "{before}");

    refersion.simulator.set_keys_valid("pub_2", false);
    accepted(2, "m6", identify("held@example.com")).await;
    until(&config, &relay, "m6", "held").await;

    // Eight in hand are all there is room for.
    refersion.simulator.add_fault(always(None, "slow", Fault::Hang));
    accepted(1, "m7", identify("slow0@example.com")).await;
    accepted(1, "m8", delete("slow0@example.com")).await;
    until(&config, &relay, "m7", "in_hand").await;
    until(&config, &relay, "m8", "behind").await;
    let (_, explanation) = explained(&config, &relay, "m8").await;
    assert!(explanation["events"][0]["now"].as_str().expect("a sentence").contains("m7"), "{explanation}");
    for n in 1..7 {
        accepted(1, &format!("m7{n}"), identify(&format!("slow{n}@example.com"))).await;
    }
    until(&config, &relay, "m76", "in_hand").await;
    accepted(1, "m9", identify("waits@example.com")).await;
    until(&config, &relay, "m9", waiting).await;

    assert_eq!(state(&config, &relay, "m10").await, "");
    // Everything is still as it was.
    let all = [
        ("m1", "delivered"),
        ("m2", "delivered"),
        ("m3", "dead"),
        ("m4", "ignored"),
        ("m5", "in_tier"),
        ("m6", "held"),
        ("m7", "in_hand"),
        ("m8", "behind"),
        ("m9", waiting),
    ];
    for (id, expected) in all {
        assert_eq!(state(&config, &relay, id).await, expected, "{id}");
    }
    let text = config.command(&["explain", "m3", "--ops", &relay.ops_door().to_string()]).await;
    assert!(text.stdout.contains("a dead letter of class rejected") && !text.stdout.contains('@'), "{text:?}");
}

#[tokio::test]
async fn on_the_embedded_queue_it_is_right() {
    ten_states(Config::embedded("http://127.0.0.1:1/v2", &MORE), "waiting").await;
}

#[tokio::test]
async fn on_rabbitmq_it_says_what_it_cannot_know() {
    ten_states(Config::new(&shared_broker(), "http://127.0.0.1:1/v2", &MORE), "accepted").await;
}

#[tokio::test]
async fn without_a_process_the_file_still_tells() {
    let refersion = Refersion::start().await;
    let config = Config::embedded(refersion.url(), &[]);
    let doors = Relay::start("ingest", &config).await;
    for (id, event) in [("m1", identify("a@example.com")), ("m2", delete("a@example.com"))] {
        assert_eq!(doors.post(1, with_id(&event, id)).await.status, 202);
    }
    let address = doors.ops_door().to_string();
    drop(doors);

    let output = config.command(&["explain", "m2", "--ops", &address]).await;

    assert_eq!(output.code, Some(0), "{output:?}");
    for part in ["waiting in the work queue of acme", "m1 about the same person comes before it", "nobody answers"] {
        assert!(output.stdout.contains(part), "{part}: {output:?}");
    }
}

#[tokio::test]
async fn in_an_outage_it_says_that_refersion_is_out() {
    let mut refersion = Refersion::start().await;
    let config = Config::embedded(refersion.url(), &[]);
    let relay = Relay::start("run", &config).await;
    refersion.kill().await;
    assert_eq!(relay.post(1, with_id(&identify("a@example.com"), "m1")).await.status, 202);
    eventually("it says so", || async {
        let output = config.command(&["explain", "m1", "--ops", &relay.ops_door().to_string()]).await;
        output.stdout.contains("until Refersion is back from an outage")
    })
    .await;
}

#[tokio::test]
async fn pages_and_completions_are_made_of_the_command_line() {
    let config = Config::embedded("http://127.0.0.1:1/v2", &[]);
    let folder = config.folder().join("share/man");
    let made = config.command(&["man", "--dir", folder.to_str().expect("text")]).await;
    assert_eq!(made.code, Some(0), "{made:?}");
    let page = std::fs::read_to_string(folder.join("refersion-relay-explain.1")).expect("a page for each command");
    assert!(page.contains("MESSAGE_ID"), "{page}");
    let completed = config.command(&["completions", "bash"]).await;
    assert!(
        completed.code == Some(0) && completed.stdout.contains("refersion__relay__subcmd__explain"),
        "{completed:?}"
    );
    let health = config.command(&["health", "--ops-listen", "127.0.0.1:9"]).await;
    assert!(health.code == Some(1) && health.stderr.contains("nobody answers"), "{health:?}");
}
