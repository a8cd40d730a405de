use std::time::{Duration, Instant};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::post,
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::call::Subject;
use crate::faults::fault::{Fault, Shape};
use crate::faults::outage::{Outage, OutageKind};
use crate::http::answer::Answer;
use crate::http::server::Ending;
use crate::operation::Operation;
use crate::simulator::{KeyPair, Simulator};

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
        let fault = self.simulator.fault_rules().draw(operation, keys.public, body, Instant::now());
        let kind = fault.as_ref().map(Fault::kind);
        let subject = Subject::of(body);
        let ids = subject.ids.clone();
        let call = self.simulator.journal().open(operation, keys.public, subject, kind);

        self.pause(self.simulator.settings().latency).await;
        let real = || self.simulator.perform(operation, keys, body);
        match self.suffer(fault, &ids, real).await {
            Ok(answer) => {
                call.answered(answer.status.as_u16());
                answer.into_response()
            }
            Err(ending) => ending.into_response(),
        }
    }

    /// Lets the fault happen to a call about `ids` whose real answer comes from `real`, which has the call's effect.
    ///
    /// Fails where the connection is to end without an answer.
    async fn suffer(&self, fault: Option<Fault>, ids: &[u64], real: impl Fn() -> Answer) -> Result<Answer, Ending> {
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
                    return Err(Ending::Reset);
                }
                Some(Fault::Reset) => return Err(Ending::Reset),
                Some(Fault::Close) => return Err(Ending::Close),
                Some(Fault::NotHttp) => return Err(Ending::NotHttp),
                Some(Fault::RefuseConnections { ms }) => {
                    self.simulator.suffer(Outage::new(OutageKind::Refuse, Duration::from_millis(ms)));
                    return Err(Ending::Reset);
                }
                Some(Fault::CloseConnections { ms }) => {
                    self.simulator.suffer(Outage::new(OutageKind::Close, Duration::from_millis(ms)));
                    return Err(Ending::Close);
                }
                Some(Fault::Truncated) => done.unwrap_or_else(real).truncated(),
                Some(Fault::CutOff) => done.unwrap_or_else(real).cut_off(),
                Some(Fault::Drip { bytes, pause_ms }) => {
                    done.unwrap_or_else(real).dripping(bytes, Duration::from_millis(pause_ms))
                }
                Some(Fault::Oversized { bytes }) => done.unwrap_or_else(real).padded(bytes),
                Some(Fault::SuccessWithError) => done.unwrap_or_else(real).with_error("Something went wrong."),
                Some(Fault::Empty200) => Answer::empty(StatusCode::OK),
                Some(Fault::NoContent) => Answer::no_content(),
                Some(Fault::NotChanged) => ok(&json!({ "ids_changed": [], "ids_not_changed": ids })),
                Some(Fault::NotMentioned) => ok(&json!({ "ids_changed": [], "ids_not_changed": [] })),
                Some(Fault::ErrorIn200) => ok(&json!({ "error": "Something went wrong." })),
                Some(Fault::NoSuccessKeys) => ok(&json!({ "message": "OK" })),
                Some(Fault::WrongShape { shape }) => ok(&misshapen(shape)),
                Some(Fault::Forbidden) => Answer::json(StatusCode::FORBIDDEN, &json!({ "message": "Forbidden" })),
                Some(Fault::Redirect { status, location }) => Answer::empty(status_code(status)).location(&location),
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
            return Ok(answer);
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

fn ok(body: &Value) -> Answer {
    Answer::json(StatusCode::OK, body)
}

fn misshapen(shape: Shape) -> Value {
    match shape {
        Shape::Array => json!([{ "id": "a3y7" }]),
        Shape::String => json!("OK"),
        Shape::Number => json!(1),
        Shape::Null => Value::Null,
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
