use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use refersion_relay_model::{AccountName, Subject};
use refersion_relay_queue::{Delivery, Owned, Room};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::flow::{Crowded, Flow};
use crate::gate::Source;
use crate::item::Item;
use crate::line::{Behind, Reach};
use crate::reading::Reading;
use crate::roster::Roster;
use crate::settlement::Home;
use crate::work::Context;

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
    home: Home,
    /// Cancelled when nothing more is begun.
    leave: Option<CancellationToken>,
    /// How many events may wait in one lane.
    crowd: usize,
    flow: Flow,
    /// Delivered, and not begun yet: only behind an event that is to be worked alone.
    line: VecDeque<Delivery>,
    lanes: HashMap<Lane, VecDeque<Item>>,
    tasks: JoinSet<Ended>,
    /// The next event of a lane that is full. Nothing more is taken while there is one.
    held_back: Option<(Lane, Item)>,
    /// What is being settled without being worked, begun in its order.
    asides: FuturesUnordered<BoxFuture<'static, bool>>,
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

struct Ended {
    lane: Lane,
    left: bool,
}

impl Term {
    /// Of a shard one subject gets a quarter of the room. What is held is one account's, in order, and is not to be mixed.
    pub(crate) fn new(context: Arc<Context>, roster: Arc<Roster>, source: Source, home: Home, room: Room) -> Self {
        let crowd = match source {
            Source::Shard => usize::from(room.events / 4).max(1),
            Source::Held => usize::MAX,
        };
        Self {
            context,
            roster,
            source,
            home,
            leave: None,
            crowd,
            flow: Flow::new(),
            line: VecDeque::new(),
            lanes: HashMap::new(),
            tasks: JoinSet::new(),
            held_back: None,
            asides: FuturesUnordered::new(),
            singles: 0,
            alone: false,
            is_first: true,
        }
    }

    /// Works until the queue is lost, `stop` is cancelled, or nothing has been there for `idle`. Calls in flight are
    /// finished and settled first; only `abort` cuts them off. Can be dropped at any point before `stop`, and run again.
    pub(crate) async fn run(
        &mut self,
        owned: &mut Owned,
        stop: &CancellationToken,
        abort: &CancellationToken,
        idle: Option<Duration>,
    ) -> TermEnd {
        let leave = self.leave.get_or_insert_with(|| owned.ended().child_token()).clone();
        let mut end = None;
        loop {
            let in_hand = !self.tasks.is_empty() || !self.asides.is_empty();
            if !in_hand && let Some(end) = end {
                return end;
            }
            let quiet = idle.filter(|_| !in_hand && end.is_none());
            let is_held_back = self.held_back.is_some();
            let deadline = self.flow.deadline(Instant::now());
            tokio::select! {
                biased;
                () = abort.cancelled() => {
                    self.tasks.shutdown().await;
                    self.asides.clear();
                    self.held_back = None;
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
                    self.let_in(&leave);
                    self.advance(&leave);
                }
                Some(left) = self.asides.next(), if !self.asides.is_empty() => {
                    if left && end.is_none() {
                        end = Some(self.wind_up(&leave, TermEnd::Stopped));
                    }
                    self.advance(&leave);
                }
                () = tokio::time::sleep_until(deadline), if is_held_back => if self.context.lookout.is_out() {
                    self.flow.again(Instant::now());
                } else {
                    self.let_pass();
                    self.advance(&leave);
                },
                () = leave.cancelled(), if end.is_none() && is_held_back => {
                    end = Some(self.wind_up(&leave, TermEnd::Lost));
                }
                delivery = owned.next(), if end.is_none() && !is_held_back => match delivery {
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
        self.held_back = None;
        end
    }

    /// Takes what may be worked beside what is in flight. An event that was delivered often and never settled may be what
    /// its workers died of, so it is worked when everything before it has ended, and nothing beside it: whoever dies then
    /// has settled all others. The room stays the same, since what is given back keeps its order only then.
    fn advance(&mut self, leave: &CancellationToken) {
        while self.held_back.is_none()
            && let Some(next) = self.line.front()
        {
            let alone = self.source == Source::Shard && ALONE_FROM <= next.delivery_count;
            if (alone || self.alone) && !(self.tasks.is_empty() && self.asides.is_empty()) {
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
        let is_culprit = self.is_culprit(&delivery);
        let item = Item::take(&self.context, &self.roster, self.source, self.home, delivery, is_culprit);
        let lane = match &item.reading {
            Reading::Job(job) => Lane::Of(job.desk.name.clone(), job.subject.clone()),
            Reading::Stray(account, subject) => Lane::Of(account.clone(), subject.clone()),
            Reading::Final(_) => {
                self.singles += 1;
                Lane::Single(self.singles)
            }
        };
        let is_copy = self.is_copy(&item.reading);
        if self.source == Source::Shard
            && let Some(standing) = &item.standing
        {
            let now = Instant::now();
            if is_copy {
                self.flow.reached(standing.visit(), now);
                return self.enter(lane, item, leave);
            }
            let works = match standing.reach() {
                Reach::Free { works } => works,
                Reach::Behind(behind) => return self.set_aside(item, behind),
            };
            self.flow.reached(standing.visit(), now);
            if self.is_crowded(&lane) {
                // What goes round is remembered by this process alone, so it does not go for the sake of nobody.
                if self.context.lookout.is_out() {
                    self.flow.again(now);
                }
                match self.flow.crowded(now) {
                    Crowded::Wait => self.held_back = Some((lane, item)),
                    Crowded::GoRound => self.set_aside(item, Behind { waits: None, works }),
                }
                return;
            }
        }
        self.enter(lane, item, leave);
    }

    /// Whether it has ended before, under the id that its sender gave it. Nobody has to wait for it, and it for nobody: sent round,
    /// it would come to a worker one day that does not know it any more, and overtake what came after it.
    fn is_copy(&self, reading: &Reading) -> bool {
        matches!(reading, Reading::Job(job) if !job.mark.is_minted && self.context.ended.contains(&job.mark))
    }

    fn is_crowded(&self, lane: &Lane) -> bool {
        self.lanes.get(lane).is_some_and(|waiting| self.crowd <= waiting.len())
    }

    fn enter(&mut self, lane: Lane, item: Item, leave: &CancellationToken) {
        if let Some(waiting) = self.lanes.get_mut(&lane) {
            waiting.push_back(item);
        } else {
            self.lanes.insert(lane.clone(), VecDeque::new());
            self.start(lane, item, leave);
        }
    }

    /// There may be room for what was held back.
    fn let_in(&mut self, leave: &CancellationToken) {
        if self.held_back.as_ref().is_some_and(|(lane, _)| !self.is_crowded(lane))
            && let Some((lane, item)) = self.held_back.take()
        {
            self.flow.fits(Instant::now());
            self.enter(lane, item, leave);
        }
    }

    /// Others have waited long enough for what was held back.
    fn let_pass(&mut self) {
        let Some((_, item)) = self.held_back.take() else { return };
        let Some(standing) = &item.standing else { return };
        let behind = match standing.reach() {
            Reach::Free { works } => Behind { waits: None, works },
            Reach::Behind(behind) => behind,
        };
        self.flow.pass(standing.visit(), Instant::now());
        self.set_aside(item, behind);
    }

    fn set_aside(&mut self, item: Item, behind: Behind) {
        let aside = self.context.retry.aside(behind, self.source);
        self.asides.push(item.set_aside(self.context.clone(), aside).boxed());
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
            let left = item.work(&context, &leave).await;
            drop(counted);
            Ended { lane, left }
        });
    }
}
