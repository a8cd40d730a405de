use std::fmt::Display;

use opentelemetry::trace::{
    Link, Span as _, SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags, TraceId, TraceState, Tracer,
};
use opentelemetry::{Context, KeyValue, Value};
use opentelemetry_sdk::trace::{SdkTracer, Span as SdkSpan};

/// What a span is, for those that it is connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A request is answered.
    Server,
    /// A request is made.
    Client,
    /// A message is made and sent.
    Producer,
    /// A message is worked.
    Consumer,
}

/// What a span follows from. A trace is written as the header `traceparent` of W3C Trace Context has it.
#[derive(Clone, Copy, Debug)]
pub enum Parent<'a> {
    /// It is a part of this trace. Without one, nothing is kept of it.
    In(Option<&'a str>),
    /// It is a part of this trace; of a new one, if there is none.
    InOrNew(Option<&'a str>),
    /// It begins a trace of its own, which says that it follows from this one.
    LinkedTo(Option<&'a str>),
}

/// Something that takes time. It ends when it is dropped.
#[derive(Debug, Default)]
pub struct Span(State);

#[derive(Debug, Default)]
enum State {
    /// Traces are off, or it would have begun one that is not kept.
    #[default]
    Off,
    /// It is part of a trace that somebody else began and does not keep.
    Unsampled(String),
    Open(Box<SdkSpan>),
}

impl Span {
    /// `begins`: whether one that begins a trace is kept. `name` is made only if it is.
    pub(crate) fn start(
        tracer: &SdkTracer,
        kind: Kind,
        name: impl Display,
        parent: Parent<'_>,
        begins: impl FnOnce() -> bool,
    ) -> Self {
        let parse = |traceparent: Option<&str>| traceparent.and_then(parse);
        let (context, links) = match parent {
            Parent::In(traceparent) | Parent::InOrNew(traceparent) => match (parse(traceparent), parent) {
                (Some(context), _) if !context.is_sampled() => return Self(State::Unsampled(format(&context))),
                (Some(context), _) => (Context::new().with_remote_span_context(context), Vec::new()),
                (None, Parent::InOrNew(_)) if begins() => (Context::new(), Vec::new()),
                (None, _) => return Self::default(),
            },
            Parent::LinkedTo(traceparent) if begins() => {
                (Context::new(), parse(traceparent).map(Link::with_context).into_iter().collect())
            }
            Parent::LinkedTo(_) => return Self::default(),
        };
        let builder = tracer.span_builder(name.to_string()).with_kind(kind.into()).with_links(links);
        Self(State::Open(Box::new(builder.start_with_context(tracer, &context))))
    }

    /// Whether anything is kept of it, so that it is worth it to describe it.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        matches!(self.0, State::Open(_))
    }

    /// Describes it.
    pub fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        if let State::Open(span) = &mut self.0 {
            span.set_attribute(KeyValue::new(key, value));
        }
    }

    /// Gives it another name, once it is known.
    pub fn rename(&mut self, name: String) {
        if let State::Open(span) = &mut self.0 {
            span.update_name(name);
        }
    }

    /// It failed, in this way: a word from a closed set.
    pub fn fails(&mut self, error: &'static str) {
        if let State::Open(span) = &mut self.0 {
            span.set_attribute(KeyValue::new("error.type", error));
            span.set_status(Status::error(""));
        }
    }

    /// What follows from it is to carry. `None` if traces are off, and of a trace that is not kept and that nobody else knows of.
    #[must_use]
    pub fn traceparent(&self) -> Option<String> {
        match &self.0 {
            State::Off => None,
            State::Unsampled(traceparent) => Some(traceparent.clone()),
            State::Open(span) => Some(format(span.span_context())),
        }
    }
}

impl From<Kind> for SpanKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Server => Self::Server,
            Kind::Client => Self::Client,
            Kind::Producer => Self::Producer,
            Kind::Consumer => Self::Consumer,
        }
    }
}

/// Reads a `traceparent` of version 00, or of a later one as far as that is the same.
fn parse(traceparent: &str) -> Option<SpanContext> {
    let mut parts = traceparent.trim().splitn(5, '-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let well_formed =
        version.len() == 2 && version != "ff" && trace.len() == 32 && span.len() == 16 && flags.len() == 2;
    let trace = TraceId::from_hex(trace).ok()?;
    let span = SpanId::from_hex(span).ok()?;
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?);
    let context = SpanContext::new(trace, span, flags, true, TraceState::default());
    (well_formed && context.is_valid()).then_some(context)
}

fn format(context: &SpanContext) -> String {
    let sampled = u8::from(context.is_sampled());
    format!("00-{}-{}-{sampled:02x}", context.trace_id(), context.span_id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_is_read_as_it_is_written_and_nothing_else_is() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(format(&parse(good).unwrap()), good);
        for bad in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-01",
        ] {
            assert!(parse(bad).is_none(), "{bad}");
        }
    }
}
