use std::fmt;

/// The sets of shards that a queue has, and which of them takes new events. A set is known by how many shards are in it.
///
/// Its order is that of use: each set is used until everything in it and all that could come back to it is done, and is
/// then closed for ever. So no event is ever on a later set before an earlier one of its subject has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shards {
    /// Never empty; the last one is the one to come to.
    sets: Vec<ShardSet>,
}

/// One set of shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardSet {
    /// How many shards are in it.
    pub count: u16,
    /// Whether it takes new events.
    pub gate: Gate,
}

/// Whether a set of shards takes new events. What has come from it already can always go back to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// If it is the first that is not closed.
    Open,
    /// Not now: somebody is finding out whether everything in it is done.
    Closing,
    /// Never again: later sets are in use.
    Closed,
}

impl Shards {
    /// As they are configured, all of them open: `drain` are the older sets, the oldest first.
    #[must_use]
    pub fn new(drain: &[u16], shards: u16) -> Self {
        let set = |count: &u16| ShardSet { count: *count, gate: Gate::Open };
        Self { sets: drain.iter().chain([&shards]).map(set).collect() }
    }

    /// With these gates, in the order of the sets.
    #[must_use]
    pub fn with(&self, gates: impl IntoIterator<Item = Gate>) -> Self {
        let sets = self.sets.iter().zip(gates).map(|(set, gate)| ShardSet { gate, ..*set });
        Self { sets: sets.collect() }
    }

    /// Every set, in the order of use.
    #[must_use]
    pub fn sets(&self) -> &[ShardSet] {
        &self.sets
    }

    /// The set that new events go to. `None`: all of them were given up for others that are not configured here.
    #[must_use]
    pub fn in_use(&self) -> Option<ShardSet> {
        self.sets.iter().find(|set| set.gate != Gate::Closed).copied()
    }

    /// How many shards what is in use has, for an event that is on none. Where none is in use, that of the last set: it
    /// goes nowhere then.
    #[must_use]
    pub fn count(&self) -> u16 {
        self.in_use().unwrap_or_else(|| self.last()).count
    }

    /// The set in use, if it is to be given up for a later one.
    #[must_use]
    pub fn draining(&self) -> Option<ShardSet> {
        self.in_use().filter(|set| set.count != self.last().count)
    }

    /// Whether the shards of this set are to be given up as soon as nothing is left on them, and to be left alone until
    /// this is not so any more.
    #[must_use]
    pub fn is_closing(&self, count: u16) -> bool {
        self.sets.iter().any(|set| set.count == count && set.gate == Gate::Closing)
    }

    /// The one to come to.
    #[must_use]
    pub fn last(&self) -> ShardSet {
        *self.sets.last().expect("there is always one")
    }

    /// How many shards are in use, for an event that comes in; why it cannot be taken, if it cannot.
    pub(crate) fn grant(&self) -> Result<u16, String> {
        match self.in_use() {
            Some(ShardSet { count, gate: Gate::Closing }) => {
                Err(format!("the {count} shards are about to be given up for others; try again in some seconds"))
            }
            Some(ShardSet { count, .. }) => Ok(count),
            None => Err(self.given_up().unwrap_or_default()),
        }
    }

    /// Why nothing can be published, where no set is in use.
    #[must_use]
    pub(crate) fn given_up(&self) -> Option<String> {
        let counts: Vec<_> = self.sets.iter().map(|set| set.count.to_string()).collect();
        self.in_use().is_none().then(|| {
            format!(
                "the number of its shards was changed, and those that are configured here ({}) are closed: set queue.shards \
                 to the number in use, as the other processes have it, and start again",
                counts.join(", ")
            )
        })
    }
}

/// As `8 shards are in use until they are empty, then 16`.
impl fmt::Display for Shards {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.in_use(), self.draining()) {
            (None, _) => f.write_str("none of the configured shards is in use"),
            (Some(ShardSet { count: 1, .. }), None) => f.write_str("1 shard is in use"),
            (Some(set), None) => write!(f, "{} shards are in use", set.count),
            (Some(set), Some(_)) => {
                let (now, next) = (set.count, self.last().count);
                let (shards, are) = if now == 1 { ("shard", "is") } else { ("shards", "are") };
                let closing =
                    if set.gate == Gate::Closing { format!(" and {are} being closed") } else { String::new() };
                write!(f, "{now} {shards} {are} in use{closing}; when everything there is done, {next} will be")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shards(gates: [Gate; 3]) -> Shards {
        Shards::new(&[2, 4], 8).with(gates)
    }

    #[test]
    fn the_first_set_that_is_not_closed_is_in_use() {
        use Gate::{Closed, Closing, Open};
        let expected = [
            ([Open, Open, Open], Some(2), Some(2)),
            ([Closing, Open, Open], Some(2), Some(2)),
            ([Closed, Open, Open], Some(4), Some(4)),
            ([Open, Closed, Open], Some(2), Some(2)),
            ([Closed, Closing, Open], Some(4), Some(4)),
            ([Closed, Closed, Open], Some(8), None),
            ([Closed, Closed, Closing], Some(8), None),
            ([Closed, Closed, Closed], None, None),
        ];
        for (gates, in_use, draining) in expected {
            let shards = shards(gates);
            let count = |set: Option<ShardSet>| set.map(|set| set.count);
            assert_eq!((count(shards.in_use()), count(shards.draining())), (in_use, draining), "{gates:?}");
            assert_eq!(shards.given_up().is_some(), in_use.is_none(), "{gates:?}");
        }
    }

    #[test]
    fn nothing_is_published_to_a_set_that_is_closing_or_closed() {
        use Gate::{Closed, Closing, Open};
        assert_eq!(shards([Open; 3]).grant(), Ok(2));
        assert!(shards([Closing, Open, Open]).grant().unwrap_err().contains("2 shards are about to be given up"));
        assert_eq!(shards([Closed, Open, Closing]).grant(), Ok(4));
        assert!(shards([Closed, Closed, Closing]).grant().unwrap_err().contains("8 shards"));
        assert!(shards([Closed; 3]).grant().unwrap_err().contains("set queue.shards"));
    }

    #[test]
    fn only_what_is_closing_is_left_alone() {
        let shards = shards([Gate::Closed, Gate::Closing, Gate::Open]);
        assert_eq!([2, 4, 8, 16].map(|count| shards.is_closing(count)), [false, true, false, false]);
        assert_eq!(shards.count(), 4);
    }

    #[test]
    fn it_says_what_is_in_use_and_what_comes_next() {
        let said = |gates| shards(gates).to_string();
        let (open, closed) = (Gate::Open, Gate::Closed);
        assert_eq!(said([open; 3]), "2 shards are in use; when everything there is done, 8 will be");
        assert_eq!(
            said([closed, Gate::Closing, open]),
            "4 shards are in use and are being closed; when everything there is done, 8 will be"
        );
        assert_eq!(said([closed, closed, open]), "8 shards are in use");
        assert_eq!(said([closed; 3]), "none of the configured shards is in use");
    }
}
