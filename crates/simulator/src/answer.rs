use axum::{
    body::Body,
    http::{
        HeaderValue, StatusCode,
        header::{CONTENT_TYPE, RETRY_AFTER},
    },
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use serde_json::Value;

/// One HTTP answer, whole and in memory, so that a fault can still spoil it.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    content_type: Option<HeaderValue>,
    retry_after: Option<HeaderValue>,
    body: Bytes,
}

impl Answer {
    pub(crate) fn json(status: StatusCode, body: &Value) -> Self {
        Self::text(status, "application/json", body.to_string())
    }

    /// Answers with any text. A content type that is not a valid header is left out.
    pub(crate) fn text(status: StatusCode, content_type: &str, body: String) -> Self {
        Self { status, content_type: HeaderValue::from_str(content_type).ok(), retry_after: None, body: body.into() }
    }

    pub(crate) fn empty(status: StatusCode) -> Self {
        Self { status, content_type: None, retry_after: None, body: Bytes::new() }
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

    /// Says that all went well and then stops in the middle of the JSON.
    pub(crate) fn truncated(mut self) -> Self {
        self.status = StatusCode::OK;
        self.content_type = Some(HeaderValue::from_static("application/json"));
        self.body =
            if self.body.is_empty() { Bytes::from_static(b"{") } else { self.body.slice(..self.body.len() / 2) };
        self
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() = self.status;
        let headers = [(CONTENT_TYPE, self.content_type), (RETRY_AFTER, self.retry_after)];
        for (name, value) in headers {
            if let Some(value) = value {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }
}
