use std::fmt::{self, Display};
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider};
use url::Url;

use crate::client::Client;
use crate::span::{Kind, Parent, Span};

/// How long the collector may take for what it is sent at a time, and for the rest at the end.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where spans go. Cheap to clone. The default is nowhere.
#[derive(Clone, Debug, Default)]
pub struct Traces(Option<Arc<Exporting>>);

#[derive(Debug)]
struct Exporting {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
    ratio: f64,
    system: &'static str,
}

/// Whose spans they are.
#[derive(Clone, Copy, Debug)]
pub struct Process {
    /// What it does.
    pub role: &'static str,
    /// Its release.
    pub version: &'static str,
    /// Its queue, by the name that OpenTelemetry has for it.
    pub system: &'static str,
}

/// Where traces are exported to, and which.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceSettings {
    /// Where the collector is.
    pub endpoint: OtlpEndpoint,
    /// The share of the traces that begin here and are kept, from 0 to 1. Others are kept if who began them keeps them.
    pub ratio: f64,
}

/// The address of a collector that takes OTLP over HTTP, without `/v1/traces`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtlpEndpoint(Url);

/// The text is no address of a collector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("has to be an absolute http or https URL without a user or password, such as http://127.0.0.1:4318")]
pub struct InvalidEndpoint;

impl OtlpEndpoint {
    /// Reads an address.
    pub fn parse(text: &str) -> Result<Self, InvalidEndpoint> {
        let url = Url::parse(text).map_err(|_| InvalidEndpoint)?;
        let usable = matches!(url.scheme(), "http" | "https")
            && url.host().is_some()
            && url.username().is_empty()
            && url.password().is_none();
        if usable { Ok(Self(url)) } else { Err(InvalidEndpoint) }
    }

    fn traces(&self) -> String {
        format!("{}/v1/traces", self.0.as_str().trim_end_matches('/'))
    }
}

impl Display for OtlpEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

impl Traces {
    /// Exports spans from now on, in the background; needs a tokio runtime.
    ///
    /// # Panics
    /// Never: the exporter is built of parts that are there.
    #[must_use]
    pub fn to(settings: &TraceSettings, process: Process) -> Self {
        let Process { role, version, system } = process;
        let client = Client::new(settings.endpoint.to_string());
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(client)
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(settings.endpoint.traces())
            .with_timeout(PATIENCE)
            .build()
            .expect("it has an endpoint and a client");
        let resource = Resource::builder_empty()
            .with_service_name("refersion-relay")
            .with_attributes([KeyValue::new("service.version", version), KeyValue::new("relay.role", role)])
            .build();
        // Which traces begin is decided before a span is made, because most do not.
        let sampler = Sampler::ParentBased(Box::new(Sampler::AlwaysOn));
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_sampler(sampler)
            .with_resource(resource)
            .build();
        let tracer = provider.tracer("refersion-relay");
        Self(Some(Arc::new(Exporting { provider, tracer, ratio: settings.ratio, system })))
    }

    /// Whether they are on.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Begins a span. `name` is made only of one that may be kept.
    #[must_use]
    pub fn span(&self, kind: Kind, name: impl Display, parent: Parent<'_>) -> Span {
        match self.0.as_deref() {
            Some(Exporting { tracer, ratio, .. }) => {
                Span::start(tracer, kind, name, parent, || rand::random::<f64>() < *ratio)
            }
            None => Span::default(),
        }
    }

    /// Begins a span about messages at a place. `operation`: `send`, `process` or `settle`.
    #[must_use]
    pub fn message(&self, kind: Kind, operation: &'static str, place: impl Display, parent: Parent<'_>) -> Span {
        let Some(exporting) = &self.0 else { return Span::default() };
        let mut span = self.span(kind, format_args!("{operation} {place}"), parent);
        if span.is_kept() {
            span.set("messaging.system", exporting.system);
            span.set("messaging.operation.type", operation);
            span.set("messaging.operation.name", operation);
            span.set("messaging.destination.name", place.to_string());
        }
        span
    }

    /// Exports what is left. Nothing is exported afterwards.
    pub async fn close(&self) {
        if let Some(exporting) = self.0.clone() {
            // It waits for a thread, which waits for this runtime.
            let closing = tokio::task::spawn_blocking(move || exporting.provider.shutdown_with_timeout(PATIENCE));
            let _ = closing.await; // what cannot be exported now never is
        }
    }
}
