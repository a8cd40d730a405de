use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{ALLOW, CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use refersion_relay_model::{EventType, MAX_EVENT_BYTES, Missing, ParseError};

use crate::MAX_BATCH_EVENTS;
use crate::access::basic::KeyForm;
use crate::events::batch::Counts;
use crate::front::protection::TurnedAway;

/// Seconds after which a sender may try again while the queue is away.
pub(crate) const RETRY_AFTER_SECONDS: &str = "5";

/// What every door says of an address that is not there.
pub(crate) const NO_SUCH_PATH: &str =
    "there is nothing at this address: events go to POST /v1/destination, /v1/webhook/ACCOUNT or /v1/batch";
/// What every door says of a body that is packed without a word.
pub(crate) const PACKED: &str = "the body is packed with gzip: send the header Content-Encoding: gzip with it";

/// What a door answers. Every variant has one status, and a message for the merchant who reads it in Segment's debugger:
/// it says what to do, and has no secret and nothing of the event in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// With the message id under which the log and `dlq` show it.
    Accepted(String),
    /// An array.
    AcceptedAll(Counts),
    Ignored(&'static str),
    TooLarge,
    /// With what is odd about the key in the header.
    Unauthorized(KeyForm),
    Malformed(ParseError),
    TooMany,
    Encoding,
    /// It is packed, and the request does not say so.
    Packed,
    Settings,
    UnsupportedType(EventType),
    Incomplete(EventType, Vec<Missing>),
    Slow,
    /// With the seconds after which there is room again.
    OverLimit(u64),
    Busy,
    Unavailable,
    NoSuchPath,
    WrongMethod(&'static str),
    Broken,
}

impl Reply {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Accepted(_) | Self::AcceptedAll(_) => StatusCode::ACCEPTED,
            Self::Ignored(_) => StatusCode::OK,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Unauthorized(_) => StatusCode::UNAUTHORIZED,
            Self::Malformed(_)
            | Self::TooMany
            | Self::Encoding
            | Self::Packed
            | Self::Settings
            | Self::Incomplete(..) => StatusCode::BAD_REQUEST,
            Self::UnsupportedType(_) => StatusCode::NOT_IMPLEMENTED,
            // Not 408: Segment repeats after a 5xx, and takes a 4xx for final.
            Self::Slow | Self::Busy | Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::OverLimit(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::NoSuchPath => StatusCode::NOT_FOUND,
            Self::WrongMethod(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::Broken => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn message(&self) -> String {
        match self {
            Self::Accepted(_) => "accepted".to_owned(),
            Self::AcceptedAll(Counts { accepted, dead, ignored }) => format!(
                "events accepted: {accepted}; of those, not usable as they are, and waiting for the relay's operator: {dead}; nothing \
                 for Refersion: {ignored}"
            ),
            Self::Ignored(why) => format!("nothing to do: {why}"),
            Self::TooLarge => {
                format!("the event is larger than {} KiB: send less in one event", MAX_EVENT_BYTES / 1024)
            }
            Self::Unauthorized(form) => {
                let hint = form.hint().map(|hint| format!("; {hint}")).unwrap_or_default();
                format!(
                    "the API key is missing or unknown: enter the key from your Refersion dashboard as publickey.secretkey{hint}"
                )
            }
            Self::Malformed(error) => error.to_string(),
            Self::TooMany => format!("there are more than {MAX_BATCH_EVENTS} events: send fewer at once"),
            Self::Settings => {
                "the header X-Segment-Settings is not base64 of a JSON object, or longer than 16 KiB: save the destination's \
                 settings in Segment again"
                    .to_owned()
            }
            Self::Encoding => {
                "the body is not in the encoding that Content-Encoding names; gzip is understood".to_owned()
            }
            Self::Packed => PACKED.to_owned(),
            Self::UnsupportedType(kind) => format!(
                "Refersion has nothing that corresponds to a {} event: send identify or delete",
                match kind {
                    EventType::Other => "this type of",
                    kind => kind.as_str(),
                }
            ),
            Self::Incomplete(kind, missing) => Missing::sentence(*kind, missing),
            Self::Slow => "the request did not arrive in time: send it again".to_owned(),
            Self::OverLimit(_) => "there are more requests than the relay's limit: send it again later".to_owned(),
            Self::Busy => "the relay has no room for it right now: send it again later".to_owned(),
            Self::Unavailable => "the event could not be stored right now: send it again later".to_owned(),
            Self::NoSuchPath => NO_SUCH_PATH.to_owned(),
            Self::WrongMethod(allowed) => format!("this address takes {allowed} only"),
            Self::Broken => "the relay failed at this request: send it again later".to_owned(),
        }
    }
}

impl From<TurnedAway> for Reply {
    fn from(turned_away: TurnedAway) -> Self {
        match turned_away {
            TurnedAway::OverLimit(seconds) => Self::OverLimit(seconds),
            TurnedAway::Busy => Self::Busy,
        }
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        // Segment reads a body only when it is declared as JSON.
        let mut body = serde_json::json!({ "message": self.message() });
        if let Self::Accepted(message_id) = &self {
            body["message_id"] = message_id.as_str().into();
        }
        let body = body.to_string();
        let response = Response::builder().status(self.status()).header(CONTENT_TYPE, "application/json");
        let response = match &self {
            Self::Busy | Self::Unavailable => response.header(RETRY_AFTER, RETRY_AFTER_SECONDS),
            Self::OverLimit(seconds) => response.header(RETRY_AFTER, *seconds),
            Self::Slow => response.header(RETRY_AFTER, RETRY_AFTER_SECONDS).header(CONNECTION, "close"),
            Self::Unauthorized(_) => response.header(WWW_AUTHENTICATE, "Basic realm=\"refersion-relay\""),
            Self::WrongMethod(allowed) => response.header(ALLOW, *allowed),
            Self::TooLarge => response.header(CONNECTION, "close"),
            _ => response,
        };
        response.body(Body::from(body)).expect("the headers are constants")
    }
}
