use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::Instant;

use crate::pauses::Pauses;

/// Whether an account's events may be worked, and from where. One for each account in a worker.
///
/// The held events of an account are older than what is on its shards. Until they are done, everything that comes from
/// a shard goes behind them, so that no subject is overtaken.
pub(crate) struct Gate {
    view: watch::Sender<View>,
    pauses: Pauses,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct View {
    state: GateState,
    /// Events that are being moved behind the held ones right now.
    moving: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GateState {
    /// Whether events are held is not known yet: the worker has just started.
    Unknown,
    /// Nothing is held.
    Open,
    /// The keys were refused. Only a probe may call.
    Held,
    /// The keys work again, or there is a backlog that takes long. The held events are worked in their order; what comes
    /// from a shard goes behind them.
    Releasing,
    /// The held events are nearly done. What comes from a shard waits where it is until that is certain.
    Settling,
    /// The account is not configured any more. Its events are held, and nobody may call.
    Gone,
}

/// Where a delivery came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Shard,
    Held,
}

/// What may be done with a delivery.
pub(crate) enum Admission<'a> {
    /// Work it.
    Work,
    /// Move it behind the held ones; the guard lives until its copy is confirmed.
    Move(Moving<'a>),
    /// Leave it: it goes back to where it was.
    Leave,
}

pub(crate) struct Moving<'a>(&'a Gate);

impl Gate {
    pub(crate) fn new() -> Self {
        let (view, _) = watch::channel(View { state: GateState::Unknown, moving: 0 });
        Self { view, pauses: Pauses::new() }
    }

    pub(crate) fn state(&self) -> GateState {
        self.view.borrow().state
    }

    /// Goes from one state to the next, unless something else has happened meanwhile. Returns whether it went.
    pub(crate) fn advance(&self, from: GateState, to: GateState) -> bool {
        self.view.send_if_modified(|view| {
            let goes = view.state == from;
            if goes {
                view.state = to;
            }
            goes
        })
    }

    #[cfg(test)]
    pub(crate) fn set(&self, state: GateState) {
        self.view.send_modify(|view| view.state = state);
    }

    /// The keys were refused. Returns whether that is news; of an account that is gone it is not.
    pub(crate) fn hold(&self) -> bool {
        self.view.send_if_modified(|view| {
            let news = !matches!(view.state, GateState::Held | GateState::Gone);
            if news {
                view.state = GateState::Held;
            }
            news
        })
    }

    /// The account is not configured any more. Returns whether that is news.
    pub(crate) fn leave(&self) -> bool {
        self.view.send_if_modified(|view| std::mem::replace(&mut view.state, GateState::Gone) != GateState::Gone)
    }

    /// The account is configured again: what was held meanwhile comes first. Returns whether it was gone.
    pub(crate) fn come_back(&self) -> bool {
        self.advance(GateState::Gone, GateState::Held)
    }

    pub(crate) async fn until(&self, state: GateState) {
        let mut views = self.view.subscribe();
        let _ = views.wait_for(|view| view.state == state).await;
    }

    /// Waits until nobody may work held events: the keys are refused, or the account is gone.
    pub(crate) async fn until_shut(&self) {
        let mut views = self.view.subscribe();
        let _ = views.wait_for(|view| matches!(view.state, GateState::Held | GateState::Gone)).await;
    }

    /// Waits until events from `source` have to go elsewhere.
    pub(crate) async fn until_closed_to(&self, source: Source) {
        let mut views = self.view.subscribe();
        let _ = views.wait_for(|view| !is_open_to(source, view.state)).await;
    }

    /// Waits while the gate is held.
    pub(crate) async fn while_held(&self) {
        let mut views = self.view.subscribe();
        let _ = views.wait_for(|view| view.state != GateState::Held).await;
    }

    /// Waits while events are on their way behind the held ones, as long as the gate is settling: in other states more
    /// may follow them for ever.
    pub(crate) async fn until_settled(&self) {
        let mut views = self.view.subscribe();
        let _ = views.wait_for(|view| view.moving == 0 || view.state != GateState::Settling).await;
    }

    /// Waits until it is clear what may be done with a delivery from `source`.
    pub(crate) async fn admit(&self, source: Source) -> Admission<'_> {
        let mut views = self.view.subscribe();
        loop {
            let mut admission = None;
            self.view.send_if_modified(|view| {
                admission = match (source, view.state) {
                    (Source::Shard, GateState::Open)
                    | (Source::Held, GateState::Releasing | GateState::Settling | GateState::Open) => {
                        Some(Admission::Work)
                    }
                    (Source::Shard, GateState::Held | GateState::Releasing | GateState::Gone) => {
                        view.moving += 1;
                        Some(Admission::Move(Moving(self)))
                    }
                    (Source::Shard, GateState::Unknown | GateState::Settling) => None,
                    (Source::Held, GateState::Held | GateState::Unknown | GateState::Gone) => Some(Admission::Leave),
                };
                false
            });
            match admission {
                Some(admission) => return admission,
                None if views.changed().await.is_err() => return Admission::Leave,
                None => {}
            }
        }
    }

    /// Whether a delivery from `source` may be worked right now.
    pub(crate) fn lets_through(&self, source: Source) -> bool {
        is_open_to(source, self.state()) && self.paused().is_none()
    }

    /// Refersion wants to be left alone for so long. Returns whether that is news.
    pub(crate) fn pause(&self, pause: Duration) -> bool {
        self.pauses.begin(pause)
    }

    /// Refersion wants fewer calls, and has not said for how long: so said the answer to an attempt that began at `began`.
    /// Returns for how long the account pauses; `None` where that has been decided since.
    pub(crate) fn slow_down(&self, began: Instant) -> Option<Duration> {
        self.pauses.limited(began)
    }

    /// An attempt that began at `began` was not answered so.
    pub(crate) fn not_limited(&self, began: Instant) {
        self.pauses.not_limited(began);
    }

    /// For how long the account paused between `first` and `now`.
    pub(crate) fn paused_between(&self, first: SystemTime, now: SystemTime) -> Duration {
        self.pauses.between(first, now)
    }

    /// How much longer Refersion wants to be left alone.
    pub(crate) fn paused(&self) -> Option<Duration> {
        self.pauses.left()
    }
}

fn is_open_to(source: Source, state: GateState) -> bool {
    match (source, state) {
        (Source::Shard, GateState::Open)
        | (Source::Held, GateState::Open | GateState::Releasing | GateState::Settling) => true,
        (
            Source::Shard,
            GateState::Unknown | GateState::Held | GateState::Releasing | GateState::Settling | GateState::Gone,
        )
        | (Source::Held, GateState::Unknown | GateState::Held | GateState::Gone) => false,
    }
}

impl Drop for Moving<'_> {
    fn drop(&mut self) {
        self.0.view.send_modify(|view| view.moving -= 1);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn admitted(gate: &Gate, source: Source) -> &'static str {
        match gate.admit(source).now_or_never() {
            Some(Admission::Work) => "work",
            Some(Admission::Move(_)) => "move",
            Some(Admission::Leave) => "leave",
            None => "wait",
        }
    }

    #[test]
    fn what_may_be_done_depends_on_where_an_event_came_from() {
        let gate = Gate::new();
        let expected = [
            (GateState::Unknown, "wait", "leave"),
            (GateState::Open, "work", "work"),
            (GateState::Held, "move", "leave"),
            (GateState::Releasing, "move", "work"),
            (GateState::Settling, "wait", "work"),
            (GateState::Gone, "move", "leave"),
        ];
        for (state, shard, held) in expected {
            gate.set(state);
            assert_eq!((admitted(&gate, Source::Shard), admitted(&gate, Source::Held)), (shard, held), "{state:?}");
        }
    }

    #[tokio::test]
    async fn a_move_in_progress_is_waited_for() {
        let gate = Gate::new();
        gate.set(GateState::Held);
        let Admission::Move(moving) = gate.admit(Source::Shard).await else { panic!("held") };
        gate.set(GateState::Settling);
        assert!(gate.until_settled().now_or_never().is_none());
        drop(moving);
        gate.until_settled().await;
    }

    #[test]
    fn a_refusal_that_comes_late_does_not_bring_an_account_back() {
        let gate = Gate::new();
        assert!(gate.leave() && !gate.leave() && !gate.hold());
        assert_eq!(gate.state(), GateState::Gone);
        assert!(gate.come_back() && !gate.come_back());
        assert_eq!(gate.state(), GateState::Held);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_ends_by_itself_and_the_longer_one_counts() {
        let gate = Gate::new();
        assert!(gate.pause(Duration::from_secs(10)));
        assert!(!gate.pause(Duration::from_secs(5)));
        assert_eq!(gate.paused(), Some(Duration::from_secs(10)));
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(gate.paused(), None);
    }
}
