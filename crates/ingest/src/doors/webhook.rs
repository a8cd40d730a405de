use axum::extract::Request;
use bytes::Bytes;
use http::HeaderMap;
use refersion_relay_model::AccountName;
use refersion_relay_telemetry::Door;
use serde_json::value::RawValue;

use crate::access::access::Access;
use crate::access::credential::Credential;
use crate::context::Ingest;
use crate::doors::patience;
use crate::doors::programs::{body, count_refused, store};
use crate::doors::replies::batch_reply::BatchReply;
use crate::doors::signature::Covered;
use crate::events::batch::Batch;
use crate::events::classify::Received;
use crate::events::json_array::{NoElements, elements, first_element, is_array};
use crate::front::bodies::body::{Body, Sender, unmarked};
use crate::front::protection::TurnedAway;
use crate::{AccountDoor, MAX_WEBHOOK_BYTES};

const DOOR: Door = Door::Webhook;
/// Larger bodies are verified and split beside the runtime, where other requests do not wait for it.
const LARGE_BYTES: usize = 64 * 1024;

/// Segment's Webhooks destination: one event, or an array of them, signed with a secret that Segment and the account share.
///
/// `account`: as it stands in the path, if that is text. Segment repeats a batch as a whole and drops what gets a 4xx, so what cannot be worked becomes a dead letter here too.
pub(crate) async fn answer(ingest: &Ingest, account: Option<&str>, request: Request) -> BatchReply {
    let reply = accept(ingest, account, request).await.unwrap_or_else(|refusal| refusal);
    count_refused(ingest, DOOR, &reply);
    reply
}

async fn accept(ingest: &Ingest, account: Option<&str>, request: Request) -> Result<BatchReply, BatchReply> {
    let (request, _visit) = ingest.protection.enter(request, MAX_WEBHOOK_BYTES).await?;
    let access = ingest.access();
    let name = account.and_then(|account| AccountName::try_from(account.to_owned()).ok());
    let account = name.and_then(|name| access.by_name(&name)).cloned();
    let received = Received::by_http(request.headers());
    let signature = signature(request.headers());
    let is_open = account.as_ref().is_some_and(|account| account.needs_no_proof(signature.as_deref()));
    // Who signs it is known when the body is there, so whatever is signed is read, whether there is such an account or not:
    // nothing that a stranger can see, or wait for, tells the two apart.
    let sender = if is_open || signature.is_some() { Sender::Unverified } else { Sender::Unknown };
    let read = body(&ingest.protection, request, MAX_WEBHOOK_BYTES, sender).await?;
    let Body { bytes, lent } = if is_open { read? } else { read.map_err(|_| BatchReply::BadSignature)? };
    let is_large = LARGE_BYTES < bytes.len();
    let opening = {
        let account = account.clone();
        move || open(&access, account.as_deref(), signature.as_deref(), &bytes)
    };
    let signed = if is_large {
        ingest.protection.unpackers.run(true, opening).await.map_err(|_| BatchReply::Busy)??
    } else {
        opening()?
    };
    let account = account.ok_or(BatchReply::BadSignature)?;
    lent.is_known_now();
    account.admit()?;
    lent.lend_for(signed.events.len()).map_err(TurnedAway::from)?;
    let batch = signed.classify(&account, &received);
    Ok(store(ingest, DOOR, batch, patience::WEBHOOK).await)
}

fn signature(headers: &HeaderMap) -> Option<String> {
    Some(headers.get("x-signature")?.to_str().ok()?.to_owned())
}

/// The events of a body that is known to be an account's.
struct Signed {
    events: Vec<Bytes>,
    covered: Covered,
}

/// Finds out whether an account sent a body, and only then reads its events: what strangers send is not even split.
fn open(
    access: &Access,
    account: Option<&AccountDoor>,
    signature: Option<&str>,
    sent: &Bytes,
) -> Result<Signed, BatchReply> {
    let body = &unmarked(sent);
    let is_array = is_array(body);
    let first = if is_array { first_element(body) } else { None };
    // Whoever writes a mark before the text may have signed it or not.
    let is_marked = body.len() < sent.len();
    let with_mark = || is_marked.then(|| access.covered(account, signature, sent, None)).flatten();
    let covered = access.covered(account, signature, body, first).or_else(with_mark);
    let covered = covered.ok_or(BatchReply::BadSignature)?;
    let events = if is_array {
        elements(body).map_err(|error| match error {
            NoElements::Malformed(error) => malformed(&error),
            NoElements::TooMany => BatchReply::TooMany,
        })?
    } else {
        serde_json::from_slice::<&RawValue>(body).map(|_| vec![body.clone()]).map_err(|error| malformed(&error))?
    };
    Ok(Signed { events, covered })
}

impl Signed {
    fn classify(self, account: &AccountDoor, received: &Received) -> Batch {
        let Self { events, covered } = self;
        let classify = |(position, event): (usize, Bytes)| {
            let credential = if covered.covers(position) { Credential::Signed } else { Credential::Unsigned };
            account.classify(credential, event, received)
        };
        events.into_iter().enumerate().map(classify).collect()
    }
}

fn malformed(error: &serde_json::Error) -> BatchReply {
    BatchReply::Malformed { line: error.line(), column: error.column() }
}

#[cfg(test)]
mod tests {
    use refersion_relay_model::{DeadReason, KeyPair};
    use refersion_relay_telemetry::Metrics;
    use secrecy::SecretString;

    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;
    use crate::doors::fake;
    use crate::doors::signature::SharedSecret;
    use crate::{AccountAccess, router};

    const DELETE: &str = r#"{"type":"delete","email":"a@example.com"}"#;
    const IDENTIFY: &str = r#"{"type":"identify","traits":{"name":"A B","email":"a@example.com"}}"#;
    /// `printf … | openssl dgst -sha1 -hmac secret`
    const DELETE_SIGNED: &str = "d27be7ed8887dc37426457396b1c57a9a70a23b6";
    const MARKED_DELETE_SIGNED: &str = "e9e87cf5c676333d737108ed62dfc22f40103a77";
    const IDENTIFY_SIGNED: &str = "ff96049c0a2c37a7666eeaf9267793e77329d136";

    fn webhook(change: impl FnOnce(&mut AccountAccess)) -> AccountAccess {
        let mut account = AccountAccess::new(AccountName::try_from("acme").unwrap(), KeyPair::new("p", "s"));
        account.webhook_secrets = vec![SecretString::from("new secret"), SecretString::from("secret")];
        change(&mut account);
        account
    }

    /// What becomes of each event: `work`, or the reason it is dead for.
    fn opened(webhook: &AccountAccess, signature: Option<&str>, body: &str) -> Result<Vec<&'static str>, BatchReply> {
        let (mut access, received) = (Access::default(), Received::now());
        access.admit(webhook.clone(), &Metrics::new());
        let account = access.by_name(&webhook.name).unwrap();
        let body = Bytes::copy_from_slice(body.as_bytes());
        let opened = open(&access, Some(account), signature, &body);
        assert_eq!(open(&access, None, signature, &body).err(), Some(BatchReply::BadSignature), "without an account");
        opened.map(|signed| signed.classify(account, &received).fates())
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
        let trusting = webhook(|access| access.trust.unsigned = true);
        assert_eq!(opened(&trusting, Some(IDENTIFY_SIGNED), &batch), Ok(vec!["work"; 3]));
        let first = format!("[{DELETE},{IDENTIFY}]");
        assert_eq!(opened(&webhook(|_| ()), Some(DELETE_SIGNED), &first), Ok(vec!["work"; 2]));
        assert_eq!(opened(&webhook(|_| ()), Some(DELETE_SIGNED), &batch), Err(BatchReply::BadSignature));
    }

    #[test]
    fn a_batch_is_verified_before_it_is_split() {
        let webhook = webhook(|_| ());
        let many = format!("[{IDENTIFY}{}]", ",1".repeat(crate::MAX_BATCH_EVENTS));
        assert_eq!(opened(&webhook, Some(IDENTIFY_SIGNED), &many), Err(BatchReply::TooMany));
        assert_eq!(opened(&webhook, Some(DELETE_SIGNED), &many), Err(BatchReply::BadSignature));
        let broken = opened(&webhook, Some(IDENTIFY_SIGNED), &format!("[{IDENTIFY},"));
        assert!(matches!(broken, Err(BatchReply::Malformed { .. })), "{broken:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_webhook_is_verified_when_it_is_its_turn_and_a_small_one_at_once() {
        let mut access = Access::default();
        access.admit(webhook(|_| ()), &Metrics::new());
        let (ingest, queue) = fake::ingest(access);
        let signed = [("x-signature", IDENTIFY_SIGNED)];
        let large = format!("[{IDENTIFY}{}]", " ".repeat(LARGE_BYTES));
        let status = async |path, body: &str| heard(&ingest, path, &signed, body.as_bytes()).await.0;
        let others = ingest.protection.unpackers.occupy_strangers();
        for path in ["/v1/webhook/acme", "/v1/webhook/nobody"] {
            assert_eq!(status(path, &large).await, 503, "{path}");
        }
        assert_eq!(status("/v1/webhook/acme", IDENTIFY).await, 200);
        assert_eq!(status("/v1/webhook/nobody", IDENTIFY).await, 401);
        drop(others);
        assert_eq!(status("/v1/webhook/acme", &large).await, 200);
        assert_eq!(status("/v1/webhook/nobody", &large).await, 401);
        assert_eq!(queue.stored(), 2);
    }

    #[test]
    fn an_account_may_do_without_signatures_and_a_wrong_one_is_wrong_all_the_same() {
        let lenient = webhook(|access| access.webhook_unsigned = true);
        assert_eq!(opened(&lenient, None, IDENTIFY), Ok(vec!["work"]));
        assert_eq!(opened(&lenient, None, DELETE), Ok(vec![DeadReason::Unsigned.as_str()]));
        assert_eq!(opened(&lenient, Some(IDENTIFY_SIGNED), DELETE), Err(BatchReply::BadSignature));
        let none = webhook(|access| {
            access.webhook_secrets.clear();
            access.webhook_unsigned = true;
        });
        assert_eq!(opened(&none, Some("anything"), IDENTIFY), Ok(vec!["work"]));
        let closed = webhook(|access| access.webhook_secrets.clear());
        assert_eq!(opened(&closed, None, IDENTIFY), Err(BatchReply::BadSignature));
    }

    #[test]
    fn what_is_no_event_is_a_dead_letter_and_what_is_no_json_is_refused() {
        let open = webhook(|access| access.webhook_unsigned = true);
        assert_eq!(opened(&open, None, "[]"), Ok(vec![]));
        assert_eq!(opened(&open, None, "[5]"), Ok(vec!["not_an_event"]));
        assert_eq!(opened(&open, None, "5"), Ok(vec!["not_an_event"]));
        for broken in ["[5", "nonsense", "", "{"] {
            assert!(matches!(opened(&open, None, broken), Err(BatchReply::Malformed { .. })), "{broken}");
        }
    }

    /// Headers and a body.
    type Sent<'a> = (&'a [(&'a str, &'a str)], &'a [u8]);

    /// What a stranger hears: the status, the headers and the body.
    async fn heard(ingest: &Ingest, path: &str, headers: &[(&str, &str)], body: &[u8]) -> (u16, String, Bytes) {
        let mut request = Request::post(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(axum::body::Body::from(body.to_vec())).unwrap();
        let response = router(ingest.clone()).oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        (parts.status.as_u16(), format!("{:?}", parts.headers), body.collect().await.unwrap().to_bytes())
    }

    #[tokio::test]
    async fn nothing_that_a_stranger_sends_tells_which_accounts_there_are() {
        let mut access = Access::default();
        access.admit(webhook(|_| ()), &Metrics::new());
        let closed = AccountAccess::new(AccountName::try_from("closed").unwrap(), KeyPair::new("p2", "s2"));
        access.admit(closed, &Metrics::new());
        let (ingest, queue) = fake::ingest(access);
        let bomb = {
            let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            std::io::Write::write_all(&mut packed, &vec![b' '; MAX_WEBHOOK_BYTES + 1]).unwrap();
            packed.finish().unwrap()
        };
        let (event, large) = (DELETE.as_bytes(), vec![b'x'; 1 << 20]);
        let many = format!("[{}1]", "1,".repeat(crate::MAX_BATCH_EVENTS + 1));
        let signed = ("x-signature", IDENTIFY_SIGNED);
        let too_large = vec![b' '; MAX_WEBHOOK_BYTES + 1];
        let cases: [Sent<'_>; 12] = [
            (&[], event),
            (&[signed], event),
            (&[("x-signature", "short")], event),
            (&[("content-encoding", "br")], event),
            (&[signed, ("content-encoding", "br")], event),
            (&[signed, ("content-encoding", "gzip")], event),
            (&[signed, ("content-encoding", "gzip")], &bomb),
            (&[signed], &bomb),
            (&[signed], b"[{"),
            (&[signed], many.as_bytes()),
            (&[signed], b""),
            (&[signed], &too_large),
        ];
        let mut all = ingest.protection.budget.borrow(false);
        for lent in [0, 56 << 20] {
            all.resize(lent).unwrap();
            for (headers, body) in cases.into_iter().chain([(&[signed][..], &large[..]), (&[], &large[..])]) {
                let acme = heard(&ingest, "/v1/webhook/acme", headers, body).await;
                for other in ["closed", "nobody", "Not-A-Name", "%ff", "acme%20"] {
                    let other = heard(&ingest, &format!("/v1/webhook/{other}"), headers, body).await;
                    assert_eq!(acme, other, "{headers:?} {} bytes, {lent} lent", body.len());
                }
                assert!(lent != 0 || matches!(acme.0, 401) || body.len() > MAX_WEBHOOK_BYTES, "{headers:?}: {acme:?}");
            }
        }
        assert_eq!(queue.stored(), 0);
    }

    #[test]
    fn a_secret_is_not_shown() {
        let secret = SharedSecret::new(&SecretString::from("secret"));
        assert_eq!(format!("{secret:?}"), "SharedSecret(***)");
    }
}
