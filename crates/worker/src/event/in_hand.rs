use std::sync::Arc;

use refersion_relay_queue::Delivery;
use refersion_relay_telemetry::{Counted, Metrics};
use tokio::time::Instant;

use crate::account::accounts::AccountState;
use crate::event::load::Weight;

/// A delivery that is not settled. It is counted, and weighed, for as long as it lives.
pub(crate) struct InHand {
    pub(crate) account_state: Arc<AccountState>,
    pub(crate) delivery: Delivery,
    pub(crate) taken_at: Instant,
    /// Whether its workers may have died of it.
    pub(crate) is_suspect: bool,
    pub(crate) _counted: (Counted, Weight),
}

impl InHand {
    pub(crate) fn new(
        metrics: &Metrics,
        account_state: &Arc<AccountState>,
        delivery: Delivery,
        weight: Weight,
    ) -> Self {
        let counted = (metrics.taken(delivery.redelivered), weight);
        Self {
            account_state: account_state.clone(),
            delivery,
            taken_at: Instant::now(),
            is_suspect: false,
            _counted: counted,
        }
    }
}
