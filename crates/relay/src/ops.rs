use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use refersion_relay_queue::{BrokerState, Stuck};
use refersion_relay_telemetry::Metrics;
use refersion_relay_worker::Progress;
use serde_json::json;
use tokio::sync::watch;

/// What metrics and health are read from.
pub(crate) struct Ops {
    pub(crate) metrics: Metrics,
    pub(crate) queue: watch::Receiver<BrokerState>,
    /// What cannot be moved where it belongs.
    pub(crate) stuck: watch::Receiver<Vec<Stuck>>,
    /// Of a worker in this process.
    pub(crate) worker: Option<Arc<Progress>>,
}

/// `/metrics`, `/health/live` and `/health/ready`. None of them sends a message or calls anybody.
pub(crate) fn router(ops: Ops) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/health/live", get(|| async { Json(json!({"status": "live"})) }))
        .route("/health/ready", get(ready))
        .fallback(|| async { (StatusCode::NOT_FOUND, Json(json!({"message": "there is nothing at this address"}))) })
        .with_state(Arc::new(ops))
}

async fn metrics(State(ops): State<Arc<Ops>>) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], ops.metrics.render()).into_response()
}

/// Ready: an event can be confirmed now, and a worker owns its shards or stands by for them. What is stuck is only said:
/// nothing about this process would mend it.
async fn ready(State(ops): State<Arc<Ops>>) -> Response {
    let queue = ops.queue.borrow().clone();
    let worker = ops.worker.as_ref().map(|worker| worker.is_ready());
    let ready = queue.is_up() && worker.unwrap_or(true);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let worker = worker.map(|ready| if ready { "owns its shards or stands by" } else { "is taking up its shards" });
    let stuck: Vec<_> = ops.stuck.borrow().iter().map(ToString::to_string).collect();
    let body = json!({"ready": ready, "queue": queue.to_string(), "worker": worker, "stuck": stuck});
    (status, Json(body)).into_response()
}
