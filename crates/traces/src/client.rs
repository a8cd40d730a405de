use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use opentelemetry_http::{HttpClient, HttpError};
use tokio::runtime::Handle;

/// Sends spans to the collector. That it is away is said once, and once more when it is back.
#[derive(Debug)]
pub(crate) struct Client {
    endpoint: String,
    http: reqwest::Client,
    /// The exporter has a thread of its own, where nothing drives a connection.
    runtime: Handle,
    is_away: AtomicBool,
}

impl Client {
    pub(crate) fn new(endpoint: String) -> Self {
        // Only the first call in a process has an effect; a provider somebody else installed is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        #[expect(clippy::disallowed_methods, reason = "with no_proxy()")]
        let http = reqwest::Client::builder().no_proxy().build().expect("it has all that it needs");
        Self { endpoint, http, runtime: Handle::current(), is_away: AtomicBool::new(false) }
    }

    fn answered(&self, trouble: Option<String>) {
        let was_away = self.is_away.swap(trouble.is_some(), Ordering::Relaxed);
        match (was_away, trouble) {
            (false, Some(why)) => {
                tracing::warn!(
                    otlp.endpoint = self.endpoint,
                    "traces cannot be exported, and are dropped until they can: {why}"
                );
            }
            (true, None) => tracing::info!(otlp.endpoint = self.endpoint, "traces are exported again"),
            (true, Some(_)) | (false, None) => {}
        }
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let http = self.http.clone();
        let sending = self.runtime.spawn(async move {
            let response = http.execute(request.try_into()?).await?;
            let mut answer = Response::builder().status(response.status());
            if let Some(headers) = answer.headers_mut() {
                headers.clone_from(response.headers());
            }
            Ok::<_, HttpError>(answer.body(response.bytes().await?)?)
        });
        let sent = sending.await.map_err(HttpError::from).flatten();
        self.answered(match &sent {
            Ok(response) if response.status().is_success() => None,
            Ok(response) => Some(format!("the collector answers {}", response.status().as_u16())),
            Err(_) => Some("the collector does not answer".to_owned()),
        });
        sent
    }
}
