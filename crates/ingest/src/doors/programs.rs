//! What the doors for programs have in common: the Tracking API, the pixel and the webhook.

use std::time::Duration;

use axum::extract::Request;
use refersion_relay_telemetry::{Door, Refused};

use crate::context::Ingest;
use crate::doors::replies::batch_reply::BatchReply;
use crate::events::batch::{Batch, Stored};
use crate::front::bodies::body::{Body, BodyError, Sender, read};
use crate::front::protection::Protection;

/// Reads and unpacks a body. That of nobody is read and not kept. The outer refusal is the same for everybody, the inner one only
/// for whom the body turns out to be from.
pub(crate) async fn body(
    protection: &Protection,
    request: Request,
    limit: usize,
    sender: Sender,
) -> Result<Result<Body, BatchReply>, BatchReply> {
    match read(protection, request, limit, sender).await {
        Ok(body) => Ok(Ok(body)),
        Err(BodyError::TooLarge) => Err(BatchReply::TooLarge(limit)),
        Err(BodyError::Slow) => Err(BatchReply::Slow),
        Err(BodyError::Busy) => Err(BatchReply::Busy),
        Err(BodyError::UnpackedTooLarge) => Ok(Err(BatchReply::TooLarge(limit))),
        Err(BodyError::Encoding) => Ok(Err(BatchReply::Encoding)),
        Err(BodyError::Packed) => Ok(Err(BatchReply::Packed)),
    }
}

/// Stores everything, and only then says yes.
pub(crate) async fn store(ingest: &Ingest, door: Door, batch: Batch, patience: Duration) -> BatchReply {
    match batch.store(ingest, door, patience).await {
        Stored::Yes(_) => BatchReply::Taken,
        Stored::No => BatchReply::Unavailable,
        Stored::Broken => BatchReply::Broken,
    }
}

/// Counts a refusal, if it is one.
pub(crate) fn count_refused(ingest: &Ingest, door: Door, reply: &BatchReply) {
    let refused = match reply {
        BatchReply::TooLarge(_) | BatchReply::TooMany => Refused::TooLarge,
        BatchReply::Unauthorized(_) | BatchReply::KeysDisagree | BatchReply::BadSignature => Refused::Unauthorized,
        BatchReply::Malformed { .. }
        | BatchReply::NoBatch
        | BatchReply::NoEvent
        | BatchReply::Encoding
        | BatchReply::Packed => Refused::Malformed,
        BatchReply::Slow => Refused::Slow,
        BatchReply::OverLimit(_) => Refused::OverLimit,
        BatchReply::Busy => Refused::Busy,
        BatchReply::Unavailable => Refused::Unavailable,
        BatchReply::Taken | BatchReply::NoSuchPath | BatchReply::WrongMethod(_) | BatchReply::Broken => return,
    };
    ingest.metrics.refused(door, refused);
}
