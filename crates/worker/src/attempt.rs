use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use refersion_relay_refersion::{Calls, Ended};
use tokio::time::Instant;

use crate::lookout::Lookout;

/// Follows the calls of one attempt, or of one look at an account's keys, and says what they tell about Refersion.
pub(crate) struct Attempt {
    lookout: Arc<Lookout>,
    is_probe: bool,
    began: Instant,
    call: Mutex<Call>,
}

/// The last call.
#[derive(Clone, Copy)]
struct Call {
    began: Instant,
    /// Whether it was answered properly; `None` before it has ended.
    proper: Option<bool>,
}

impl Attempt {
    /// An attempt at an event, or at an account's keys.
    pub(crate) fn new(lookout: Arc<Lookout>) -> Self {
        Self::begin(lookout, false)
    }

    /// A probe: one call to find out whether Refersion is there.
    pub(crate) fn probe(lookout: Arc<Lookout>) -> Self {
        Self::begin(lookout, true)
    }

    fn begin(lookout: Arc<Lookout>, is_probe: bool) -> Self {
        let began = Instant::now();
        Self { lookout, is_probe, began, call: Mutex::new(Call { began, proper: None }) }
    }

    /// When it began.
    pub(crate) fn began(&self) -> Instant {
        self.began
    }

    /// Whether its last call was answered properly; `None` when none has ended.
    pub(crate) fn was_proper(&self) -> Option<bool> {
        self.call.lock().unwrap_or_else(PoisonError::into_inner).proper
    }
}

#[async_trait]
impl Calls for Attempt {
    async fn begin(&self) {
        let call = Call { began: Instant::now(), proper: None };
        *self.call.lock().unwrap_or_else(PoisonError::into_inner) = call;
    }

    fn ended(&self, ended: Ended<'_>) {
        let began = {
            let mut call = self.call.lock().unwrap_or_else(PoisonError::into_inner);
            call.proper = Some(ended.proper);
            call.began
        };
        if ended.proper {
            self.lookout.answered(began, self.is_probe);
        }
    }
}
