use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::SystemTime;

use refersion_relay_ingest::{AtDoor, Done};
use refersion_relay_model::AccountName;
use refersion_relay_queue::{BrokerState, Stuck, rfc3339_millis};
use refersion_relay_telemetry::{Door, LastAtDoor, Metrics, Recent, Role};
use refersion_relay_worker::{AccountStatus, Accounts, Condition, Doing, Past, PastOutcome, Present, Trail, WorkQueue};
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
    pub(crate) metrics: Metrics,
    /// What cannot be moved where it belongs.
    pub(crate) stuck: watch::Receiver<Vec<Stuck>>,
}

/// What `GET /ops/state` answers, as `docs/ops-state.md` has it. Times are as RFC 3339 has them; nothing in it is personal.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct State {
    pub(crate) role: RoleShown,
    pub(crate) version: String,
    pub(crate) queue: String,
    /// As in `/health/ready`.
    pub(crate) refersion: Value,
    /// Since when it remembers events.
    pub(crate) remembers_since: String,
    /// Of a worker: every account that was configured since it began.
    pub(crate) accounts: Vec<AccountShown>,
    /// Of doors, what each did last.
    pub(crate) doors: Vec<DoorShown>,
    /// Places that take no copies of events.
    pub(crate) stuck: Vec<StuckShown>,
    /// What it knows of the events that it was asked for.
    pub(crate) events: Vec<Known>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RoleShown {
    Run,
    Ingest,
    Worker,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct AccountShown {
    pub(crate) account: String,
    #[serde(flatten)]
    pub(crate) condition: ConditionShown,
    /// Since when it is open, held or gone.
    pub(crate) since: String,
    pub(crate) work_queue: WorkQueueShown,
    pub(crate) calls_in_flight: usize,
    pub(crate) calls_allowed: usize,
    /// `None`: any number.
    pub(crate) calls_per_second: Option<u32>,
}

/// Whether an account is worked for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(tag = "condition", rename_all = "snake_case")]
pub(crate) enum ConditionShown {
    Open,
    Held,
    Paused { until: String },
    Gone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum WorkQueueShown {
    Unread,
    StandingBy,
    Worked,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct DoorShown {
    pub(crate) door: String,
    pub(crate) last_accepted: Option<String>,
    pub(crate) last_refused: Option<RefusedShown>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct RefusedShown {
    pub(crate) at: String,
    pub(crate) reason: String,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct StuckShown {
    pub(crate) to: String,
    pub(crate) events: usize,
    pub(crate) why: String,
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
    #[serde(flatten)]
    pub(crate) what: DoneShown,
}

/// What a door did with an event.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub(crate) enum DoneShown {
    Accepted,
    Dead { reason: String },
    Ignored { reason: String },
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct InHandShown {
    pub(crate) since: String,
    #[serde(flatten)]
    pub(crate) doing: DoingShown,
    pub(crate) attempts: u32,
    pub(crate) generation: u32,
    pub(crate) failure: Option<String>,
    /// The message id of the event about the same person that comes before it.
    pub(crate) behind: Option<String>,
}

/// What is done with an event in hand.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(tag = "doing", rename_all = "snake_case")]
pub(crate) enum DoingShown {
    InLane,
    Admission,
    Calling { calling_since: String },
    Waiting { until: String },
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct LeftShown {
    pub(crate) at: String,
    #[serde(flatten)]
    pub(crate) what: EndShown,
    pub(crate) attempts: u32,
    pub(crate) generation: u32,
    pub(crate) failure: Option<String>,
}

/// How an event left a worker's hand.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub(crate) enum EndShown {
    Delivered {
        how: String,
    },
    /// A delete by an id alone, whose addresses were found: ordinary deletes with its id have taken its place.
    Completed,
    Ignored {
        reason: String,
    },
    Copy,
    Retry {
        until: String,
    },
    Aside {
        /// Of one that did not go round its work queue.
        until: Option<String>,
    },
    Dead {
        reason: String,
    },
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
            role: self.role.into(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            queue: queue.to_string(),
            refersion,
            remembers_since: rfc3339_millis(since.unwrap_or_else(SystemTime::now)),
            accounts: self.accounts.iter().flat_map(|accounts| accounts.statuses()).map(AccountShown::from).collect(),
            doors: self.doors(),
            stuck: self.stuck.borrow().iter().map(StuckShown::from).collect(),
            events: self.known(message_ids, &configured),
        }
    }

    fn doors(&self) -> Vec<DoorShown> {
        if self.doors.is_none() {
            return Vec::new();
        }
        let door = |door: Door| {
            let LastAtDoor { accepted, refused } = self.metrics.last_at(door);
            let refused =
                refused.map(|(at, reason)| RefusedShown { at: rfc3339_millis(at), reason: reason.as_str().to_owned() });
            DoorShown {
                door: door.as_str().to_owned(),
                last_accepted: accepted.map(rfc3339_millis),
                last_refused: refused,
            }
        };
        Door::ALL.into_iter().map(door).collect()
    }

    fn known(&self, message_ids: &[String], configured: &BTreeSet<AccountName>) -> Vec<Known> {
        let ids: BTreeSet<_> = message_ids.iter().map(String::as_str).collect();
        let in_hand = self.trail.as_ref().map(|trail| trail.in_hand(&ids)).unwrap_or_default();
        let known = ids.iter().flat_map(|id| configured.iter().map(move |account| (account, *id)));
        let known = known.filter_map(|(account, message_id)| {
            let is_it = |present: &&Present| &present.account == account && present.message_id == message_id;
            let known = Known {
                account: account.to_string(),
                message_id: message_id.to_owned(),
                at_door: self.doors.as_ref().and_then(|doors| doors.find(account, message_id)).map(AtDoorShown::from),
                in_hand: in_hand.iter().find(is_it).map(InHandShown::from),
                left: self.trail.as_ref().and_then(|trail| trail.past(account, message_id)).map(LeftShown::from),
            };
            (known.at_door.is_some() || known.in_hand.is_some() || known.left.is_some()).then_some(known)
        });
        known.collect()
    }
}

impl From<Role> for RoleShown {
    fn from(role: Role) -> Self {
        match role {
            Role::Run => Self::Run,
            Role::Ingest => Self::Ingest,
            Role::Worker => Self::Worker,
        }
    }
}

impl From<AccountStatus> for AccountShown {
    fn from(status: AccountStatus) -> Self {
        let AccountStatus { name, condition, since, work_queue, calls_in_flight, calls_allowed, calls_per_second } =
            status;
        let condition = match condition {
            Condition::Open => ConditionShown::Open,
            Condition::Held => ConditionShown::Held,
            Condition::Paused(until) => ConditionShown::Paused { until: rfc3339_millis(until) },
            Condition::Gone => ConditionShown::Gone,
        };
        let work_queue = match work_queue {
            WorkQueue::Unread => WorkQueueShown::Unread,
            WorkQueue::StandingBy => WorkQueueShown::StandingBy,
            WorkQueue::Worked => WorkQueueShown::Worked,
        };
        Self {
            account: name.to_string(),
            condition,
            since: rfc3339_millis(since),
            work_queue,
            calls_in_flight,
            calls_allowed,
            calls_per_second: calls_per_second.map(NonZeroU32::get),
        }
    }
}

impl From<&Stuck> for StuckShown {
    fn from(Stuck { to, events, why }: &Stuck) -> Self {
        Self { to: to.clone(), events: *events, why: why.clone() }
    }
}

impl From<AtDoor> for AtDoorShown {
    fn from(AtDoor { at, door, what }: AtDoor) -> Self {
        let what = match what {
            Done::Accepted => DoneShown::Accepted,
            Done::Dead(reason) => DoneShown::Dead { reason: reason.as_str().to_owned() },
            Done::Ignored(why) => DoneShown::Ignored { reason: why.as_str().to_owned() },
        };
        Self { at: rfc3339_millis(at), door: door.as_str().to_owned(), what }
    }
}

impl From<&Present> for InHandShown {
    fn from(present: &Present) -> Self {
        let doing = match present.doing {
            Doing::InLane => DoingShown::InLane,
            Doing::Admission => DoingShown::Admission,
            Doing::Calling(since) => DoingShown::Calling { calling_since: rfc3339_millis(since) },
            Doing::Waiting(until) => DoingShown::Waiting { until: rfc3339_millis(until) },
        };
        Self {
            since: rfc3339_millis(present.since),
            doing,
            attempts: present.attempts,
            generation: present.generation,
            failure: present.failure.map(str::to_owned),
            behind: present.behind.clone(),
        }
    }
}

impl From<Past> for LeftShown {
    fn from(past: Past) -> Self {
        let what = match past.what {
            PastOutcome::Delivered(how) => EndShown::Delivered { how: how.to_owned() },
            PastOutcome::Completed => EndShown::Completed,
            PastOutcome::Ignored(why) => EndShown::Ignored { reason: why.to_owned() },
            PastOutcome::Copy => EndShown::Copy,
            PastOutcome::Retry(until) => EndShown::Retry { until: rfc3339_millis(until) },
            PastOutcome::Aside(until) => EndShown::Aside { until: until.map(rfc3339_millis) },
            PastOutcome::Dead(reason) => EndShown::Dead { reason: reason.to_owned() },
        };
        Self {
            at: rfc3339_millis(past.at),
            what,
            attempts: past.attempts,
            generation: past.generation,
            failure: past.failure.map(str::to_owned),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_so_many_message_ids_of_a_sensible_length_are_asked_for() {
        assert_eq!(asked("message=a%20b&other=x&message=&message=c"), ["a b", "c"]);
        assert_eq!(asked(&format!("message={}", "x".repeat(LONGEST_ID + 1))), Vec::<String>::new());
        assert_eq!(asked(&"message=a&".repeat(5_000)).len(), MOST_IDS);
    }

    fn text() -> String {
        "text".to_owned()
    }

    fn account(condition: ConditionShown) -> AccountShown {
        AccountShown {
            account: text(),
            condition,
            since: text(),
            work_queue: WorkQueueShown::Worked,
            calls_in_flight: 1,
            calls_allowed: 4,
            calls_per_second: Some(2),
        }
    }

    fn known(at_door: DoneShown, doing: DoingShown, left: EndShown) -> Known {
        let (attempts, generation, failure) = (1, 0, Some(text()));
        Known {
            account: text(),
            message_id: text(),
            at_door: Some(AtDoorShown { at: text(), door: text(), what: at_door }),
            in_hand: Some(InHandShown {
                since: text(),
                doing,
                attempts,
                generation,
                failure: failure.clone(),
                behind: Some(text()),
            }),
            left: Some(LeftShown { at: text(), what: left, attempts, generation, failure }),
        }
    }

    /// Everything that can be in it.
    fn whole() -> State {
        State {
            role: RoleShown::Run,
            version: text(),
            queue: text(),
            refersion: json!({"state": "outage", "since": "", "trouble": "", "failure": ""}),
            remembers_since: text(),
            accounts: vec![account(ConditionShown::Open), account(ConditionShown::Paused { until: text() })],
            doors: vec![DoorShown {
                door: text(),
                last_accepted: Some(text()),
                last_refused: Some(RefusedShown { at: text(), reason: text() }),
            }],
            stuck: vec![StuckShown { to: text(), events: 1, why: text() }],
            events: vec![
                known(DoneShown::Accepted, DoingShown::InLane, EndShown::Delivered { how: text() }),
                known(
                    DoneShown::Dead { reason: text() },
                    DoingShown::Calling { calling_since: text() },
                    EndShown::Retry { until: text() },
                ),
                known(
                    DoneShown::Ignored { reason: text() },
                    DoingShown::Waiting { until: text() },
                    EndShown::Dead { reason: text() },
                ),
            ],
        }
    }

    fn paths(value: &Value, path: &str, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                    paths(value, &path, found);
                    found.insert(path);
                }
            }
            Value::Array(items) => {
                for item in items {
                    paths(item, &format!("{path}[]"), found);
                }
            }
            _ => {}
        }
    }

    #[test]
    fn the_page_has_every_field_and_no_other() {
        let page = include_str!("../../../../docs/ops-state.md");
        let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
        let documented: BTreeSet<_> = rows.map(str::to_owned).collect();
        let mut shown = BTreeSet::new();
        paths(&serde_json::to_value(whole()).unwrap(), "", &mut shown);
        // What is a list is named by what is in it.
        shown.retain(|path| !["accounts", "doors", "events"].contains(&path.as_str()));
        assert_eq!(documented, shown);
    }
}
