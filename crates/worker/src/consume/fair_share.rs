use std::time::Duration;

use tokio::time::Instant;

use crate::order::subject_queue::Stay;

/// How long the events of a place wait for a crowded lane, before what does not fit into it goes round.
const PATIENCE: Duration = Duration::from_secs(1);
const MOST_PATIENCE: Duration = Duration::from_secs(5);
/// How long a pass may take. The first event that goes round in it is back by then, unless there is a great backlog.
const LONGEST_PASS: Duration = Duration::from_secs(10);

/// Shares a work queue between a subject with very many events and all the others. A pure state machine.
///
/// What is on a queue comes in its order, so others stand behind a subject that fills it. *Waiting*, the next event of the
/// crowded lane is kept in hand until there is room for it, and nothing is taken meanwhile: that costs nothing, and the
/// lane is never short of work. When that has taken long enough a *pass* begins: whatever does not fit goes round, to the
/// end of the queue, and others get their turn, until the first one that went round is back. Passes take as much time as
/// there are events; the patience after one grows with it, so that most of the time the lane has work.
#[derive(Debug)]
pub(crate) struct FairShare {
    state: State,
    patience: Duration,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// `waited`: how long since the last pass, without the present wait.
    Waiting {
        waited: Duration,
        since: Option<Instant>,
    },
    Passing {
        first: Stay,
        since: Instant,
    },
}

/// What to do with the next event of a crowded lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WhenFull {
    /// Keep it in hand and take nothing more, until there is room or [`FairShare::deadline`] has come.
    Wait,
    /// Send it round.
    GoRound,
}

impl FairShare {
    pub(crate) fn new() -> Self {
        Self { state: State::Waiting { waited: Duration::ZERO, since: None }, patience: PATIENCE }
    }

    /// An event may enter its lane, whether there is room or not.
    pub(crate) fn reached(&mut self, stay: Stay, now: Instant) {
        if let State::Passing { first, since } = self.state {
            let took = now.saturating_duration_since(since);
            if first.is_of_the_same_event(stay) || LONGEST_PASS <= took {
                self.patience = took.saturating_mul(2).clamp(PATIENCE, MOST_PATIENCE);
                self.state = State::Waiting { waited: Duration::ZERO, since: None };
            }
        }
    }

    /// There is no room for it in its lane.
    pub(crate) fn crowded(&mut self, now: Instant) -> WhenFull {
        match &mut self.state {
            State::Waiting { since, .. } => {
                since.get_or_insert(now);
                WhenFull::Wait
            }
            State::Passing { .. } => WhenFull::GoRound,
        }
    }

    /// Until when the present wait may last; now, if there is none.
    pub(crate) fn deadline(&self, now: Instant) -> Instant {
        match self.state {
            State::Waiting { waited, since: Some(since) } => since + self.patience.saturating_sub(waited),
            State::Waiting { since: None, .. } | State::Passing { .. } => now,
        }
    }

    /// Nobody is being worked, so nobody waits for what is held back, and nothing goes round: the wait begins anew.
    pub(crate) fn again(&mut self, now: Instant) {
        self.state = State::Waiting { waited: Duration::ZERO, since: Some(now) };
    }

    /// There is room now.
    pub(crate) fn fits(&mut self, now: Instant) {
        if let State::Waiting { waited, since: Some(since) } = self.state {
            self.state = State::Waiting { waited: waited + now.saturating_duration_since(since), since: None };
        }
    }

    /// The wait has lasted long enough: this one is the first that goes round.
    pub(crate) fn pass(&mut self, first: Stay, now: Instant) {
        self.state = State::Passing { first, since: now };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::order::event_key::EventKey;
    use crate::order::subject_queue::SubjectQueue;

    const SECOND: Duration = Duration::from_secs(1);

    fn stays() -> [Stay; 2] {
        let mut queue = SubjectQueue::new();
        [1, 2].map(|event| {
            let event_key = EventKey { subject: [0, 0], event: [0, event], accepted_ms: 0, is_minted: false };
            queue.arrive(&event_key, false, event, Instant::now()).0
        })
    }

    #[test]
    fn waits_add_up_until_a_pass_begins() {
        let (mut fair_share, start) = (FairShare::new(), Instant::now());
        assert_eq!(fair_share.crowded(start), WhenFull::Wait);
        assert_eq!(fair_share.deadline(start), start + SECOND);
        fair_share.fits(start + SECOND / 4);

        assert_eq!(fair_share.crowded(start + 10 * SECOND), WhenFull::Wait);
        assert_eq!(fair_share.deadline(start + 10 * SECOND), start + 10 * SECOND + SECOND * 3 / 4);
    }

    #[test]
    fn a_wait_for_nothing_does_not_count() {
        let (mut fair_share, start) = (FairShare::new(), Instant::now());
        fair_share.crowded(start);
        fair_share.again(start + SECOND);
        assert_eq!(fair_share.deadline(start + SECOND), start + 2 * SECOND);
        fair_share.pass(stays()[0], start + 2 * SECOND);
        fair_share.again(start + 3 * SECOND);
        assert_eq!(fair_share.crowded(start + 3 * SECOND), WhenFull::Wait, "a pass ends too");
        assert_eq!(fair_share.deadline(start + 3 * SECOND), start + 4 * SECOND);
    }

    #[test]
    fn a_pass_lasts_until_the_first_is_back_and_the_patience_after_it_twice_as_long() {
        let (mut fair_share, start, [first, second]) = (FairShare::new(), Instant::now(), stays());
        fair_share.pass(first, start);
        assert_eq!(fair_share.crowded(start), WhenFull::GoRound);
        fair_share.reached(second, start + SECOND);
        assert_eq!(fair_share.crowded(start + SECOND), WhenFull::GoRound);

        fair_share.reached(first, start + 2 * SECOND);

        assert_eq!(fair_share.crowded(start + 2 * SECOND), WhenFull::Wait);
        assert_eq!(fair_share.deadline(start + 2 * SECOND), start + 6 * SECOND);
    }

    #[test]
    fn a_pass_whose_first_event_does_not_come_back_ends_too() {
        let (mut fair_share, start, [first, second]) = (FairShare::new(), Instant::now(), stays());
        fair_share.pass(first, start);
        fair_share.reached(second, start + LONGEST_PASS);
        assert_eq!(fair_share.crowded(start + LONGEST_PASS), WhenFull::Wait);
        assert_eq!(fair_share.deadline(start + LONGEST_PASS), start + LONGEST_PASS + MOST_PATIENCE);
    }
}
