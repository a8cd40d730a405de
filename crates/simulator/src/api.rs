use std::time::Duration;

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::post,
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::{
    answer::Answer,
    call::Subject,
    fault::Fault,
    operation::Operation,
    server::Dropped,
    simulator::{KeyPair, Simulator},
};

/// The operations over HTTP, faults included.
#[derive(Clone)]
pub(crate) struct Api {
    simulator: Simulator,
    stop: CancellationToken,
}

impl Api {
    pub(crate) fn new(simulator: Simulator, stop: CancellationToken) -> Self {
        Self { simulator, stop }
    }

    /// Returns the six routes, at the root and under `/v2`.
    pub(crate) fn router(self) -> Router {
        let mut operations = Router::new();
        for operation in Operation::ALL {
            let answer = async move |State(api): State<Self>, headers: HeaderMap, body: Bytes| {
                api.answer(operation, &headers, &body).await
            };
            operations = operations.route(&format!("/affiliate/{operation}"), post(answer));
        }
        Router::new().merge(operations.clone()).nest("/v2", operations).with_state(self)
    }

    async fn answer(&self, operation: Operation, headers: &HeaderMap, body: &[u8]) -> Response {
        let keys = KeyPair {
            public: header(headers, "refersion-public-key"),
            secret: header(headers, "refersion-secret-key"),
        };
        let fault = self.simulator.fault_rules().draw(operation, keys.public, body);
        let kind = fault.as_ref().map(Fault::kind);
        let call = self.simulator.journal().open(operation, keys.public, Subject::of(body), kind);

        self.pause(self.simulator.settings().latency).await;
        let real = || self.simulator.perform(operation, keys, body);
        match self.suffer(fault, real).await {
            Some(answer) => {
                call.answered(answer.status.as_u16());
                answer.into_response()
            }
            None => Dropped::response(),
        }
    }

    /// Lets the fault happen to a call whose real answer comes from `real`, which has the call's effect.
    ///
    /// Returns `None` where the connection is to end without an answer.
    async fn suffer(&self, fault: Option<Fault>, real: impl Fn() -> Answer) -> Option<Answer> {
        let mut fault = fault;
        let mut done = None;
        loop {
            let answer = match fault {
                None => done.unwrap_or_else(real),
                Some(Fault::AfterEffect { then }) => {
                    done.get_or_insert_with(&real);
                    fault = Some(*then);
                    continue;
                }
                Some(Fault::Latency { ms }) => {
                    self.pause(Duration::from_millis(ms)).await;
                    done.unwrap_or_else(real)
                }
                Some(Fault::Hang) => {
                    self.stop.cancelled().await;
                    return None;
                }
                Some(Fault::Reset) => return None,
                Some(Fault::Truncated) => done.unwrap_or_else(real).truncated(),
                Some(Fault::Empty200) => Answer::empty(StatusCode::OK),
                Some(Fault::NoContent) => Answer::no_content(),
                Some(Fault::Html { status }) => Answer::html(status_code(status)),
                Some(Fault::TooManyRequests { retry_after }) => too_many_requests(retry_after.as_deref()),
                Some(Fault::Status { status, body, content_type, retry_after }) => {
                    let content_type = content_type.as_deref().unwrap_or("application/json");
                    body.map_or_else(
                        || Answer::empty(status_code(status)),
                        |body| Answer::text(status_code(status), content_type, body),
                    )
                    .retry_after(retry_after.as_deref())
                }
            };
            return Some(answer);
        }
    }

    /// Waits, unless the simulator is to stop.
    async fn pause(&self, duration: Duration) {
        if !duration.is_zero() {
            // Either end of the wait will do.
            let _ = self.stop.run_until_cancelled(tokio::time::sleep(duration)).await;
        }
    }
}

/// The text is ours: Refersion publishes none for a client that is too fast.
fn too_many_requests(retry_after: Option<&str>) -> Answer {
    Answer::json(StatusCode::TOO_MANY_REQUESTS, &json!({ "error": "Too many requests." })).retry_after(retry_after)
}

/// A rule made in Rust may hold any number; one that cannot end a request is a server's failure too.
fn status_code(status: u16) -> StatusCode {
    StatusCode::from_u16(status)
        .ok()
        .filter(|code| (200..600).contains(&code.as_u16()))
        .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// A key that is missing or unreadable is as good as an empty one.
fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}
