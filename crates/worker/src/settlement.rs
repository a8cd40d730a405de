use std::time::SystemTime;

use refersion_relay_model::{AccountName, Subject};
use refersion_relay_queue::{Death, Ending, Headers, Place, Settle};
use refersion_relay_telemetry::{Parked, Wait};

use crate::past::past;
use crate::verdict::{Aside, Retry, Verdict};
use crate::work::Context;

/// Among which shards an event stays wherever it goes: its later ones come behind it there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Home {
    /// Those it came from, by how many they are.
    Set(u16),
    /// It came from none, so those that are in use.
    InUse,
}

impl Context {
    /// Where an event goes by its verdict. `None` for a verdict that leaves it in hand.
    pub(crate) fn settlement(
        &self,
        verdict: &Verdict,
        headers: Box<Headers>,
        account: Option<&AccountName>,
        subject: Option<&Subject>,
        home: Home,
    ) -> Option<Settle> {
        let now = SystemTime::now();
        match verdict {
            Verdict::Delivered(_) => Some(Settle::Done(Ending::Delivered)),
            Verdict::Ignored(_) | Verdict::Copy => Some(Settle::Done(Ending::Ignored)),
            Verdict::Retry(Retry::InHand(_) | Retry::Pause(_) | Retry::Slower | Retry::Outage) => None,
            Verdict::Retry(Retry::Tier(delay)) => {
                let shard = subject?.shard(account?, self.shards_of(home));
                Some(Settle::Move(Place::Later(shard, *delay), headers))
            }
            Verdict::Parked(aside) => {
                let shard = subject?.shard(account?, self.shards_of(home));
                let place = match aside {
                    Aside::Tier(delay) => Place::Later(shard, *delay),
                    Aside::Round => Place::Shard(shard),
                };
                Some(Settle::Move(place, headers))
            }
            Verdict::Hold => {
                let held_at = past(headers.held_at, now).or(Some(now));
                Some(Settle::Move(Place::Held(account?.clone()), Box::new(Headers { held_at, ..*headers })))
            }
            Verdict::DeadLetter { reason, status, error } => {
                let death = Death {
                    class: reason.class(),
                    reason: reason.as_str().to_owned(),
                    status: *status,
                    error: Some(error.clone()),
                    dead_at: Some(now),
                };
                let headers = Headers { death: Some(death), held_at: None, ..*headers };
                Some(Settle::Move(Place::Dead(reason.class()), Box::new(headers)))
            }
        }
    }

    /// How many shards there are in the set that an event belongs to.
    fn shards_of(&self, home: Home) -> u16 {
        match home {
            Home::Set(count) => count,
            Home::InUse => self.queue.shards().borrow().count(),
        }
    }

    /// Counts a verdict that was settled: each event exactly once.
    pub(crate) fn count(&self, verdict: &Verdict, account: Option<&AccountName>) {
        match verdict {
            Verdict::Delivered(applied) => self.metrics.delivered(applied.as_str()),
            Verdict::Ignored(why) => self.metrics.ignored_by_worker(*why),
            Verdict::Copy => self.metrics.copy(),
            Verdict::Retry(_) => self.metrics.retried(Wait::Tier),
            Verdict::Parked(Aside::Tier(_)) => self.metrics.parked(Parked::Tier),
            Verdict::Parked(Aside::Round) => self.metrics.parked(Parked::Shard),
            Verdict::Hold => self.metrics.event_held(account),
            Verdict::DeadLetter { reason, .. } => self.metrics.dead_lettered(*reason),
        }
    }
}
