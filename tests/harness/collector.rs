use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A collector that takes traces over OTLP, and keeps every span. Ends with its handle.
pub struct Collector {
    address: SocketAddr,
    spans: Arc<Mutex<Vec<Span>>>,
    serving: JoinHandle<()>,
}

impl Collector {
    /// Starts one on a free port.
    ///
    /// # Panics
    /// When there is no free port.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let (address, spans) = (listener.local_addr().expect("bound"), Arc::<Mutex<Vec<Span>>>::default());
        let router = Router::new().route("/v1/traces", post(take)).with_state(spans.clone());
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.expect("it serves") });
        Self { address, spans, serving }
    }

    /// For the configuration.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The spans of one trace, by its id in hexadecimal, in the order in which they began.
    ///
    /// # Panics
    /// When the collector panicked.
    #[must_use]
    pub fn spans(&self, trace: &str) -> Vec<Span> {
        let spans = self.spans.lock().expect("it goes on");
        let mut found: Vec<_> = spans.iter().filter(|span| hex(&span.trace_id) == trace).cloned().collect();
        found.sort_by_key(|span| span.start_time_unix_nano);
        found
    }

    /// Every span that came.
    ///
    /// # Panics
    /// When the collector panicked.
    #[must_use]
    pub fn all(&self) -> Vec<Span> {
        self.spans.lock().expect("it goes on").clone()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn take(State(spans): State<Arc<Mutex<Vec<Span>>>>, body: Bytes) -> StatusCode {
    let Ok(request) = ExportTraceServiceRequest::decode(body) else { return StatusCode::BAD_REQUEST };
    let scopes = request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
    spans.lock().expect("it goes on").extend(scopes.flat_map(|scope| scope.spans));
    StatusCode::OK
}

/// As a `traceparent` has it.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes everything");
        text
    })
}
