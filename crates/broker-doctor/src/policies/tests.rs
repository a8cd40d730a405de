use serde_json::json;

use super::*;

fn work() -> Value {
    json!({"x-queue-type": "quorum", "x-overflow": "reject-publish", "x-delivery-limit": 1_000_000,
        "x-dead-letter-exchange": "r.dead", "x-dead-letter-routing-key": "poison",
        "x-dead-letter-strategy": "at-least-once", "x-single-active-consumer": true})
}

fn retry() -> Value {
    json!({"x-queue-type": "quorum", "x-overflow": "reject-publish", "x-message-ttl": 60_000,
        "x-dead-letter-exchange": "r.events", "x-dead-letter-strategy": "at-least-once"})
}

fn dead() -> Value {
    json!({"x-queue-type": "quorum", "x-overflow": "reject-publish", "x-delivery-limit": 1_000_000,
        "x-dead-letter-exchange": "r.unrouted", "x-dead-letter-strategy": "at-least-once"})
}

fn unrouted() -> Value {
    json!({"x-queue-type": "quorum", "x-overflow": "reject-publish", "x-delivery-limit": 1_000_000})
}

#[track_caller]
fn judged(arguments: &Value, policy: &Value) -> Vec<Judged> {
    judge(arguments.as_object().unwrap(), policy.as_object().unwrap())
}

/// One key, what is said of it, and how grave it is.
#[track_caller]
fn harms(arguments: &Value, policy: &Value, gravity: Gravity, says: &str) {
    let judged = judged(arguments, policy);
    let hit = judged.iter().any(|judged| judged.gravity == gravity && judged.does.contains(says));
    assert!(hit, "{policy} should be said to do {says:?}: {judged:?}");
}

#[track_caller]
fn harmless(arguments: &Value, policy: &Value) {
    assert_eq!(judged(arguments, policy), [], "{policy}");
}

#[test]
fn the_key_and_the_value_are_named() {
    let judged = judged(&work(), &json!({"overflow": "drop-head"}));
    assert_eq!(judged.len(), 1);
    assert_eq!(judged[0].setting, "overflow = drop-head");
}

#[test]
fn what_makes_messages_leave_their_place_is_harmful_and_says_where_they_go() {
    harms(&work(), &json!({"message-ttl": 5}), Gravity::Breaks, "leave it for r.dead.poison");
    harms(&dead(), &json!({"message-ttl": 5}), Gravity::Breaks, "leave it for r.unrouted");
    harms(&unrouted(), &json!({"message-ttl": 5}), Gravity::Breaks, "be lost");
    harms(&retry(), &json!({"message-ttl": 59_999}), Gravity::Breaks, "sooner");
    harmless(&retry(), &json!({"message-ttl": 60_000}));
    harms(&dead(), &json!({"expires": 60_000}), Gravity::Breaks, "deleted");
}

#[test]
fn a_lower_delivery_limit_is_harmful_and_a_higher_one_is_not() {
    harms(&work(), &json!({"delivery-limit": 999_999}), Gravity::Breaks, "r.dead.poison");
    harms(&work(), &json!({"delivery-limit": -1}), Gravity::Breaks, "before RabbitMQ 4");
    harms(&dead(), &json!({"delivery-limit": 20}), Gravity::Breaks, "r.unrouted");
    harms(&unrouted(), &json!({"delivery-limit": 20}), Gravity::Breaks, "be lost");
    harmless(&work(), &json!({"delivery-limit": 1_000_000}));
    harmless(&retry(), &json!({"delivery-limit": 1}));
}

#[test]
fn what_makes_dead_lettering_unsafe_is_harmful() {
    harms(&retry(), &json!({"overflow": "drop-head"}), Gravity::Breaks, "crashes");
    harms(&retry(), &json!({"dead-letter-strategy": "at-most-once"}), Gravity::Breaks, "crashes");
    harms(&retry(), &json!({"dead-letter-routing-key": "victim"}), Gravity::Breaks, "account");
    harms(&unrouted(), &json!({"dead-letter-exchange": "x"}), Gravity::Limits, "go there");
    // The queue's own arguments win over these.
    harmless(&work(), &json!({"dead-letter-exchange": "x", "dead-letter-routing-key": "y"}));
    harmless(&retry(), &json!({"overflow": "reject-publish", "dead-letter-strategy": "at-least-once"}));
}

#[test]
fn a_length_is_a_limit_unless_it_drops_messages() {
    harms(&work(), &json!({"max-length": 10}), Gravity::Limits, "503");
    harms(&work(), &json!({"max-length-bytes": 10}), Gravity::Limits, "503");
    harms(&work(), &json!({"max-length": 10, "overflow": "drop-head"}), Gravity::Breaks, "oldest");
}

#[test]
fn a_consumer_timeout_is_worth_a_word_if_it_is_shorter_than_a_delivery_may_stay() {
    harms(&work(), &json!({"consumer-timeout": 60_000}), Gravity::Limits, "come again");
    harmless(&work(), &json!({"consumer-timeout": 1_800_000}));
    harmless(&retry(), &json!({"consumer-timeout": 60_000}));
}

#[test]
fn what_only_says_where_messages_are_kept_is_harmless_and_what_is_unknown_is_said() {
    harmless(&work(), &json!({"queue-leader-locator": "balanced", "max-in-memory-length": 10, "ha-mode": "all"}));
    harms(&work(), &json!({"federation-upstream-set": "all"}), Gravity::Limits, "does not know");
}

#[test]
fn a_value_of_another_type_is_not_taken_for_harmless() {
    harms(&work(), &json!({"delivery-limit": "3"}), Gravity::Breaks, "poison");
    harms(&work(), &json!({"message-ttl": null}), Gravity::Breaks, "poison");
}

#[test]
fn queues_to_which_a_policy_does_the_same_are_named_together() {
    let of = |queue: &str, policy: &str, arguments: &Value| {
        let judged = judged(arguments, &json!({"message-ttl": 5})).remove(0);
        (queue.to_owned(), policy.to_owned(), judged)
    };
    let harms = gather([of("a", "p", &work()), of("b", "p", &work()), of("c", "p", &dead()), of("d", "q", &work())]);
    let queues: Vec<_> = harms.iter().map(|harm| harm.queues.join("+")).collect();
    assert_eq!(queues, ["a+b", "c", "d"]);
}
