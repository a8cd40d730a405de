use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use refersion_relay_model::DeadReason;
use refersion_relay_queue::{Delivery, Headers};
use refersion_relay_telemetry::{Counted, OrderGivenUp};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::ended::Sequence;
use crate::gate::Source;
use crate::order::{Exit, Standing};
use crate::reading::{Reading, read};
use crate::roster::Roster;
use crate::settlement::Home;
use crate::verdict::{Aside, Verdict};
use crate::work::{Conclusion, Context};

/// A delivery in hand: what it turned out to be, and its place among the events of its subject.
pub(crate) struct Item {
    pub(crate) reading: Reading,
    /// Only of what has an effect. What has none has nobody to wait for.
    pub(crate) standing: Option<Standing>,
    delivery: Delivery,
    home: Home,
    taken_at: Instant,
    _counted: Counted,
}

impl Item {
    /// Takes a delivery in hand, and counts it. What its workers died of is given up.
    pub(crate) fn take(
        context: &Context,
        roster: &Roster,
        source: Source,
        home: Home,
        delivery: Delivery,
        is_culprit: bool,
    ) -> Self {
        let (message, redelivered) = (&delivery.message, delivery.redelivered);
        let counted = context.metrics.taken(redelivered);
        let reading = AssertUnwindSafe(|| read(message, source, &context.marks, |name| roster.desk(name)));
        let reading = if is_culprit {
            Reading::Final(given_up(delivery.delivery_count))
        } else {
            catch_unwind(reading).unwrap_or_else(|_| Reading::Final(panicked()))
        };
        let (mut standing, mut is_new) = (None, source == Source::Shard && !redelivered);
        let (attempts, generation) = (message.headers.attempts, message.headers.generation);
        if let Reading::Job(job) = &reading
            && job.is_work()
        {
            let (place, is_known) = context.order.arrive(&job.mark, source, redelivered);
            standing = Some(place);
            is_new &= !is_known;
            if is_new && 0 < attempts && !context.ended.contains(&job.mark) {
                context.metrics.order_given_up(OrderGivenUp::HandOver, 1);
            }
        }
        if is_new && 0 < generation && attempts == 0 {
            context.metrics.replayed();
        }
        Self { reading, standing, delivery, home, taken_at: Instant::now(), _counted: counted }
    }

    /// Works the event and settles it. Returns whether it had to be left.
    pub(crate) async fn work(self, context: &Context, leave: &CancellationToken) -> bool {
        let Self { reading, standing, delivery, home, taken_at, _counted } = self;
        let headers = || Box::new(delivery.message.headers.clone());
        let (verdict, headers, moving): (_, Box<Headers>, _) = match &reading {
            Reading::Final(verdict) => (verdict.clone(), headers(), None),
            Reading::Stray(..) => (Verdict::Hold, headers(), None),
            Reading::Job(job) => {
                let working = context.work(job, standing.as_ref(), &delivery.message, taken_at, leave);
                match AssertUnwindSafe(working).catch_unwind().await {
                    Ok(Conclusion::Settle { verdict, headers, moving }) => (verdict, headers, moving),
                    Ok(Conclusion::Leave) => return true,
                    Err(_) => (panicked(), headers(), None),
                }
            }
        };
        let left = settle(context, (delivery, home), &reading, standing, &verdict, headers).await;
        drop(moving);
        left
    }

    /// Lets others go first. Returns whether it had to be left. From now on the event is away, not only from when this is
    /// first polled.
    pub(crate) fn set_aside(self, context: Arc<Context>, aside: Aside) -> impl Future<Output = bool> + use<> {
        let Self { reading, standing, delivery, home, taken_at: _, _counted: counted } = self;
        let (verdict, headers) = (Verdict::Parked(aside), Box::new(delivery.message.headers.clone()));
        if let Some(standing) = &standing {
            standing.exit(match aside {
                Aside::Tier(delay) => Exit::Away(delay),
                Aside::Round => Exit::Away(Duration::ZERO),
            });
        }
        async move {
            let settling = settle(&context, (delivery, home), &reading, standing, &verdict, headers);
            let left = AssertUnwindSafe(settling).catch_unwind().await.unwrap_or(true);
            drop(counted);
            left
        }
    }
}

/// Settles a delivery by its verdict. Returns whether it had to be left.
async fn settle(
    context: &Context,
    (delivery, home): (Delivery, Home),
    reading: &Reading,
    standing: Option<Standing>,
    verdict: &Verdict,
    headers: Box<Headers>,
) -> bool {
    let (account, subject) = match reading {
        Reading::Job(job) => (Some(&job.desk.name), Some(&job.subject)),
        Reading::Stray(account, subject) => (Some(account), Some(subject)),
        Reading::Final(_) => (None, None),
    };
    log(verdict, &headers);
    let Some(settle) = context.settlement(verdict, headers, account, subject, home) else { return true };
    // An account that was never configured may have any name at all, and is no label.
    let known = account.filter(|_| !matches!(reading, Reading::Stray(..)));
    let (generation, received_at) = (delivery.message.headers.generation, delivery.message.headers.received_at);
    let exit = Exit::of(&settle);
    if let Some(standing) = &standing {
        standing.exit(exit);
    }
    if delivery.settle(settle).await.is_err() {
        context.metrics.unsettled();
        return false;
    }
    // Not before: what could not be settled comes again and is counted then.
    context.count(verdict, known);
    if let Reading::Job(job) = reading {
        // A replay is late because somebody wanted it now.
        let sequence = match verdict {
            Verdict::Delivered(_) => context.ended.remember(&job.mark, (generation == 0).then_some(received_at)),
            Verdict::Ignored(_) => context.ended.remember(&job.mark, None),
            Verdict::Copy | Verdict::Retry(_) | Verdict::Parked(_) | Verdict::Hold | Verdict::DeadLetter { .. } => {
                Sequence::Kept
            }
        };
        if sequence == Sequence::Broken {
            context.metrics.order_violated();
            tracing::debug!(account = %job.desk.name, "delivered after an event of the same subject that came later");
        }
    }
    if let Some(standing) = standing {
        standing.settled(exit);
    }
    false
}

fn given_up(deliveries: u32) -> Verdict {
    let error =
        format!("it was delivered {deliveries} times and never settled, and workers ended while they worked it alone");
    Verdict::DeadLetter { reason: DeadReason::DeliveryLimit, status: None, error }
}

fn panicked() -> Verdict {
    let error = "the worker panicked on this event; its log has the place".to_owned();
    Verdict::DeadLetter { reason: DeadReason::Panicked, status: None, error }
}

fn log(verdict: &Verdict, headers: &Headers) {
    let (id, attempts) = (headers.message_id.as_str(), headers.attempts);
    let account = headers.account.as_ref().map_or("", |account| account.as_str());
    match verdict {
        Verdict::DeadLetter { reason, status, .. } => tracing::warn!(
            message.id = id,
            account,
            attempts,
            refersion.status = status,
            "dead letter: {} ({})",
            reason.class(),
            reason.as_str()
        ),
        verdict => tracing::debug!(message.id = id, account, attempts, "{verdict:?}"),
    }
}
