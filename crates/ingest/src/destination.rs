use std::time::SystemTime;

use axum::extract::Request;
use http::HeaderMap;
use refersion_relay_model::{Event, Ignored, Judgement, Subject, judge};
use refersion_relay_queue::{Headers, Message, Place};
use refersion_relay_telemetry::{Door, Refused};

use crate::AccountDoor;
use crate::door::{Ingest, Keep, body};
use crate::reply::Reply;

const DOOR: Door = Door::Destination;

/// Segment's Direct Destination: one event a request, authenticated by the merchant's Refersion keys. The sender may be
/// told anything here, because Segment shows it to the merchant and does not repeat a 4xx.
pub(crate) async fn answer(ingest: &Ingest, request: Request) -> Reply {
    // Found first, answered second: bytes of strangers are counted, not kept.
    let account = ingest.access.by_basic(request.headers()).cloned();
    let traceparent = traceparent(request.headers());
    let body = body(request, if account.is_some() { Keep::Yes } else { Keep::No }).await;
    let reply = match (body, account) {
        (Err(reply), _) => reply,
        (Ok(_), None) => Reply::Unauthorized,
        (Ok(body), Some(account)) => accept(ingest, &account, traceparent, body).await,
    };
    let refused = match &reply {
        Reply::TooLarge => Refused::TooLarge,
        Reply::Unauthorized => Refused::Unauthorized,
        Reply::Malformed(_) => Refused::Malformed,
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

async fn accept(ingest: &Ingest, account: &AccountDoor, traceparent: Option<String>, body: bytes::Bytes) -> Reply {
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
    let message_id = account.fingerprint.message_id(&event, &body);
    let subject = Subject::of(&event, message_id.as_str());
    let place = Place::Shard(subject.shard(&account.name, ingest.shards));
    let token = account.fingerprint.subject(&subject);
    let mut message = Message {
        body,
        headers: Headers::received(
            message_id.as_str(),
            event.kind().as_str(),
            account.name.clone(),
            token,
            SystemTime::now(),
        ),
    };
    message.headers.traceparent = traceparent;
    // In a task of its own: a sender that gives up waiting does not keep its event from being counted.
    let (queue, metrics, account) = (ingest.queue.clone(), ingest.metrics.clone(), account.name.clone());
    let publishing = tokio::spawn(async move {
        match queue.publish(vec![(place, message)]).await.pop() {
            Some(Ok(())) => {
                metrics.accepted(DOOR);
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

/// The trace the request belongs to, if its header has the form of W3C Trace Context.
fn traceparent(headers: &HeaderMap) -> Option<String> {
    let value = headers.get("traceparent")?.to_str().ok()?;
    let lengths: Vec<_> = value.split('-').map(str::len).collect();
    let hex = value.bytes().all(|c| c == b'-' || matches!(c, b'0'..=b'9' | b'a'..=b'f'));
    (hex && lengths == [2, 32, 16, 2]).then(|| value.to_owned())
}
