use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use crate::call::{Call, Subject};
use crate::operation::Operation;
use crate::stats::{OperationStats, Stats};

/// How many calls are remembered; the oldest go first.
const MOST_CALLS: usize = 200_000;

/// Writes down every API call, and counts.
pub(crate) struct Journal {
    started: Instant,
    entries: Mutex<Entries>,
}

struct Entries {
    calls: VecDeque<Call>,
    arrived: u64,
    stats: Stats,
}

/// A call that is under way until this is dropped, answered or not.
pub(crate) struct OpenCall<'a> {
    journal: &'a Journal,
    seq: u64,
    operation: Operation,
}

impl Journal {
    pub(crate) fn new() -> Self {
        let calls = Operation::ALL.map(|operation| (operation, OperationStats::default()));
        Self {
            started: Instant::now(),
            entries: Mutex::new(Entries {
                calls: VecDeque::new(),
                arrived: 0,
                stats: Stats { calls: calls.into(), ..Stats::default() },
            }),
        }
    }

    pub(crate) fn open(
        &self,
        operation: Operation,
        public_key: &str,
        subject: Subject,
        fault: Option<&'static str>,
    ) -> OpenCall<'_> {
        let mut entries = self.entries();
        entries.arrived += 1;
        let seq = entries.arrived;
        if entries.calls.len() == MOST_CALLS {
            entries.calls.pop_front();
        }
        entries.calls.push_back(Call {
            seq,
            operation,
            public_key: public_key.to_owned(),
            email: subject.email,
            ids: subject.ids,
            last_name: subject.last_name,
            status: None,
            fault,
            started_ms: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
        });
        let stats = &mut entries.stats;
        stats.calls.entry(operation).or_default().total += 1;
        stats.in_flight += 1;
        stats.max_in_flight = stats.max_in_flight.max(stats.in_flight);
        OpenCall { journal: self, seq, operation }
    }

    /// Returns the latest calls in order of arrival, at most `limit` of them.
    pub(crate) fn calls(&self, limit: usize) -> Vec<Call> {
        let entries = self.entries();
        let skipped = entries.calls.len().saturating_sub(limit);
        entries.calls.iter().skip(skipped).cloned().collect()
    }

    /// Returns the counts. The affiliates are not known here.
    pub(crate) fn stats(&self) -> Stats {
        self.entries().stats.clone()
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OpenCall<'_> {
    pub(crate) fn answered(self, status: u16) {
        let mut entries = self.journal.entries();
        let oldest = entries.calls.front().map_or(self.seq, |call| call.seq);
        // The call may be forgotten by now.
        if let Some(index) = self.seq.checked_sub(oldest).and_then(|index| usize::try_from(index).ok())
            && let Some(call) = entries.calls.get_mut(index)
        {
            call.status = Some(status);
        }
        let operation = entries.stats.calls.entry(self.operation).or_default();
        *operation.by_status.entry(status).or_default() += 1;
    }
}

impl Drop for OpenCall<'_> {
    fn drop(&mut self) {
        self.journal.entries().stats.in_flight -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_calls_are_forgotten_and_still_counted() {
        let journal = Journal::new();
        let early = journal.open(Operation::Get, "pub_1", Subject::default(), None);
        for _ in 0..MOST_CALLS {
            journal.open(Operation::List, "pub_1", Subject::default(), None).answered(200);
        }
        early.answered(422);

        let calls = journal.calls(usize::MAX);
        let stats = journal.stats();

        assert_eq!(calls.len(), MOST_CALLS);
        assert!(calls.iter().all(|call| call.status == Some(200)));
        assert_eq!(calls[0].seq, 2);
        assert_eq!(stats.calls[&Operation::Get].by_status[&422], 1);
        assert_eq!((stats.max_in_flight, stats.in_flight), (2, 0));
    }

    #[test]
    fn the_limit_keeps_the_latest_calls_in_order() {
        let journal = Journal::new();
        for _ in 0..3 {
            drop(journal.open(Operation::List, "pub_1", Subject::default(), None));
        }

        let seqs: Vec<_> = journal.calls(2).iter().map(|call| call.seq).collect();

        assert_eq!(seqs, [2, 3]);
    }
}
