use refersion_relay_model::AccountName;

use super::*;
use crate::commands::explain::evidence::{InQueue, Letters, Process};
use crate::run::state::{Known, RoleShown, State as Memory};

/// A process that remembers how an event left its hand.
fn remembering(what: EndShown) -> Process {
    let at = "2026-01-01T00:00:00Z".to_owned();
    let left = LeftShown { at: at.clone(), what, attempts: 1, generation: 0, failure: None };
    let event = Known {
        account: "acme".to_owned(),
        message_id: "m1".to_owned(),
        at_door: None,
        in_hand: None,
        left: Some(left),
    };
    let memory = Memory {
        role: RoleShown::Run,
        version: String::new(),
        queue: String::new(),
        refersion: serde_json::Value::Null,
        remembers_since: at,
        accounts: Vec::new(),
        doors: Vec::new(),
        stuck: Vec::new(),
        events: vec![event],
    };
    // As it comes over the wire.
    let answer = serde_json::from_value(serde_json::to_value(memory).unwrap()).map_err(|error| error.to_string());
    Process { ops: ([127, 0, 0, 1], 9090).into(), answer }
}

fn state(queue: InQueue, what: EndShown) -> State {
    let evidence = Evidence { message_id: "m1".to_owned(), queue, processes: vec![remembering(what)] };
    tell(&evidence, SystemTime::now()).events[0].now.state
}

fn dead() -> EndShown {
    EndShown::Dead { reason: "refused".to_owned() }
}

fn headers() -> Headers {
    let account = AccountName::try_from("acme").unwrap();
    Headers::received("m1", "identify", account, String::new(), SystemTime::UNIX_EPOCH)
}

#[test]
fn what_could_not_be_looked_at_is_not_taken_for_empty() {
    let nobody = || "the queue is away".to_owned();
    let letters = |all| InQueue::Broker(Ok(Letters { found: Vec::new(), all }));
    assert_eq!(state(InQueue::Embedded(Err(nobody())), dead()), State::Dead);
    assert_eq!(state(InQueue::Broker(Err(nobody())), dead()), State::Dead);
    assert_eq!(state(letters(false), dead()), State::Dead);
    assert_eq!(state(InQueue::Embedded(Err(nobody())), EndShown::Aside { until: None }), State::Accepted);

    assert_eq!(state(InQueue::Embedded(Ok(Vec::new())), dead()), State::Ended);
    assert_eq!(state(letters(true), dead()), State::Ended);
    assert_eq!(state(InQueue::Embedded(Ok(Vec::new())), EndShown::Aside { until: None }), State::Ended);
}

#[test]
fn a_letter_that_is_there_says_more_than_what_is_remembered() {
    let letters = Letters { found: vec![(Class::Rejected, headers())], all: true };
    assert_eq!(state(InQueue::Broker(Ok(letters)), EndShown::Delivered { how: "created".to_owned() }), State::Dead);
}

#[test]
fn of_several_events_with_one_id_the_one_that_goes_on_is_told_of() {
    let event = |whereabouts| Found { headers: headers(), whereabouts, behind: None };
    let found = vec![event(Whereabouts::Waiting { before: 0 }), event(Whereabouts::Dead(Class::Rejected))];
    let queue = InQueue::Embedded(Ok(found));
    let told = tell(&Evidence { message_id: "m1".to_owned(), queue, processes: Vec::new() }, SystemTime::now());
    assert_eq!(told.events[0].now.state, State::Waiting);
    assert!(told.lines().iter().any(|line| line.contains("one of 2 events with this id")), "{:?}", told.lines());
}
