use std::time::SystemTime;

use refersion_relay_model::AccountName;
use refersion_relay_queue::{Death, Ending, Headers, Place, Settle};
use refersion_relay_telemetry::{Metrics, Parked, Wait};
use refersion_relay_traces::{Kind, Parent, Span};

use crate::context::Context;
use crate::event::in_hand::InHand;
use crate::event::outcome::{Aside, Defect, Outcome};
use crate::order::event_key::EventKey;
use crate::order::order::Leaving;
use crate::order::recently_done::Sequence;

/// Whether an event that was worked is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Worked {
    Settled,
    /// It had to be left unsettled, and comes again. Nothing more is begun in its term.
    Left,
}

/// What the queue is to do with an event by its outcome, under these headers. The only place where an outcome
/// becomes a [`Settle`].
pub(crate) fn settlement(outcome: &Outcome, headers: Box<Headers>, account: &AccountName, now: SystemTime) -> Settle {
    match outcome {
        Outcome::Delivered(_) | Outcome::Known | Outcome::Completed => Settle::Done(Ending::Delivered),
        Outcome::Ignored(_) | Outcome::Copy => Settle::Done(Ending::Ignored),
        Outcome::Retry(delay) | Outcome::Aside(Aside::Tier(delay)) => {
            let headers = Headers { due_at: Some(now + *delay), ..*headers };
            Settle::Move(Place::Later(account.clone(), *delay), Box::new(headers))
        }
        Outcome::Aside(Aside::Round) => {
            let headers = Headers { due_at: Some(now), ..*headers };
            Settle::Move(Place::Work(account.clone()), Box::new(headers))
        }
        Outcome::Dead(Defect { reason, status, error }) => {
            let death = Death {
                class: reason.class(),
                reason: reason.as_str().to_owned(),
                status: *status,
                error: Some(error.clone()),
                dead_at: Some(now),
            };
            let headers = Headers { death: Some(death), due_at: None, ..*headers };
            Settle::Move(Place::Dead(reason.class()), Box::new(headers))
        }
    }
}

/// Settles an event by its outcome, and counts and logs it once that has been done: what could not be settled comes again.
///
/// `key`: of an event that was read and has an account. `leaving`: of one that has a place among those of its subject.
pub(crate) async fn settle(
    context: &Context,
    in_hand: InHand,
    key: Option<&EventKey>,
    leaving: Option<Leaving>,
    outcome: &Outcome,
    mut headers: Box<Headers>,
) -> Worked {
    let InHand { account_state, delivery, tracked, taken_at: _, span, is_suspect, _counted } = in_hand;
    if is_suspect {
        delivery.erase_notes().await;
    }
    let process = span.traceparent();
    let mut settling = settling(context, &account_state.name, process.as_deref(), outcome);
    // What has no trace yet belongs to this one, wherever it goes.
    headers.traceparent = headers.traceparent.take().or(process);
    let attempts = headers.attempts;
    let arrived = &delivery.message.headers;
    let (id, generation, received_at) = (arrived.message_id.clone(), arrived.generation, arrived.received_at);
    let settle = settlement(outcome, headers, &account_state.name, SystemTime::now());
    if delivery.settle(settle).await.is_err() {
        settling.fails("unsettled");
        context.metrics.unsettled();
        return Worked::Left;
    }
    let now = SystemTime::now();
    tracked.left(outcome, now);
    count(&context.metrics, outcome);
    // A replay is late because somebody wanted it now.
    if generation == 0 && outcome.is_end() {
        context.metrics.ended_at_age(now.duration_since(received_at).unwrap_or_default());
    }
    log(outcome, &id, &account_state.name, attempts);
    let sequence = match (key, outcome) {
        (Some(key), Outcome::Delivered(_) | Outcome::Known) => {
            context.recently_done.remember(key, (generation == 0).then_some(received_at))
        }
        (Some(key), Outcome::Ignored(_) | Outcome::Completed) => context.recently_done.remember(key, None),
        (Some(_), Outcome::Copy | Outcome::Retry(_) | Outcome::Aside(_) | Outcome::Dead(_)) | (None, _) => {
            Sequence::Kept
        }
    };
    if sequence == Sequence::Broken {
        context.metrics.order_violated();
        tracing::debug!(message.id = id, account = %account_state.name, "delivered after a later event of its subject");
    }
    if let Some(leaving) = leaving {
        leaving.settled();
    }
    Worked::Settled
}

fn settling(context: &Context, account: &AccountName, process: Option<&str>, outcome: &Outcome) -> Span {
    if process.is_none() {
        return Span::default();
    }
    let place = format_args!("events.{account}");
    let mut span = context.traces.message(Kind::Client, "settle", place, Parent::In(process));
    span.set("relay.outcome", outcome.as_str());
    if let Outcome::Dead(Defect { reason, .. }) = outcome {
        span.fails(reason.as_str());
    }
    span
}

/// Counts an event that was settled, once.
fn count(metrics: &Metrics, outcome: &Outcome) {
    match outcome {
        Outcome::Delivered(applied) => metrics.delivered(applied.as_str()),
        Outcome::Known => metrics.delivered("known"),
        // Those that have taken its place are counted.
        Outcome::Completed => {}
        Outcome::Ignored(why) => metrics.ignored_by_worker(*why),
        Outcome::Copy => metrics.copy(),
        Outcome::Retry(_) => metrics.retried(Wait::Tier),
        Outcome::Aside(Aside::Tier(_)) => metrics.parked(Parked::Tier),
        Outcome::Aside(Aside::Round) => metrics.parked(Parked::Round),
        Outcome::Dead(Defect { reason, .. }) => metrics.dead_lettered(*reason),
    }
}

fn log(outcome: &Outcome, id: &str, account: &AccountName, attempts: u32) {
    match outcome {
        Outcome::Dead(Defect { reason, status, error: _ }) => tracing::debug!(
            message.id = id,
            %account,
            attempts,
            refersion.status = status,
            "dead letter: {} ({})",
            reason.class(),
            reason.as_str()
        ),
        outcome => tracing::debug!(message.id = id, %account, attempts, "{outcome:?}"),
    }
}
