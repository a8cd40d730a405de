use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use refersion_relay_model::DeadReason;
use refersion_relay_queue::{Delivery, Headers};
use refersion_relay_telemetry::{Counted, OrderGivenUp};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::account::accounts::AccountState;
use crate::attempt::isolated::{Alone, GIVE_UP_AFTER, alone};
use crate::attempt::settlement::settlement;
use crate::attempt::verdict::{Aside, Verdict};
use crate::attempt::work::{Conclusion, Context};
use crate::consume::load::Weight;
use crate::consume::reading::{Reading, read};
use crate::order::order::{Exit, Standing};
use crate::order::recently_done::Sequence;

/// A delivery in hand: what it turned out to be, and its place among the events of its subject.
pub(crate) struct Item {
    pub(crate) reading: Reading,
    /// Only of what has an effect. What has none has nobody to wait for.
    pub(crate) standing: Option<Standing>,
    in_hand: InHand,
}

/// A delivery that is not settled, and is counted as long.
pub(crate) struct InHand {
    pub(crate) account_state: Arc<AccountState>,
    pub(crate) delivery: Delivery,
    pub(crate) taken_at: Instant,
    /// Whether its workers may have died of it.
    pub(crate) is_suspect: bool,
    _counted: (Counted, Weight),
}

impl InHand {
    pub(crate) fn new(
        context: &Context,
        account_state: &Arc<AccountState>,
        delivery: Delivery,
        weight: Weight,
    ) -> Self {
        let counted = (context.metrics.taken(delivery.redelivered), weight);
        Self {
            account_state: account_state.clone(),
            delivery,
            taken_at: Instant::now(),
            is_suspect: false,
            _counted: counted,
        }
    }
}

impl Item {
    /// Reads a delivery and gives it its place; `None` when nothing more is begun in the term.
    pub(crate) fn take(context: &Context, in_hand: InHand, leave: &CancellationToken) -> Option<Self> {
        let (message, redelivered) = (&in_hand.delivery.message, in_hand.delivery.redelivered);
        let reading = AssertUnwindSafe(|| read(message, &context.hasher, &in_hand.account_state));
        let reading = catch_unwind(reading).unwrap_or_else(|_| Reading::Final(panicked()));
        let (mut standing, mut is_new) = (None, !redelivered);
        let (attempts, generation) = (message.headers.attempts, message.headers.generation);
        if let Reading::Job(job) = &reading
            && job.is_work()
        {
            let (place, is_known) = context.order.arrive(&job.event_key, redelivered, leave)?;
            standing = Some(place);
            is_new &= !is_known;
            if is_new && 0 < attempts && !context.recently_done.contains(&job.event_key) {
                context.metrics.order_given_up(OrderGivenUp::HandOver, 1);
            }
        }
        if is_new && 0 < generation && attempts == 0 {
            context.metrics.replayed();
        }
        Some(Self { reading, standing, in_hand })
    }

    /// Works what its workers may have died of: reads it and calls for it while nothing else is worked in this process, under
    /// a note that stays if the process dies. Returns whether it had to be left.
    pub(crate) async fn suspect(context: &Context, mut in_hand: InHand, leave: &CancellationToken) -> bool {
        in_hand.is_suspect = true;
        let account_state = in_hand.account_state.clone();
        let reads = async {
            let reading = AssertUnwindSafe(|| drop(read(&in_hand.delivery.message, &context.hasher, &account_state)));
            let _ = catch_unwind(reading); // it is read once more below, and heard of then
        };
        match alone(context, &in_hand.delivery, reads).await {
            Alone::Survived((), note) => {
                in_hand.delivery.erase(note..note + 1).await;
                let Some(item) = Self::take(context, in_hand, leave) else { return true };
                item.work(context, leave).await
            }
            Alone::Died(times) => {
                let reading = Reading::Final(given_up(times));
                Self { reading, standing: None, in_hand }.work(context, leave).await
            }
            Alone::Lost => true,
        }
    }

    /// Works the event and settles it. Returns whether it had to be left.
    pub(crate) async fn work(self, context: &Context, leave: &CancellationToken) -> bool {
        let Self { reading, standing, in_hand } = self;
        let (verdict, headers) = match &reading {
            Reading::Final(verdict) => (verdict.clone(), Box::new(in_hand.delivery.message.headers.clone())),
            Reading::Job(job) => {
                let working = context.work(job, standing.as_ref(), &in_hand, leave);
                match AssertUnwindSafe(working).catch_unwind().await {
                    Ok(Conclusion::Settle { verdict, headers }) => (verdict, headers),
                    Ok(Conclusion::Leave) => return true,
                    Err(_) => (panicked(), Box::new(in_hand.delivery.message.headers.clone())),
                }
            }
        };
        settle(context, in_hand, &reading, standing, &verdict, headers).await
    }

    /// Lets others go first. Returns whether it had to be left. From now on the event is away, not only from when this is
    /// first polled.
    pub(crate) fn set_aside(self, context: Arc<Context>, aside: Aside) -> impl Future<Output = bool> + use<> {
        let Self { reading, standing, in_hand } = self;
        let (verdict, headers) = (Verdict::Parked(aside), Box::new(in_hand.delivery.message.headers.clone()));
        if let Some(standing) = &standing {
            standing.exit(match aside {
                Aside::Tier(delay) => Exit::Away(delay),
                Aside::Round => Exit::Away(Duration::ZERO),
            });
        }
        async move {
            let settling = settle(&context, in_hand, &reading, standing, &verdict, headers);
            AssertUnwindSafe(settling).catch_unwind().await.unwrap_or(true)
        }
    }
}

/// Settles a delivery by its verdict. Returns whether it had to be left.
async fn settle(
    context: &Context,
    in_hand: InHand,
    reading: &Reading,
    standing: Option<Standing>,
    verdict: &Verdict,
    headers: Box<Headers>,
) -> bool {
    let InHand { account_state, delivery, taken_at: _, is_suspect, _counted } = in_hand;
    log(verdict, &headers);
    let Some(settle) = settlement(verdict, headers, &account_state.name) else { return true };
    if is_suspect {
        delivery.erase(0..GIVE_UP_AFTER).await;
    }
    let (generation, received_at) = (delivery.message.headers.generation, delivery.message.headers.received_at);
    let id = delivery.message.headers.message_id.clone();
    let exit = Exit::of(&settle);
    if let Some(standing) = &standing {
        standing.exit(exit);
    }
    if delivery.settle(settle).await.is_err() {
        context.metrics.unsettled();
        return true;
    }
    // Not before: what could not be settled comes again and is counted then.
    context.count(verdict);
    if let Reading::Job(job) = reading {
        // A replay is late because somebody wanted it now.
        let sequence = match verdict {
            Verdict::Delivered(_) => {
                context.recently_done.remember(&job.event_key, (generation == 0).then_some(received_at))
            }
            Verdict::Ignored(_) => context.recently_done.remember(&job.event_key, None),
            Verdict::Copy | Verdict::Retry(_) | Verdict::Parked(_) | Verdict::Hold | Verdict::DeadLetter { .. } => {
                Sequence::Kept
            }
        };
        if sequence == Sequence::Broken {
            context.metrics.order_violated();
            tracing::debug!(message.id = id, account = %job.account_state.name, "delivered after a later event of its subject");
        }
    }
    if let Some(standing) = standing {
        standing.settled(exit);
    }
    false
}

pub(crate) fn given_up(times: u32) -> Verdict {
    let error = format!("{times} workers ended without a word while they worked nothing but this event");
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
