use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use refersion_relay_queue::{BrokerState, Stuck, rfc3339_seconds};
use refersion_relay_telemetry::Metrics;
use refersion_relay_worker::{OutageMonitor, Readiness, Trouble};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::run::state::{Memory, asked};
use crate::signals::Stop;

/// What metrics and health are read from.
pub(crate) struct Ops {
    pub(crate) metrics: Metrics,
    pub(crate) queue: watch::Receiver<BrokerState>,
    /// What cannot be moved where it belongs.
    pub(crate) stuck: watch::Receiver<Vec<Stuck>>,
    /// Of a worker in this process.
    pub(crate) worker: Option<Arc<Readiness>>,
    /// How Refersion is, as far as that worker knows.
    pub(crate) monitor: Option<Arc<OutageMonitor>>,
    /// Whether the process is about to end.
    pub(crate) stop: Stop,
    /// What is known of single events.
    pub(crate) memory: Memory,
}

/// What a worker does that is ready.
const READING: &str = "owns its work queues, stands by for them, or rightly leaves them unread";

/// `/metrics`, `/health/live`, `/health/ready` and `/ops/state`. None of them sends a message or calls anybody.
pub(crate) fn router(ops: Ops) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/health/live", get(live))
        .route("/health/ready", get(ready))
        .route("/ops/state", get(state))
        .fallback(|| async { (StatusCode::NOT_FOUND, Json(json!({"message": "there is nothing at this address"}))) })
        .with_state(Arc::new(ops))
}

async fn metrics(State(ops): State<Arc<Ops>>) -> Response {
    ops.metrics.is_ready(ops.is_ready());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], ops.metrics.render()).into_response()
}

/// What this process does, and what it knows of the events with these message ids, as they are shown: `?message=ID`. Nothing personal.
async fn state(State(ops): State<Arc<Ops>>, RawQuery(query): RawQuery) -> Response {
    let asked = asked(query.as_deref().unwrap_or_default());
    Json(ops.memory.state(&asked, &ops.queue.borrow(), ops.refersion())).into_response()
}

/// Live: this answers. How Refersion is changes nothing about that.
async fn live(State(ops): State<Arc<Ops>>) -> Response {
    Json(json!({"status": "live", "refersion": ops.refersion()})).into_response()
}

/// Ready: an event can be confirmed now, and a worker owns the work queues of its accounts, stands by for them, or rightly
/// does not read them. An outage of Refersion or a held account makes nobody unready: events are accepted and kept, a
/// restart would help nothing, and a worker goes on by itself. What is stuck is only said: nothing about this process would
/// mend it. A process that stops takes nothing more.
async fn ready(State(ops): State<Arc<Ops>>) -> Response {
    let queue = ops.queue.borrow().clone();
    let worker = ops.worker.as_ref().map(|worker| worker.is_ready());
    let (stopping, ready) = (ops.stopping(), ops.is_ready());
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let worker = worker.map(|ready| if ready { READING } else { "is taking up its work queues" });
    let stuck: Vec<_> = ops.stuck.borrow().iter().map(ToString::to_string).collect();
    let refersion = ops.refersion();
    let queue = queue.to_string();
    let health = json!({
        "ready": ready, "stopping": stopping, "queue": queue, "worker": worker, "stuck": stuck, "refersion": refersion,
    });
    (status, Json(health)).into_response()
}

impl Ops {
    fn is_ready(&self) -> bool {
        let worker = self.worker.as_ref().is_none_or(|worker| worker.is_ready());
        self.stopping().is_none() && self.queue.borrow().is_up() && worker
    }

    /// Why the process is about to end, if it is.
    fn stopping(&self) -> Option<String> {
        let failure = self.stop.parts.failure().map(|failure| failure.to_string());
        failure.or_else(|| self.stop.stop.is_cancelled().then(|| "it was asked to".to_owned()))
    }

    /// `null` in a process without a worker, which never calls Refersion.
    fn refersion(&self) -> Value {
        let Some(standing) = self.monitor.as_ref().map(|monitor| monitor.standing()) else { return Value::Null };
        json!({
            "state": standing.state.as_str(),
            "since": rfc3339_seconds(standing.since),
            "trouble": standing.trouble.map(Trouble::as_str),
            "failure": standing.failure,
        })
    }
}
