use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::SystemTime;

use refersion_relay_ingest::{AtDoor, Done};
use refersion_relay_model::AccountName;
use refersion_relay_queue::{BrokerState, rfc3339_millis};
use refersion_relay_telemetry::{Recent, Role};
use refersion_relay_worker::{Accounts, Condition, Doing, Past, PastOutcome, Present, Trail};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::watch;

/// The most message ids that are asked for at a time, and the longest of them.
const MOST_IDS: usize = 1_100;
const LONGEST_ID: usize = 200;

/// What a process remembers of single events, and how the accounts are that it works for.
pub(crate) struct Memory {
    pub(crate) role: Role,
    pub(crate) configured: watch::Receiver<BTreeSet<AccountName>>,
    /// Of a worker.
    pub(crate) accounts: Option<Arc<Accounts>>,
    pub(crate) trail: Option<Arc<Trail>>,
    /// Of doors.
    pub(crate) doors: Option<Arc<Recent<AtDoor>>>,
}

/// What `GET /ops/state` answers. Times are as RFC 3339 has them; every word is from a closed set.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct State {
    /// `run`, `ingest` or `worker`.
    pub(crate) role: String,
    pub(crate) version: String,
    pub(crate) queue: String,
    /// As in `/health/ready`.
    pub(crate) refersion: Value,
    /// Since when it remembers events.
    pub(crate) remembers_since: String,
    /// Accounts that its worker does not work for now.
    pub(crate) accounts_not_worked: Vec<AccountState>,
    /// What it knows of the events that it was asked for.
    pub(crate) events: Vec<Known>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct AccountState {
    pub(crate) account: String,
    /// `held`, `paused` or `gone`.
    pub(crate) condition: String,
    /// Of a pause.
    pub(crate) until: Option<String>,
}

/// What a process knows of an event.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Known {
    pub(crate) account: String,
    pub(crate) message_id: String,
    /// What a door did with it last.
    pub(crate) at_door: Option<AtDoorShown>,
    /// What the worker does with it now.
    pub(crate) in_hand: Option<InHandShown>,
    /// How it left the worker's hand last.
    pub(crate) left: Option<LeftShown>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct AtDoorShown {
    pub(crate) at: String,
    pub(crate) door: String,
    /// `accepted`, `dead` or `ignored`.
    pub(crate) what: String,
    pub(crate) reason: Option<String>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct InHandShown {
    pub(crate) since: String,
    /// `in_lane`, `admission`, `calling` or `waiting`.
    pub(crate) doing: String,
    /// Since when it is called for.
    pub(crate) calling_since: Option<String>,
    /// When it is tried again.
    pub(crate) until: Option<String>,
    pub(crate) attempts: u32,
    pub(crate) generation: u32,
    pub(crate) failure: Option<String>,
    /// The message id of the event about the same person that comes before it.
    pub(crate) behind: Option<String>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct LeftShown {
    pub(crate) at: String,
    /// `delivered`, `ignored`, `copy`, `retry`, `aside` or `dead`.
    pub(crate) what: String,
    /// How it was delivered, or why it was ignored or is dead.
    pub(crate) how: Option<String>,
    /// When it comes back, if it does.
    pub(crate) until: Option<String>,
    pub(crate) attempts: u32,
    pub(crate) generation: u32,
    pub(crate) failure: Option<String>,
}

/// The message ids in the query of a request.
pub(crate) fn asked(query: &str) -> Vec<String> {
    let pairs = url::form_urlencoded::parse(query.as_bytes()).filter(|(key, _)| key == "message");
    let ids = pairs.map(|(_, id)| id.into_owned()).filter(|id| !id.is_empty() && id.len() <= LONGEST_ID);
    ids.take(MOST_IDS).collect()
}

impl Memory {
    pub(crate) fn state(&self, message_ids: &[String], queue: &BrokerState, refersion: Value) -> State {
        let configured = self.configured.borrow().clone();
        let since = self.trail.as_ref().map(|trail| trail.since());
        let since = since.into_iter().chain(self.doors.as_ref().map(|doors| doors.since())).max();
        State {
            role: self.role.as_str().to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            queue: queue.to_string(),
            refersion,
            remembers_since: rfc3339_millis(since.unwrap_or_else(SystemTime::now)),
            accounts_not_worked: self.accounts_not_worked(),
            events: message_ids.iter().flat_map(|id| self.known(id, &configured)).collect(),
        }
    }

    fn accounts_not_worked(&self) -> Vec<AccountState> {
        let Some(accounts) = &self.accounts else { return Vec::new() };
        let not_worked = accounts.names().into_iter().filter_map(|name| {
            let (condition, until) = match accounts.condition(&name)? {
                Condition::Open => return None,
                Condition::Held => ("held", None),
                Condition::Paused(until) => ("paused", Some(rfc3339_millis(until))),
                Condition::Gone => ("gone", None),
            };
            Some(AccountState { account: name.to_string(), condition: condition.to_owned(), until })
        });
        not_worked.collect()
    }

    fn known(&self, message_id: &str, configured: &BTreeSet<AccountName>) -> Vec<Known> {
        let in_hand = self.trail.as_ref().map(|trail| trail.in_hand(message_id)).unwrap_or_default();
        let known = configured.iter().filter_map(|account| {
            let known = Known {
                account: account.to_string(),
                message_id: message_id.to_owned(),
                at_door: self.doors.as_ref().and_then(|doors| doors.find(account, message_id)).map(AtDoorShown::from),
                in_hand: in_hand.iter().find(|present| &present.account == account).map(InHandShown::from),
                left: self.trail.as_ref().and_then(|trail| trail.past(account, message_id)).map(LeftShown::from),
            };
            (known.at_door.is_some() || known.in_hand.is_some() || known.left.is_some()).then_some(known)
        });
        known.collect()
    }
}

impl From<AtDoor> for AtDoorShown {
    fn from(AtDoor { at, door, what }: AtDoor) -> Self {
        let (what, reason) = match what {
            Done::Accepted => ("accepted", None),
            Done::Dead(reason) => ("dead", Some(reason.as_str().to_owned())),
            Done::Ignored(why) => ("ignored", Some(why.as_str().to_owned())),
        };
        Self { at: rfc3339_millis(at), door: door.as_str().to_owned(), what: what.to_owned(), reason }
    }
}

impl From<&Present> for InHandShown {
    fn from(present: &Present) -> Self {
        let (doing, calling_since, until) = match present.doing {
            Doing::InLane => ("in_lane", None, None),
            Doing::Admission => ("admission", None, None),
            Doing::Calling(since) => ("calling", Some(since), None),
            Doing::Waiting(until) => ("waiting", None, Some(until)),
        };
        Self {
            since: rfc3339_millis(present.since),
            doing: doing.to_owned(),
            calling_since: calling_since.map(rfc3339_millis),
            until: until.map(rfc3339_millis),
            attempts: present.attempts,
            generation: present.generation,
            failure: present.failure.map(str::to_owned),
            behind: present.behind.clone(),
        }
    }
}

impl From<Past> for LeftShown {
    fn from(past: Past) -> Self {
        let (what, how, until) = match past.what {
            PastOutcome::Delivered(how) => ("delivered", Some(how), None),
            PastOutcome::Ignored(why) => ("ignored", Some(why), None),
            PastOutcome::Copy => ("copy", None, None),
            PastOutcome::Retry(until) => ("retry", None, Some(until)),
            PastOutcome::Aside(until) => ("aside", None, until),
            PastOutcome::Dead(reason) => ("dead", Some(reason), None),
        };
        Self {
            at: rfc3339_millis(past.at),
            what: what.to_owned(),
            how: how.map(str::to_owned),
            until: until.map(rfc3339_millis),
            attempts: past.attempts,
            generation: past.generation,
            failure: past.failure.map(str::to_owned),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_so_many_message_ids_of_a_sensible_length_are_asked_for() {
        assert_eq!(asked("message=a%20b&other=x&message=&message=c"), ["a b", "c"]);
        assert_eq!(asked(&format!("message={}", "x".repeat(LONGEST_ID + 1))), Vec::<String>::new());
        assert_eq!(asked(&"message=a&".repeat(5_000)).len(), MOST_IDS);
    }
}
