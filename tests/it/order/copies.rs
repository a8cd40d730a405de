use refersion_relay_simulator::{Fault, Operation};
use refersion_relay_tests::{Config, Refersion, Relay, delete, eventually, identify, shared_broker};

const ENDED: &str = "refersion_relay_worker_ended_total";
const COPIES: &str = "refersion_relay_events_copies_total";

async fn work(relay: &Relay, events: impl IntoIterator<Item = Vec<u8>>) {
    for event in events {
        let before = relay.metric(ENDED).await;
        assert_eq!(relay.post(1, event).await.status, 202);
        eventually("it has ended", || async { relay.metric(ENDED).await > before }).await;
    }
}

#[tokio::test]
async fn a_copy_of_a_delivered_event_costs_no_call_and_undoes_nothing() {
    let refersion = Refersion::start().await;
    let config = Config::new(&shared_broker(), refersion.url(), &[]);
    let relay = Relay::start("run", &config).await;
    let (identify, delete) = (identify("peter@example.com"), delete("peter@example.com"));

    work(&relay, [identify.clone(), identify.clone(), delete.clone(), identify, delete]).await;

    assert_eq!((refersion.count(Operation::New), refersion.count(Operation::StatusChange)), (1, 1));
    assert_eq!(relay.metric(COPIES).await, 3);
    assert_eq!(refersion.statuses("peter@example.com"), ["DISABLED"]);
}

#[tokio::test]
async fn an_event_that_was_refused_is_tried_again_when_it_is_sent_again() {
    let refersion = Refersion::start().await;
    let config = Config::new(&shared_broker(), refersion.url(), &[]);
    let relay = Relay::start("run", &config).await;
    let no = Fault::status(422, Some(r#"{"errors":["Value exceed the char limit'"]}"#));
    refersion.fail(Operation::New, "peter", Some(1), no);

    work(&relay, [identify("peter@example.com"), identify("peter@example.com")]).await;

    assert_eq!(refersion.statuses("peter@example.com"), ["PENDING"]);
    assert_eq!((relay.metric(COPIES).await, config.dead_letters().await.len()), (0, 1));
}

#[tokio::test]
async fn the_same_bytes_without_an_id_are_a_copy_only_while_nothing_else_happened() {
    let refersion = Refersion::start().await;
    let config = Config::new(&shared_broker(), refersion.url(), &[]);
    let relay = Relay::start("run", &config).await;
    let identify = br#"{"type":"identify","traits":{"email":"peter@example.com","name":"Peter Gibbons"}}"#.to_vec();
    let delete = br#"{"type":"delete","email":"peter@example.com"}"#.to_vec();

    work(&relay, [identify.clone(), identify.clone(), delete.clone(), identify, delete.clone(), delete]).await;

    assert_eq!(relay.metric(COPIES).await, 2);
    assert_eq!(refersion.count(Operation::New), 2, "they came back");
}
