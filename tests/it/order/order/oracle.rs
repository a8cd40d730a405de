//! Random events about people of very uneven activity, with a Refersion that often fails: afterwards every affiliate is
//! what its events say in their order. `RELAY_TEST_SUBJECTS=10000` makes it a long run; a run prints its seed, and
//! `RELAY_TEST_SEED` repeats its events.

use std::time::Instant;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use refersion_relay_simulator::{Chance, Fault, FaultRule};
use refersion_relay_tests::{Config, Refersion, Relay, delete, eventually, with_id};
use serde_json::json;

use super::{ENDED, PARKED, TO_TIER, nothing_was_given_up};

const SENDERS: usize = 16;

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().map_or(default, |value| value.parse().expect("a number"))
}

/// What is said about somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Said {
    /// They have these fields from now on.
    Is(String),
    /// They are to go.
    Gone,
}

/// What has to have become of somebody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Wanted {
    company: Option<String>,
    is_disabled: bool,
}

impl Wanted {
    fn after(said: &[Said], updates: bool) -> Self {
        said.iter().fold(Self::default(), |before, said| match (said, before) {
            (Said::Is(company), Self { company: None, .. }) => {
                Self { company: Some(company.clone()), is_disabled: false }
            }
            (Said::Is(company), Self { is_disabled: false, .. }) if updates => {
                Self { company: Some(company.clone()), is_disabled: false }
            }
            (Said::Gone, Self { company: Some(company), .. }) => Self { company: Some(company), is_disabled: true },
            (Said::Is(_) | Said::Gone, before) => before,
        })
    }
}

/// Three times as many events as people; half of them are about a tenth of the people.
fn draw(subjects: usize, random: &mut StdRng) -> Vec<Vec<Said>> {
    let mut people = vec![Vec::new(); subjects];
    for n in 0..3 * subjects {
        let among = if random.random_bool(0.5) { subjects.div_ceil(10) } else { subjects };
        let said = if random.random_bool(0.12) { Said::Gone } else { Said::Is(format!("Company {n}")) };
        people[random.random_range(0..among)].push(said);
    }
    people
}

fn email(person: usize) -> String {
    format!("subject{person}@example.com")
}

fn event(person: usize, position: usize, said: &Said) -> Vec<u8> {
    let id = format!("{person}-{position}");
    match said {
        Said::Gone => with_id(&delete(&email(person)), &id),
        Said::Is(company) => {
            let traits =
                json!({"firstName": "Some", "lastName": "Body", "email": email(person), "company": {"name": company}});
            json!({"type": "identify", "messageId": id, "traits": traits}).to_string().into_bytes()
        }
    }
}

/// Sends each person's events one after another, and those of many people at once.
async fn send(relay: &Relay, people: &[Vec<Said>]) {
    let senders = (0..SENDERS).map(|sender| async move {
        for (person, said) in people.iter().enumerate().filter(|(person, _)| person % SENDERS == sender) {
            for (position, said) in said.iter().enumerate() {
                assert_eq!(relay.post(1, event(person, position, said)).await.status, 202);
            }
        }
    });
    futures_util::future::join_all(senders).await;
}

/// `on_existing`: of the accounts, `keep` or `update`.
pub(crate) async fn agrees(refersion: &Refersion, config: &Config, on_existing: &str) {
    let subjects = usize::try_from(number("RELAY_TEST_SUBJECTS", 6)).expect("a number of people");
    let seed = number("RELAY_TEST_SEED", rand::random());
    println!("{subjects} subjects, RELAY_TEST_SEED={seed}");
    config.edit("name = \"acme\"\n", &format!("name = \"acme\"\non_existing = \"{on_existing}\"\n"));
    let fails =
        |probability, fault| FaultRule { chance: Some(Chance { probability, seed }), ..FaultRule::always(fault) };
    refersion.simulator.add_fault(fails(0.15, Fault::status(500, None)));
    refersion.simulator.add_fault(fails(0.05, Fault::after_effect(Fault::Reset)));
    let people = draw(subjects, &mut StdRng::seed_from_u64(seed));
    let relay = Relay::start("run", config).await;
    let started = Instant::now();

    send(&relay, &people).await;

    let all = people.iter().map(Vec::len).sum::<usize>() as u64;
    let (sent, mut ended) = (started.elapsed(), 0);
    while ended < all {
        eventually("more have ended", || async { relay.metric(ENDED).await > ended }).await;
        ended = relay.metric(ENDED).await;
    }
    println!(
        "{all} events sent in {sent:?}, ended after {:?}; {} times into a tier, {} times behind another one there",
        started.elapsed(),
        relay.metric(TO_TIER).await,
        relay.metric(PARKED).await
    );
    let affiliates = refersion.simulator.affiliates();
    let affiliates: std::collections::HashMap<_, _> = affiliates.iter().map(|found| (&*found.email, found)).collect();
    for (person, said) in people.iter().enumerate() {
        let found = affiliates.get(&*email(person));
        let is = found.map_or_else(Wanted::default, |found| Wanted {
            company: found.company.clone(),
            is_disabled: found.status.as_str() == "DISABLED",
        });
        assert_eq!(is, Wanted::after(said, on_existing == "update"), "{}: {said:?}", email(person));
    }
    assert_eq!(config.dead_letters().await, Vec::<serde_json::Value>::new());
    nothing_was_given_up(&relay).await;
}
