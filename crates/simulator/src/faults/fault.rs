use std::num::NonZeroU32;

use axum::http::HeaderValue;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use serde_json::{Map, Value};

/// What goes wrong. Unless said otherwise, the operation is not carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// The call takes this many milliseconds longer, and is fine otherwise.
    Latency { ms: u64 },
    /// Any status from 200 to 599, with any text. One that is out of range becomes a 500.
    Status {
        #[serde(deserialize_with = "final_status")]
        status: u16,
        #[serde(default)]
        body: Option<String>,
        /// JSON if not given, and not sent without a body.
        #[serde(default)]
        content_type: Option<String>,
        #[serde(default)]
        retry_after: Option<String>,
    },
    /// A 429 that is about speed.
    TooManyRequests {
        #[serde(default)]
        retry_after: Option<String>,
    },
    /// No answer, on a connection that stays open until the client goes or the simulator stops.
    Hang,
    /// No answer, and a TCP reset.
    Reset,
    /// No answer, and an orderly end of the connection.
    Close,
    /// Bytes that are no HTTP, and the end of the connection.
    NotHttp,
    /// No answer; then, for this many milliseconds, nobody listens: every open connection is cut, and new ones are
    /// refused.
    RefuseConnections { ms: u64 },
    /// No answer; then, for this many milliseconds, every open connection is cut, and new ones are accepted and closed.
    CloseConnections { ms: u64 },
    /// A page for a person, such as a proxy shows.
    Html {
        #[serde(deserialize_with = "final_status")]
        status: u16,
    },
    /// The operation is carried out, and its answer comes as a 200 that breaks off halfway.
    Truncated,
    /// The operation is carried out, and its answer comes as a 200 that announces more than arrives before the
    /// connection ends.
    CutOff,
    /// The operation is carried out, and the body of its answer comes so many bytes at a time, with pauses between.
    Drip { bytes: NonZeroU32, pause_ms: u64 },
    /// The operation is carried out, and its answer is padded with white space to at least so many bytes.
    Oversized { bytes: u64 },
    /// A 200 without a body.
    #[serde(rename = "empty_200")]
    Empty200,
    /// A 204.
    NoContent,
    /// A 200 that has the request's ids among the unchanged ones, as edit and status change answer.
    NotChanged,
    /// The same, with the request's ids in neither list.
    NotMentioned,
    /// A 200 that is JSON and says nothing but an error.
    #[serde(rename = "error_in_200")]
    ErrorIn200,
    /// The operation is carried out, and its answer comes as a 200 that has an error beside the keys of success.
    SuccessWithError,
    /// A 200 that is a JSON object and lacks the keys of success.
    NoSuccessKeys,
    /// A 200 that is JSON and no object.
    WrongShape { shape: Shape },
    /// A 403 that has only a `message`, such as a gateway before Refersion sends.
    Forbidden,
    /// One of 301, 302, 303, 307 and 308, with a `Location`.
    Redirect {
        #[serde(deserialize_with = "redirect_status")]
        status: u16,
        #[serde(deserialize_with = "header_text")]
        location: String,
    },
    /// The operation is carried out, and then the other fault happens to its answer.
    AfterEffect { then: Box<Fault> },
}

/// What a JSON answer is in place of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    Array,
    String,
    Number,
    Null,
}

impl Fault {
    /// Makes the effect happen before the fault.
    #[must_use]
    pub fn after_effect(then: Fault) -> Self {
        Self::AfterEffect { then: Box::new(then) }
    }

    /// Answers with a status and a body that is JSON, or empty where there is none.
    #[must_use]
    pub fn status(status: u16, body: Option<&str>) -> Self {
        Self::Status { status, body: body.map(str::to_owned), content_type: None, retry_after: None }
    }

    /// Returns the fault's name in JSON.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Latency { .. } => "latency",
            Self::Status { .. } => "status",
            Self::TooManyRequests { .. } => "too_many_requests",
            Self::Hang => "hang",
            Self::Reset => "reset",
            Self::Close => "close",
            Self::NotHttp => "not_http",
            Self::RefuseConnections { .. } => "refuse_connections",
            Self::CloseConnections { .. } => "close_connections",
            Self::Html { .. } => "html",
            Self::Truncated => "truncated",
            Self::CutOff => "cut_off",
            Self::Drip { .. } => "drip",
            Self::Oversized { .. } => "oversized",
            Self::Empty200 => "empty_200",
            Self::NoContent => "no_content",
            Self::NotChanged => "not_changed",
            Self::NotMentioned => "not_mentioned",
            Self::ErrorIn200 => "error_in_200",
            Self::SuccessWithError => "success_with_error",
            Self::NoSuccessKeys => "no_success_keys",
            Self::WrongShape { .. } => "wrong_shape",
            Self::Forbidden => "forbidden",
            Self::Redirect { .. } => "redirect",
            Self::AfterEffect { .. } => "after_effect",
        }
    }
}

/// Informational statuses are no answer, and there is nothing beyond 599.
fn final_status<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u16, D::Error> {
    let status = u16::deserialize(deserializer)?;
    if (200..600).contains(&status) {
        Ok(status)
    } else {
        Err(D::Error::custom(format!("status {status} is not from 200 to 599")))
    }
}

impl Serialize for Fault {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for Fault {
    /// Refuses unknown fields of every kind: what serde derives lets them pass where a kind has no fields at all.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let given = Map::deserialize(deserializer)?;
        let fault = Self::deserialize(Value::Object(given.clone())).map_err(D::Error::custom)?;
        let known = serde_json::to_value(&fault).map_err(D::Error::custom)?;
        match given.keys().find(|key| known.get(key).is_none()) {
            None => Ok(fault),
            Some(unknown) => Err(D::Error::custom(format!("{} has no field `{unknown}`", fault.kind()))),
        }
    }
}

/// The statuses that send a client elsewhere.
fn redirect_status<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u16, D::Error> {
    let status = u16::deserialize(deserializer)?;
    if [301, 302, 303, 307, 308].contains(&status) {
        Ok(status)
    } else {
        Err(D::Error::custom(format!("status {status} is not 301, 302, 303, 307 or 308")))
    }
}

/// Text that a header can have.
fn header_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    if HeaderValue::from_str(&text).is_ok() {
        Ok(text)
    } else {
        Err(D::Error::custom("the location cannot stand in a header"))
    }
}
