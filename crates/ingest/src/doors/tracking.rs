use std::sync::Arc;

use axum::extract::Request;
use bytes::Bytes;
use refersion_relay_model::{Envelope, Event, EventType, MAX_EVENT_BYTES, ParseError};
use refersion_relay_telemetry::Door;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::access::access::Access;
use crate::access::basic::{KeyForm, basic_user};
use crate::access::credential::Credential;
use crate::context::Ingest;
use crate::doors::patience;
use crate::doors::programs::{body, count_refused, store};
use crate::doors::replies::batch_reply::BatchReply;
use crate::events::batch::Batch;
use crate::events::batch_items::Items;
use crate::events::classify::{Classified, Received};
use crate::front::bodies::body::{Body, Sender, discard};
use crate::front::protection::TurnedAway;
use crate::{AccountDoor, MAX_BATCH_BYTES};

const DOOR: Door = Door::Tracking;

/// What a path of the Tracking API takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// One event of this type.
    One(EventType),
    /// Many events.
    Batch,
}

impl Call {
    /// Every path, below `/v1/`. The short ones are those of analytics.js.
    pub(crate) const ALL: [(&'static str, Self); 15] = [
        ("identify", Self::One(EventType::Identify)),
        ("track", Self::One(EventType::Track)),
        ("page", Self::One(EventType::Page)),
        ("screen", Self::One(EventType::Screen)),
        ("group", Self::One(EventType::Group)),
        ("alias", Self::One(EventType::Alias)),
        ("i", Self::One(EventType::Identify)),
        ("t", Self::One(EventType::Track)),
        ("p", Self::One(EventType::Page)),
        ("s", Self::One(EventType::Screen)),
        ("g", Self::One(EventType::Group)),
        ("a", Self::One(EventType::Alias)),
        ("batch", Self::Batch),
        ("import", Self::Batch),
        ("b", Self::Batch),
    ];
}

/// Segment's Tracking API: events straight from a library, authenticated by the account's write key. Libraries drop what they
/// get a 4xx for, so only what no repeat can mend is refused; what cannot be worked becomes a dead letter.
pub(crate) async fn answer(ingest: &Ingest, call: Call, request: Request) -> BatchReply {
    let form = KeyForm::of(request.headers());
    let reply = accept(ingest, call, request).await.unwrap_or_else(|refusal| refusal.with_form(form));
    count_refused(ingest, DOOR, &reply);
    reply
}

async fn accept(ingest: &Ingest, call: Call, request: Request) -> Result<BatchReply, BatchReply> {
    let limit = match call {
        Call::One(_) => MAX_EVENT_BYTES,
        Call::Batch => MAX_BATCH_BYTES,
    };
    let (request, _visit) = ingest.protection.enter(request, limit).await?;
    let access = ingest.access();
    let received = Received::by_http(request.headers());
    let user = basic_user(request.headers());
    // The key may also stand in the body, so without one in the headers the body has to be read.
    let sender = match user.as_ref().map(|key| access.by_write_key(key)) {
        None => Sender::Unverified,
        Some(None) => Sender::Unknown,
        Some(Some(account)) => {
            if let Err(away) = account.admit() {
                discard(request, limit).await;
                return Err(away.into());
            }
            Sender::Known
        }
    };
    let read = body(&ingest.protection, request, limit, sender).await?;
    // What is wrong with a body is no business of a stranger's.
    let Body { bytes, lent } = match sender {
        Sender::Known => read?,
        Sender::Unverified => read.map_err(|_| UNAUTHORIZED)?,
        Sender::Unknown => return Err(UNAUTHORIZED),
    }
    .unmarked();
    let admit = |account: &AccountDoor| match sender {
        Sender::Known | Sender::Unknown => Ok(()),
        Sender::Unverified => {
            lent.is_known_now();
            account.admit()
        }
    };
    let batch: Batch = match call {
        Call::One(kind) => {
            let (account, event) = one(&access, user, kind, bytes, &received)?;
            admit(&account)?;
            [event].into_iter().collect()
        }
        Call::Batch => {
            let Opened { items, account, envelope } = open(&access, user, &bytes)?;
            admit(&account)?;
            lent.lend_for(items.len()).map_err(TurnedAway::from)?;
            let classify = |item| account.classify_in(Credential::WriteKey, &envelope, item, &received);
            items.into_iter().map(classify).collect()
        }
    };
    Ok(store(ingest, DOOR, batch, patience::TRACKING).await)
}

/// Whom no key was found of is a stranger. Only the header says more.
const UNAUTHORIZED: BatchReply = BatchReply::Unauthorized(KeyForm::Fine);

/// Reads one event, whose type is that of its path, and finds whose it is.
pub(crate) fn one(
    access: &Access,
    user: Option<String>,
    kind: EventType,
    body: Bytes,
    received: &Received,
) -> Result<(Arc<AccountDoor>, Classified), BatchReply> {
    let envelope = Envelope::unfiltered().with_kind(kind);
    let event = Event::parse_in(&body, &envelope).map_err(|error| match error {
        _ if user.is_none() => UNAUTHORIZED,
        ParseError::NotJson { line, column } => BatchReply::Malformed { line, column },
        ParseError::NotAnObject | ParseError::NoType => BatchReply::NoEvent,
    })?;
    let account = account(access, [user, event.write_key(), None])?;
    let classified = account.classify_in(Credential::WriteKey, &envelope, body, received);
    Ok((account, classified))
}

/// The body of a batch as it is read: every item keeps its own bytes.
#[derive(Deserialize)]
struct BatchBody<'a> {
    #[serde(borrow, default, rename = "batch")]
    items: Items<'a>,
    #[serde(borrow, rename = "writeKey")]
    write_key: Option<&'a RawValue>,
    #[serde(borrow)]
    integrations: Option<&'a RawValue>,
    #[serde(borrow)]
    context: Option<&'a RawValue>,
}

/// A batch without its outside.
struct Opened {
    items: Vec<Bytes>,
    account: Arc<AccountDoor>,
    envelope: Envelope,
}

/// Reads the body's outside: its items, whose they are, and what is said about all of them. What is wrong with it is said only
/// where the header has shown whose it is.
fn open(access: &Access, user: Option<String>, body: &Bytes) -> Result<Opened, BatchReply> {
    let is_known = user.is_some();
    let told = |refusal| if is_known { refusal } else { UNAUTHORIZED };
    let malformed =
        |error: serde_json::Error| told(BatchReply::Malformed { line: error.line(), column: error.column() });
    if !matches!(body.iter().find(|byte| !byte.is_ascii_whitespace()), Some(b'{')) {
        // Told apart from broken JSON, which the derived reader would not.
        serde_json::from_slice::<&RawValue>(body).map_err(malformed)?;
        return Err(told(BatchReply::NoBatch));
    }
    let batch: BatchBody<'_> = serde_json::from_slice(body).map_err(malformed)?;
    let first = match &batch.items {
        Items::Some(items) => items.first().map(|item| item.get()).filter(|item| item.len() <= MAX_EVENT_BYTES),
        Items::TooMany | Items::None => None,
    };
    let in_body = batch.write_key.and_then(|key| serde_json::from_str::<String>(key.get()).ok());
    // Whatever its type is, or would be.
    let any = Envelope::default().with_kind(EventType::Other);
    let in_first =
        first.and_then(|item| Event::parse_in(item.as_bytes(), &any).ok()).and_then(|event| event.write_key());
    let account = account(access, [user, in_body, in_first])?;
    // What cannot be read says nothing.
    let value = |raw: Option<&RawValue>| raw.and_then(|raw| serde_json::from_str::<Value>(raw.get()).ok());
    let (integrations, context) = (value(batch.integrations), value(batch.context));
    let envelope = Envelope::unfiltered().with_batch(integrations.as_ref(), context.as_ref());
    match batch.items {
        Items::None => Err(BatchReply::NoBatch),
        Items::TooMany => Err(BatchReply::TooMany),
        Items::Some(items) => {
            let items = items.iter().map(|item| body.slice_ref(item.get().as_bytes())).collect();
            Ok(Opened { items, account, envelope })
        }
    }
}

/// The account of the keys that a request gives, wherever they stand. All of them have to be the same.
fn account(access: &Access, keys: [Option<String>; 3]) -> Result<Arc<AccountDoor>, BatchReply> {
    let mut keys = keys.into_iter().flatten().filter(|key| !key.is_empty());
    let key = keys.next().ok_or(UNAUTHORIZED)?;
    if keys.any(|other| other != key) {
        return Err(BatchReply::KeysDisagree);
    }
    access.by_write_key(&key).cloned().ok_or(UNAUTHORIZED)
}

#[cfg(test)]
mod instruction_counts;

#[cfg(test)]
mod tests {
    use refersion_relay_model::{AccountName, KeyPair};
    use refersion_relay_telemetry::Metrics;
    use secrecy::SecretString;

    use super::*;
    use crate::{AccountAccess, MAX_BATCH_EVENTS};

    fn opened(user: Option<&str>, body: &str) -> Result<(Vec<Bytes>, Arc<AccountDoor>), BatchReply> {
        let mut access = Access::default();
        for n in ["1", "2"] {
            let name = AccountName::try_from(format!("shop{n}")).unwrap();
            let write_keys = vec![SecretString::from(format!("write_{n}"))];
            let account = AccountAccess { write_keys, ..AccountAccess::new(name, KeyPair::new(n, n)) };
            access.admit(account, &Metrics::new());
        }
        let opened = open(&access, user.map(str::to_owned), &Bytes::copy_from_slice(body.as_bytes()))?;
        Ok((opened.items, opened.account))
    }

    #[test]
    fn items_keep_their_own_bytes() {
        let items = [r#"{ "type" : "track" }"#, "5", r#""x""#, r#"{"a":1.0e5,"a":2}"#];
        let body = format!(" {{\"batch\":[ {} ],\"sentAt\":null,\"other\":[[]]}}", items.join(" , "));
        let (found, account) = opened(Some("write_2"), &body).unwrap();
        assert_eq!(found, items);
        assert_eq!(account.name.as_str(), "shop2");
    }

    #[test]
    fn the_key_may_stand_in_three_places_and_has_to_be_one() {
        let name = |user, body: &str| opened(user, body).map(|(_, account)| account.name.to_string());
        let first = r#"{"batch":[{"type":"track","writeKey":"write_1"}]}"#;
        assert_eq!(name(None, first).unwrap(), "shop1");
        assert_eq!(name(None, r#"{"writeKey":"write_1","batch":[]}"#).unwrap(), "shop1");
        assert_eq!(name(Some("write_1"), first).unwrap(), "shop1");
        assert_eq!(name(Some("write_2"), first), Err(BatchReply::KeysDisagree));
        assert_eq!(name(None, r#"{"batch":[]}"#), Err(UNAUTHORIZED));
        assert_eq!(name(None, r#"{"batch":[],"writeKey":"nobody"}"#), Err(UNAUTHORIZED));
        assert_eq!(name(None, r#"{"batch":[],"writeKey":null}"#), Err(UNAUTHORIZED));
    }

    #[test]
    fn what_is_wrong_with_a_body_is_said_to_nobody_without_a_key() {
        for broken in ["", "{", "nonsense", "[]", "{}", r#"{"batch":[}"#, r#"{"batch":null}"#] {
            assert_eq!(opened(None, broken).map(|_| ()), Err(UNAUTHORIZED), "{broken}");
        }
        // The key that is in it shows whose it is.
        let known = r#"{"batch":null,"writeKey":"write_1"}"#;
        assert_eq!(opened(None, known).map(|_| ()), Err(BatchReply::NoBatch));
        let one = |user: Option<&str>, body: &'static str| {
            let (access, received) = (Access::default(), Received::now());
            let classified = super::one(&access, user.map(str::to_owned), EventType::Identify, body.into(), &received);
            classified.map(|_| ()).unwrap_err()
        };
        for broken in ["", "{", "[]", "5", "{}"] {
            assert_eq!(one(None, broken), UNAUTHORIZED, "{broken}");
        }
        assert_eq!(one(Some("write_1"), "5"), BatchReply::NoEvent);
    }

    #[test]
    fn only_what_is_no_batch_is_refused() {
        let reply = |body: &str| opened(Some("write_1"), body).map(|(items, _)| items.len());
        assert_eq!(reply(r#"{"batch":[]}"#), Ok(0));
        for broken in ["", "{", r#"{"batch":[}"#, "nonsense"] {
            assert!(matches!(reply(broken), Err(BatchReply::Malformed { .. })), "{broken}");
        }
        for other in
            ["{}", "[]", "5", r#"{"batch":null}"#, r#"{"batch":{"a":[1]}}"#, r#"{"batch":"x"}"#, r#"{"batch":-1.5}"#]
        {
            assert_eq!(reply(other), Err(BatchReply::NoBatch), "{other}");
        }
        let many = format!(r#"{{"batch":[{}]}}"#, vec!["1"; MAX_BATCH_EVENTS + 1].join(","));
        assert_eq!(reply(&many), Err(BatchReply::TooMany));
        let deep = format!(r#"{{"batch":[{}1{}]}}"#, "[".repeat(1_000_000), "]".repeat(1_000_000));
        assert_eq!(reply(&deep), Ok(1), "how deep an item is, is the item's own trouble");
    }
}
