//! Spans, exported over OTLP: what one request or one event took, and where.
//!
//! Off unless an endpoint is configured, and then it costs nothing. It knows neither events nor queues: callers name what they do,
//! in the words of OpenTelemetry's conventions, and put nothing personal into an attribute. An exporter that is away loses spans,
//! and nothing else.

mod traces;
mod span;
mod client;

pub use span::{Kind, Parent, Span};
pub use traces::{InvalidEndpoint, OtlpEndpoint, Process, TraceSettings, Traces};
