use std::sync::Arc;
use std::time::Duration;

use refersion_relay_queue::Queue;
use refersion_relay_telemetry::Metrics;
use refersion_relay_traces::Traces;

use crate::account::accounts::Accounts;
use crate::attempt::isolated::Isolation;
use crate::attempt::people::People;
use crate::attempt::unchanged::Unchanged;
use crate::event::load::Load;
use crate::event::trail::Trail;
use crate::order::event_key::KeyHasher;
use crate::order::order::Order;
use crate::order::recently_done::RecentlyDone;
use crate::outage::monitor::OutageMonitor;
use crate::{RefersionApi, RetryPolicy};

/// What the tasks of one worker share. How it works one event is in `attempt/work.rs`.
pub(crate) struct Context {
    // What is outside.
    pub(crate) queue: Arc<dyn Queue>,
    pub(crate) destination: Arc<dyn RefersionApi>,
    // What is known of it.
    pub(crate) accounts: Arc<Accounts>,
    pub(crate) monitor: Arc<OutageMonitor>,
    /// Which addresses belong to whom, where that is remembered.
    pub(crate) people: Option<People>,
    /// What Refersion was told, where telling it again is left out.
    pub(crate) unchanged: Option<Unchanged>,
    // Which event is which, and whose turn it is.
    pub(crate) hasher: KeyHasher,
    pub(crate) order: Arc<Order>,
    pub(crate) recently_done: RecentlyDone,
    // How an event is worked.
    pub(crate) retry: RetryPolicy,
    /// How long after it was taken in hand an attempt at an event may still begin a call.
    pub(crate) longest_stay: Duration,
    pub(crate) isolation: Isolation,
    pub(crate) load: Arc<Load>,
    pub(crate) metrics: Metrics,
    pub(crate) trail: Arc<Trail>,
    pub(crate) traces: Traces,
}
