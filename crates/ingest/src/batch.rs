use std::sync::Arc;

use axum::extract::Request;
use bytes::Bytes;
use refersion_relay_model::{DeadReason, Event, Ignored, MAX_EVENT_BYTES};
use refersion_relay_queue::{Message, Place};
use refersion_relay_telemetry::{Door, Refused};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::access::{Access, basic_user};
use crate::batch_reply::BatchReply;
use crate::body::{BodyError, Encoding, Keep, read};
use crate::door::Ingest;
use crate::items::Items;
use crate::sort::{Received, Sorted};
use crate::{AccountDoor, MAX_BATCH_BYTES};

const DOOR: Door = Door::Batch;

/// Segment's batch: many events in one request, authenticated by the account's write key. Its senders drop what they get
/// a 4xx for, so only what no repeat can mend is refused; a bad item becomes a dead letter and hinders no other.
pub(crate) async fn answer(ingest: &Ingest, request: Request) -> BatchReply {
    let reply = accept(ingest, request).await;
    let refused = match &reply {
        BatchReply::TooLarge | BatchReply::TooMany => Refused::TooLarge,
        BatchReply::Unauthorized | BatchReply::KeysDisagree => Refused::Unauthorized,
        BatchReply::Malformed { .. } | BatchReply::NoBatch | BatchReply::Encoding => Refused::Malformed,
        BatchReply::Slow => Refused::Slow,
        BatchReply::Unavailable => Refused::Unavailable,
        BatchReply::Taken | BatchReply::WrongMethod | BatchReply::Broken => return reply,
    };
    ingest.metrics.refused(DOOR, refused);
    reply
}

/// The body as it is read: every item keeps its own bytes.
#[derive(Deserialize)]
struct Batch<'a> {
    #[serde(borrow, default)]
    batch: Items<'a>,
    #[serde(borrow, rename = "writeKey")]
    write_key: Option<&'a RawValue>,
}

async fn accept(ingest: &Ingest, request: Request) -> BatchReply {
    let access = ingest.access();
    let (received, encoding) = (Received::by_http(request.headers()), Encoding::of(request.headers()));
    let user = basic_user(request.headers());
    // The key may also stand in the body, so without one in the headers the body has to be read.
    let stranger = user.as_ref().is_some_and(|key| access.by_write_key(key).is_none());
    let body = read(request, MAX_BATCH_BYTES, if stranger { Keep::No } else { Keep::Yes }).await;
    let unpacked = match body {
        Ok(_) if stranger => return BatchReply::Unauthorized,
        Ok(body) => encoding.unpack(body, MAX_BATCH_BYTES).await,
        Err(error) => Err(error),
    };
    let body = match unpacked {
        Ok(body) => body,
        Err(BodyError::TooLarge) => return BatchReply::TooLarge,
        Err(BodyError::Slow) => return BatchReply::Slow,
        Err(BodyError::Encoding) => return BatchReply::Encoding,
    };
    let (items, account) = match open(&access, user, &body) {
        Ok(opened) => opened,
        Err(reply) => return reply,
    };
    store(ingest, Sheaf::of(&account, items, ingest.shards, &received)).await
}

/// Reads the body's outside: its items, and whose they are.
fn open(access: &Access, user: Option<String>, body: &Bytes) -> Result<(Vec<Bytes>, Arc<AccountDoor>), BatchReply> {
    let malformed = |error: serde_json::Error| BatchReply::Malformed { line: error.line(), column: error.column() };
    if !matches!(body.iter().find(|byte| !byte.is_ascii_whitespace()), Some(b'{')) {
        // Told apart from broken JSON, which the derived reader would not.
        serde_json::from_slice::<&RawValue>(body).map_err(malformed)?;
        return Err(BatchReply::NoBatch);
    }
    let batch: Batch<'_> = serde_json::from_slice(body).map_err(malformed)?;
    let first = match &batch.batch {
        Items::Some(items) => items.first().map(|item| item.get()).filter(|item| item.len() <= MAX_EVENT_BYTES),
        Items::TooMany | Items::None => None,
    };
    let in_body = batch.write_key.and_then(|key| serde_json::from_str::<String>(key.get()).ok());
    let in_first = first.and_then(|item| Event::parse(item.as_bytes()).ok()).and_then(|event| event.write_key());
    let account = account(access, [user, in_body, in_first])?;
    match batch.batch {
        Items::None => Err(BatchReply::NoBatch),
        Items::TooMany => Err(BatchReply::TooMany),
        Items::Some(items) => Ok((items.iter().map(|item| body.slice_ref(item.get().as_bytes())).collect(), account)),
    }
}

/// The account of the keys that a request gives, wherever they stand. All of them have to be the same.
fn account(access: &Access, keys: [Option<String>; 3]) -> Result<Arc<AccountDoor>, BatchReply> {
    let mut keys = keys.into_iter().flatten().filter(|key| !key.is_empty());
    let key = keys.next().ok_or(BatchReply::Unauthorized)?;
    if keys.any(|other| other != key) {
        return Err(BatchReply::KeysDisagree);
    }
    access.by_write_key(&key).cloned().ok_or(BatchReply::Unauthorized)
}

/// A batch, sorted.
#[derive(Default)]
struct Sheaf {
    messages: Vec<(Place, Message)>,
    dead: Vec<DeadReason>,
    ignored: Vec<Ignored>,
}

impl Sheaf {
    fn of(account: &AccountDoor, items: Vec<Bytes>, shards: u16, received: &Received) -> Self {
        let mut sheaf = Self::default();
        for item in items {
            match account.sort(item, shards, received) {
                Sorted::Work(place, message) => sheaf.messages.push((place, message)),
                Sorted::Dead(reason, message) => {
                    sheaf.dead.push(reason);
                    sheaf.messages.push((Place::Dead(reason.class()), message));
                }
                Sorted::Ignored(why) => sheaf.ignored.push(why),
            }
        }
        sheaf
    }
}

/// Stores everything, and only then says yes.
async fn store(ingest: &Ingest, sheaf: Sheaf) -> BatchReply {
    let Ingest { queue, metrics, .. } = ingest.clone();
    // In a task of its own: a sender that gives up waiting does not keep its events from being counted.
    let storing = tokio::spawn(async move {
        let results = queue.publish(sheaf.messages).await;
        if let Some(error) = results.iter().find_map(|result| result.as_ref().err()) {
            tracing::debug!(events = results.len(), "a batch was not accepted: {error}");
            return BatchReply::Unavailable;
        }
        metrics.accepted(DOOR, results.len() as u64);
        sheaf.dead.iter().for_each(|reason| metrics.dead_lettered_at_door(*reason));
        sheaf.ignored.iter().for_each(|why| metrics.ignored_at_door(DOOR, *why));
        tracing::debug!(events = results.len(), ignored = sheaf.ignored.len(), "accepted a batch");
        BatchReply::Taken
    });
    storing.await.unwrap_or(BatchReply::Broken)
}

#[cfg(test)]
mod tests {
    use refersion_relay_model::{AccountName, KeyPair};
    use secrecy::SecretString;

    use super::*;
    use crate::MAX_BATCH_EVENTS;

    fn opened(user: Option<&str>, body: &str) -> Result<(Vec<Bytes>, Arc<AccountDoor>), BatchReply> {
        let mut access = Access::default();
        for n in ["1", "2"] {
            let name = AccountName::try_from(format!("shop{n}")).unwrap();
            let write_key = SecretString::from(format!("write_{n}"));
            access.admit(name, &KeyPair::new(n, n), Some(&write_key));
        }
        open(&access, user.map(str::to_owned), &Bytes::copy_from_slice(body.as_bytes()))
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
        assert_eq!(name(None, r#"{"batch":[]}"#), Err(BatchReply::Unauthorized));
        assert_eq!(name(None, r#"{"batch":[],"writeKey":"nobody"}"#), Err(BatchReply::Unauthorized));
        assert_eq!(name(None, r#"{"batch":[],"writeKey":null}"#), Err(BatchReply::Unauthorized));
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
