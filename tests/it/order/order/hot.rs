//! A subject with very many events. `RELAY_TEST_BURST=4000` makes it a long run, which prints how long it took.

use std::time::{Duration, Instant};

use refersion_relay_simulator::Settings;
use refersion_relay_tests::{Config, Refersion, Relay, eventually, identify, with_id};

use super::{ENDED, nothing_was_given_up};

/// The burst fills the room of its account many times over.
pub(crate) const ROOM: (&str, &str) = ("worker", "prefetch = 16");

const GOES_ROUND: &str = r#"refersion_relay_events_parked_total{to="queue"}"#;

pub(crate) async fn slow_refersion() -> Refersion {
    Refersion::start_with(Settings { latency: Duration::from_millis(20), ..Settings::default() }).await
}

/// A batch of identifies of one person, each with an id of its own.
fn burst(events: usize) -> Vec<u8> {
    let one = |n| String::from_utf8(with_id(&identify("busy@example.com"), &format!("busy-{n}"))).expect("JSON");
    let events: Vec<String> = (0..events).map(one).collect();
    format!(r#"{{"batch":[{}]}}"#, events.join(",")).into_bytes()
}

pub(crate) async fn leaves_room(refersion: &Refersion, config: &Config) {
    let events: usize = std::env::var("RELAY_TEST_BURST").map_or(250, |events| events.parse().expect("a number"));
    let relay = Relay::start("run", config).await;
    let started = Instant::now();
    assert_eq!(relay.post_batch("write_1", burst(events)).await.status, 200);
    // They are on the same queue.
    let others: Vec<String> = (0..16).map(|n| format!("other{n}@example.com")).collect();
    for email in &others {
        assert_eq!(relay.post(1, identify(email)).await.status, 202);
    }
    let posted = Instant::now();

    let all_there = || others.iter().all(|email| !refersion.with_email(email).is_empty());
    eventually("the others are worked", || async { all_there() }).await;

    let (others_took, ended) = (posted.elapsed(), relay.metric(ENDED).await);
    assert!(ended < events as u64, "the others waited for all of the busy one's events");
    let mut before = 0;
    while before < (events + others.len()) as u64 {
        eventually("more have ended", || async { relay.metric(ENDED).await > before }).await;
        before = relay.metric(ENDED).await;
    }
    println!(
        "{events} events of one subject took {:?}; the others had waited for {others_took:?} at most; {} went round, {} into a tier",
        started.elapsed(),
        relay.metric(GOES_ROUND).await,
        relay.metric(super::PARKED).await
    );
    assert!(1 <= relay.metric(GOES_ROUND).await);
    nothing_was_given_up(&relay).await;
}
