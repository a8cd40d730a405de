use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{ALLOW, CONNECTION, CONTENT_TYPE, RETRY_AFTER};
use serde_json::json;

use crate::MAX_BATCH_EVENTS;
use crate::access::basic::KeyForm;
use crate::doors::replies::reply::{NO_SUCH_PATH, PACKED, RETRY_AFTER_SECONDS};
use crate::front::protection::TurnedAway;

/// What the doors for programs answer, the Tracking API and the webhook. Senders are libraries: a yes is exactly 200, because one of them repeats for ever on any
/// other success, and there is a JSON object in every answer, because another reads it before the status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BatchReply {
    Taken,
    /// With the limit, in bytes.
    TooLarge(usize),
    TooMany,
    /// With what is odd about the key in the header.
    Unauthorized(KeyForm),
    KeysDisagree,
    BadSignature,
    Malformed {
        line: usize,
        column: usize,
    },
    NoBatch,
    NoEvent,
    Encoding,
    /// It is packed, and the request does not say so.
    Packed,
    Slow,
    /// With the seconds after which there is room again.
    OverLimit(u64),
    Busy,
    Unavailable,
    NoSuchPath,
    /// With those that are right.
    WrongMethod(&'static str),
    Broken,
}

impl BatchReply {
    /// A refusal for want of a key says what is odd about the one in the header.
    pub(crate) fn with_form(self, form: KeyForm) -> Self {
        match self {
            Self::Unauthorized(_) => Self::Unauthorized(form),
            other => other,
        }
    }

    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Taken => StatusCode::OK,
            Self::TooLarge(_)
            | Self::TooMany
            | Self::Malformed { .. }
            | Self::NoBatch
            | Self::NoEvent
            | Self::Encoding
            | Self::Packed => StatusCode::BAD_REQUEST,
            Self::Unauthorized(_) | Self::KeysDisagree | Self::BadSignature => StatusCode::UNAUTHORIZED,
            Self::NoSuchPath => StatusCode::NOT_FOUND,
            Self::Slow | Self::Busy | Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::OverLimit(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::WrongMethod(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::Broken => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::TooLarge(_) | Self::TooMany => "too_large",
            Self::Unauthorized(_) | Self::KeysDisagree | Self::BadSignature => "unauthorized",
            Self::Malformed { .. } | Self::NoBatch | Self::NoEvent | Self::Encoding | Self::Packed => "malformed",
            Self::NoSuchPath => "no_such_path",
            Self::Slow => "slow",
            Self::OverLimit(_) => "over_limit",
            Self::Busy => "busy",
            Self::Unavailable => "unavailable",
            Self::WrongMethod(_) => "wrong_method",
            Self::Broken => "broken",
        }
    }

    fn message(&self) -> String {
        match self {
            Self::Taken => "everything is stored".to_owned(),
            Self::TooLarge(limit) => format!("the body is larger than {} KiB: send less at once", limit >> 10),
            Self::TooMany => format!("the batch has more than {MAX_BATCH_EVENTS} events: send fewer at once"),
            Self::Unauthorized(form) => {
                // Most senders have the key in the body, and no such header.
                let hint = form.hint().filter(|_| *form != KeyForm::Missing);
                let hint = hint.map(|hint| format!("; {hint}")).unwrap_or_default();
                format!(
                    "the write key is missing or unknown: it is the account's `write_key` in the relay's configuration, not the \
                     Refersion key, and is looked for in the header Authorization and in the body, which has to be JSON, packed \
                     or not as Content-Encoding says{hint}"
                )
            }
            Self::KeysDisagree => "the request has several write keys, and they differ".to_owned(),
            Self::Malformed { line, column } => format!("the body is not valid JSON (line {line}, column {column})"),
            Self::BadSignature => {
                "there is no such webhook, or X-Signature is missing or wrong: see that the shared secret is the same on \
                 both sides, and that the body is packed or not as Content-Encoding says"
                    .to_owned()
            }
            Self::NoBatch => "the body has no array `batch`".to_owned(),
            Self::NoEvent => "the body is not a JSON object: send one event".to_owned(),
            Self::NoSuchPath => NO_SUCH_PATH.to_owned(),
            Self::Encoding => {
                "the body is not in the encoding that Content-Encoding names; gzip is understood".to_owned()
            }
            Self::Packed => PACKED.to_owned(),
            Self::Slow => "the request did not arrive in time: send it again".to_owned(),
            Self::OverLimit(_) => "there are more requests than the relay's limit: send it again later".to_owned(),
            Self::Busy => "the relay has no room for it right now: send it again later".to_owned(),
            Self::Unavailable => "the events could not be stored right now: send them again later".to_owned(),
            Self::WrongMethod(allowed) => format!("this address takes {allowed} only"),
            Self::Broken => "the relay failed at this request: send it again later".to_owned(),
        }
    }
}

impl From<TurnedAway> for BatchReply {
    fn from(turned_away: TurnedAway) -> Self {
        match turned_away {
            TurnedAway::OverLimit(seconds) => Self::OverLimit(seconds),
            TurnedAway::Busy => Self::Busy,
        }
    }
}

impl IntoResponse for BatchReply {
    fn into_response(self) -> Response {
        let body = if self == Self::Taken {
            json!({ "success": true })
        } else {
            // One library reads `message` and `code`, another reads `error`.
            let message = self.message();
            json!({ "success": false, "code": self.code(), "message": message, "error": message })
        };
        let response = Response::builder().status(self.status()).header(CONTENT_TYPE, "application/json");
        let response = match &self {
            Self::Busy | Self::Unavailable => response.header(RETRY_AFTER, RETRY_AFTER_SECONDS),
            Self::OverLimit(seconds) => response.header(RETRY_AFTER, *seconds),
            Self::Slow => response.header(RETRY_AFTER, RETRY_AFTER_SECONDS).header(CONNECTION, "close"),
            Self::TooLarge(_) => response.header(CONNECTION, "close"),
            Self::WrongMethod(allowed) => response.header(ALLOW, *allowed),
            _ => response,
        };
        response.body(Body::from(body.to_string())).expect("the headers are constants")
    }
}
