use std::collections::BTreeMap;

use bytes::Bytes;
use refersion_relay_model::DeadReason;
use refersion_relay_simulator::FaultRule;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::page::Page;

/// What the demo sends, what goes wrong at Refersion meanwhile, and what has to come of it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Script {
    /// Events for `/v1/destination`, in order.
    pub(super) direct: Vec<Direct>,
    /// Requests for `/v1/batch`, after those.
    pub(super) batches: Vec<Batch>,
    /// As docs/simulator.md describes them.
    pub(super) faults: Vec<FaultRule>,
    /// How many attempts fail, by failure.
    failures: BTreeMap<String, u64>,
    /// How many waits for another attempt there are.
    waits: u64,
    /// Who is at Refersion in the end, in order of creation or not, and nobody else.
    pub(super) affiliates: Vec<Expected>,
}

/// An event in a request of its own.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Direct {
    pub(super) what: String,
    pub(super) account: String,
    /// In place of the account's own.
    pub(super) key: Option<String>,
    body: Body,
    /// The status that its sender hears.
    pub(super) answer: u16,
    becomes: Fate,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Body {
    DocumentedIdentify,
    DocumentedDelete,
    Event(Box<RawValue>),
    Text(String),
    /// An event of so many KiB.
    Kib(usize),
}

/// Several events in one request.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Batch {
    pub(super) what: String,
    pub(super) account: String,
    pub(super) encoding: Encoding,
    pub(super) answer: u16,
    events: Vec<Item>,
}

/// How a batch travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Encoding {
    /// As it is; the write key is in the headers.
    Plain,
    /// Packed; the write key is in the body.
    Gzip,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Item {
    event: Box<RawValue>,
    becomes: Fate,
}

/// What becomes of an event, in the words of the metrics.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Fate {
    Delivered(String),
    /// Known to have ended before.
    Copy,
    Dead(String),
    Ignored(String),
    Refused(String),
}

/// An affiliate that has to be there.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Expected {
    pub(super) account: String,
    pub(super) status: String,
    pub(super) email: String,
    pub(super) name: String,
    pub(super) country: Option<String>,
    /// What can be seen by it.
    pub(super) shows: String,
}

/// A dead letter that has to be there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ExpectedLetter {
    pub(super) class: &'static str,
    pub(super) reason: String,
    /// `None` where the relay gives it an id.
    pub(super) message_id: Option<String>,
}

/// A way in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Door {
    Destination,
    Tracking,
}

impl Script {
    /// The one that is built in.
    pub(super) fn built_in() -> Self {
        serde_json::from_str(include_str!("data/script.json")).expect("a constant, and a test reads it")
    }

    /// How many events are sent.
    pub(super) fn events(&self) -> usize {
        self.fates().count()
    }

    /// How many events are to be stored.
    pub(super) fn accepted(&self) -> u64 {
        self.fates().filter(|(_, fate, _)| fate.is_stored()).count() as u64
    }

    /// Everything that the metrics have to show in the end, by series.
    pub(super) fn series(&self) -> BTreeMap<String, u64> {
        let mut series = BTreeMap::new();
        let mut add = |name: String, count| *series.entry(name).or_default() += count;
        for (door, fate, _) in self.fates() {
            let door = door.as_str();
            if fate.is_stored() {
                add(format!("events_accepted_total{{door=\"{door}\"}}"), 1);
            }
            add(
                match fate {
                    Fate::Delivered(how) => format!("events_delivered_total{{how=\"{how}\"}}"),
                    Fate::Copy => "events_copies_total".to_owned(),
                    Fate::Dead(reason) => {
                        format!("events_dead_lettered_total{{class=\"{}\",reason=\"{reason}\"}}", class(reason))
                    }
                    Fate::Ignored(why) => format!("events_ignored_total{{at=\"{door}\",reason=\"{why}\"}}"),
                    Fate::Refused(why) => format!("events_refused_total{{door=\"{door}\",reason=\"{why}\"}}"),
                },
                1,
            );
        }
        for (failure, count) in &self.failures {
            add(format!("attempts_failed_total{{failure=\"{failure}\"}}"), *count);
        }
        add("retries_total{wait=\"in_hand\"}".to_owned(), self.waits);
        series.into_iter().map(|(name, count)| (format!("{}{name}", Page::PREFIX), count)).collect()
    }

    /// The dead letters that have to be there.
    pub(super) fn letters(&self) -> Vec<ExpectedLetter> {
        let letter = |fate: &Fate, event: &str| match fate {
            Fate::Dead(reason) => {
                let event: Option<Value> = serde_json::from_str(event).ok();
                let message_id = event.and_then(|event| Some(event.get("messageId")?.as_str()?.to_owned()));
                Some(ExpectedLetter { class: class(reason), reason: reason.clone(), message_id })
            }
            Fate::Delivered(_) | Fate::Copy | Fate::Ignored(_) | Fate::Refused(_) => None,
        };
        self.fates().filter_map(|(_, fate, event)| letter(fate, event)).collect()
    }

    fn fates(&self) -> impl Iterator<Item = (Door, &Fate, &str)> {
        let direct = self.direct.iter().map(|direct| {
            let event = match &direct.body {
                Body::Event(event) => event.get(),
                Body::DocumentedIdentify | Body::DocumentedDelete | Body::Text(_) | Body::Kib(_) => "",
            };
            (Door::Destination, &direct.becomes, event)
        });
        let items = self.batches.iter().flat_map(|batch| &batch.events);
        direct.chain(items.map(|item| (Door::Tracking, &item.becomes, item.event.get())))
    }
}

impl Direct {
    pub(super) fn body(&self) -> Bytes {
        match &self.body {
            Body::DocumentedIdentify => Bytes::from_static(include_bytes!("data/identify.json")),
            Body::DocumentedDelete => Bytes::from_static(include_bytes!("data/delete.json")),
            Body::Event(event) => Bytes::copy_from_slice(event.get().as_bytes()),
            Body::Text(text) => Bytes::copy_from_slice(text.as_bytes()),
            Body::Kib(kib) => {
                let essay = "x".repeat(kib * 1024);
                format!(r#"{{"type":"identify","traits":{{"name":"Bill Lumbergh","essay":"{essay}"}}}}"#).into()
            }
        }
    }
}

impl Batch {
    /// `write_key`: what is to stand in it.
    pub(super) fn body(&self, write_key: Option<&str>) -> Bytes {
        let events: Vec<_> = self.events.iter().map(|item| item.event.get()).collect();
        let key = write_key.map(|key| format!("\"writeKey\":{},", Value::from(key))).unwrap_or_default();
        format!("{{{key}\"batch\":[{}]}}", events.join(",")).into()
    }

    pub(super) fn len(&self) -> usize {
        self.events.len()
    }
}

impl Fate {
    fn is_stored(&self) -> bool {
        match self {
            Self::Delivered(_) | Self::Copy | Self::Dead(_) => true,
            Self::Ignored(_) | Self::Refused(_) => false,
        }
    }
}

impl Door {
    fn as_str(self) -> &'static str {
        match self {
            Self::Destination => "destination",
            Self::Tracking => "tracking",
        }
    }
}

fn class(reason: &str) -> &'static str {
    let known = DeadReason::ALL.into_iter().find(|known| known.as_str() == reason);
    known.map_or("", |known| known.class().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_script_is_one_and_varied() {
        let script = Script::built_in();
        assert!((30..=60).contains(&script.events()), "{}", script.events());
        let series = script.series();
        for how in ["created", "existing", "updated", "unchanged", "left_inactive", "deactivated", "already_inactive"] {
            let name = format!("{}events_delivered_total{{how=\"{how}\"}}", Page::PREFIX);
            assert!(series.contains_key(&name), "{name} is not among {series:#?}");
        }
        assert!(script.accepted() < script.events() as u64);
        assert!(script.letters().iter().all(|letter| !letter.class.is_empty()), "{:#?}", script.letters());
    }
}
