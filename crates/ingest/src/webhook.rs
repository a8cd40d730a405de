use std::time::Duration;

use axum::extract::Request;
use bytes::Bytes;
use http::HeaderMap;
use refersion_relay_model::{AccountName, EventType};
use refersion_relay_telemetry::Door;
use serde_json::value::RawValue;

use crate::access::Webhook;
use crate::batch_reply::BatchReply;
use crate::body::{Body, Sender, unmarked};
use crate::door::Ingest;
use crate::elements::{NoElements, elements, is_array};
use crate::signature::Covered;
use crate::sort::{Received, Sorted};
use crate::store::Sheaf;
use crate::tracking::{body, count_refused, store};
use crate::{AccountDoor, MAX_WEBHOOK_BYTES};

const DOOR: Door = Door::Webhook;
/// Segment waits 5 s for an answer.
const PATIENCE: Duration = Duration::from_secs(4);

/// Segment's Webhooks destination: one event, or an array of them, signed with a secret that Segment and the account share.
///
/// Segment repeats a batch as a whole and drops what gets a 4xx, so what cannot be worked becomes a dead letter here too.
pub(crate) async fn answer(ingest: &Ingest, account: &str, request: Request) -> BatchReply {
    let reply = accept(ingest, account, request).await.unwrap_or_else(|refusal| refusal);
    count_refused(ingest, DOOR, &reply);
    reply
}

async fn accept(ingest: &Ingest, account: &str, request: Request) -> Result<BatchReply, BatchReply> {
    let (request, _visit) = ingest.protection.enter(request, MAX_WEBHOOK_BYTES).await?;
    let access = ingest.access();
    let name = AccountName::try_from(account.to_owned()).ok();
    let account = name.and_then(|name| access.by_name(&name));
    let received = Received::by_http(request.headers());
    let signature = signature(request.headers());
    let known = account.and_then(|account| Some((account, account.webhook.as_ref()?)));
    // Who signs it is known when the body is there; who does not sign is nobody, unless the account asks for no signature.
    let known = known.filter(|(_, webhook)| webhook.unsigned || (webhook.secret.is_some() && signature.is_some()));
    let sender = if known.is_some() { Sender::Stranger } else { Sender::Nobody };
    let Body { bytes, mut loan } = body(&ingest.protection, request, MAX_WEBHOOK_BYTES, sender).await?;
    // An account that is not there is told from one with another secret by nothing.
    let (account, webhook) = known.ok_or(BatchReply::BadSignature)?;
    let signed = open(webhook, signature.as_deref(), &bytes)?;
    loan.is_known_now();
    account.admit()?;
    let messages = ingest.protection.lend_for(signed.events.len())?;
    let sheaf = signed.sort(account, webhook, &received).on([loan, messages]);
    Ok(store(ingest, DOOR, sheaf, PATIENCE).await)
}

fn signature(headers: &HeaderMap) -> Option<String> {
    Some(headers.get("x-signature")?.to_str().ok()?.to_owned())
}

/// The events of a body that is known to be an account's.
struct Signed {
    events: Vec<Bytes>,
    covered: Covered,
}

/// Reads the events of a body, once it is known who sent them.
fn open(webhook: &Webhook, signature: Option<&str>, sent: &Bytes) -> Result<Signed, BatchReply> {
    let body = &unmarked(sent);
    let events = if is_array(body) {
        elements(body).map_err(|error| match error {
            NoElements::Malformed(error) => malformed(&error),
            NoElements::TooMany => BatchReply::TooMany,
        })
    } else {
        serde_json::from_slice::<&RawValue>(body).map(|_| vec![body.clone()]).map_err(|error| malformed(&error))
    };
    // Whether it is signed comes before whether it can be read.
    let first = events.as_ref().ok().and_then(|events| events.first()).map(Bytes::as_ref);
    let covered = match (&webhook.secret, signature) {
        (Some(secret), Some(signature)) => {
            // Whoever writes a mark before the text may have signed it or not.
            let covered = secret.covered(signature, body, first).or_else(|| secret.covered(signature, sent, None));
            covered.ok_or(BatchReply::BadSignature)?
        }
        (Some(_) | None, _) if webhook.unsigned => Covered::Nothing,
        _ => return Err(BatchReply::BadSignature),
    };
    Ok(Signed { events: events?, covered })
}

impl Signed {
    fn sort(self, account: &AccountDoor, webhook: &Webhook, received: &Received) -> Sheaf {
        let Self { events, covered } = self;
        let sort = |(position, event): (usize, Bytes)| match account.sort(event, received) {
            Sorted::Work(_, message)
                if message.headers.kind == EventType::Delete.as_str()
                    && !webhook.trust_batches
                    && !covered.covers(position) =>
            {
                AccountDoor::unsigned(message, received)
            }
            sorted => sorted,
        };
        events.into_iter().enumerate().map(sort).collect()
    }
}

fn malformed(error: &serde_json::Error) -> BatchReply {
    BatchReply::Malformed { line: error.line(), column: error.column() }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use refersion_relay_model::{DeadReason, KeyPair, MissingLastName};
    use secrecy::SecretString;

    use super::*;
    use crate::signature::SharedSecret;
    use crate::{Access, WebhookAccess};

    const DELETE: &str = r#"{"type":"delete","email":"a@example.com"}"#;
    const IDENTIFY: &str = r#"{"type":"identify","traits":{"name":"A B","email":"a@example.com"}}"#;
    /// `printf … | openssl dgst -sha1 -hmac secret`
    const DELETE_SIGNED: &str = "d27be7ed8887dc37426457396b1c57a9a70a23b6";
    const MARKED_DELETE_SIGNED: &str = "e9e87cf5c676333d737108ed62dfc22f40103a77";
    const IDENTIFY_SIGNED: &str = "ff96049c0a2c37a7666eeaf9267793e77329d136";

    fn account() -> Arc<AccountDoor> {
        let mut access = Access::default();
        let name = AccountName::try_from("acme").unwrap();
        access.admit(name.clone(), &KeyPair::new("p", "s"), None, None, 0, MissingLastName::Refuse);
        access.by_name(&name).unwrap().clone()
    }

    fn webhook(change: impl FnOnce(&mut WebhookAccess)) -> Webhook {
        let mut access =
            WebhookAccess { secret: Some(SecretString::from("secret")), unsigned: false, trust_batches: false };
        change(&mut access);
        Webhook::from(&access)
    }

    /// What becomes of each event: `work`, or the reason it is dead for.
    fn opened(webhook: &Webhook, signature: Option<&str>, body: &str) -> Result<Vec<&'static str>, BatchReply> {
        let received = Received::now();
        let body = Bytes::copy_from_slice(body.as_bytes());
        open(webhook, signature, &body).map(|signed| signed.sort(&account(), webhook, &received).fates())
    }

    #[test]
    fn what_is_signed_may_identify_and_delete() {
        let webhook = webhook(|_| ());
        assert_eq!(opened(&webhook, Some(DELETE_SIGNED), DELETE), Ok(vec!["work"]));
        assert_eq!(opened(&webhook, Some(IDENTIFY_SIGNED), IDENTIFY), Ok(vec!["work"]));
        for refused in [Some(IDENTIFY_SIGNED), Some(""), None] {
            assert_eq!(opened(&webhook, refused, DELETE), Err(BatchReply::BadSignature), "{refused:?}");
        }
        assert_eq!(opened(&webhook, None, "[{"), Err(BatchReply::BadSignature), "before it is read");
    }

    #[test]
    fn a_byte_order_mark_may_be_signed_or_not() {
        let (webhook, marked) = (webhook(|_| ()), format!("\u{feff}{DELETE}"));
        // `printf … | openssl dgst -sha1 -hmac secret`, with the mark.
        for signature in [DELETE_SIGNED, MARKED_DELETE_SIGNED] {
            assert_eq!(opened(&webhook, Some(signature), &marked), Ok(vec!["work"]), "{signature}");
        }
        assert_eq!(opened(&webhook, Some(MARKED_DELETE_SIGNED), DELETE), Err(BatchReply::BadSignature));
        let batch = format!("\u{feff}[{IDENTIFY},{DELETE}]");
        let fates = vec!["work", DeadReason::Unsigned.as_str()];
        assert_eq!(opened(&webhook, Some(IDENTIFY_SIGNED), &batch), Ok(fates));
    }

    #[test]
    fn behind_the_first_element_of_a_batch_nothing_may_delete() {
        let batch = format!("[{IDENTIFY}, {DELETE} ,{IDENTIFY}]");
        let unsigned = DeadReason::Unsigned.as_str();
        assert_eq!(opened(&webhook(|_| ()), Some(IDENTIFY_SIGNED), &batch), Ok(vec!["work", unsigned, "work"]));
        let trusting = webhook(|access| access.trust_batches = true);
        assert_eq!(opened(&trusting, Some(IDENTIFY_SIGNED), &batch), Ok(vec!["work"; 3]));
        let first = format!("[{DELETE},{IDENTIFY}]");
        assert_eq!(opened(&webhook(|_| ()), Some(DELETE_SIGNED), &first), Ok(vec!["work"; 2]));
        assert_eq!(opened(&webhook(|_| ()), Some(DELETE_SIGNED), &batch), Err(BatchReply::BadSignature));
    }

    #[test]
    fn an_account_may_do_without_signatures_and_a_wrong_one_is_wrong_all_the_same() {
        let lenient = webhook(|access| access.unsigned = true);
        assert_eq!(opened(&lenient, None, IDENTIFY), Ok(vec!["work"]));
        assert_eq!(opened(&lenient, None, DELETE), Ok(vec![DeadReason::Unsigned.as_str()]));
        assert_eq!(opened(&lenient, Some(IDENTIFY_SIGNED), DELETE), Err(BatchReply::BadSignature));
        let none = webhook(|access| {
            access.secret = None;
            access.unsigned = true;
        });
        assert_eq!(opened(&none, Some("anything"), IDENTIFY), Ok(vec!["work"]));
        let closed = webhook(|access| access.secret = None);
        assert_eq!(opened(&closed, None, IDENTIFY), Err(BatchReply::BadSignature));
    }

    #[test]
    fn what_is_no_event_is_a_dead_letter_and_what_is_no_json_is_refused() {
        let open = webhook(|access| access.unsigned = true);
        assert_eq!(opened(&open, None, "[]"), Ok(vec![]));
        assert_eq!(opened(&open, None, "[5]"), Ok(vec!["not_an_event"]));
        assert_eq!(opened(&open, None, "5"), Ok(vec!["not_an_event"]));
        for broken in ["[5", "nonsense", "", "{"] {
            assert!(matches!(opened(&open, None, broken), Err(BatchReply::Malformed { .. })), "{broken}");
        }
    }

    #[test]
    fn a_secret_is_not_shown() {
        let secret = SharedSecret::new(&SecretString::from("secret"));
        assert_eq!(format!("{secret:?}"), "SharedSecret(***)");
    }
}
