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
/// It doubles with each round trip until the first bad sign, then grows by about one for each, as long as it is used: a
/// call that ended well counts if at any moment of it all that was allowed was in use. Whether it still is when the call
/// ends says nothing: of calls that are answered together the first makes room, and the others find it empty.
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
    /// How many calls have begun.
    begun: u64,
    /// How many had when all that was allowed was last seen in use.
    used_up: u64,
    latencies: [Option<Latency>; Operation::ALL.len()],
}

/// How a call began, for the limit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Begun {
    pub(crate) at: Instant,
    /// Of all calls of the limit, from 1.
    number: u64,
    /// Calls under way then, it among them.
    in_flight: usize,
}

impl Begun {
    /// Outside of any limit.
    pub(crate) fn alone(at: Instant) -> Self {
        Self { at, number: 0, in_flight: 1 }
    }
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
        Self {
            ceiling,
            current: FIRST.min(ceiling),
            doubling: true,
            reduced: None,
            begun: 0,
            used_up: 0,
            latencies: [None; _],
        }
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

    /// A call begins. `in_flight`: calls under way now, it among them.
    pub(crate) fn begins(&mut self, now: Instant, in_flight: usize) -> Begun {
        self.begun += 1;
        self.looks(in_flight);
        Begun { at: now, number: self.begun, in_flight }
    }

    /// A call has ended. `in_flight`: calls under way still, it among them.
    pub(crate) fn ended(&mut self, operation: Operation, call: Begun, now: Instant, sign: Sign, in_flight: usize) {
        self.looks(in_flight);
        let Begun { at: began, number, in_flight: then } = call;
        match sign {
            Sign::Bad => self.reduce(began, now, BACK_OFF),
            Sign::Poor => self.reduce(began, now, EASE_OFF),
            Sign::Good if self.is_slower(operation, now.saturating_duration_since(began), in_flight.max(then)) => {
                self.reduce(began, now, EASE_OFF);
            }
            // What is not used may be far too much, and nobody would know.
            Sign::Good if self.is_of_now(began) && number <= self.used_up => {
                self.current += if self.doubling { 1.0 } else { 1.0 / self.current };
                self.current = self.current.min(self.ceiling);
            }
            Sign::Good => {}
        }
    }

    fn looks(&mut self, in_flight: usize) {
        if self.allowed() <= in_flight {
            self.used_up = self.begun;
        }
    }

    fn reduce(&mut self, began: Instant, now: Instant, to: f64) {
        if self.is_of_now(began) {
            self.doubling = false;
            self.current = (self.current * to).max(1.0);
            self.reduced = Some(now);
        }
    }

    /// Whether a call began after what the limit is now was decided.
    fn is_of_now(&self, began: Instant) -> bool {
        self.reduced.is_none_or(|reduced| reduced <= began)
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
    use std::collections::VecDeque;

    use super::*;

    const OPERATION: Operation = Operation::New;

    /// A server with a number of workers: calls beyond them wait. Simulated in steps of a millisecond.
    struct Server {
        limit: Limit,
        now: Instant,
        workers: usize,
        /// What one call takes a worker, in milliseconds.
        ms: u64,
        /// Calls under way, and what is left to be done for them.
        calls: Vec<(Begun, u64)>,
        done: u64,
    }

    impl Server {
        fn new(ceiling: usize, workers: usize, ms: u64) -> Self {
            Self { limit: Limit::new(ceiling), now: Instant::now(), workers, ms, calls: Vec::new(), done: 0 }
        }

        /// Runs for so many seconds, with as many calls as are wanted and allowed. Returns the least and the most that
        /// was allowed in the second half.
        fn run(&mut self, seconds: u64, wanted: usize) -> (usize, usize) {
            self.pass(seconds * 500, wanted);
            let (mut least, mut most) = (usize::MAX, 0);
            for _ in 0..seconds * 500 {
                self.pass(1, wanted);
                (least, most) = (least.min(self.limit.allowed()), most.max(self.limit.allowed()));
            }
            (least, most)
        }

        /// As many begin as are wanted and allowed.
        fn begin(&mut self, wanted: usize) {
            while self.calls.len() < self.limit.allowed().min(wanted) {
                self.calls.push((self.limit.begins(self.now, self.calls.len() + 1), self.ms));
            }
        }

        /// So many milliseconds pass.
        fn pass(&mut self, steps: u64, wanted: usize) {
            for _ in 0..steps {
                self.begin(wanted);
                self.now += Duration::from_millis(1);
                for (_, left) in self.calls.iter_mut().take(self.workers) {
                    *left -= 1;
                }
                while let Some(index) = self.calls.iter().position(|(_, left)| *left == 0) {
                    let in_flight = self.calls.len();
                    let (begun, _) = self.calls.remove(index);
                    self.limit.ended(OPERATION, begun, self.now, Sign::Good, in_flight);
                    self.done += 1;
                }
            }
        }
    }

    /// As many calls as are allowed begin, and all are answered together after so many milliseconds. The next can begin
    /// then. Returns how many there were.
    fn round(limit: &mut Limit, now: &mut Instant, ms: u64, sign: impl Fn(usize) -> Sign) -> usize {
        let calls: Vec<_> = (1..=limit.allowed()).map(|in_flight| limit.begins(*now, in_flight)).collect();
        *now += Duration::from_millis(ms);
        for (call, begun) in calls.iter().enumerate() {
            limit.ended(OPERATION, *begun, *now, sign(call), calls.len() - call);
        }
        calls.len()
    }

    const fn always(sign: Sign) -> impl Fn(usize) -> Sign {
        move |_| sign
    }

    fn at_most(ceiling: usize, limit: f64) -> Limit {
        Limit { current: limit, doubling: false, ..Limit::new(ceiling) }
    }

    #[test]
    fn a_refersion_that_answers_at_once_gets_the_ceiling_at_once() {
        let mut limit = Limit::new(32);
        let mut now = Instant::now();
        let rounds: Vec<_> = (0..50).map(|_| round(&mut limit, &mut now, 1, always(Sign::Good))).collect();
        assert_eq!(rounds[..4], [4, 8, 16, 32]);
        assert!(rounds[4..].iter().all(|calls| *calls == 32), "{rounds:?}");
        assert_eq!((Limit::new(1).allowed(), Limit::new(0).allowed()), (1, 1));
    }

    #[test]
    fn it_doubles_with_each_round_trip_though_the_answers_come_together() {
        let mut server = Server::new(256, 1_000, 200);
        let mut rounds = Vec::new();
        for _ in 0..8 {
            server.begin(1_000);
            rounds.push(server.calls.len());
            server.pass(200, 1_000);
        }
        assert_eq!(rounds, [4, 8, 16, 32, 64, 128, 256, 256], "whoever waits begins after all answers");

        let mut limit = Limit::new(256);
        let mut now = Instant::now();
        let mut calls = (1..=4).map(|in_flight| limit.begins(now, in_flight)).collect::<VecDeque<_>>();
        let mut rounds = Vec::new();
        for _ in 0..8 {
            rounds.push(calls.len());
            now += Duration::from_millis(200);
            for _ in 0..calls.len() {
                let in_flight = calls.len();
                let begun = calls.pop_front().unwrap();
                limit.ended(OPERATION, begun, now, Sign::Good, in_flight);
                while calls.len() < limit.allowed() {
                    calls.push_back(limit.begins(now, calls.len() + 1));
                }
            }
        }
        assert_eq!(rounds, [4, 8, 16, 32, 64, 128, 256, 256], "whoever waits begins after each answer");
    }

    #[test]
    fn as_many_calls_as_were_allowed_at_first_let_it_grow_once() {
        let mut limit = Limit::new(256);
        let mut now = Instant::now();
        for _ in 0..10 {
            let calls: Vec<_> = (1..=4).map(|in_flight| limit.begins(now, in_flight)).collect();
            now += Duration::from_millis(200);
            calls.iter().rev().enumerate().for_each(|(ended, begun)| {
                limit.ended(OPERATION, *begun, now, Sign::Good, 4 - ended);
            });
        }
        assert_eq!(limit.allowed(), 8);
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
        let mut now = Instant::now();
        round(&mut limit, &mut now, 100, always(Sign::Bad));
        assert_eq!(limit.allowed(), 32, "they were all in flight together");
        for _ in 0..19 {
            round(&mut limit, &mut now, 100, always(Sign::Bad));
        }
        assert_eq!(limit.allowed(), 1);
        round(&mut limit, &mut now, 100, always(Sign::Good));
        assert_eq!(limit.allowed(), 2, "one more for one round trip");
    }

    #[test]
    fn a_refersion_that_fails_now_and_then_gets_several_calls_all_the_same() {
        let mut limit = at_most(32, 32.0);
        let mut now = Instant::now();
        let mut least = usize::MAX;
        for number in 0..1_000 {
            let sign = |call| if (number * 7 + call) % 5 == 0 { Sign::Poor } else { Sign::Good };
            round(&mut limit, &mut now, 50, sign);
            least = least.min(limit.allowed());
        }
        assert!(4 <= least && limit.allowed() <= 16, "{least}, {}", limit.allowed());
        for _ in 0..40 {
            round(&mut limit, &mut now, 50, always(Sign::Poor));
        }
        assert_eq!(limit.allowed(), 1, "and one that fails always is left alone soon");
    }

    #[test]
    fn it_grows_by_one_for_each_round_trip_after_a_bad_sign() {
        let mut limit = at_most(100, 10.0);
        let mut now = Instant::now();
        round(&mut limit, &mut now, 100, always(Sign::Good));
        assert!((10..=11).contains(&limit.allowed()), "{}", limit.allowed());
        for _ in 0..7 {
            round(&mut limit, &mut now, 100, always(Sign::Good));
        }
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
                let call = limit.begins(began, 32);
                limit.ended(operation, call, now, Sign::Good, 32);
            }
        }
        assert_eq!(limit.allowed(), 32);
    }

    #[test]
    fn a_return_from_an_outage_begins_anew() {
        let mut limit = at_most(32, 1.0);
        let mut now = Instant::now();
        let hung = [limit.begins(now, 1), limit.begins(now, 2), limit.begins(now, 3)];
        now += Duration::from_secs(9);
        limit.restart(now);
        now += Duration::from_secs(1);
        for (begun, sign) in hung.into_iter().zip([Sign::Bad, Sign::Good, Sign::Good]) {
            limit.ended(OPERATION, begun, now, sign, 3);
            assert_eq!(limit.allowed(), 1, "what hung through the outage says nothing");
        }
        let rounds: Vec<_> = (0..6).map(|_| round(&mut limit, &mut now, 10, always(Sign::Good))).collect();
        assert_eq!(rounds, [1, 2, 4, 8, 16, 32]);
    }
}
