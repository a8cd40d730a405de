use std::time::Duration;

use refersion_relay_refersion::Operation;
use tokio::time::Instant;

/// How many calls an account may have in flight at first.
const FIRST: f64 = 4.0;
/// What a call counts in the average of its operation: the last ten or so count most.
const WEIGHT: f64 = 0.1;
/// An average of so many times the best one is a queue at Refersion …
const SLOWER: f64 = 2.0;
/// … if it is that much longer too. Less can come from anywhere, this machine included.
const NOTICEABLE: Duration = Duration::from_millis(25);
/// So few calls at a time make no queue anywhere: however long they take, that is how long it takes.
const FEW: usize = 2;
/// What is left of the limit when calls become slower or fail, and when there is no doubt why.
const EASE_OFF: f64 = 0.9;
const BACK_OFF: f64 = 0.5;

/// How many calls of an account may be in flight: as many as Refersion takes without becoming slower, and never more than
/// the ceiling. Pure: the clock is passed in.
///
/// It doubles with each round trip until the first bad sign, then grows by about one for each, as long as it is used.
/// Bad signs take a part of it, once for each round trip. It is never below one. A Refersion that has become slower for
/// good looks like a queue until only a few calls are left; what those take is what calls are compared with from then on.
#[derive(Debug)]
pub(crate) struct Limit {
    ceiling: f64,
    current: f64,
    /// Whether nothing bad was seen yet.
    doubling: bool,
    /// When it was reduced. Calls that began before say nothing about what it is now.
    reduced: Option<Instant>,
    latencies: [Option<Latency>; Operation::ALL.len()],
}

/// How a call ended, for the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sign {
    /// A proper answer.
    Good,
    /// A 5xx, or something that is not Refersion. Too many calls can be the cause; a Refersion that fails at one call in
    /// five however few there are must not be left with one at a time.
    Poor,
    /// A 429, or no answer.
    Bad,
}

/// How long an operation's calls take, in seconds.
#[derive(Clone, Copy, Debug)]
struct Latency {
    /// Now.
    average: f64,
    /// Without a queue.
    best: f64,
}

impl Limit {
    /// `ceiling`: at least one.
    pub(crate) fn new(ceiling: usize) -> Self {
        let ceiling = as_f64(ceiling.max(1));
        Self { ceiling, current: FIRST.min(ceiling), doubling: true, reduced: None, latencies: [None; _] }
    }

    /// As many calls may be in flight now.
    pub(crate) fn allowed(&self) -> usize {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 1 to the ceiling, an usize")]
        let allowed = self.current as usize;
        allowed.max(1)
    }

    /// Begins anew, with one call: what was seen of a Refersion that was out says nothing about one that is back.
    /// What began before `now` counts for nothing any more.
    pub(crate) fn restart(&mut self, now: Instant) {
        (self.current, self.doubling, self.reduced) = (1.0, true, Some(now));
    }

    /// A call that began at `began` took so long. `in_flight`: calls under way when it began or when it ended, whichever
    /// are more, it among them.
    pub(crate) fn ended(
        &mut self,
        operation: Operation,
        (began, now): (Instant, Instant),
        sign: Sign,
        in_flight: usize,
    ) {
        match sign {
            Sign::Bad => self.reduce(began, now, BACK_OFF),
            Sign::Poor => self.reduce(began, now, EASE_OFF),
            Sign::Good if self.is_slower(operation, now.saturating_duration_since(began), in_flight) => {
                self.reduce(began, now, EASE_OFF);
            }
            // What is not used may be far too much, and nobody would know.
            Sign::Good if self.allowed() <= in_flight => {
                self.current += if self.doubling { 1.0 } else { 1.0 / self.current };
                self.current = self.current.min(self.ceiling);
            }
            Sign::Good => {}
        }
    }

    fn reduce(&mut self, began: Instant, now: Instant, to: f64) {
        if self.reduced.is_none_or(|reduced| reduced <= began) {
            self.doubling = false;
            self.current = (self.current * to).max(1.0);
            self.reduced = Some(now);
        }
    }

    /// Takes a call's time into account, and returns whether the operation has become slower. Operations are compared with
    /// themselves only: a search takes longer than a look at one affiliate, and that is no queue.
    fn is_slower(&mut self, operation: Operation, took: Duration, in_flight: usize) -> bool {
        let took = took.as_secs_f64();
        let Latency { average, best } =
            self.latencies[operation as usize].get_or_insert(Latency { average: took, best: took });
        *average += WEIGHT * (took - *average);
        if in_flight <= FEW {
            *best += WEIGHT * (*average - *best);
        }
        *best = best.min(*average);
        SLOWER * *best < *average && NOTICEABLE.as_secs_f64() < *average - *best
    }
}

fn as_f64(count: usize) -> f64 {
    u32::try_from(count).unwrap_or(u32::MAX).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPERATION: Operation = Operation::New;

    /// A server with a number of workers: calls beyond them wait. Simulated in steps of a millisecond.
    struct Server {
        limit: Limit,
        now: Instant,
        workers: usize,
        /// What one call takes a worker, in milliseconds.
        ms: u64,
        /// Calls under way: when they began, what is left to be done for them, and how many there were then.
        calls: Vec<(Instant, u64, usize)>,
        done: u64,
    }

    impl Server {
        fn new(ceiling: usize, workers: usize, ms: u64) -> Self {
            Self { limit: Limit::new(ceiling), now: Instant::now(), workers, ms, calls: Vec::new(), done: 0 }
        }

        /// Runs for so many seconds, with as many calls as are wanted and allowed. Returns the least and the most that
        /// was allowed in the second half.
        fn run(&mut self, seconds: u64, wanted: usize) -> (usize, usize) {
            let (mut least, mut most) = (usize::MAX, 0);
            for step in 0..seconds * 1_000 {
                while self.calls.len() < self.limit.allowed().min(wanted) {
                    self.calls.push((self.now, self.ms, self.calls.len() + 1));
                }
                self.now += Duration::from_millis(1);
                for (_, left, _) in self.calls.iter_mut().take(self.workers) {
                    *left -= 1;
                }
                while let Some(index) = self.calls.iter().position(|(_, left, _)| *left == 0) {
                    let in_flight = self.calls.len();
                    let (began, _, then) = self.calls.remove(index);
                    self.limit.ended(OPERATION, (began, self.now), Sign::Good, in_flight.max(then));
                    self.done += 1;
                }
                if seconds * 500 < step {
                    (least, most) = (least.min(self.limit.allowed()), most.max(self.limit.allowed()));
                }
            }
            (least, most)
        }
    }

    /// A call that took so many milliseconds and ends now.
    fn end(limit: &mut Limit, now: Instant, ms: u64, sign: Sign) {
        let in_flight = limit.allowed();
        limit.ended(OPERATION, (now.checked_sub(Duration::from_millis(ms)).unwrap(), now), sign, in_flight);
    }

    fn at_most(ceiling: usize, limit: f64) -> Limit {
        Limit { current: limit, doubling: false, ..Limit::new(ceiling) }
    }

    #[test]
    fn a_refersion_that_answers_at_once_gets_the_ceiling_at_once() {
        let mut limit = Limit::new(32);
        let now = Instant::now();
        (0..28).for_each(|_| end(&mut limit, now, 1, Sign::Good));
        assert_eq!(limit.allowed(), 32);
        (0..1_000).for_each(|_| end(&mut limit, now, 1, Sign::Good));
        assert_eq!(limit.allowed(), 32);
        assert_eq!((Limit::new(1).allowed(), Limit::new(0).allowed()), (1, 1));
    }

    #[test]
    fn it_settles_near_the_knee_of_a_server_with_a_capacity() {
        let mut server = Server::new(500, 20, 100);
        let (least, most) = server.run(300, 500);
        // With 20 workers, 40 calls in flight take twice as long as one.
        assert!((20..=60).contains(&least) && most <= 60, "{least} to {most}");
        assert!(server.done >= 300 * 200 * 95 / 100, "and it is kept busy: {}", server.done);
    }

    #[test]
    fn what_is_not_used_does_not_grow() {
        let mut server = Server::new(500, 20, 100);
        let (_, most) = server.run(60, 3);
        assert_eq!(most, 4);
    }

    #[test]
    fn a_refersion_that_is_slower_from_now_on_becomes_the_usual_one() {
        let mut server = Server::new(32, 1_000, 50);
        assert_eq!(server.run(10, 500), (32, 32));
        server.ms = 200;
        let (least, _) = server.run(8, 500);
        assert!(least < 16, "at first it looks like a queue: {least}");
        server.run(60, 500);
        assert_eq!(server.run(10, 500), (32, 32));
    }

    #[test]
    fn no_answer_takes_half_of_it_once_for_each_round_trip_and_leave_one() {
        let mut limit = at_most(100, 64.0);
        let start = Instant::now() + Duration::from_mins(1);
        (0..64).for_each(|_| end(&mut limit, start, 100, Sign::Bad));
        assert_eq!(limit.allowed(), 32, "they were all in flight together");
        for round in 1..20 {
            end(&mut limit, start + round * Duration::from_millis(200), 100, Sign::Bad);
        }
        assert_eq!(limit.allowed(), 1);
        end(&mut limit, start + Duration::from_secs(10), 100, Sign::Good);
        assert_eq!(limit.allowed(), 2, "one more for one round trip");
    }

    #[test]
    fn a_refersion_that_fails_now_and_then_gets_several_calls_all_the_same() {
        let mut limit = at_most(32, 32.0);
        let mut now = Instant::now() + Duration::from_mins(1);
        let mut least = usize::MAX;
        for round in 0..1_000 {
            now += Duration::from_millis(50);
            for call in 0..limit.allowed() {
                let sign = if (round * 7 + call) % 5 == 0 { Sign::Poor } else { Sign::Good };
                end(&mut limit, now, 50, sign);
            }
            least = least.min(limit.allowed());
        }
        assert!(4 <= least && limit.allowed() <= 16, "{least}, {}", limit.allowed());
        for _ in 0..40 {
            now += Duration::from_millis(50);
            (0..limit.allowed()).for_each(|_| end(&mut limit, now, 50, Sign::Poor));
        }
        assert_eq!(limit.allowed(), 1, "and one that fails always is left alone soon");
    }

    #[test]
    fn it_grows_by_one_for_each_round_trip_after_a_bad_sign() {
        let mut limit = at_most(100, 10.0);
        let now = Instant::now() + Duration::from_mins(1);
        (0..10).for_each(|_| end(&mut limit, now, 100, Sign::Good));
        assert!((10..=11).contains(&limit.allowed()), "{}", limit.allowed());
        (0..100).for_each(|_| end(&mut limit, now, 100, Sign::Good));
        assert!((16..=19).contains(&limit.allowed()), "{}", limit.allowed());
    }

    #[test]
    fn operations_are_not_compared_with_each_other() {
        let mut limit = Limit::new(32);
        let mut now = Instant::now() + Duration::from_mins(1);
        for _ in 0..500 {
            for (operation, ms) in [(Operation::New, 50), (Operation::Search, 900)] {
                now += Duration::from_millis(1);
                let began = now.checked_sub(Duration::from_millis(ms)).unwrap();
                limit.ended(operation, (began, now), Sign::Good, 32);
            }
        }
        assert_eq!(limit.allowed(), 32);
    }

    #[test]
    fn a_return_from_an_outage_begins_anew() {
        let mut limit = at_most(32, 1.0);
        let now = Instant::now() + Duration::from_mins(1);
        limit.restart(now);
        end(&mut limit, now + Duration::from_secs(1), 10_000, Sign::Bad);
        assert_eq!(limit.allowed(), 1, "what hung through the outage says nothing");
        let now = now + Duration::from_secs(2);
        (0..31).for_each(|_| end(&mut limit, now, 10, Sign::Good));
        assert_eq!(limit.allowed(), 32);
    }
}
