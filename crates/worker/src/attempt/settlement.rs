use std::time::SystemTime;

use refersion_relay_model::AccountName;
use refersion_relay_queue::{Death, Ending, Headers, Place, Settle};
use refersion_relay_telemetry::{Parked, Wait};

use crate::attempt::verdict::{Aside, Retry, Verdict};
use crate::attempt::work::Context;

/// Where an event goes by its verdict. `None` for a verdict that leaves it in hand.
pub(crate) fn settlement(verdict: &Verdict, headers: Box<Headers>, account: &AccountName) -> Option<Settle> {
    let now = SystemTime::now();
    match verdict {
        Verdict::Delivered(_) => Some(Settle::Done(Ending::Delivered)),
        Verdict::Ignored(_) | Verdict::Copy => Some(Settle::Done(Ending::Ignored)),
        Verdict::Retry(Retry::InHand(_) | Retry::Pause(_) | Retry::Slower | Retry::Outage) | Verdict::Hold => None,
        Verdict::Retry(Retry::Tier(delay)) | Verdict::Parked(Aside::Tier(delay)) => {
            let headers = Headers { due_at: Some(now + *delay), ..*headers };
            Some(Settle::Move(Place::Later(account.clone(), *delay), Box::new(headers)))
        }
        Verdict::Parked(Aside::Round) => {
            let headers = Headers { due_at: Some(now), ..*headers };
            Some(Settle::Move(Place::Work(account.clone()), Box::new(headers)))
        }
        Verdict::DeadLetter { reason, status, error } => {
            let death = Death {
                class: reason.class(),
                reason: reason.as_str().to_owned(),
                status: *status,
                error: Some(error.clone()),
                dead_at: Some(now),
            };
            let headers = Headers { death: Some(death), due_at: None, ..*headers };
            Some(Settle::Move(Place::Dead(reason.class()), Box::new(headers)))
        }
    }
}

impl Context {
    /// Counts a verdict that was settled: each event exactly once.
    pub(crate) fn count(&self, verdict: &Verdict) {
        match verdict {
            Verdict::Delivered(applied) => self.metrics.delivered(applied.as_str()),
            Verdict::Ignored(why) => self.metrics.ignored_by_worker(*why),
            Verdict::Copy => self.metrics.copy(),
            Verdict::Retry(_) => self.metrics.retried(Wait::Tier),
            Verdict::Parked(Aside::Tier(_)) => self.metrics.parked(Parked::Tier),
            Verdict::Parked(Aside::Round) => self.metrics.parked(Parked::Round),
            Verdict::Hold => {} // it is never settled
            Verdict::DeadLetter { reason, .. } => self.metrics.dead_lettered(*reason),
        }
    }
}
