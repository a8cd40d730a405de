use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use refersion_relay_model::EventType;
use refersion_relay_telemetry::Door;
use url::form_urlencoded;

use crate::access::basic::KeyForm;
use crate::context::Ingest;
use crate::doors::patience;
use crate::doors::programs::{count_refused, store};
use crate::doors::replies::batch_reply::BatchReply;
use crate::doors::tracking::one;
use crate::events::batch::Batch;
use crate::events::classify::Received;
use crate::front::bodies::body::unmarked;

const DOOR: Door = Door::Tracking;
/// One transparent point, as small as a GIF can be.
const POINT: &[u8] = b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff!\xf9\x04\x01\x00\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;";
/// With or without padding: senders leave it out where it is in the way.
const STANDARD: GeneralPurpose = engine(&alphabet::STANDARD);
const URL_SAFE: GeneralPurpose = engine(&alphabet::URL_SAFE);

const fn engine(alphabet: &alphabet::Alphabet) -> GeneralPurpose {
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    GeneralPurpose::new(alphabet, config.with_decode_allow_trailing_bits(true))
}

/// What the pixel answers: always the picture, which is what its reader shows, and the status that says what happened.
pub(crate) struct Picture(pub(crate) BatchReply);

/// Segment's Pixel Tracking API: one event in the address of a picture, in mails for example, with the write key in the event.
pub(crate) async fn answer(ingest: &Ingest, kind: EventType, request: Request) -> Picture {
    let reply = accept(ingest, kind, request).await.unwrap_or_else(|refusal| refusal);
    count_refused(ingest, DOOR, &reply);
    Picture(reply)
}

async fn accept(ingest: &Ingest, kind: EventType, request: Request) -> Result<BatchReply, BatchReply> {
    // It has no body.
    let (request, _visit) = ingest.protection.enter(request, 0).await?;
    let received = Received::by_http(request.headers());
    let body = event(request.uri().query().unwrap_or_default());
    // The key is in the event: without one there is nobody to say more to.
    let body = body.ok_or(BatchReply::Unauthorized(KeyForm::Fine))?;
    let mut loan = ingest.protection.budget.borrow(true);
    loan.resize(body.len()).map_err(|_| BatchReply::Busy)?;
    let (body, lent) = loan.hold(body);
    let (account, classified) = one(&ingest.access(), None, kind, body, &received)?;
    lent.is_known_now();
    account.admit()?;
    Ok(store(ingest, DOOR, [classified].into_iter().collect::<Batch>(), patience::TRACKING).await)
}

/// The event in `data`, which is base64 in one of its two alphabets.
fn event(query: &str) -> Option<Bytes> {
    let (_, data) = form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == "data")?;
    // A plus that was not escaped reads as a space.
    let data = data.trim().replace(' ', "+");
    STANDARD.decode(&data).or_else(|_| URL_SAFE.decode(&data)).ok().map(|event| unmarked(&Bytes::from(event)))
}

impl IntoResponse for Picture {
    fn into_response(self) -> Response {
        let mut response = self.0.into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, http::HeaderValue::from_static("image/gif"));
        headers.insert(CACHE_CONTROL, http::HeaderValue::from_static("no-store"));
        *response.body_mut() = Body::from(POINT);
        response
    }
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{STANDARD as PLAIN, URL_SAFE_NO_PAD};

    use super::*;

    #[test]
    fn the_event_is_found_in_either_alphabet() {
        let event_ = b"{\"email\":\"a>b?c@example.com\"}~~~".as_slice();
        let escaped: String = form_urlencoded::byte_serialize(PLAIN.encode(event_).as_bytes()).collect();
        for data in [PLAIN.encode(event_), escaped, URL_SAFE_NO_PAD.encode(event_)] {
            assert_eq!(event(&format!("x=1&data={data}")).as_deref(), Some(event_), "{data}");
        }
        let marked = [b"\xef\xbb\xbf", event_].concat();
        assert_eq!(event(&format!("data={}", URL_SAFE_NO_PAD.encode(marked))).as_deref(), Some(event_));
        for nothing in ["", "data=", "data=!!!", "other=e30="] {
            assert!(event(nothing).is_none_or(|event| event.is_empty()), "{nothing}");
        }
    }
}
