use std::collections::{BTreeMap, BTreeSet};

use super::history::{History, queues, remember};
use super::topology::Topology;
use crate::port::left_behind::{Former, Named};
use crate::rabbitmq::tally::Journal;
use crate::rabbitmq::wire::queue_counts::counted;
use crate::{LeftBehind, QueueError, Shown, StoredQueue};

/// What every relay has, whatever is configured.
const PARTS: [&str; 3] = ["intake", "unrouted", "events"];

/// Counts what no configuration names. What is remembered and of which no queue is there any more is forgotten, since asking for it stands in the
/// broker's log as an error.
pub(crate) async fn look(journal: &mut Journal, topology: &Topology, shown: Shown) -> Result<LeftBehind, QueueError> {
    let mut is_outdated = false;
    let history = History::of(&journal.sum, topology);
    let (stored, unseen) = match shown {
        Shown::Queues(stored) => (stored, None),
        Shown::Nothing { why } => (Vec::new(), Some(format!("{}: {why}", limits(&history)))),
    };
    let Seen { former, places } = below(topology, &stored);
    let mut found = places;
    for former in history.former.union(&former) {
        let (mut events, mut is_there) = (0_u64, false);
        for queue in queues(&topology.names, former) {
            let found = counted(&journal.connection, &queue).await?;
            is_there |= found.is_some();
            events = events.saturating_add(found.unwrap_or_default().ready);
        }
        is_outdated |= !is_there;
        found.insert(former.clone(), events);
    }
    found.extend(other_prefixes(topology.names.prefix(), &stored));
    if is_outdated {
        remember(journal, topology).await?;
    }
    Ok(LeftBehind::new(found, unseen.into_iter().collect()))
}

/// What nobody can know without the management API, since AMQP shows no queue to who does not know its name.
fn limits(history: &History) -> &'static str {
    if history.is_written {
        "what is stored below another prefix, or belongs to what was configured before the relay remembered that, is not known"
    } else {
        "what is stored for something that is not configured is not known: no relay has remembered yet what was"
    }
}

/// What the broker shows below the topology's own prefix.
#[derive(Default)]
struct Seen {
    /// To be counted.
    former: BTreeSet<Former>,
    /// What only another release knows, with what is in it.
    places: BTreeMap<Former, u64>,
}

fn below(topology: &Topology, stored: &[StoredQueue]) -> Seen {
    let (configured, mut seen) = (topology.configured(), Seen::default());
    for StoredQueue { name, messages, .. } in stored {
        let Some(place) = name.strip_prefix(topology.names.prefix()).and_then(|rest| rest.strip_prefix('.')) else {
            continue;
        };
        match Former::named(place) {
            Named::For(former) if !configured.names(&former) => drop(seen.former.insert(former)),
            // Of what is below the prefix, these are places of events; another prefix may begin with this one.
            Named::Unknown if place.starts_with("dead.") && !place[5..].contains('.') => {
                *seen.places.entry(Former::place(place)).or_default() += messages;
            }
            Named::For(_) | Named::Fixed | Named::Unknown => {}
        }
    }
    seen
}

/// Prefixes below which there is everything that a relay has, events among it, and nobody reads.
fn other_prefixes(own: &str, stored: &[StoredQueue]) -> BTreeMap<Former, u64> {
    #[derive(Default)]
    struct Prefix {
        events: u64,
        has_readers: bool,
        parts: BTreeSet<&'static str>,
    }
    let mut prefixes = BTreeMap::<&str, Prefix>::new();
    for StoredQueue { name, messages, consumers } in stored {
        let Some((prefix, place)) = split(name).filter(|(prefix, _)| *prefix != own) else { continue };
        let found = prefixes.entry(prefix).or_default();
        found.events = found.events.saturating_add(*messages);
        let is_work = place.starts_with("events.");
        // Dead letters are read by whoever looks at them, a person among the others.
        found.has_readers |= 0 < *consumers && (is_work || place == "intake");
        found.parts.extend(PARTS.into_iter().filter(|part| place == *part || (is_work && *part == "events")));
    }
    let is_relay = |found: &Prefix| found.parts.len() == PARTS.len();
    let left = prefixes.into_iter().filter(|(_, found)| is_relay(found) && !found.has_readers);
    left.map(|(prefix, found)| (Former::Prefix(prefix.to_owned()), found.events)).collect()
}

/// A prefix and a place below it, if the name of a queue can be read so.
fn split(queue: &str) -> Option<(&str, &str)> {
    let dots = queue.match_indices('.').map(|(at, _)| at);
    let whole = ["intake", "unrouted"].into_iter().find_map(|place| {
        let prefix = queue.strip_suffix(place)?.strip_suffix('.')?;
        Some((prefix, place))
    });
    whole.or_else(|| {
        dots.map(|at| (&queue[..at], &queue[at + 1..])).find(|(_, place)| Former::named(place) != Named::Unknown)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(queues: &[(&str, u64, u64)]) -> Vec<StoredQueue> {
        let stored = |(name, messages, consumers): &(&str, u64, u64)| StoredQueue {
            name: (*name).to_owned(),
            messages: *messages,
            consumers: *consumers,
        };
        queues.iter().map(stored).collect()
    }

    const OLD: [(&str, u64, u64); 4] =
        [("old.intake", 0, 0), ("old.unrouted", 1, 0), ("old.events.acme", 2, 0), ("old.retry.1m", 4, 0)];

    #[test]
    fn below_another_prefix_counts_what_a_relay_has_and_nobody_reads() {
        let found = |more: &[(&str, u64, u64)]| {
            let queues: Vec<_> = OLD.iter().chain(more).copied().collect();
            other_prefixes("own", &stored(&queues))
        };
        assert_eq!(found(&[]), BTreeMap::from([(Former::Prefix("old".to_owned()), 7)]));
        assert_eq!(found(&[("old.dead.invalid", 1, 1)]).len(), 1, "somebody looks at its dead letters");
        assert!(found(&[("old.events.other", 0, 1)]).is_empty(), "it is another relay's");
        assert!(other_prefixes("old", &stored(&OLD)).is_empty(), "it is this relay's");
        let strangers = [("orders.retry.1m", 5, 0), ("orders.intake", 5, 0), ("orders.dead.invalid", 1, 0)];
        assert!(other_prefixes("own", &stored(&strangers)).is_empty(), "it is another program's");
    }

    #[test]
    fn a_name_is_read_with_a_prefix_that_has_dots_too() {
        assert_eq!(split("refersion.eu.events.acme"), Some(("refersion.eu", "events.acme")));
        assert_eq!(split("refersion.eu.intake"), Some(("refersion.eu", "intake")));
        assert_eq!(split("refersion.retry.1h30m"), Some(("refersion", "retry.1h30m")));
        assert_eq!((split("refersion.tally.0"), split("intake"), split("")), (None, None, None));
    }
}
