use std::mem::discriminant;
use std::sync::{Mutex, PoisonError};

use refersion_relay_telemetry::{Connection as Purpose, Counted, Metrics};
use tokio::sync::watch;

use crate::BrokerState;
use crate::sqlite::file::path::SqlitePath;

/// Whether something can be stored, as everybody else sees it.
pub(crate) struct Status {
    path: SqlitePath,
    metrics: Metrics,
    state: watch::Sender<BrokerState>,
    /// While the file is usable, whether or not there is room.
    connected: Mutex<Option<Counted>>,
}

impl Status {
    pub(crate) fn new(path: SqlitePath, metrics: Metrics) -> (Self, watch::Receiver<BrokerState>) {
        let (state, receiver) = watch::channel(BrokerState::Connecting);
        (Self { path, metrics, state, connected: Mutex::new(None) }, receiver)
    }

    pub(crate) fn borrow(&self) -> watch::Ref<'_, BrokerState> {
        self.state.borrow()
    }

    pub(crate) fn is_up(&self) -> bool {
        self.state.borrow().is_up()
    }

    /// Says a change once.
    pub(crate) fn change(&self, state: &BrokerState) {
        self.metrics.blocked(matches!(state, BrokerState::Blocked { .. }));
        let mut connected = self.connected.lock().unwrap_or_else(PoisonError::into_inner);
        match state {
            BrokerState::Up | BrokerState::Blocked { .. } => {
                connected.get_or_insert_with(|| self.metrics.connected(Purpose::Publish));
            }
            BrokerState::Connecting | BrokerState::Away { .. } | BrokerState::Mismatch { .. } => {
                if connected.take().is_some() {
                    self.metrics.connection_lost(Purpose::Publish);
                }
            }
        }
        drop(connected);
        let changed = self.state.send_if_modified(|current| {
            let changed = discriminant(current) != discriminant(state);
            let differs = current != state;
            if differs {
                *current = state.clone();
            }
            changed
        });
        match (changed, state) {
            (false, _) => {}
            (true, BrokerState::Up) => tracing::info!(queue.url = %self.path, "the queue is up"),
            (true, BrokerState::Mismatch { .. }) => tracing::error!(queue.url = %self.path, "{state}"),
            (true, _) => tracing::warn!(queue.url = %self.path, "{state}; trying again until it works"),
        }
    }
}
