use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use refersion_relay_model::Subject;
use refersion_relay_queue::{Delivery, Owned, Room};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::account::accounts::AccountState;
use crate::consume::fair_share::{FairShare, WhenFull};
use crate::consume::item::Item;
use crate::context::Context;
use crate::event::in_hand::InHand;
use crate::event::load::TakingUp;
use crate::event::outcome::Aside;
use crate::event::reading::Reading;
use crate::event::settle::Worked;
use crate::order::subject_queue::{Behind, Reach};

/// How often an event came back unsettled before it is suspected: two crashes or lost connections can meet anything.
const SUSPECT_FROM: u32 = 3;
/// So many events of an account that a process has outlived clear the others of suspicion: a crash loop does not get so far.
const TRUSTED: usize = 64;

/// How long a queue takes at most to send what it has room for.
pub(crate) const LATE: Duration = Duration::from_secs(1);

/// Works the deliveries of one account's work queue for one term: lanes side by side, each in order.
pub(crate) struct Consumer {
    context: Arc<Context>,
    account_state: Arc<AccountState>,
    room: usize,
    /// Cancelled when nothing more is begun.
    leave: CancellationToken,
    /// When nothing more is to be expected of what the queue sends at first.
    late: Instant,
    fair_share: FairShare,
    /// Delivered, and not read yet: only behind events that are suspected.
    unread: VecDeque<InHand>,
    lanes: HashMap<Lane, VecDeque<Item>>,
    tasks: JoinSet<LaneEnd>,
    /// The next event of a lane that is full. Nothing more is taken while there is one.
    held_back: Option<(Lane, Item)>,
    /// What is being settled without being worked, begun in its order.
    asides: FuturesUnordered<BoxFuture<'static, Worked>>,
    singles: u64,
    /// Whether what is in flight is to be the only one.
    is_alone: bool,
    /// Events in hand, and their bytes since the term began.
    in_hand: usize,
    bytes: Arc<AtomicUsize>,
    /// Until what the queue sends at first is in hand.
    taking_up: Option<TakingUp>,
}

/// Why a term ended. Nothing is being worked any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TermEnd {
    /// It was told to stop, or an event had to be left.
    Stopped,
    /// The queue was lost.
    Lost,
    /// There was too much in hand.
    Heavy,
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum Lane {
    Of(Subject),
    /// What has no subject has nobody to wait for.
    Single(u64),
}

/// An event of a lane is not worked any more.
struct LaneEnd {
    lane: Lane,
    worked: Worked,
    /// Whether it was worked alone. Then it says itself whether it was outlived.
    alone: bool,
}

impl Consumer {
    pub(crate) fn new(
        context: Arc<Context>,
        account_state: Arc<AccountState>,
        owned: &Owned,
        room: Room,
        taking_up: Option<TakingUp>,
    ) -> Self {
        Self {
            context,
            account_state,
            room: usize::from(room.events.max(1)),
            leave: owned.ended().child_token(),
            late: Instant::now() + LATE,
            fair_share: FairShare::new(),
            unread: VecDeque::new(),
            lanes: HashMap::new(),
            tasks: JoinSet::new(),
            held_back: None,
            asides: FuturesUnordered::new(),
            singles: 0,
            is_alone: false,
            in_hand: 0,
            bytes: Arc::default(),
            taking_up,
        }
    }

    /// Works `first` and what comes after it until the queue is lost, `stop` is cancelled, or there is too much in hand.
    /// Calls in flight are finished and settled first; only `abort` cuts them off.
    pub(crate) async fn run(
        mut self,
        first: Delivery,
        owned: &mut Owned,
        stop: &CancellationToken,
        abort: &CancellationToken,
    ) -> TermEnd {
        let mut end = self.receive(first);
        loop {
            let in_flight = !self.tasks.is_empty() || !self.asides.is_empty();
            if !in_flight && let Some(end) = end {
                return end;
            }
            let is_held_back = self.held_back.is_some();
            let deadline = self.fair_share.deadline(Instant::now());
            tokio::select! {
                biased;
                () = abort.cancelled() => {
                    self.tasks.shutdown().await;
                    return TermEnd::Stopped;
                }
                () = stop.cancelled(), if end.is_none() => end = Some(self.wind_up(TermEnd::Stopped)),
                Some(ended) = self.tasks.join_next(), if !self.tasks.is_empty() => {
                    let Ok(LaneEnd { lane, worked, alone }) = ended else {
                        // A task catches the panics of working its event; this one panicked settling it, and its lane
                        // is lost with it. Everything unsettled comes again, to a new term.
                        end = end.or_else(|| Some(self.wind_up(TermEnd::Stopped)));
                        continue;
                    };
                    self.has_ended(worked, &mut end);
                    if worked == Worked::Settled && !alone {
                        self.account_state.outlive();
                    }
                    self.next_of(lane);
                    self.let_in();
                    self.advance();
                }
                Some(worked) = self.asides.next(), if !self.asides.is_empty() => {
                    self.has_ended(worked, &mut end);
                    self.advance();
                }
                () = tokio::time::sleep_until(deadline), if is_held_back => if self.context.monitor.is_out() {
                    self.fair_share.again(Instant::now());
                } else {
                    self.let_pass();
                    self.advance();
                },
                () = self.leave.cancelled(), if end.is_none() && is_held_back => {
                    end = Some(self.wind_up(TermEnd::Lost));
                }
                delivery = owned.next(), if end.is_none() && !is_held_back => match delivery {
                    Some(delivery) => end = self.receive(delivery),
                    None => end = Some(self.wind_up(TermEnd::Lost)),
                },
                () = tokio::time::sleep_until(self.late), if self.taking_up.is_some() => self.taking_up = None,
            }
        }
    }

    /// Begins nothing more: what waits in lanes goes back unsettled, what is in flight ends.
    fn wind_up(&mut self, end: TermEnd) -> TermEnd {
        self.leave.cancel();
        self.unread.clear();
        self.lanes.values_mut().for_each(VecDeque::clear);
        self.held_back = None;
        end
    }

    /// Takes a delivery in hand. Says whether that was one too many.
    fn receive(&mut self, delivery: Delivery) -> Option<TermEnd> {
        let weight = self.context.load.weigh(delivery.message.body.len(), &self.bytes);
        self.unread.push_back(InHand::new(&self.context, &self.account_state, delivery, weight));
        if self.in_hand == 0 && self.context.queue.changes_owners_unseen() {
            self.account_state.begin_stay();
        }
        self.in_hand += 1;
        if self.taking_up.as_ref().is_some_and(|taking_up| taking_up.events <= self.in_hand) {
            self.taking_up = None;
        }
        self.advance();
        let end = if self.leave.is_cancelled() { Some(TermEnd::Stopped) } else { None };
        let end = end.or_else(|| self.has_too_much().then_some(TermEnd::Heavy))?;
        Some(self.wind_up(end))
    }

    /// Whether there is too much in hand, and it is this account that has to give up what it has. Not behind what is suspected:
    /// that would be given back before it was outlived.
    fn has_too_much(&self) -> bool {
        let (load, may_go) = (&self.context.load, self.unread.is_empty() && !self.is_alone);
        may_go && load.is_over() && load.share(self.context.accounts.configured()) <= self.bytes.load(Ordering::Relaxed)
    }

    /// An event is not in hand any more.
    fn has_ended(&mut self, worked: Worked, end: &mut Option<TermEnd>) {
        self.in_hand = self.in_hand.saturating_sub(1);
        self.is_alone = false;
        if worked == Worked::Left {
            *end = end.or_else(|| Some(self.wind_up(TermEnd::Stopped)));
        }
    }

    /// Takes what may be worked beside what is in flight.
    ///
    /// An event that came back often may be what its workers died of. In a process that has outlived none of its account's
    /// events it is worked alone, and under a note. Then as many are worked beside each other as were outlived, until so many
    /// were that no other is suspected. So a crash loop ends at an event that is first on its queue, and everything before that
    /// one has been settled.
    fn advance(&mut self) {
        while self.held_back.is_none()
            && !self.is_alone
            && let Some(next) = self.unread.front()
        {
            let (outlived, in_flight) = (self.account_state.outlived(), self.in_hand - self.unread.len());
            let is_suspect = SUSPECT_FROM <= next.delivery.delivery_count && outlived < TRUSTED;
            if is_suspect && outlived.max(1) <= in_flight {
                return;
            }
            let Some(next) = self.unread.pop_front() else { return };
            if is_suspect && outlived == 0 {
                self.is_alone = true;
                self.work_alone(next);
            } else {
                let Some(item) = Item::take(&self.context, next, &self.leave) else { return };
                self.take(item);
            }
        }
    }

    fn take(&mut self, item: Item) {
        let lane = match &item.reading {
            Reading::Job(job) => Lane::Of(job.subject.clone()),
            Reading::Final(_) => self.single(),
        };
        let Some(standing) = &item.standing else { return self.enter(lane, item) };
        let now = Instant::now();
        if self.is_copy(&item.reading) {
            self.fair_share.reached(standing.stay(), now);
            return self.enter(lane, item);
        }
        let works = match standing.reach() {
            Reach::Free { works } => works,
            Reach::Behind(behind) => return self.set_aside(item, behind),
        };
        self.fair_share.reached(standing.stay(), now);
        if self.is_crowded(&lane) {
            // What goes round is remembered by this process alone, so it does not go for the sake of nobody.
            if self.context.monitor.is_out() {
                self.fair_share.again(now);
            }
            match self.fair_share.crowded(now) {
                WhenFull::Wait => self.held_back = Some((lane, item)),
                WhenFull::GoRound => self.set_aside(item, Behind { waits: None, works }),
            }
            return;
        }
        self.enter(lane, item);
    }

    fn single(&mut self) -> Lane {
        self.singles += 1;
        Lane::Single(self.singles)
    }

    /// Whether it has ended before, under the id that its sender gave it. Nobody has to wait for it, and it for nobody: sent round,
    /// it would come to a worker one day that does not know it any more, and overtake what came after it.
    fn is_copy(&self, reading: &Reading) -> bool {
        matches!(reading, Reading::Job(job) if self.context.recently_done.is_copy(&job.event_key))
    }

    /// One subject gets a quarter of the room.
    fn is_crowded(&self, lane: &Lane) -> bool {
        self.lanes.get(lane).is_some_and(|waiting| (self.room / 4).max(1) <= waiting.len())
    }

    fn enter(&mut self, lane: Lane, item: Item) {
        if let Some(waiting) = self.lanes.get_mut(&lane) {
            waiting.push_back(item);
        } else {
            self.lanes.insert(lane.clone(), VecDeque::new());
            self.start(lane, item);
        }
    }

    /// There may be room for what was held back.
    fn let_in(&mut self) {
        if self.held_back.as_ref().is_some_and(|(lane, _)| !self.is_crowded(lane))
            && let Some((lane, item)) = self.held_back.take()
        {
            self.fair_share.fits(Instant::now());
            self.enter(lane, item);
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
        self.fair_share.pass(standing.stay(), Instant::now());
        self.set_aside(item, behind);
    }

    fn set_aside(&mut self, item: Item, behind: Behind) {
        let aside: Aside = self.context.retry.aside(behind);
        self.asides.push(item.set_aside(self.context.clone(), aside).boxed());
    }

    fn next_of(&mut self, lane: Lane) {
        match self.lanes.get_mut(&lane).and_then(VecDeque::pop_front) {
            Some(item) => self.start(lane, item),
            None => {
                self.lanes.remove(&lane);
            }
        }
    }

    fn start(&mut self, lane: Lane, item: Item) {
        let (context, leave) = (self.context.clone(), self.leave.clone());
        let counted = context.metrics.lane();
        self.tasks.spawn(async move {
            let worked = item.work(&context, &leave).await;
            drop(counted);
            LaneEnd { lane, worked, alone: false }
        });
    }

    fn work_alone(&mut self, in_hand: InHand) {
        let (context, leave, lane) = (self.context.clone(), self.leave.clone(), self.single());
        let counted = context.metrics.lane();
        self.tasks.spawn(async move {
            let worked = Item::suspect(&context, in_hand, &leave).await;
            drop(counted);
            LaneEnd { lane, worked, alone: true }
        });
    }
}
