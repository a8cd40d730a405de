use std::sync::Arc;

use refersion_relay_telemetry::{Counted, Metrics, MoveTo};
use tokio::sync::watch;

use crate::{Place, Stuck};

/// Which moves of events in hand are stuck. Says each change of that once.
pub(crate) struct Moves {
    stuck: watch::Sender<Vec<Stuck>>,
    metrics: Metrics,
}

/// One event that cannot be moved, for as long as this lives.
pub(crate) struct StuckMove {
    moves: Arc<Moves>,
    to: String,
    _counted: Counted,
}

impl Moves {
    pub(crate) fn new(metrics: Metrics) -> Self {
        Self { stuck: watch::Sender::new(Vec::new()), metrics }
    }

    pub(crate) fn stuck(&self) -> watch::Receiver<Vec<Stuck>> {
        self.stuck.subscribe()
    }

    /// A copy for `place`, which is called `to` on the broker, was not taken.
    pub(crate) fn is_stuck(self: &Arc<Self>, place: &Place, to: String, why: &str) -> StuckMove {
        let mut is_new = false;
        self.stuck.send_modify(|stuck| {
            if let Some(stuck) = stuck.iter_mut().find(|stuck| stuck.to == to) {
                stuck.events += 1;
                why.clone_into(&mut stuck.why);
            } else {
                stuck.push(Stuck { to: to.clone(), events: 1, why: why.to_owned() });
                is_new = true;
            }
        });
        if is_new {
            tracing::error!(
                queue.name = to,
                "no event can be moved to {to}, so they wait where they are, and go on by themselves: {why}"
            );
        }
        StuckMove { moves: self.clone(), to, _counted: self.metrics.stuck_on_the_way_to(kind(place)) }
    }
}

impl Drop for StuckMove {
    fn drop(&mut self) {
        let mut is_last = false;
        self.moves.stuck.send_modify(|stuck| {
            if let Some(position) = stuck.iter().position(|stuck| stuck.to == self.to) {
                stuck[position].events -= 1;
                if stuck[position].events == 0 {
                    stuck.remove(position);
                    is_last = true;
                }
            }
        });
        if is_last {
            tracing::info!(queue.name = self.to, "no event waits in hand any more to be moved to {}", self.to);
        }
    }
}

fn kind(place: &Place) -> MoveTo {
    match place {
        Place::Intake | Place::Work(_) => MoveTo::Work,
        Place::Later(..) => MoveTo::Tier,
        Place::Dead(_) => MoveTo::Dead,
    }
}

#[cfg(test)]
mod tests {
    use refersion_relay_model::Class;

    use super::*;

    #[test]
    fn a_place_is_named_for_as_long_as_an_event_waits_for_it() {
        let metrics = Metrics::new();
        let moves = Arc::new(Moves::new(metrics.clone()));
        let (stuck, dead) = (moves.stuck(), Place::Dead(Class::Rejected));
        let shown = || stuck.borrow().iter().map(ToString::to_string).collect::<Vec<_>>();
        let is_stuck = |why: &str| moves.is_stuck(&dead, "r.dead.rejected".to_owned(), why);

        let first = is_stuck("full");
        assert_eq!(shown(), ["1 event cannot be moved to r.dead.rejected: full"]);
        let second = is_stuck("still full");
        assert_eq!(shown(), ["2 events cannot be moved to r.dead.rejected: still full"]);
        assert!(metrics.render().contains("queue_moves_stuck{to=\"dead\"} 2"));

        drop(first);
        assert_eq!(shown(), ["1 event cannot be moved to r.dead.rejected: still full"]);
        drop(second);
        assert_eq!(shown(), [""; 0]);
        assert!(metrics.render().contains("queue_moves_stuck{to=\"dead\"} 0"));
    }
}
