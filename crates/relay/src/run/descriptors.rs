use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What a process has open beside what [`Needs`] counts: the queue's files or connections, listeners, configuration.
const OTHERS: u64 = 256;

/// What a process may have open at once, by what it is for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Needs {
    /// Connections of the doors.
    pub(crate) doors: usize,
    /// Connections of metrics and health.
    pub(crate) ops: usize,
    /// Calls of Refersion, each a connection.
    pub(crate) calls: usize,
}

impl Needs {
    fn total(self) -> u64 {
        let Self { doors, ops, calls } = self;
        [doors, ops, calls].into_iter().fold(OTHERS, |total, part| total.saturating_add(part as u64))
    }
}

/// Lets this process open as many files as it needs, as far as it may. What it may not is said in the log.
pub(crate) fn raise(needs: Needs) {
    let needed = needs.total();
    let limit = getrlimit(Resource::Nofile);
    let Some(raised) = raised(&limit, needed) else { return };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!("this process stays at {} open files: {error}", shown(limit.current));
        return;
    }
    if raised.current.is_some_and(|current| current < needed) {
        tracing::warn!(
            "this process may open {} files, and needs {needed} ({} for the doors, {} for calls of Refersion): raise the limit of \
             open files (LimitNOFILE of a systemd unit, ulimit -n), or lower ingest.max_connections or worker.concurrency",
            shown(raised.current),
            needs.doors,
            needs.calls
        );
    }
}

/// The limit as it has to be set: the soft one at the hard one. `None`: it is high enough.
fn raised(limit: &Rlimit, needed: u64) -> Option<Rlimit> {
    let is_enough = limit.current.is_none_or(|current| needed <= current);
    (!is_enough).then_some(Rlimit { current: limit.maximum, maximum: limit.maximum })
}

fn shown(limit: Option<u64>) -> String {
    limit.map_or_else(|| "any number of".to_owned(), |limit| limit.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_a_process_may_have_open_counts() {
        let needs = Needs { doors: 2_000, ops: 64, calls: 96 };
        assert_eq!(needs.total(), 2_000 + 64 + 96 + OTHERS);
        assert_eq!(Needs { calls: usize::MAX, doors: 1, ..needs }.total(), u64::MAX);
    }

    #[test]
    fn the_soft_limit_goes_up_to_the_hard_one_only_where_it_is_too_low() {
        let limit = |current, maximum| Rlimit { current, maximum };
        let check = |limit, needed, expected: Option<Option<u64>>| {
            assert_eq!(raised(&limit, needed).map(|limit| limit.current), expected);
        };
        check(limit(Some(1024), Some(4096)), 2256, Some(Some(4096)));
        check(limit(Some(1024), Some(1024)), 2256, Some(Some(1024)));
        check(limit(Some(1024), None), 2256, Some(None));
        check(limit(Some(2256), Some(4096)), 2256, None);
        check(limit(None, None), 2256, None);
    }
}
