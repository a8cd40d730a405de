use std::{num::NonZeroU32, time::Duration};

use axum::{
    http::{
        HeaderName, HeaderValue, StatusCode,
        header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION, RETRY_AFTER},
    },
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use serde_json::{Map, Value};

use crate::http::sending::Sending;

/// One HTTP answer, whole and in memory, so that a fault can still spoil it.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    content_type: Option<HeaderValue>,
    retry_after: Option<HeaderValue>,
    location: Option<HeaderValue>,
    body: Bytes,
    sending: Sending,
}

impl Answer {
    pub(crate) fn json(status: StatusCode, body: &Value) -> Self {
        Self::text(status, "application/json", body.to_string())
    }

    /// Answers with any text. A content type that is not a valid header is left out.
    pub(crate) fn text(status: StatusCode, content_type: &str, body: String) -> Self {
        Self { content_type: HeaderValue::from_str(content_type).ok(), body: body.into(), ..Self::empty(status) }
    }

    pub(crate) fn empty(status: StatusCode) -> Self {
        let (content_type, retry_after, location) = (None, None, None);
        Self { status, content_type, retry_after, location, body: Bytes::new(), sending: Sending::Whole }
    }

    /// On this API a failure: some field was not acceptable.
    pub(crate) fn no_content() -> Self {
        Self::empty(StatusCode::NO_CONTENT)
    }

    /// What stands between a client and Refersion may answer like this.
    pub(crate) fn html(status: StatusCode) -> Self {
        let body = format!(
            "<!DOCTYPE html>\n<html><head><title>{status}</title></head><body><h1>{status}</h1></body></html>\n"
        );
        Self::text(status, "text/html; charset=utf-8", body)
    }

    /// Adds `Retry-After`. Text that is not a valid header is left out.
    pub(crate) fn retry_after(mut self, value: Option<&str>) -> Self {
        self.retry_after = value.and_then(|value| HeaderValue::from_str(value).ok());
        self
    }

    /// Adds `Location`. Text that is not a valid header is left out.
    pub(crate) fn location(mut self, value: &str) -> Self {
        self.location = HeaderValue::from_str(value).ok();
        self
    }

    /// Says that all went well and then stops in the middle of the JSON.
    pub(crate) fn truncated(self) -> Self {
        let body = if self.body.is_empty() { Bytes::from_static(b"{") } else { self.body.slice(..self.body.len() / 2) };
        Self { body, ..self.into_success() }
    }

    /// Says that all went well and then breaks the connection in the middle of the JSON.
    pub(crate) fn cut_off(self) -> Self {
        Self { sending: Sending::CutOff, ..self.into_success() }
    }

    /// Says that all went well, and that something went wrong.
    pub(crate) fn with_error(self, error: &str) -> Self {
        let mut object: Map<String, Value> = serde_json::from_slice(&self.body).unwrap_or_default();
        object.insert("error".to_owned(), Value::from(error));
        Self { body: Value::Object(object).to_string().into(), ..self.into_success() }
    }

    pub(crate) fn dripping(self, bytes: NonZeroU32, pause: Duration) -> Self {
        Self { sending: Sending::Dripping { bytes, pause }, ..self }
    }

    pub(crate) fn padded(self, bytes: u64) -> Self {
        Self { sending: Sending::Padded { bytes }, ..self }
    }

    fn into_success(self) -> Self {
        let content_type = Some(HeaderValue::from_static("application/json"));
        Self { status: StatusCode::OK, content_type, ..self }
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let length = self.sending.announces(&self.body).map(HeaderValue::from);
        let mut response = Response::new(self.sending.send(self.body));
        *response.status_mut() = self.status;
        let headers: [(HeaderName, Option<HeaderValue>); 4] = [
            (CONTENT_TYPE, self.content_type),
            (RETRY_AFTER, self.retry_after),
            (LOCATION, self.location),
            (CONTENT_LENGTH, length),
        ];
        for (name, value) in headers {
            if let Some(value) = value {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }
}
