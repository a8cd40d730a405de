use std::time::SystemTime;

use refersion_relay_model::Class;
use refersion_relay_queue::{Found, Headers, Whereabouts, rfc3339_seconds};
use serde::Serialize;

use super::clues::{Clues, Looked, Sorted, Told};
use super::evidence::Evidence;
use crate::run::state::{ConditionShown, DoingShown, DoneShown, EndShown, InHandShown, LeftShown};

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
    #[serde(flatten)]
    now: Now,
    /// What happened to it, in sentences.
    before: Vec<String>,
}

/// Where it is.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Now {
    state: State,
    #[serde(rename = "now")]
    sentence: String,
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

pub(super) fn tell(evidence: &Evidence, now: SystemTime) -> Explanation {
    let Sorted { clues, looked, since, unknown } = Sorted::of(evidence);
    let story = |(account, clues): (String, Clues<'_>)| {
        let now = clues.now(&account, looked, since, now);
        Story { before: clues.before(now.state), account, now }
    };
    Explanation { message_id: evidence.message_id.clone(), events: clues.into_iter().map(story).collect(), unknown }
}

impl Explanation {
    pub(super) fn lines(&self) -> Vec<String> {
        let (id, mut lines) = (&self.message_id, Vec::new());
        if self.events.is_empty() {
            lines.push(format!(
                "{id}: nothing is known of it. It is in no place that could be looked at, and no process that was asked remembers it."
            ));
            lines.push(
                "It was never accepted, or it ended before what they remember; their logs may have it.".to_owned(),
            );
        }
        for Story { account, now, before } in &self.events {
            let of = if account.is_empty() { "of no account".to_owned() } else { format!("account {account}") };
            lines.push(format!("{id} ({of}): {}.", now.sentence));
            lines.extend(before.iter().map(|before| format!("  {before}.")));
            lines.extend(now.todo.iter().map(|todo| format!("  {todo}")));
        }
        lines.extend(self.unknown.iter().map(|unknown| format!("Cannot be known: {unknown}.")));
        lines
    }
}

impl Now {
    fn is(state: State, sentence: impl Into<String>) -> Self {
        Self { state, sentence: sentence.into(), todo: None }
    }

    fn held(sentence: String) -> Self {
        let todo = "Put valid keys into the configuration, or make them valid at Refersion; it goes on by itself then.";
        Self { state: State::Held, sentence, todo: Some(todo.to_owned()) }
    }

    fn letter(class: Class, headers: &Headers) -> Self {
        let death = headers.death.as_ref();
        let reason = death.map_or("", |death| death.reason.as_str());
        let since = death.and_then(|death| death.dead_at).map(|at| format!(" since {}", rfc3339_seconds(at)));
        let status = death.and_then(|death| death.status).map(|status| format!(", Refersion answered {status}"));
        let error = death.and_then(|death| death.error.as_deref()).map(|error| format!(": {error}"));
        let [since, status, error] = [since, status, error].map(Option::unwrap_or_default);
        let sentence = format!("a dead letter of class {class}{since}, for the reason {reason}{status}{error}");
        let todo = format!("See it with: refersion-relay dlq list --class {class} --message-id {}", headers.message_id);
        Self { state: State::Dead, sentence, todo: Some(todo) }
    }
}

impl Clues<'_> {
    /// Where it is, by what is most certain: a worker that has it, then the queue, then what is remembered.
    fn now(&self, account: &str, looked: Looked, since: Option<&str>, now: SystemTime) -> Now {
        if let Some(Told { what, by }) = &self.in_hand {
            return self.in_hand(what, by);
        }
        if let Some(found) = self.found {
            return self.in_file(found, account);
        }
        if let Some((class, headers)) = self.letter {
            return Now::letter(class, headers);
        }
        if let Some(Told { what, by }) = &self.left
            && let Some(now) = self.left(what, by, account, looked, now)
        {
            return now;
        }
        match &self.at_door {
            Some(Told { what: door, by }) if let DoneShown::Ignored { reason } = &door.what => {
                Now::is(State::Ignored, format!("ignored ({reason}) at {} at the door {} by {by}", door.at, door.door))
            }
            Some(_) if looked != Looked::File => self.somewhere(account, "it was accepted"),
            Some(_) | None => {
                let since = since.map(|since| format!(": those that were asked remember what was since {since}"));
                let ended = "not in the queue any more, so it has ended; nobody remembers how";
                Now::is(State::Ended, format!("{ended}{}", since.unwrap_or_default()))
            }
        }
    }

    fn in_hand(&self, in_hand: &InHandShown, by: &str) -> Now {
        if let Some(behind) = &in_hand.behind {
            return Now::is(State::Behind, format!("in the hand of {by}, behind {behind} about the same person"));
        }
        let doing = match &in_hand.doing {
            DoingShown::Calling { calling_since } => format!("being carried out at Refersion since {calling_since}"),
            DoingShown::Waiting { until } => format!("waiting for its next attempt at {until}"),
            DoingShown::Admission => match self.not_worked {
                Some(condition) => format!("waiting because the account is {}", in_words(condition)),
                None if self.is_out => "waiting until Refersion is back from an outage".to_owned(),
                None => "waiting for room among the calls, or for the queue".to_owned(),
            },
            DoingShown::InLane => "waiting for its turn".to_owned(),
        };
        Now::is(State::InHand, format!("in the hand of {by} since {}, {doing}", in_hand.since))
    }

    fn in_file(&self, found: &Found, account: &str) -> Now {
        let waiting = format!("waiting in the work queue of {account}");
        match found.whereabouts {
            Whereabouts::Tier { until, .. } => {
                let behind = found.behind.as_deref().filter(|_| found.headers.attempts == 0);
                let behind = behind.map(|behind| format!(", behind {} about the same person", name(behind)));
                let until = rfc3339_seconds(until);
                Now::is(State::InTier, format!("in a retry queue until {until}{}", behind.unwrap_or_default()))
            }
            Whereabouts::Waiting { .. } | Whereabouts::InHand if self.is_held() => {
                Now::held(format!("{waiting}, which is held: Refersion refuses its keys"))
            }
            Whereabouts::Waiting { .. } | Whereabouts::InHand if self.is_out => {
                Now::is(State::Waiting, format!("{waiting} until Refersion is back from an outage"))
            }
            Whereabouts::Waiting { before } => {
                let before = match before {
                    0 => "first in it".to_owned(),
                    1 => "behind one event".to_owned(),
                    before => format!("behind {before} events"),
                };
                let paused = self.not_worked.map(|condition| format!("; the account is {}", in_words(condition)));
                let paused = paused.unwrap_or_default();
                match &found.behind {
                    Some(behind) => {
                        let behind = name(behind);
                        let now =
                            format!("{waiting}, {before}; {behind} about the same person comes before it{paused}");
                        Now::is(State::Behind, now)
                    }
                    None => Now::is(State::Waiting, format!("{waiting}, {before}{paused}")),
                }
            }
            Whereabouts::InHand => {
                let now = "in the hand of a worker that was not asked, or that has ended; then it comes again";
                Now::is(State::InHand, now)
            }
            Whereabouts::Dead(class) => Now::letter(class, &found.headers),
            Whereabouts::Elsewhere => Now::is(State::Accepted, "in a place that this release does not know"),
        }
    }

    /// Where it is as far as that follows from how it left a worker's hand.
    fn left(&self, left: &LeftShown, by: &str, account: &str, looked: Looked, now: SystemTime) -> Option<Now> {
        let at = &left.at;
        let is_to_come = |until: &str| humantime::parse_rfc3339(until).is_ok_and(|until| now < until);
        Some(match &left.what {
            EndShown::Delivered { how } => {
                let again = if left.generation == 0 { "" } else { ", after it was replayed as a dead letter" };
                Now::is(State::Delivered, format!("delivered ({how}) at {at} by {by}{again}"))
            }
            EndShown::Ignored { reason } => Now::is(State::Ignored, format!("ignored ({reason}) at {at} by {by}")),
            EndShown::Copy => {
                Now::is(State::Ignored, format!("dropped at {at} by {by}: a copy of an event that had ended"))
            }
            EndShown::Dead { reason } if looked == Looked::Nothing => {
                let now = format!(
                    "a dead letter ({reason}) since {at}, as {by} remembers; the dead letters could not be looked at"
                );
                Now::is(State::Dead, now)
            }
            EndShown::Dead { reason } => {
                let now = format!(
                    "a dead letter ({reason}) since {at}, and not among the dead letters now: replayed or dropped"
                );
                Now::is(State::Ended, now)
            }
            // It would be in the file.
            EndShown::Retry { .. } | EndShown::Aside { .. } | EndShown::Completed if looked == Looked::File => {
                return None;
            }
            EndShown::Retry { until } | EndShown::Aside { until: Some(until) } if is_to_come(until) => {
                Now::is(State::InTier, format!("in a retry queue until {until}"))
            }
            EndShown::Retry { .. } | EndShown::Aside { .. } | EndShown::Completed => {
                self.somewhere(account, "it came back to its work queue")
            }
        })
    }

    /// It was seen last on its way into a queue that could not be asked for it.
    fn somewhere(&self, account: &str, what: &str) -> Now {
        if self.is_held() {
            let now = format!("waiting in the work queue of {account}, most likely: {what}, and the account is held");
            return Now::held(now);
        }
        let now = format!(
            "waiting in the work queue of {account}, or in the hand of a worker that was not asked, or ended there: {what}, and \
             nobody who was asked knows more"
        );
        Now::is(State::Accepted, now)
    }

    fn is_held(&self) -> bool {
        self.not_worked == Some(&ConditionShown::Held)
    }

    /// What happened to it, from the first to the last.
    fn before(&self, state: State) -> Vec<String> {
        let mut before = Vec::new();
        let headers = self.found.map(|found| &found.headers).or(self.letter.map(|(_, headers)| headers));
        match (&self.at_door, headers) {
            (Some(Told { what, by }), _) => match what.what {
                DoneShown::Accepted => {
                    before.push(format!("accepted at {} at the door {} by {by}", what.at, what.door));
                }
                DoneShown::Dead { .. } => {
                    before.push(format!("accepted at {} at the door {} by {by}, as a dead letter", what.at, what.door));
                }
                DoneShown::Ignored { .. } => {}
            },
            (None, Some(headers)) => before.push(format!("accepted at {}", rfc3339_seconds(headers.received_at))),
            (None, None) => {}
        }
        if let Some(headers) = headers.filter(|headers| 0 < headers.generation) {
            let times =
                if headers.generation == 1 { "once".to_owned() } else { format!("{} times", headers.generation) };
            before.push(format!("replayed as a dead letter, {times}"));
        }
        let attempts = match (&self.in_hand, &self.left, headers) {
            (Some(Told { what, .. }), ..) => (what.attempts, what.failure.as_deref()),
            (None, Some(Told { what, .. }), _) => (what.attempts, what.failure.as_deref()),
            (None, None, Some(headers)) => (headers.attempts, None),
            (None, None, None) => (0, None),
        };
        if attempts != (0, None) {
            let last = attempts.1.map(|failure| format!("; the last one: {failure}")).unwrap_or_default();
            before.push(format!("attempts that failed and count: {}{last}", attempts.0));
        }
        // Where it is says so already.
        if let Some(Told { what: left, by }) =
            self.left.as_ref().filter(|_| !matches!(state, State::Delivered | State::Ignored | State::Ended))
        {
            let what = match left.what {
                EndShown::Retry { .. } => "sent to a retry queue, after a failure",
                EndShown::Aside { .. } => "sent away, to let other events go first",
                EndShown::Dead { .. } => "made a dead letter",
                EndShown::Delivered { .. } => "delivered",
                EndShown::Completed => "given the address that the directory has for its person",
                EndShown::Ignored { .. } => "ignored",
                EndShown::Copy => "dropped as a copy",
            };
            before.push(format!("{what} at {} by {by}", left.at));
        }
        if 1 < self.there {
            before.push(format!("one of {} events with this id in the queue", self.there));
        }
        before
    }
}

fn name(event: &Found) -> String {
    let place = match event.whereabouts {
        Whereabouts::Tier { until, .. } => format!(" (in a retry queue until {})", rfc3339_seconds(until)),
        Whereabouts::InHand => " (in a worker's hand)".to_owned(),
        Whereabouts::Waiting { .. } | Whereabouts::Dead(_) | Whereabouts::Elsewhere => String::new(),
    };
    format!("{}{place}", event.headers.message_id)
}

fn in_words(condition: &ConditionShown) -> String {
    match condition {
        ConditionShown::Open => "worked for".to_owned(),
        ConditionShown::Held => "held".to_owned(),
        ConditionShown::Paused { until } => format!("paused until {until}"),
        ConditionShown::Gone => "not configured any more".to_owned(),
    }
}

#[cfg(test)]
mod tests;
