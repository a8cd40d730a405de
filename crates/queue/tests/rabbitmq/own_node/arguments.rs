use refersion_relay_model::Class;

use super::node;
use refersion_relay_queue_testkit::events::{bodies, events, later, numbers, work};
use refersion_relay_queue_testkit::rabbitmq::{Relay, settings, without_upkeep};
use refersion_relay_queue_testkit::waiting::take;

#[tokio::test]
async fn every_queue_is_one_that_survives_a_crash() {
    let node = node().await;
    let relay = Relay::start_on(&node.url()).await;

    let queues = node.ctl(&["list_queues", "name", "type", "durable", "arguments"]).await.unwrap();

    // What stands for a process is its connection's own, and nothing is ever in it.
    let marks = relay.name("tally.");
    let is_ours = |line: &&str| line.starts_with(&relay.settings.prefix) && !line.starts_with(&marks);
    let queues: Vec<_> = queues.lines().filter(is_ours).collect();
    let classes = Class::ALL.iter().filter(|class| **class != Class::Unrouted).map(|class| format!("dead.{class}"));
    let fixed = ["intake", "events.acme", "events.other", "retry.1s", "unrouted", "tally"];
    let wanted: Vec<_> = classes.chain(fixed.map(str::to_owned)).collect();
    assert_eq!(queues.len(), wanted.len(), "{queues:#?}");
    for rest in wanted {
        let queue = queues.iter().find(|line| line.starts_with(&format!("{}\tquorum\ttrue\t", relay.name(&rest))));
        let queue = queue.unwrap_or_else(|| panic!("no durable quorum queue {rest}: {queues:#?}"));
        let has = |argument: &str| assert!(queue.contains(argument), "{argument} is missing: {queue}");
        has(r#"{"x-overflow","reject-publish"}"#);
        if rest != "unrouted" && rest != "tally" {
            has(r#"{"x-dead-letter-strategy","at-least-once"}"#);
            has(r#"{"x-dead-letter-exchange""#);
        }
        match rest.split('.').next().unwrap() {
            "retry" => has(r#"{"x-message-ttl",1000}"#),
            "intake" => has(r#"{"x-delivery-limit",100}"#),
            "tally" => has(r#"{"x-delivery-limit",2147483647}"#),
            _ => has(r#"{"x-delivery-limit",1000000}"#),
        }
        let is_single_active = queue.contains(r#"{"x-single-active-consumer",true}"#);
        assert_eq!(is_single_active, rest == "intake" || rest.starts_with("events."), "{queue}");
        assert_eq!(queue.contains("x-message-ttl"), rest.starts_with("retry."), "{queue}");
    }
}

#[tokio::test]
async fn what_comes_back_from_a_tier_waits_until_there_is_something_to_come_back_to() {
    let node = node().await;
    // How soon the broker tries again, instead of three minutes.
    node.ctl(&["eval", "application:set_env(rabbit, dead_letter_worker_publisher_confirm_timeout, 1000)."])
        .await
        .unwrap();
    let relay = Relay::start_with(&node.url(), without_upkeep(settings(&node.url()))).await;
    relay.admin.delete_exchange(&relay.name("events")).await;

    relay.store(&later(), events(0..20)).await;

    relay.until_depth(&later(), 0).await; // they have expired, and there is nowhere to go
    relay.queue.check().await.unwrap(); // declares the exchange again
    let mut owned = relay.own(&work()).await;
    assert_eq!(bodies(&take(&mut owned, 20).await), numbers(0..20));
    assert_eq!(relay.bodies(Class::Unrouted).await, [""; 0]);
    owned.release().await;
}
