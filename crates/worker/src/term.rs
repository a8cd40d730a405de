use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use refersion_relay_model::{AccountName, DeadReason, Subject};
use refersion_relay_queue::{Delivery, Headers, Owned};
use refersion_relay_telemetry::Counted;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::gate::Source;
use crate::roster::Roster;
use crate::verdict::Verdict;
use crate::work::{Conclusion, Context, Reading, read};

/// How often an event was delivered and not settled before it is worked alone. Two crashes or lost connections can meet
/// anything.
const ALONE_FROM: u32 = 3;
/// How often before it is given up, if it is also the first of its term: some times before the queue would do so itself, after
/// 100, with everything that was in hand beside it.
const GIVE_UP_FROM: u32 = 90;

/// Works the deliveries of one place for one term: lanes side by side, each in order.
pub(crate) struct Term {
    context: Arc<Context>,
    roster: Arc<Roster>,
    source: Source,
    /// Delivered, and not begun yet: only behind an event that is to be worked alone.
    line: VecDeque<Delivery>,
    lanes: HashMap<Lane, VecDeque<Item>>,
    tasks: JoinSet<Ended>,
    singles: u64,
    /// Whether nothing may be worked beside what is in flight.
    alone: bool,
    is_first: bool,
}

/// Why a term ended. Nothing is being worked any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TermEnd {
    /// It was told to stop, or an event had to be left.
    Stopped,
    /// The queue was lost.
    Lost,
    /// Nothing came and nothing was in hand for as long as asked.
    Idle,
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum Lane {
    Of(AccountName, Subject),
    /// What has no subject has nobody to wait for.
    Single(u64),
}

struct Item {
    delivery: Delivery,
    reading: Reading,
    taken_at: Instant,
    _counted: Counted,
}

struct Ended {
    lane: Lane,
    left: bool,
}

impl Term {
    pub(crate) fn new(context: Arc<Context>, roster: Arc<Roster>, source: Source) -> Self {
        let (line, lanes, tasks) = (VecDeque::new(), HashMap::new(), JoinSet::new());
        Self { context, roster, source, line, lanes, tasks, singles: 0, alone: false, is_first: true }
    }

    /// Works until the queue is lost, `stop` is cancelled, or nothing has been there for `idle`. Calls in flight are
    /// finished and settled first; only `abort` cuts them off.
    pub(crate) async fn run(
        &mut self,
        owned: &mut Owned,
        stop: &CancellationToken,
        abort: &CancellationToken,
        idle: Option<Duration>,
    ) -> TermEnd {
        let leave = owned.ended().child_token();
        let mut end = None;
        loop {
            if self.tasks.is_empty()
                && let Some(end) = end
            {
                return end;
            }
            let quiet = idle.filter(|_| self.tasks.is_empty() && end.is_none());
            tokio::select! {
                biased;
                () = abort.cancelled() => {
                    self.tasks.shutdown().await;
                    self.lanes.clear();
                    self.line.clear();
                    return TermEnd::Stopped;
                }
                () = stop.cancelled(), if end.is_none() => end = Some(self.wind_up(&leave, TermEnd::Stopped)),
                Some(ended) = self.tasks.join_next(), if !self.tasks.is_empty() => {
                    let Ok(Ended { lane, left }) = ended else {
                        // A task catches the panics of working its event; this one panicked settling it, and its lane
                        // is lost with it. Everything unsettled comes again, to a new term.
                        end = end.or_else(|| Some(self.wind_up(&leave, TermEnd::Stopped)));
                        continue;
                    };
                    if left && end.is_none() {
                        end = Some(self.wind_up(&leave, TermEnd::Stopped));
                    }
                    self.next_of(lane, &leave);
                    self.advance(&leave);
                }
                delivery = owned.next(), if end.is_none() => match delivery {
                    Some(delivery) => {
                        self.line.push_back(delivery);
                        self.advance(&leave);
                    }
                    None => end = Some(self.wind_up(&leave, TermEnd::Lost)),
                },
                () = tokio::time::sleep(quiet.unwrap_or_default()), if quiet.is_some() => return TermEnd::Idle,
            }
        }
    }

    /// Begins nothing more: what waits in lanes goes back unsettled, what is in flight ends.
    fn wind_up(&mut self, leave: &CancellationToken, end: TermEnd) -> TermEnd {
        leave.cancel();
        self.line.clear();
        self.lanes.values_mut().for_each(VecDeque::clear);
        end
    }

    /// Takes what may be worked beside what is in flight. An event that was delivered often and never settled may be what
    /// its workers died of, so it is worked when everything before it has ended, and nothing beside it: whoever dies then
    /// has settled all others. The room stays the same, since what is given back keeps its order only then.
    fn advance(&mut self, leave: &CancellationToken) {
        while let Some(next) = self.line.front() {
            let alone = self.source == Source::Shard && ALONE_FROM <= next.delivery_count;
            if (alone || self.alone) && !self.tasks.is_empty() {
                return;
            }
            self.alone = alone;
            if let Some(delivery) = self.line.pop_front() {
                self.take(delivery, leave);
            }
        }
    }

    /// The queue counts a delivery for everything that was in hand, not only for what was being worked. But what was worked
    /// alone when the worker died comes first in the next term, because all before it had ended.
    fn is_culprit(&mut self, delivery: &Delivery) -> bool {
        let is_first = std::mem::take(&mut self.is_first);
        is_first && self.source == Source::Shard && GIVE_UP_FROM <= delivery.delivery_count
    }

    fn take(&mut self, delivery: Delivery, leave: &CancellationToken) {
        let counted = self.context.metrics.taken(delivery.redelivered);
        let headers = &delivery.message.headers;
        if 0 < headers.generation && headers.attempts == 0 && !delivery.redelivered && self.source == Source::Shard {
            self.context.metrics.replayed();
        }
        let is_culprit = self.is_culprit(&delivery);
        let roster = &self.roster;
        let reading = catch_unwind(AssertUnwindSafe(|| read(&delivery.message, self.source, |name| roster.desk(name))));
        let reading = match reading {
            _ if is_culprit => Reading::Final(given_up(delivery.delivery_count)),
            Ok(reading) => reading,
            Err(_) => Reading::Final(panicked()),
        };
        let lane = match &reading {
            Reading::Job(job) => Lane::Of(job.desk.name.clone(), job.subject.clone()),
            Reading::Stray(account, subject) => Lane::Of(account.clone(), subject.clone()),
            Reading::Final(_) => {
                self.singles += 1;
                Lane::Single(self.singles)
            }
        };
        let item = Item { delivery, reading, taken_at: Instant::now(), _counted: counted };
        if let Some(waiting) = self.lanes.get_mut(&lane) {
            waiting.push_back(item);
        } else {
            self.lanes.insert(lane.clone(), VecDeque::new());
            self.start(lane, item, leave);
        }
    }

    fn next_of(&mut self, lane: Lane, leave: &CancellationToken) {
        match self.lanes.get_mut(&lane).and_then(VecDeque::pop_front) {
            Some(item) => self.start(lane, item, leave),
            None => {
                self.lanes.remove(&lane);
            }
        }
    }

    fn start(&mut self, lane: Lane, item: Item, leave: &CancellationToken) {
        let (context, leave) = (self.context.clone(), leave.clone());
        let counted = context.metrics.lane();
        self.tasks.spawn(async move {
            let left = finish(&context, item, &leave).await;
            drop(counted);
            Ended { lane, left }
        });
    }
}

/// Works one event and settles it. Returns whether it had to be left.
async fn finish(context: &Context, item: Item, leave: &CancellationToken) -> bool {
    let Item { delivery, reading, taken_at, _counted } = item;
    let headers = || Box::new(delivery.message.headers.clone());
    let (verdict, headers, moving): (_, Box<Headers>, _) = match &reading {
        Reading::Final(verdict) => (verdict.clone(), headers(), None),
        Reading::Stray(..) => (Verdict::Hold, headers(), None),
        Reading::Job(job) => {
            let working = AssertUnwindSafe(context.work(job, &delivery.message, taken_at, leave)).catch_unwind();
            match working.await {
                Ok(Conclusion::Settle { verdict, headers, moving }) => (verdict, headers, moving),
                Ok(Conclusion::Leave) => return true,
                Err(_) => (panicked(), headers(), None),
            }
        }
    };
    let (account, subject) = match &reading {
        Reading::Job(job) => (Some(&job.desk.name), Some(&job.subject)),
        Reading::Stray(account, subject) => (Some(account), Some(subject)),
        Reading::Final(_) => (None, None),
    };
    log(&verdict, &headers);
    let Some(settle) = context.settlement(&verdict, headers, account, subject) else { return true };
    // An account that was never configured may have any name at all, and is no label.
    let known = account.filter(|_| !matches!(reading, Reading::Stray(..)));
    let generation = delivery.message.headers.generation;
    if delivery.settle(settle).await.is_ok() {
        context.count(&verdict, known);
        // Not before: what could not be settled comes again and is counted then.
        if let (Verdict::Delivered(_) | Verdict::Ignored(_), Reading::Job(job)) = (&verdict, &reading) {
            context.ended.remember(job.identity(generation));
        }
    } else {
        context.metrics.unsettled();
    }
    drop(moving);
    false
}

fn panicked() -> Verdict {
    let error = "the worker panicked on this event; its log has the place".to_owned();
    Verdict::DeadLetter { reason: DeadReason::Panicked, status: None, error }
}

fn given_up(deliveries: u32) -> Verdict {
    let error =
        format!("it was delivered {deliveries} times and never settled, and workers ended while they worked it alone");
    Verdict::DeadLetter { reason: DeadReason::DeliveryLimit, status: None, error }
}

fn log(verdict: &Verdict, headers: &Headers) {
    let (id, attempts) = (headers.message_id.as_str(), headers.attempts);
    let account = headers.account.as_ref().map_or("", |account| account.as_str());
    match verdict {
        Verdict::DeadLetter { reason, status, .. } => tracing::warn!(
            message.id = id,
            account,
            attempts,
            refersion.status = status,
            "dead letter: {} ({})",
            reason.class(),
            reason.as_str()
        ),
        verdict => tracing::debug!(message.id = id, account, attempts, "{verdict:?}"),
    }
}
