use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::RETRY_AFTER;
use serde_json::json;

use crate::context::Ingest;
use crate::doors::replies::reply::RETRY_AFTER_SECONDS;

/// Where it is.
pub(crate) const PATH: &str = "/health";

/// Whether an event could be stored now, for load balancers at the doors' own port. Anybody can ask, so it says nothing else.
pub(crate) async fn answer(State(ingest): State<Arc<Ingest>>) -> Response {
    if ingest.queue.state().borrow().is_up() {
        return Json(json!({"status": "ok"})).into_response();
    }
    let body = Json(json!({"status": "unavailable"}));
    (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, RETRY_AFTER_SECONDS)], body).into_response()
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::extract::Request;
    use refersion_relay_queue::BrokerState;
    use tower::ServiceExt;

    use super::*;
    use crate::doors::fake;
    use crate::{Access, router};

    #[tokio::test]
    async fn health_is_whether_an_event_could_be_stored_now() {
        let (ingest, queue) = fake::ingest(Access::default());
        for (state, expected) in [(BrokerState::Up, 200), (BrokerState::Away { why: "gone".to_owned() }, 503)] {
            queue.state.send_replace(state);
            for method in ["GET", "HEAD"] {
                let request = Request::builder().method(method).uri(PATH).body(Body::empty()).unwrap();
                let response = router(ingest.clone()).oneshot(request).await.unwrap();
                assert_eq!(response.status(), expected, "{method}");
                assert_eq!(response.headers().contains_key(RETRY_AFTER), expected == 503, "{method}");
            }
        }
    }
}
