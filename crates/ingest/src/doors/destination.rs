use axum::extract::Request;
use refersion_relay_model::{CommandKind, Event, Ignored, Judgement, MAX_EVENT_BYTES, ParseError, judge};
use refersion_relay_telemetry::{Door, Refused};

use crate::access::basic::KeyForm;
use crate::access::credential::Credential;
use crate::context::{Done, Ingest};
use crate::doors::patience;
use crate::doors::replies::reply::Reply;
use crate::events::batch::{Batch, Stored};
use crate::events::classify::Received;
use crate::events::json_array::{NoElements, elements, is_array};
use crate::events::segment_settings::segment_settings;
use crate::front::bodies::body::{Body, BodyError, Sender, discard, read};
use crate::front::protection::TurnedAway;
use crate::{AccountDoor, MAX_BATCH_BYTES};

const DOOR: Door = Door::Destination;

/// Segment's Direct Destination: one event a request, or an array of them, authenticated by the merchant's Refersion keys. The sender may be
/// told anything here, because Segment shows it to the merchant and does not repeat a 4xx.
pub(crate) async fn answer(ingest: &Ingest, request: Request) -> Reply {
    let reply = receive(ingest, request).await;
    let refused = match &reply {
        Reply::TooLarge => Refused::TooLarge,
        Reply::Unauthorized(_) => Refused::Unauthorized,
        Reply::Malformed(_) | Reply::TooMany | Reply::Encoding | Reply::Packed | Reply::Settings => Refused::Malformed,
        Reply::UnsupportedType(_) => Refused::UnsupportedType,
        Reply::Incomplete(..) => Refused::Incomplete,
        Reply::Slow => Refused::Slow,
        Reply::OverLimit(_) => Refused::OverLimit,
        Reply::Busy => Refused::Busy,
        Reply::Unavailable => Refused::Unavailable,
        Reply::Accepted(_)
        | Reply::AcceptedAll(_)
        | Reply::Ignored(_)
        | Reply::NoSuchPath
        | Reply::WrongMethod(_)
        | Reply::Broken => {
            return reply;
        }
    };
    ingest.metrics.refused(DOOR, refused);
    reply
}

async fn receive(ingest: &Ingest, request: Request) -> Reply {
    let (request, _visit) = match ingest.protection.enter(request, MAX_BATCH_BYTES).await {
        Ok(entered) => entered,
        Err(away) => return away.into(),
    };
    // Found first, answered second: bytes of strangers are counted, not kept.
    let account = ingest.access().by_key_pair(request.headers()).cloned();
    if let Some(Err(away)) = account.as_ref().map(|account| account.admit()) {
        discard(request, MAX_BATCH_BYTES).await;
        return away.into();
    }
    let form = KeyForm::of(request.headers());
    let received = Received::by_http(request.headers());
    let settings = segment_settings(request.headers());
    let sender = if account.is_some() { Sender::Known } else { Sender::Unknown };
    let body = read(&ingest.protection, request, MAX_BATCH_BYTES, sender).await.map(Body::unmarked);
    match (body, account) {
        (Err(BodyError::TooLarge | BodyError::UnpackedTooLarge), _) => Reply::TooLarge,
        (Err(BodyError::Slow), _) => Reply::Slow,
        (Err(BodyError::Encoding), _) => Reply::Encoding,
        (Err(BodyError::Packed), _) => Reply::Packed,
        (Err(BodyError::Busy), _) => Reply::Busy,
        (Ok(_), None) => Reply::Unauthorized(form),
        (Ok(_), Some(_)) if settings.is_none() => Reply::Settings,
        (Ok(body), Some(account)) if is_array(&body.bytes) => accept_all(ingest, &account, received, body).await,
        (Ok(body), Some(_)) if MAX_EVENT_BYTES < body.bytes.len() => Reply::TooLarge,
        (Ok(body), Some(account)) => accept(ingest, &account, received, body).await,
    }
}

/// An array of events. Its sender hears one answer for all of them, so one that cannot be worked becomes a dead letter, as at
/// the other doors, and hinders no other.
async fn accept_all(ingest: &Ingest, account: &AccountDoor, received: Received, body: Body) -> Reply {
    let events = match elements(&body.bytes) {
        Ok(events) => events,
        Err(NoElements::TooMany) => return Reply::TooMany,
        Err(NoElements::Malformed(error)) => {
            return Reply::Malformed(ParseError::NotJson { line: error.line(), column: error.column() });
        }
    };
    if let Err(exhausted) = body.lent.lend_for(events.len()) {
        return TurnedAway::from(exhausted).into();
    }
    let batch: Batch =
        events.into_iter().map(|event| account.classify(Credential::KeyPair, event, &received)).collect();
    match batch.store(ingest, DOOR, patience::DESTINATION).await {
        Stored::Yes(counts) => Reply::AcceptedAll(counts),
        Stored::No => Reply::Unavailable,
        Stored::Broken => Reply::Broken,
    }
}

async fn accept(ingest: &Ingest, account: &AccountDoor, received: Received, body: Body) -> Reply {
    let Body { bytes, lent: _ } = body;
    let event = match Event::parse(&bytes) {
        Ok(event) => event,
        Err(error) => return Reply::Malformed(error),
    };
    let command = match account.judged(judge(&event, account.missing_last_name)) {
        Judgement::Work(command) => command.kind(),
        Judgement::Complete(_) => CommandKind::Deactivate,
        Judgement::Ignore(Ignored::UnsupportedType(kind)) => return Reply::UnsupportedType(kind),
        Judgement::Ignore(why) => {
            ingest.passed(DOOR, account.event_id(&event), Done::Ignored(why));
            return Reply::Ignored(match why {
                Ignored::OptedOut => "the event's `integrations` exclude Refersion",
                Ignored::Computed => "Segment computed the event, and it is not a whole person",
                Ignored::Anonymous | Ignored::UnsupportedType(_) => {
                    "the event has neither an e-mail address nor a name"
                }
            });
        }
        Judgement::Refuse(missing) => return Reply::Incomplete(event.kind(), missing),
    };
    let event = account.address(Credential::KeyPair, &event, command, bytes, &received);
    let message_id = event.message_id().unwrap_or_default().to_owned();
    match Batch::from_iter([event]).store(ingest, DOOR, patience::DESTINATION).await {
        Stored::Yes(_) => Reply::Accepted(message_id),
        Stored::No => Reply::Unavailable,
        Stored::Broken => Reply::Broken,
    }
}
