use std::collections::BTreeMap;

use refersion_relay_model::Class;
use refersion_relay_queue::{Found, Headers, Whereabouts};

use super::evidence::{Evidence, InQueue};
use crate::run::state::{AtDoorShown, ConditionShown, InHandShown, LeftShown, RoleShown, State};

/// The evidence, sorted by the accounts that have such an event.
pub(super) struct Sorted<'a> {
    pub(super) clues: BTreeMap<String, Clues<'a>>,
    pub(super) looked: Looked,
    /// Since when the processes that were asked remember events, if any was.
    pub(super) since: Option<&'a str>,
    /// What could not be found out, and why.
    pub(super) unknown: Vec<String>,
}

/// What of the queue was looked at, so that what was not found is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Looked {
    /// Every place of an embedded queue.
    File,
    /// The dead letters on a broker, all of them.
    Letters,
    /// Not even that.
    Nothing,
}

/// All that is known of the events of one account with this id.
#[derive(Default)]
pub(super) struct Clues<'a> {
    /// In the file of an embedded queue, the last one that is no dead letter.
    pub(super) found: Option<&'a Found>,
    /// The last dead letter.
    pub(super) letter: Option<(Class, &'a Headers)>,
    /// How many events with this id the queue has.
    pub(super) there: usize,
    pub(super) in_hand: Option<Told<'a, InHandShown>>,
    pub(super) left: Option<Told<'a, LeftShown>>,
    pub(super) at_door: Option<Told<'a, AtDoorShown>>,
    pub(super) not_worked: Option<&'a ConditionShown>,
    /// Whether Refersion is out, for a worker that was asked.
    pub(super) is_out: bool,
}

/// Something that a process told.
pub(super) struct Told<'a, T> {
    pub(super) what: &'a T,
    pub(super) by: String,
}

impl<'a> Sorted<'a> {
    pub(super) fn of(evidence: &'a Evidence) -> Self {
        let mut clues = BTreeMap::<String, Clues<'_>>::new();
        let mut unknown = Vec::new();
        let looked = in_queue(&evidence.queue, &mut clues, &mut unknown);
        let mut answers = Vec::new();
        for process in &evidence.processes {
            match &process.answer {
                Ok(state) => {
                    told(state, &format!("the {} at {}", noun(state.role), process.ops), &mut clues);
                    answers.push(state);
                }
                Err(why) => {
                    let ops = process.ops;
                    unknown.push(format!("what the process at {ops} remembers: {why}; give every process with --ops"));
                }
            }
        }
        unknown.extend(unasked(&answers));
        // Of accounts that have such an event.
        let is_out = answers.iter().any(|state| state.refersion["state"] == "outage");
        for (account, clue) in &mut clues {
            clue.is_out = is_out;
            let mut accounts = answers.iter().flat_map(|state| &state.accounts);
            let not_worked =
                accounts.rfind(|state| &state.account == account && state.condition != ConditionShown::Open);
            clue.not_worked = not_worked.map(|state| &state.condition);
        }
        let since = answers.iter().map(|state| state.remembers_since.as_str()).min();
        Self { clues, looked, since, unknown }
    }
}

fn in_queue<'a>(queue: &'a InQueue, clues: &mut BTreeMap<String, Clues<'a>>, unknown: &mut Vec<String>) -> Looked {
    match queue {
        InQueue::Embedded(Ok(found)) => {
            for event in found {
                let clue = clues.entry(account(&event.headers)).or_default();
                clue.there += 1;
                match event.whereabouts {
                    Whereabouts::Dead(class) => clue.letter = Some((class, &event.headers)),
                    Whereabouts::Waiting { .. }
                    | Whereabouts::InHand
                    | Whereabouts::Tier { .. }
                    | Whereabouts::Elsewhere => clue.found = Some(event),
                }
            }
            Looked::File
        }
        InQueue::Broker(Ok(letters)) => {
            for (class, headers) in &letters.found {
                let clue = clues.entry(account(headers)).or_default();
                clue.there += 1;
                clue.letter = Some((*class, headers));
            }
            unknown.push("what is in a queue on RabbitMQ: a broker cannot be asked for one message".to_owned());
            if letters.all {
                return Looked::Letters;
            }
            unknown.push("what is among the later dead letters: only the first 65535 of a class are read".to_owned());
            Looked::Nothing
        }
        InQueue::Embedded(Err(why)) | InQueue::Broker(Err(why)) => {
            unknown.push(format!("what is in the queue: {why}"));
            Looked::Nothing
        }
    }
}

/// Of several processes, the one that knows the latest is believed.
fn told<'a>(state: &'a State, by: &str, clues: &mut BTreeMap<String, Clues<'a>>) {
    for event in &state.events {
        let clue = clues.entry(event.account.clone()).or_default();
        if let Some(what) = &event.in_hand {
            clue.in_hand = Some(Told { what, by: by.to_owned() });
        }
        if let Some(what) = &event.left
            && clue.left.as_ref().is_none_or(|old| old.what.at < what.at)
        {
            clue.left = Some(Told { what, by: by.to_owned() });
        }
        if let Some(what) = &event.at_door
            && clue.at_door.as_ref().is_none_or(|old| old.what.at < what.at)
        {
            clue.at_door = Some(Told { what, by: by.to_owned() });
        }
    }
}

/// Which kinds of processes were not asked.
fn unasked(answers: &[&State]) -> Option<String> {
    let asked = |role: RoleShown| answers.iter().any(|state| state.role == role || state.role == RoleShown::Run);
    let who = match (asked(RoleShown::Ingest), asked(RoleShown::Worker)) {
        (true, false) => "workers remember",
        (false, true) => "doors remember",
        // If there was no answer at all, that is said of each.
        (true, true) | (false, false) => return None,
    };
    Some(format!("what {who}: none was asked; give their addresses with --ops"))
}

fn account(headers: &Headers) -> String {
    headers.account.as_ref().map(ToString::to_string).unwrap_or_default()
}

fn noun(role: RoleShown) -> &'static str {
    match role {
        RoleShown::Run => "process",
        RoleShown::Ingest => "process with doors",
        RoleShown::Worker => "worker",
    }
}
