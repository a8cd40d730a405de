//! Everything goes wrong at random moments while events flow, and afterwards every event has had its effect, in order.
//!
//! `RELAY_TEST_EVENTS` and `RELAY_TEST_KILLS` make it a long run (100000 and 100, say). A run prints its seed, and
//! `RELAY_TEST_SEED` draws the same events and the same blows again. What the processes make of them is up to the machine.

mod blow;
mod installation;
mod load;
mod oracle;

use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::StdRng;
use refersion_relay_tests::eventually;

use blow::Blow;
use installation::Installation;
use load::Load;
use oracle::Oracle;

/// How much happens.
#[derive(Clone, Copy)]
struct Extent {
    events: u64,
    kills: u64,
    seed: u64,
}

impl Extent {
    /// As the environment says, else `events` and `kills`.
    fn or(events: u64, kills: u64) -> Self {
        let number = |variable: &str, default| {
            std::env::var(variable).map_or(default, |value| value.parse().expect("a number in the environment"))
        };
        let extent = Self {
            events: number("RELAY_TEST_EVENTS", events),
            kills: number("RELAY_TEST_KILLS", kills),
            seed: number("RELAY_TEST_SEED", rand::random()),
        };
        println!("{} events, {} kills, RELAY_TEST_SEED={}", extent.events, extent.kills, extent.seed);
        extent
    }
}

/// Sends everything while blows fall, lets everything settle, and asks the oracle.
async fn weather(installation: Installation, extent: Extent) {
    let Extent { events, kills, seed } = extent;
    let oracle = Oracle::default();
    let load = Load::new(&installation, &oracle, events, seed);
    let started = Instant::now();
    let blows = async {
        let mut random = StdRng::seed_from_u64(seed);
        let mut count = 0;
        for kill in 1..=kills {
            // Spread over the whole run. At the end there is nothing left to be killed in the middle of.
            oracle.until_accepted(kill * events / (kills + 1)).await;
            for blow in [Blow::draw(&mut random, installation.has_broker()), Blow::kill(&mut random, &installation)] {
                println!("{:>6} ms, {} accepted: {blow:?}", started.elapsed().as_millis(), oracle.accepted());
                blow.fall(&installation).await;
                count += 1;
            }
        }
        count
    };
    let (blows, ()) = tokio::join!(blows, load.send());
    let sent = started.elapsed();
    installation.until_ready().await;

    if !oracle.until_fulfilled(&installation.refersion).await {
        println!("nothing goes on:\n{}", installation.describe().await);
        oracle.check(&installation.refersion);
    }
    installation.until_nothing_waits().await;

    oracle.check(&installation.refersion);
    let refused = installation.dead_letters().await;
    assert_eq!(refused, oracle.refused(), "the dead letters are those that Refersion refused for good");
    println!("{}", installation.sum().await);
    println!(
        "{} events about {} people accepted in {:.1} s under {blows} blows, all settled after {:.1} s; {} calls",
        oracle.accepted(),
        oracle.people_count(),
        sent.as_secs_f32(),
        started.elapsed().as_secs_f32(),
        installation.calls(),
    );
}

/// Identifies that say what Refersion was told cost no call.
const SKIPPING: (&str, &str) = ("[worker]\n", "[worker]\nskip_unchanged = \"1h\"\n");
/// Whose address is whose is remembered.
const DIRECTORY: (&str, &str) = ("[log]\n", "[directory]\nenabled = true\n\n[log]\n");
/// Each worker can keep the same file.
const KEPT: (&str, &str) = ("[log]\n", "[directory]\nenabled = true\npath = \"directory.db\"\n\n[log]\n");
/// A delete whose person is not known yet is tried again soon.
const SOON: (&str, &str) = ("[retry]\n", "[retry]\ntiers = [\"1s\", \"1m\", \"10m\", \"1h\"]\n");

/// A queue goes from one worker to the other in it, who does not know what Refersion was told.
#[tokio::test]
async fn nothing_is_lost_or_overtaken_whatever_breaks_own_node() {
    let extent = Extent::or(1_200, 5);
    weather(Installation::on_rabbitmq(&[SKIPPING, KEPT, SOON]).await, extent).await;
}

#[tokio::test]
async fn nothing_is_lost_or_overtaken_with_a_directory_whatever_breaks() {
    let extent = Extent::or(1_200, 5);
    weather(Installation::embedded(&[SKIPPING, DIRECTORY, SOON]).await, extent).await;
}

#[tokio::test]
async fn nothing_is_lost_or_overtaken_on_the_embedded_queue_whatever_breaks() {
    let extent = Extent::or(1_200, 5);
    weather(Installation::embedded(&[]).await, extent).await;
}

#[tokio::test]
async fn a_worker_that_was_cut_off_works_again_without_help() {
    let installation = Installation::on_rabbitmq(&[]).await;
    let oracle = Oracle::default();
    let load = Load::new(&installation, &oracle, 60, 1);
    installation.cut_the_broker_off(Duration::from_millis(300)).await;
    load.send().await;
    eventually("everybody is there", || async { oracle.is_fulfilled(&installation.refersion) }).await;
}
