use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, post};
use futures_util::FutureExt;
use refersion_relay_queue::Queue;
use refersion_relay_telemetry::{Door, Metrics};
use tokio::sync::watch;

use crate::batch_reply::BatchReply;
use crate::reply::Reply;
use crate::{Access, batch, destination};

/// Everything the doors need.
#[derive(Clone)]
pub struct Ingest {
    /// Where events go.
    pub queue: Arc<dyn Queue>,
    /// Who may send them, now. May be replaced at any time; a request is judged by what it found when it began.
    pub access: watch::Receiver<Arc<Access>>,
    /// How many shards there are.
    pub shards: u16,
    /// Where everything is counted.
    pub metrics: Metrics,
}

impl Ingest {
    pub(crate) fn access(&self) -> Arc<Access> {
        self.access.borrow().clone()
    }
}

/// The doors' routes.
pub fn router(ingest: Ingest) -> Router {
    Router::new()
        .route("/v1/destination", post(destination_door).fallback(|| async { Reply::WrongMethod("POST") }))
        .route("/v1/batch", post(batch_door).fallback(|| async { BatchReply::WrongMethod }))
        .fallback(any(|| async { Reply::NoSuchPath }))
        .with_state(Arc::new(ingest))
}

async fn destination_door(State(ingest): State<Arc<Ingest>>, request: Request) -> Response {
    let answering = destination::answer(&ingest, request);
    answered(&ingest, Door::Destination, answering, Reply::Broken).await
}

async fn batch_door(State(ingest): State<Arc<Ingest>>, request: Request) -> Response {
    let answering = batch::answer(&ingest, request);
    answered(&ingest, Door::Batch, answering, BatchReply::Broken).await
}

/// Counts an answer, and gives one even where the door panicked.
async fn answered<R: IntoResponse>(
    ingest: &Ingest,
    door: Door,
    answering: impl Future<Output = R>,
    broken: R,
) -> Response {
    let started = Instant::now();
    let reply = AssertUnwindSafe(answering).catch_unwind().await.unwrap_or(broken);
    let response = reply.into_response();
    let status = response.status().as_u16();
    ingest.metrics.answered(door, status, started.elapsed());
    tracing::debug!(http.status = status, "answered a request");
    response
}
