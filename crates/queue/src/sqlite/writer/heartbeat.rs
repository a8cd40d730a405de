use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use refersion_relay_supervise::Parts;
use tokio_util::sync::CancellationToken;

use super::status::Status;
use crate::BrokerState;

/// How often it is looked at within the patience.
const LOOKS: u32 = 8;
const LOOK_EVERY: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(250));

/// Since when the thread that writes is at what it is at. A disk that hangs does not come back with an error, so only somebody
/// else can say that nothing is stored.
#[derive(Debug, Default)]
pub(crate) struct Heartbeat(Mutex<Option<Instant>>);

impl Heartbeat {
    /// Somebody watches until `stop`: what takes longer than `patience` makes the queue one that is away, until
    /// the thread says otherwise.
    pub(crate) fn watched_by(
        status: Arc<Status>,
        patience: Duration,
        parts: &Parts,
        stop: &CancellationToken,
    ) -> Arc<Self> {
        let heartbeat = Arc::new(Self::default());
        let (watched, until) = (heartbeat.clone(), stop.clone());
        parts.thread("sqlite-watch", stop, move || watch(&watched, &status, patience, &until));
        heartbeat
    }

    /// The thread begins with something.
    pub(crate) fn begins(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// The thread waits for something to do.
    pub(crate) fn rests(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Acts if the thread has been at one thing for too long, and lets it go on only then: so what it says itself comes after.
    fn if_silent_for(&self, patience: Duration, act: impl FnOnce()) {
        let since = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if since.is_some_and(|since| patience < since.elapsed()) {
            act();
        }
    }
}

fn watch(heartbeat: &Heartbeat, status: &Status, patience: Duration, stop: &CancellationToken) {
    let why = format!(
        "nothing could be stored for {} ms: the disk does not answer, or another process keeps the file locked",
        patience.as_millis()
    );
    let silent = BrokerState::Away { why };
    let (shortest, longest) = LOOK_EVERY;
    while !stop.is_cancelled() {
        heartbeat.if_silent_for(patience, || {
            // What is known to be wrong says more.
            if status.is_up() {
                status.change(&silent);
            }
        });
        thread::sleep((patience / LOOKS).clamp(shortest, longest));
    }
}
