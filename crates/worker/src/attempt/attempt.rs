use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use async_trait::async_trait;
use refersion_relay_refersion::{CallResult, Calls, Failure};
use refersion_relay_traces::{Kind, Parent, Span, Traces};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::account::accounts::AccountState;
use crate::outage::monitor::OutageMonitor;
use crate::pacing::limit::{Begun, Sign};

/// Stands between one attempt and its calls: lets each begin when it is its turn, and says what it tells about Refersion
/// and about how much it can take.
pub(crate) struct Attempt {
    monitor: Arc<OutageMonitor>,
    purpose: Purpose,
    began: Instant,
    call: Mutex<Call>,
    /// Cancelled when a call should not begin any more.
    off: CancellationToken,
    why: OnceLock<CalledOff>,
    traces: Traces,
    /// What its calls are a part of.
    trace: Option<String>,
    /// Of the call that is in flight.
    span: Mutex<Span>,
}

/// Why an attempt was called off. Nothing was in flight then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CalledOff {
    /// One of its calls waited for its turn, and meanwhile the worker was stopped, the account paused, or Refersion went away.
    Elsewhere,
    /// It has taken too long.
    Late,
}

/// What is attempted.
enum Purpose {
    /// To work an event; `leave` says that nothing more is to begin, and after `until` nothing more begins either.
    Event { account_state: Arc<AccountState>, leave: CancellationToken, until: Instant },
    /// To find out whether an account's keys work.
    Keys,
    /// To find out whether Refersion is there.
    Probe,
}

/// The last call.
#[derive(Clone, Copy)]
struct Call {
    begun: Begun,
    /// Whether it was answered properly; `None` before it has ended.
    proper: Option<bool>,
}

impl Attempt {
    pub(crate) fn at_event(
        monitor: Arc<OutageMonitor>,
        account_state: Arc<AccountState>,
        leave: CancellationToken,
        until: Instant,
    ) -> Self {
        Self::new(monitor, Purpose::Event { account_state, leave, until })
    }

    pub(crate) fn at_keys(monitor: Arc<OutageMonitor>) -> Self {
        Self::new(monitor, Purpose::Keys)
    }

    pub(crate) fn probe(monitor: Arc<OutageMonitor>) -> Self {
        Self::new(monitor, Purpose::Probe)
    }

    fn new(monitor: Arc<OutageMonitor>, purpose: Purpose) -> Self {
        let began = Instant::now();
        let call = Mutex::new(Call { begun: Begun::alone(began), proper: None });
        Self {
            monitor,
            purpose,
            began,
            call,
            off: CancellationToken::new(),
            why: OnceLock::new(),
            traces: Traces::default(),
            trace: None,
            span: Mutex::default(),
        }
    }

    /// Its calls are spans, parts of what is done with the event.
    pub(crate) fn traced(mut self, traces: &Traces, process: &Span) -> Self {
        if process.is_kept() {
            (self.traces, self.trace) = (traces.clone(), process.traceparent());
        }
        self
    }

    /// When it began.
    pub(crate) fn began(&self) -> Instant {
        self.began
    }

    /// Whether its last call was answered properly; `None` when none has ended.
    pub(crate) fn was_proper(&self) -> Option<bool> {
        self.call().proper
    }

    /// Waits until it is called off. It can be dropped then.
    pub(crate) async fn called_off(&self) -> CalledOff {
        self.off.cancelled().await;
        self.why.get().copied().unwrap_or(CalledOff::Elsewhere)
    }

    async fn call_off(&self, why: CalledOff) {
        let _ = self.why.set(why);
        self.off.cancel();
        std::future::pending::<()>().await;
    }

    fn span(&self) -> MutexGuard<'_, Span> {
        self.span.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn call(&self) -> MutexGuard<'_, Call> {
        self.call.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says in a call's span which one it was and how it ended.
fn end_span(mut span: Span, ended: CallResult<'_>) {
    span.rename(format!("Refersion {}", ended.operation.as_str()));
    span.set("relay.refersion.operation", ended.operation.as_str());
    if let Some(failure) = ended.failure {
        if let Some(status) = failure.status() {
            span.set("http.response.status_code", i64::from(status));
        }
        span.fails(failure.as_str());
    }
}

#[async_trait]
impl Calls for Attempt {
    async fn begin(&self) {
        let begun = match &self.purpose {
            Purpose::Event { account_state, leave, until } => {
                let waited = leave.run_until_cancelled(timeout_at(*until, account_state.limiter.wait_for_turn())).await;
                let goes_on = match waited {
                    Some(Ok(false)) => true,
                    Some(Ok(true)) => account_state.gate.paused().is_none() && !self.monitor.is_out(),
                    Some(Err(_)) => return self.call_off(CalledOff::Late).await,
                    None => false,
                };
                if !goes_on {
                    return self.call_off(CalledOff::Elsewhere).await;
                }
                if *until <= Instant::now() {
                    return self.call_off(CalledOff::Late).await;
                }
                account_state.limiter.begins()
            }
            Purpose::Keys | Purpose::Probe => Begun::alone(Instant::now()),
        };
        *self.call() = Call { begun, proper: None };
        if self.trace.is_some() {
            *self.span() = self.traces.span(Kind::Client, "Refersion", Parent::In(self.trace.as_deref()));
        }
    }

    fn ended(&self, ended: CallResult<'_>) {
        let Call { begun, .. } = {
            let mut call = self.call();
            call.proper = Some(ended.proper);
            *call
        };
        if self.trace.is_some() {
            end_span(std::mem::take(&mut *self.span()), ended);
        }
        if ended.proper {
            self.monitor.answered(begun.at);
        }
        if let Purpose::Event { account_state, .. } = &self.purpose {
            let sign = match ended.failure {
                Some(Failure::Limited { .. } | Failure::Transport { .. }) => Sign::Bad,
                None | Some(Failure::Unavailable { .. } | Failure::Unclear { .. }) if !ended.proper => Sign::Poor,
                // A no is an answer, even one without a word.
                None
                | Some(
                    Failure::Unavailable { .. }
                    | Failure::Unclear { .. }
                    | Failure::Rejected(_)
                    | Failure::Unauthorized { .. },
                ) => Sign::Good,
            };
            account_state.limiter.ended(ended.operation, begun, sign);
        }
    }
}
