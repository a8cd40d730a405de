use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, post};
use bytes::Bytes;
use futures_util::FutureExt;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use refersion_relay_model::MAX_EVENT_BYTES;
use refersion_relay_queue::Queue;
use refersion_relay_telemetry::{Door, Metrics};

use crate::reply::Reply;
use crate::serve::BODY_TIMEOUT;
use crate::{Access, destination};

/// Everything the doors need.
pub struct Ingest {
    /// Where events go.
    pub queue: Arc<dyn Queue>,
    /// Who may send them.
    pub access: Access,
    /// How many shards there are.
    pub shards: u16,
    /// Where everything is counted.
    pub metrics: Metrics,
}

/// How much of a body that is too large is read and thrown away, so that its sender gets to read the answer.
const DRAINED_BYTES: usize = 16 * 1024 * 1024;

/// The doors' routes.
pub fn router(ingest: Ingest) -> Router {
    Router::new()
        .route("/v1/destination", post(destination_door).fallback(|| async { Reply::WrongMethod("POST") }))
        .fallback(any(|| async { Reply::NoSuchPath }))
        .with_state(Arc::new(ingest))
}

async fn destination_door(State(ingest): State<Arc<Ingest>>, request: Request) -> Response {
    let started = Instant::now();
    let answering = AssertUnwindSafe(destination::answer(&ingest, request)).catch_unwind();
    let reply = answering.await.unwrap_or(Reply::Broken);
    ingest.metrics.answered(Door::Destination, reply.status().as_u16(), started.elapsed());
    tracing::debug!(http.status = reply.status().as_u16(), "answered a request");
    reply.into_response()
}

/// What is done with a body while it is read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    /// It may be an event.
    Yes,
    /// Nobody known sent it: only its size matters.
    No,
}

/// Reads a body that may be an event, or says why it is none.
pub(crate) async fn body(request: Request, keep: Keep) -> Result<Bytes, Reply> {
    let mut body = Limited::new(request.into_body(), MAX_EVENT_BYTES + DRAINED_BYTES);
    let mut bytes = Vec::new();
    let (mut length, mut too_large) = (0, false);
    let reading = async {
        while let Some(frame) = body.frame().await {
            match frame {
                Ok(frame) => {
                    let Ok(data) = frame.into_data() else { continue };
                    length += data.len();
                    too_large = MAX_EVENT_BYTES < length;
                    if keep == Keep::Yes && !too_large {
                        bytes.extend_from_slice(&data);
                    }
                }
                Err(error) if error.is::<LengthLimitError>() => return Err(Reply::TooLarge),
                // The sender went away; nobody reads this answer.
                Err(_) => return Err(Reply::Slow),
            }
        }
        if too_large { Err(Reply::TooLarge) } else { Ok(()) }
    };
    match tokio::time::timeout(BODY_TIMEOUT, reading).await {
        Ok(Ok(())) => Ok(Bytes::from(bytes)),
        Ok(Err(reply)) => Err(reply),
        Err(_) if too_large => Err(Reply::TooLarge),
        Err(_) => Err(Reply::Slow),
    }
}
