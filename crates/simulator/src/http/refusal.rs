use axum::http::StatusCode;
use serde_json::json;

use crate::http::answer::Answer;

/// Why a call was not carried out.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The keys are wrong, or no longer good.
    Credentials,
    /// The request has no body.
    NoBody,
    /// The body is not a JSON object.
    NotJson,
    /// A required field is absent or empty.
    MissingField(String),
    /// A field is unknown or has the wrong type.
    InvalidField,
    /// The data is not acceptable, for all of these reasons.
    Unacceptable(Vec<String>),
    /// An edit names an offer that does not exist.
    UnknownOffer,
    /// An array is longer than it may be. Not about speed, although the status says so.
    TooManyElements,
}

impl Refusal {
    pub(crate) fn missing(field: &str) -> Self {
        Self::MissingField(field.to_owned())
    }

    pub(crate) fn unacceptable(reason: &str) -> Self {
        Self::Unacceptable(vec![reason.to_owned()])
    }

    pub(crate) fn bad_value(value: &str, field: &str) -> Self {
        Self::Unacceptable(vec![bad_value(value, field)])
    }
}

pub(crate) fn bad_value(value: &str, field: &str) -> String {
    format!("{value} is not a allowed value for field {field}")
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        let (status, body) = match refusal {
            Refusal::Credentials => {
                (StatusCode::UNAUTHORIZED, json!({ "error": "Invalid API credentials (error 2)." }))
            }
            Refusal::NoBody => (StatusCode::NOT_FOUND, json!({ "error": "Bad request, no body" })),
            // No text is published for this one.
            Refusal::NotJson => {
                (StatusCode::BAD_REQUEST, json!({ "error": "Bad request, the body is not a JSON object" }))
            }
            Refusal::MissingField(field) => {
                (StatusCode::BAD_REQUEST, json!({ "error": format!("Missing required field {field}") }))
            }
            Refusal::InvalidField => return Self::no_content(),
            Refusal::Unacceptable(reasons) => (StatusCode::UNPROCESSABLE_ENTITY, json!({ "errors": reasons })),
            // Edit is the one operation whose `error` is an array.
            Refusal::UnknownOffer => {
                (StatusCode::NOT_FOUND, json!({ "error": ["Offer does not exists on the database."] }))
            }
            Refusal::TooManyElements => {
                (StatusCode::TOO_MANY_REQUESTS, json!({ "error": "Max number of elements on attribute (50) reached." }))
            }
        };
        Self::json(status, &body)
    }
}
