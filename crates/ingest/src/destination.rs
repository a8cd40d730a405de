use axum::extract::Request;
use bytes::Bytes;
use refersion_relay_model::{Event, Ignored, Judgement, MAX_EVENT_BYTES, judge};
use refersion_relay_telemetry::{Door, Refused};

use crate::AccountDoor;
use crate::body::{BodyError, Encoding, Keep, read};
use crate::door::Ingest;
use crate::reply::Reply;
use crate::sort::Received;

const DOOR: Door = Door::Destination;

/// Segment's Direct Destination: one event a request, authenticated by the merchant's Refersion keys. The sender may be
/// told anything here, because Segment shows it to the merchant and does not repeat a 4xx.
pub(crate) async fn answer(ingest: &Ingest, request: Request) -> Reply {
    // Found first, answered second: bytes of strangers are counted, not kept.
    let account = ingest.access().by_key_pair(request.headers()).cloned();
    let (received, encoding) = (Received::by_http(request.headers()), Encoding::of(request.headers()));
    let body = read(request, MAX_EVENT_BYTES, if account.is_some() { Keep::Yes } else { Keep::No }).await;
    let body = match (body, &account) {
        (Ok(body), Some(_)) => encoding.unpack(body, MAX_EVENT_BYTES).await,
        (body, _) => body,
    };
    let reply = match (body, account) {
        (Err(BodyError::TooLarge), _) => Reply::TooLarge,
        (Err(BodyError::Slow), _) => Reply::Slow,
        (Err(BodyError::Encoding), _) => Reply::Encoding,
        (Ok(_), None) => Reply::Unauthorized,
        (Ok(body), Some(account)) => accept(ingest, &account, received, body).await,
    };
    let refused = match &reply {
        Reply::TooLarge => Refused::TooLarge,
        Reply::Unauthorized => Refused::Unauthorized,
        Reply::Malformed(_) | Reply::Encoding => Refused::Malformed,
        Reply::UnsupportedType(_) => Refused::UnsupportedType,
        Reply::Incomplete(..) => Refused::Incomplete,
        Reply::Slow => Refused::Slow,
        Reply::Unavailable => Refused::Unavailable,
        Reply::Accepted | Reply::Ignored(_) | Reply::NoSuchPath | Reply::WrongMethod(_) | Reply::Broken => {
            return reply;
        }
    };
    ingest.metrics.refused(DOOR, refused);
    reply
}

async fn accept(ingest: &Ingest, account: &AccountDoor, received: Received, body: Bytes) -> Reply {
    let event = match Event::parse(&body) {
        Ok(event) => event,
        Err(error) => return Reply::Malformed(error),
    };
    match judge(&event) {
        Judgement::Work(_) => {}
        Judgement::Ignore(Ignored::UnsupportedType(kind)) => return Reply::UnsupportedType(kind),
        Judgement::Ignore(why) => {
            ingest.metrics.ignored_at_door(DOOR, why);
            return Reply::Ignored(match why {
                Ignored::OptedOut => "the event's `integrations` exclude Refersion",
                Ignored::Anonymous | Ignored::UnsupportedType(_) => {
                    "the event has neither an e-mail address nor a name"
                }
            });
        }
        Judgement::Refuse(missing) => return Reply::Incomplete(event.kind(), missing),
    }
    let (message_id, place, message) = account.address(&event, body, ingest.shards, &received);
    // In a task of its own: a sender that gives up waiting does not keep its event from being counted.
    let (queue, metrics, account) = (ingest.queue.clone(), ingest.metrics.clone(), account.name.clone());
    let publishing = tokio::spawn(async move {
        match queue.publish(vec![(place, message)]).await.pop() {
            Some(Ok(())) => {
                metrics.accepted(DOOR, 1);
                tracing::debug!(message.id = message_id.as_str(), account = %account, "accepted an event");
                Reply::Accepted
            }
            Some(Err(error)) => {
                tracing::debug!(message.id = message_id.as_str(), account = %account, "not accepted: {error}");
                Reply::Unavailable
            }
            None => Reply::Broken,
        }
    });
    publishing.await.unwrap_or(Reply::Broken)
}
