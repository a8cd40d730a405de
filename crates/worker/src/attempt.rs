use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use refersion_relay_refersion::{Calls, Ended, Failure};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::limit::Sign;
use crate::lookout::Lookout;
use crate::roster::Desk;

/// Stands between one attempt and its calls: lets each begin when it is its turn, and says what it tells about Refersion
/// and about how much it can take.
pub(crate) struct Attempt {
    lookout: Arc<Lookout>,
    purpose: Purpose,
    began: Instant,
    call: Mutex<Call>,
    /// Cancelled when a call waited for its turn and should not begin any more.
    off: CancellationToken,
}

/// What is attempted.
enum Purpose {
    /// To work an event; `leave` says that nothing more is to begin.
    Event { desk: Arc<Desk>, leave: CancellationToken },
    /// To find out whether an account's keys work.
    Keys,
    /// To find out whether Refersion is there.
    Probe,
}

/// The last call.
#[derive(Clone, Copy)]
struct Call {
    began: Instant,
    /// How many could call then, this attempt among them.
    beside: usize,
    /// Whether it was answered properly; `None` before it has ended.
    proper: Option<bool>,
}

impl Attempt {
    pub(crate) fn at_event(lookout: Arc<Lookout>, desk: Arc<Desk>, leave: CancellationToken) -> Self {
        Self::new(lookout, Purpose::Event { desk, leave })
    }

    pub(crate) fn at_keys(lookout: Arc<Lookout>) -> Self {
        Self::new(lookout, Purpose::Keys)
    }

    pub(crate) fn probe(lookout: Arc<Lookout>) -> Self {
        Self::new(lookout, Purpose::Probe)
    }

    fn new(lookout: Arc<Lookout>, purpose: Purpose) -> Self {
        let began = Instant::now();
        let call = Mutex::new(Call { began, beside: 0, proper: None });
        Self { lookout, purpose, began, call, off: CancellationToken::new() }
    }

    /// When it began.
    pub(crate) fn began(&self) -> Instant {
        self.began
    }

    /// Whether its last call was answered properly; `None` when none has ended.
    pub(crate) fn was_proper(&self) -> Option<bool> {
        self.call().proper
    }

    /// Waits until it is called off: one of its calls waited for its turn, and meanwhile the worker was stopped, the account
    /// paused, or Refersion went away. Nothing is in flight then, so it can be dropped.
    pub(crate) async fn called_off(&self) {
        self.off.cancelled().await;
    }

    fn call(&self) -> MutexGuard<'_, Call> {
        self.call.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Calls for Attempt {
    async fn begin(&self) {
        let mut beside = 0;
        if let Purpose::Event { desk, leave } = &self.purpose {
            let waited = leave.run_until_cancelled(desk.turnstile.turn()).await;
            let goes_on = match waited {
                Some(false) => true,
                Some(true) => desk.gate.paused().is_none() && !self.lookout.is_out(),
                None => false,
            };
            if !goes_on {
                self.off.cancel();
                return std::future::pending().await;
            }
            beside = desk.turnstile.in_use();
        }
        *self.call() = Call { began: Instant::now(), beside, proper: None };
    }

    fn ended(&self, ended: Ended<'_>) {
        let Call { began, beside, .. } = {
            let mut call = self.call();
            call.proper = Some(ended.proper);
            *call
        };
        if ended.proper {
            self.lookout.answered(began, matches!(self.purpose, Purpose::Probe));
        }
        if let Purpose::Event { desk, .. } = &self.purpose {
            let sign = match ended.failure {
                Some(Failure::Limited { .. } | Failure::Transport { .. }) => Sign::Bad,
                _ if !ended.proper => Sign::Poor,
                _ => Sign::Good,
            };
            desk.turnstile.ended(ended.operation, (began, beside), sign);
        }
    }
}
