use std::sync::Arc;

use refersion_relay_queue::{Delivery, Headers};
use refersion_relay_telemetry::Counted;
use refersion_relay_traces::{Kind, Parent, Span, Traces};
use tokio::time::Instant;

use crate::account::accounts::AccountState;
use crate::context::Context;
use crate::event::load::Weight;
use crate::event::trail::Tracked;

/// A delivery that is not settled. It is counted, and weighed, for as long as it lives.
pub(crate) struct InHand {
    pub(crate) account_state: Arc<AccountState>,
    pub(crate) delivery: Delivery,
    /// Shows what is done with it.
    pub(crate) tracked: Tracked,
    pub(crate) taken_at: Instant,
    /// From when it is its turn.
    pub(crate) span: Span,
    /// Whether its workers may have died of it.
    pub(crate) is_suspect: bool,
    pub(crate) _counted: (Counted, Weight),
}

impl InHand {
    pub(crate) fn new(
        context: &Context,
        account_state: &Arc<AccountState>,
        delivery: Delivery,
        weight: Weight,
    ) -> Self {
        let counted = (context.metrics.taken(delivery.redelivered), weight);
        let Headers { message_id, attempts, generation, .. } = &delivery.message.headers;
        let tracked = context.trail.track(&account_state.name, message_id, *attempts, *generation);
        Self {
            account_state: account_state.clone(),
            delivery,
            tracked,
            taken_at: Instant::now(),
            span: Span::default(),
            is_suspect: false,
            _counted: counted,
        }
    }

    /// It is its turn: what is done with it is a part of the trace that it came with, however often it is tried.
    pub(crate) fn begin_span(&mut self, traces: &Traces) {
        if !traces.is_on() {
            return;
        }
        let (headers, account) = (&self.delivery.message.headers, &self.account_state.name);
        let parent = Parent::InOrNew(headers.traceparent.as_deref());
        let mut span = traces.message(Kind::Consumer, "process", format_args!("events.{account}"), parent);
        if span.is_kept() {
            span.set("messaging.message.id", headers.message_id.clone());
            span.set("relay.account", self.account_state.name.to_string());
            span.set("relay.attempts", i64::from(headers.attempts));
            span.set("relay.generation", i64::from(headers.generation));
        }
        self.span = span;
    }
}
