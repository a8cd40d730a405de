use std::collections::BTreeMap;
use std::time::SystemTime;

use refersion_relay_model::Class;
use refersion_relay_queue::{Found, Headers, Whereabouts, rfc3339_seconds};
use serde::Serialize;

use super::evidence::{Evidence, InQueue};
use crate::run::state::{AccountState, AtDoorShown, InHandShown, LeftShown};

/// What follows from the evidence.
#[derive(Debug, Serialize)]
pub(super) struct Explanation {
    message_id: String,
    /// One for each account that has an event with this id.
    pub(super) events: Vec<Story>,
    /// What could not be found out, and why.
    unknown: Vec<String>,
}

/// Of one event.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Story {
    account: String,
    state: State,
    /// Where it is now, in a sentence.
    now: String,
    /// What happened to it, in sentences.
    before: Vec<String>,
    /// What to do, where a person has to.
    todo: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    InHand,
    /// Behind an earlier event about the same person.
    Behind,
    Waiting,
    /// Its account is held.
    Held,
    InTier,
    Dead,
    Delivered,
    /// It is not for Refersion, or a copy of another.
    Ignored,
    /// It has ended, and nobody remembers how.
    Ended,
    /// It was accepted. Where it is cannot be known.
    Accepted,
}

/// What of the queue was looked at, so that what was not found is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Looked {
    /// Every place of an embedded queue.
    File,
    /// The dead letters on a broker, all of them.
    Letters,
    /// Not even that.
    Nothing,
}

/// All that is known of the events of one account with this id.
#[derive(Default)]
struct Clues<'a> {
    found: Option<&'a Found>,
    letter: Option<(Class, &'a Headers)>,
    in_hand: Option<(&'a InHandShown, String)>,
    left: Option<(&'a LeftShown, String)>,
    at_door: Option<(&'a AtDoorShown, String)>,
    not_worked: Option<&'a AccountState>,
    /// Whether Refersion is out, for a worker that was asked.
    is_out: bool,
}

pub(super) fn tell(evidence: &Evidence, now: SystemTime) -> Explanation {
    let mut clues = BTreeMap::<String, Clues<'_>>::new();
    let mut unknown = Vec::new();
    let looked = match &evidence.queue {
        InQueue::Embedded(Ok(_)) => Looked::File,
        InQueue::Broker(Ok(letters)) if letters.all => Looked::Letters,
        InQueue::Embedded(Err(_)) | InQueue::Broker(_) => Looked::Nothing,
    };
    match &evidence.queue {
        InQueue::Embedded(Ok(found)) => {
            for event in found {
                clues.entry(account(&event.headers)).or_default().found = Some(event);
            }
        }
        InQueue::Broker(Ok(letters)) => {
            for (class, headers) in &letters.found {
                clues.entry(account(headers)).or_default().letter = Some((*class, headers));
            }
            unknown.push("what is in a queue on RabbitMQ: a broker cannot be asked for one message".to_owned());
            if !letters.all {
                unknown
                    .push("what is among the later dead letters: only the first 65535 of a class are read".to_owned());
            }
        }
        InQueue::Embedded(Err(why)) | InQueue::Broker(Err(why)) => unknown.push(format!("what is in the queue: {why}")),
    }
    for process in &evidence.processes {
        let state = match &process.answer {
            Ok(state) => state,
            Err(why) => {
                let (ops, all) = (process.ops, "give every process with --ops");
                unknown.push(format!("what the process at {ops} remembers: {why}; {all}"));
                continue;
            }
        };
        let who = format!("the {} at {}", noun(&state.role), process.ops);
        if state.role == "ingest" || state.role == "worker" {
            let other = if state.role == "ingest" { "workers" } else { "doors" };
            if !evidence.processes.iter().any(|process| {
                process.answer.as_ref().is_ok_and(|answer| answer.role == "run" || answer.role != state.role)
            }) {
                unknown.push(format!("what {other} remember: none was asked; give their addresses with --ops"));
            }
        }
        for event in &state.events {
            let clue = clues.entry(event.account.clone()).or_default();
            if let Some(in_hand) = &event.in_hand {
                clue.in_hand = Some((in_hand, who.clone()));
            }
            if let Some(left) =
                event.left.as_ref().filter(|left| clue.left.as_ref().is_none_or(|(old, _)| old.at < left.at))
            {
                clue.left = Some((left, who.clone()));
            }
            if let Some(at_door) =
                event.at_door.as_ref().filter(|at| clue.at_door.as_ref().is_none_or(|(old, _)| old.at < at.at))
            {
                clue.at_door = Some((at_door, who.clone()));
            }
        }
    }
    // Of accounts that have such an event.
    let answers = || evidence.processes.iter().filter_map(|process| process.answer.as_ref().ok());
    let is_out = answers().any(|state| state.refersion["state"] == "outage");
    for clue in clues.values_mut() {
        clue.is_out = is_out;
    }
    for state in answers() {
        for not_worked in &state.accounts_not_worked {
            if let Some(clue) = clues.get_mut(&not_worked.account) {
                clue.not_worked = Some(not_worked);
            }
        }
    }
    let since = answers().map(|state| state.remembers_since.as_str()).min().map(str::to_owned);
    let events = clues.into_iter().map(|(account, clues)| clues.story(account, looked, since.as_deref(), now));
    Explanation { message_id: evidence.message_id.clone(), events: events.collect(), unknown }
}

impl Explanation {
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if self.events.is_empty() {
            lines.push(format!(
                "{}: nothing is known of it. It is in no place that could be looked at, and no process that was asked remembers it.",
                self.message_id
            ));
            lines.push(
                "It was never accepted, or it ended before what they remember; their logs may have it.".to_owned(),
            );
        }
        for story in &self.events {
            let of = if story.account.is_empty() {
                "of no account".to_owned()
            } else {
                format!("account {}", story.account)
            };
            lines.push(format!("{} ({of}): {}.", self.message_id, story.now));
            lines.extend(story.before.iter().map(|before| format!("  {before}.")));
            lines.extend(story.todo.iter().map(|todo| format!("  {todo}")));
        }
        lines.extend(self.unknown.iter().map(|unknown| format!("Cannot be known: {unknown}.")));
        lines
    }
}

impl Clues<'_> {
    fn story(&self, account: String, looked: Looked, since: Option<&str>, now: SystemTime) -> Story {
        let (state, now, todo) = self.now(&account, looked, since, now);
        Story { account, state, now, before: self.before(state), todo }
    }

    /// Where it is, by what is most certain: a worker that has it, then the queue, then what is remembered.
    fn now(
        &self,
        account: &str,
        looked: Looked,
        since: Option<&str>,
        now: SystemTime,
    ) -> (State, String, Option<String>) {
        if let Some((in_hand, who)) = &self.in_hand {
            return in_hand_of(in_hand, who, self.not_worked, self.is_out);
        }
        let dead = self.letter.or_else(|| match self.found?.whereabouts {
            Whereabouts::Dead(class) => Some((class, &self.found?.headers)),
            _ => None,
        });
        if let Some((class, headers)) = dead {
            return letter(class, headers);
        }
        if let Some(found) = self.found {
            return self.in_file(found, account);
        }
        if let Some((left, who)) = &self.left {
            let how = left.how.as_deref().unwrap_or_default();
            let back =
                left.until.as_deref().is_some_and(|until| humantime::parse_rfc3339(until).is_ok_and(|at| at <= now));
            match (left.what.as_str(), &left.until) {
                ("delivered", _) => {
                    let times = if left.generation == 0 { "" } else { ", after it was replayed as a dead letter" };
                    return (State::Delivered, format!("delivered ({how}) at {} by {who}{times}", left.at), None);
                }
                ("ignored", _) => return (State::Ignored, format!("ignored ({how}) at {} by {who}", left.at), None),
                ("copy", _) => {
                    return (
                        State::Ignored,
                        format!("dropped at {} by {who}: a copy of an event that had ended", left.at),
                        None,
                    );
                }
                ("dead", _) if looked == Looked::Nothing => {
                    let is = format!(
                        "a dead letter ({how}) since {}, as {who} remembers; the dead letters could not be looked at",
                        left.at
                    );
                    return (State::Dead, is, None);
                }
                ("dead", _) => {
                    let was = format!(
                        "a dead letter ({how}) since {}, and not among the dead letters now: replayed or dropped",
                        left.at
                    );
                    return (State::Ended, was, None);
                }
                (_, Some(until)) if !back && looked != Looked::File => {
                    return (State::InTier, format!("in a retry queue until {until}"), None);
                }
                _ if looked == Looked::File => {}
                _ => return self.somewhere(account, "it came back to its work queue"),
            }
        }
        match &self.at_door {
            Some((door, who)) if door.what == "ignored" => {
                let reason = door.reason.as_deref().unwrap_or_default();
                (State::Ignored, format!("ignored ({reason}) at {} at the door {} by {who}", door.at, door.door), None)
            }
            Some(_) if looked == Looked::File => {
                let since =
                    since.map(|since| format!(": the processes that were asked remember what was since {since}"));
                (
                    State::Ended,
                    format!(
                        "not in the queue any more, so it has ended; nobody remembers how{}",
                        since.unwrap_or_default()
                    ),
                    None,
                )
            }
            Some(_) => self.somewhere(account, "it was accepted"),
            None => (State::Ended, "not in the queue any more, so it has ended; nobody remembers how".to_owned(), None),
        }
    }

    /// It was seen last on its way into a queue that could not be asked for it.
    fn somewhere(&self, account: &str, what: &str) -> (State, String, Option<String>) {
        if self.not_worked.is_some_and(|state| state.condition == "held") {
            let now = format!("waiting in the work queue of {account}, most likely: {what}, and the account is held");
            return (State::Held, now, Some(held()));
        }
        let now = format!(
            "waiting in the work queue of {account}, or in the hand of a worker that was not asked, or ended there: {what}, and \
             nobody who was asked knows more"
        );
        (State::Accepted, now, None)
    }

    fn in_file(&self, found: &Found, account: &str) -> (State, String, Option<String>) {
        let is_held = self.not_worked.is_some_and(|state| state.condition == "held");
        match &found.whereabouts {
            Whereabouts::Tier { until, .. } => {
                let why = match &found.behind {
                    Some(behind) if found.headers.attempts == 0 => {
                        format!(", behind {} about the same person", name(behind))
                    }
                    _ => String::new(),
                };
                (State::InTier, format!("in a retry queue until {}{why}", rfc3339_seconds(*until)), None)
            }
            Whereabouts::Waiting { .. } | Whereabouts::InHand if is_held => {
                let now = format!("waiting in the work queue of {account}, which is held: Refersion refuses its keys");
                (State::Held, now, Some(held()))
            }
            Whereabouts::Waiting { .. } | Whereabouts::InHand if self.is_out => {
                let now = format!("waiting in the work queue of {account} until Refersion is back from an outage");
                (State::Waiting, now, None)
            }
            Whereabouts::Waiting { before } => {
                let before = match before {
                    0 => "first in it".to_owned(),
                    1 => "behind one event".to_owned(),
                    before => format!("behind {before} events"),
                };
                let paused =
                    self.not_worked.map(|state| format!("; the account is {}", condition(state))).unwrap_or_default();
                let (state, behind) = match &found.behind {
                    Some(behind) => {
                        (State::Behind, format!("; {} about the same person comes before it", name(behind)))
                    }
                    None => (State::Waiting, String::new()),
                };
                (state, format!("waiting in the work queue of {account}, {before}{behind}{paused}"), None)
            }
            Whereabouts::InHand => (
                State::InHand,
                "in the hand of a worker that was not asked, or that has ended; then it comes again".to_owned(),
                None,
            ),
            Whereabouts::Dead(class) => letter(*class, &found.headers),
            Whereabouts::Elsewhere => (State::Accepted, "in a place that this release does not know".to_owned(), None),
        }
    }

    /// What happened to it, from the first to the last.
    fn before(&self, state: State) -> Vec<String> {
        let mut before = Vec::new();
        if let Some((door, who)) = self.at_door.as_ref().filter(|(door, _)| door.what != "ignored") {
            let as_what = if door.what == "dead" { ", as a dead letter" } else { "" };
            before.push(format!("accepted at {} at the door {} by {who}{as_what}", door.at, door.door));
        } else if let Some(headers) = self.found.map(|found| &found.headers).or(self.letter.map(|(_, headers)| headers))
        {
            before.push(format!("accepted at {}", rfc3339_seconds(headers.received_at)));
        }
        let headers = self.found.map(|found| &found.headers).or(self.letter.map(|(_, headers)| headers));
        if let Some(headers) = headers.filter(|headers| 0 < headers.generation) {
            before.push(format!("replayed as a dead letter, {}", times(headers.generation)));
        }
        let attempts = self.in_hand.as_ref().map(|(in_hand, _)| (in_hand.attempts, in_hand.failure.clone()));
        let attempts = attempts.or_else(|| self.left.as_ref().map(|(left, _)| (left.attempts, left.failure.clone())));
        let attempts = attempts.or_else(|| headers.map(|headers| (headers.attempts, None)));
        match attempts {
            Some((0, None)) | None => {}
            Some((attempts, failure)) => {
                let failure = failure.map(|failure| format!("; the last one: {failure}")).unwrap_or_default();
                before.push(format!("attempts that failed and count: {attempts}{failure}"));
            }
        }
        if let Some((left, who)) =
            self.left.as_ref().filter(|_| !matches!(state, State::Delivered | State::Ignored | State::Ended))
        {
            let what = match left.what.as_str() {
                "retry" => "sent to a retry queue, after a failure",
                "aside" => "sent away, for earlier events about the same person",
                "dead" => "made a dead letter",
                "delivered" => "delivered",
                _ => "done with",
            };
            before.push(format!("{what} at {} by {who}", left.at));
        }
        before
    }
}

fn in_hand_of(
    in_hand: &InHandShown,
    who: &str,
    not_worked: Option<&AccountState>,
    is_out: bool,
) -> (State, String, Option<String>) {
    if let Some(behind) = &in_hand.behind {
        let now = format!("in the hand of {who}, behind {behind} about the same person");
        return (State::Behind, now, None);
    }
    let doing = match in_hand.doing.as_str() {
        "calling" => {
            format!("being carried out at Refersion since {}", in_hand.calling_since.as_deref().unwrap_or_default())
        }
        "waiting" => format!("waiting for its next attempt at {}", in_hand.until.as_deref().unwrap_or_default()),
        "admission" => match not_worked {
            Some(state) => format!("waiting because the account is {}", condition(state)),
            None if is_out => "waiting until Refersion is back from an outage".to_owned(),
            None => "waiting for room among the calls, or for the queue".to_owned(),
        },
        _ => "waiting for its turn".to_owned(),
    };
    (State::InHand, format!("in the hand of {who} since {}, {doing}", in_hand.since), None)
}

fn letter(class: Class, headers: &Headers) -> (State, String, Option<String>) {
    let death = headers.death.as_ref();
    let reason = death.map_or("", |death| death.reason.as_str());
    let since =
        death.and_then(|death| death.dead_at).map(|at| format!(" since {}", rfc3339_seconds(at))).unwrap_or_default();
    let status =
        death.and_then(|death| death.status).map(|status| format!(", Refersion answered {status}")).unwrap_or_default();
    let error = death.and_then(|death| death.error.as_deref()).map(|error| format!(": {error}")).unwrap_or_default();
    let now = format!("a dead letter of class {class}{since}, for the reason {reason}{status}{error}");
    let todo = format!("See it with: refersion-relay dlq list --class {class} --message-id {}", headers.message_id);
    (State::Dead, now, Some(todo))
}

fn account(headers: &Headers) -> String {
    headers.account.as_ref().map(ToString::to_string).unwrap_or_default()
}

fn name(event: &Found) -> String {
    let place = match event.whereabouts {
        Whereabouts::Tier { until, .. } => format!(" (in a retry queue until {})", rfc3339_seconds(until)),
        Whereabouts::InHand => " (in a worker's hand)".to_owned(),
        Whereabouts::Waiting { .. } | Whereabouts::Dead(_) | Whereabouts::Elsewhere => String::new(),
    };
    format!("{}{place}", event.headers.message_id)
}

fn condition(state: &AccountState) -> String {
    let until = state.until.as_deref().map(|until| format!(" until {until}")).unwrap_or_default();
    format!("{}{until}", state.condition)
}

fn noun(role: &str) -> &'static str {
    match role {
        "worker" => "worker",
        "ingest" => "process with doors",
        _ => "process",
    }
}

fn times(count: u32) -> String {
    if count == 1 { "once".to_owned() } else { format!("{count} times") }
}

fn held() -> String {
    "Put valid keys into the configuration, or make them valid at Refersion; it goes on by itself then.".to_owned()
}

#[cfg(test)]
mod tests {
    use refersion_relay_model::AccountName;

    use super::*;
    use crate::commands::explain::evidence::{Letters, Process};
    use crate::run::state::{Known, State as Memory};

    /// A process that remembers how an event left its hand.
    fn remembering(what: &str) -> Process {
        let left = LeftShown {
            at: "2026-01-01T00:00:00Z".to_owned(),
            what: what.to_owned(),
            how: Some("refused".to_owned()),
            until: None,
            attempts: 1,
            generation: 0,
            failure: None,
        };
        let event = Known {
            account: "acme".to_owned(),
            message_id: "m1".to_owned(),
            at_door: None,
            in_hand: None,
            left: Some(left),
        };
        let memory = Memory {
            role: "run".to_owned(),
            version: String::new(),
            queue: String::new(),
            refersion: serde_json::Value::Null,
            remembers_since: "2026-01-01T00:00:00Z".to_owned(),
            accounts_not_worked: Vec::new(),
            events: vec![event],
        };
        Process { ops: ([127, 0, 0, 1], 9090).into(), answer: Ok(memory) }
    }

    fn state(queue: InQueue, what: &str) -> State {
        let evidence = Evidence { message_id: "m1".to_owned(), queue, processes: vec![remembering(what)] };
        tell(&evidence, SystemTime::now()).events[0].state
    }

    #[test]
    fn what_could_not_be_looked_at_is_not_taken_for_empty() {
        let nobody = || "the queue is away".to_owned();
        assert_eq!(state(InQueue::Embedded(Err(nobody())), "dead"), State::Dead);
        assert_eq!(state(InQueue::Broker(Err(nobody())), "dead"), State::Dead);
        assert_eq!(state(InQueue::Broker(Ok(Letters { found: Vec::new(), all: false })), "dead"), State::Dead);
        assert_eq!(state(InQueue::Embedded(Err(nobody())), "aside"), State::Accepted);

        assert_eq!(state(InQueue::Embedded(Ok(Vec::new())), "dead"), State::Ended);
        assert_eq!(state(InQueue::Broker(Ok(Letters { found: Vec::new(), all: true })), "dead"), State::Ended);
        assert_eq!(state(InQueue::Embedded(Ok(Vec::new())), "aside"), State::Ended);
    }

    #[test]
    fn a_letter_that_is_there_says_more_than_what_is_remembered() {
        let account = AccountName::try_from("acme").unwrap();
        let headers = Headers::received("m1", "identify", account, String::new(), SystemTime::UNIX_EPOCH);
        let letters = Letters { found: vec![(Class::Rejected, headers)], all: true };
        assert_eq!(state(InQueue::Broker(Ok(letters)), "delivered"), State::Dead);
    }
}
