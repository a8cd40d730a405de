use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequestParts, Path, Request, State};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, any, get, post};
use axum::{Json, Router};
use futures_util::FutureExt;
use http::HeaderValue;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, CONTENT_TYPE,
};
use http::request::Parts;
use refersion_relay_telemetry::Door;
use refersion_relay_traces::{Kind, Parent, Span};
use serde_json::json;

use crate::context::Ingest;
use crate::doors::destination;
use crate::doors::health;
use crate::doors::pixel;
use crate::doors::pixel::Picture;
use crate::doors::replies::batch_reply::BatchReply;
use crate::doors::replies::description;
use crate::doors::replies::reply::Reply;
use crate::doors::tracking;
use crate::doors::tracking::Call;
use crate::doors::webhook;

/// Of W3C Trace Context.
const TRACEPARENT: &str = "traceparent";

/// The doors' routes.
pub fn router(ingest: Ingest) -> Router {
    let routes = routes().into_iter().fold(Router::new(), |router, (path, methods)| router.route(path, methods));
    routes.fallback(any(|| async { Reply::NoSuchPath })).with_state(Arc::new(ingest))
}

/// Every path, with what it takes. `openapi.json` describes them.
pub(crate) fn routes() -> [(&'static str, MethodRouter<Arc<Ingest>>); 10] {
    let readable = || map_response(readable_anywhere);
    let tracking = || post(tracking_door).options(preflight).fallback(wrong_method).layer(readable());
    let pixel = || get(pixel_door).fallback(|| async { BatchReply::WrongMethod("GET, HEAD") }).layer(readable());
    let webhook = || {
        let webhook = post(webhook_door).put(webhook_door).patch(webhook_door);
        webhook.fallback(|| async { BatchReply::WrongMethod("POST, PUT, PATCH") })
    };
    let destination = || post(destination_door).fallback(|| async { Reply::WrongMethod("POST") });
    // Whoever types an address may end it with a slash.
    [
        (health::PATH, get(health::answer).fallback(|| async { Reply::WrongMethod("GET, HEAD") })),
        (description::PATH, get(description).fallback(|| async { Reply::WrongMethod("GET, HEAD") }).layer(readable())),
        ("/v1/destination", destination()),
        ("/v1/destination/", destination()),
        ("/v1/webhook/{account}", webhook()),
        ("/v1/webhook/{account}/", webhook()),
        ("/v1/{call}", tracking()),
        ("/v1/{call}/", tracking()),
        ("/v1/pixel/{call}", pixel()),
        ("/v1/pixel/{call}/", pixel()),
    ]
}

async fn description() -> Response {
    ([(CONTENT_TYPE, "application/json")], description::TEXT).into_response()
}

async fn destination_door(State(ingest): State<Arc<Ingest>>, request: Request) -> Response {
    let (request, span) = traced(&ingest, "/v1/destination", request);
    let answering = destination::answer(&ingest, request);
    answered(&ingest, Door::Destination, answering, Reply::Broken, span).await
}

async fn webhook_door(State(ingest): State<Arc<Ingest>>, account: Part, request: Request) -> Response {
    let (request, span) = traced(&ingest, "/v1/webhook/{account}", request);
    let answering = webhook::answer(&ingest, account.text(), request);
    answered(&ingest, Door::Webhook, answering, BatchReply::Broken, span).await
}

async fn tracking_door(State(ingest): State<Arc<Ingest>>, call: Part, request: Request) -> Response {
    let Some(call) = find(&call) else { return BatchReply::NoSuchPath.into_response() };
    let (request, span) = traced(&ingest, "/v1/{call}", request);
    let answering = tracking::answer(&ingest, call, request);
    answered(&ingest, Door::Tracking, answering, BatchReply::Broken, span).await
}

async fn pixel_door(State(ingest): State<Arc<Ingest>>, call: Part, request: Request) -> Response {
    let Some(Call::One(kind)) = find(&call) else { return BatchReply::NoSuchPath.into_response() };
    let (request, span) = traced(&ingest, "/v1/pixel/{call}", request);
    let answering = pixel::answer(&ingest, kind, request);
    answered(&ingest, Door::Tracking, answering, Picture(BatchReply::Broken), span).await
}

fn find(part: &Part) -> Option<Call> {
    Call::ALL.into_iter().find(|(name, _)| part.text() == Some(*name)).map(|(_, call)| call)
}

/// What stands for a placeholder in a path. Axum answers text where that is no UTF-8, so what it says is taken and not answered.
struct Part(Result<Path<String>, PathRejection>);

impl Part {
    fn text(&self) -> Option<&str> {
        self.0.as_ref().ok().map(|Path(text)| text.as_str())
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Part {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        Ok(Self(Path::from_request_parts(parts, state).await))
    }
}

async fn wrong_method() -> BatchReply {
    BatchReply::WrongMethod("POST, OPTIONS")
}

/// A browser asks before it sends a write key in a header.
async fn preflight(call: Part) -> Response {
    if find(&call).is_none() {
        return BatchReply::NoSuchPath.into_response();
    }
    let headers = [
        (ACCESS_CONTROL_ALLOW_METHODS, "POST"),
        (ACCESS_CONTROL_ALLOW_HEADERS, "authorization, content-type, x-retry-count"),
        (ACCESS_CONTROL_MAX_AGE, "7200"),
    ];
    (headers, Json(json!({}))).into_response()
}

/// Scripts of any page may send events, and read how that went: the write key is what admits them.
async fn readable_anywhere(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("retry-after"));
    response
}

/// Begins the span of a request, and has the request carry that instead of what it came with: its events belong to it.
fn traced(ingest: &Ingest, route: &'static str, mut request: Request) -> (Request, Span) {
    if !ingest.traces.is_on() {
        return (request, Span::default());
    }
    let parent = request.headers().get(TRACEPARENT).and_then(|value| value.to_str().ok());
    let method = request.method().as_str().to_owned();
    let mut span = ingest.traces.span(Kind::Server, format_args!("{method} {route}"), Parent::InOrNew(parent));
    span.set("http.request.method", method);
    span.set("http.route", route);
    if let Some(Ok(traceparent)) = span.traceparent().map(HeaderValue::try_from) {
        request.headers_mut().insert(TRACEPARENT, traceparent);
    }
    (request, span)
}

/// Counts an answer, and gives one even where the door panicked.
async fn answered<R: IntoResponse>(
    ingest: &Ingest,
    door: Door,
    answering: impl Future<Output = R>,
    broken: R,
    mut span: Span,
) -> Response {
    let started = Instant::now();
    let reply = AssertUnwindSafe(answering).catch_unwind().await.unwrap_or(broken);
    let response = reply.into_response();
    let status = response.status().as_u16();
    ingest.metrics.answered(door, status, started.elapsed());
    span.set("http.response.status_code", i64::from(status));
    match status {
        500 => span.fails("500"),
        503 => span.fails("503"),
        _ => {}
    }
    tracing::debug!(http.status = status, "answered a request");
    response
}
