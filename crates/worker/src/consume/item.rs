use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use futures_util::FutureExt;
use refersion_relay_queue::Headers;
use refersion_relay_telemetry::OrderGivenUp;
use tokio_util::sync::CancellationToken;

use crate::attempt::isolated::Alone;
use crate::attempt::work::Conclusion;
use crate::context::Context;
use crate::event::in_hand::InHand;
use crate::event::outcome::{Aside, Outcome};
use crate::event::reading::{Reading, read};
use crate::event::settle::{Worked, settle};
use crate::order::order::Standing;

/// A delivery in hand: what it turned out to be, and its place among the events of its subject.
pub(crate) struct Item {
    pub(crate) reading: Reading,
    /// Only of what has an effect. What has none has nobody to wait for.
    pub(crate) standing: Option<Standing>,
    in_hand: InHand,
}

impl Item {
    /// Reads a delivery and gives it its place; `None` when nothing more is begun in the term.
    pub(crate) fn take(context: &Context, in_hand: InHand, leave: &CancellationToken) -> Option<Self> {
        let (message, redelivered) = (&in_hand.delivery.message, in_hand.delivery.redelivered);
        let reading = AssertUnwindSafe(|| read(message, &context.hasher, &in_hand.account_state));
        let reading = catch_unwind(reading).unwrap_or_else(|_| Reading::Final(Outcome::panicked()));
        let (mut standing, mut is_new) = (None, !redelivered);
        let (attempts, generation) = (message.headers.attempts, message.headers.generation);
        if let Reading::Job(job) = &reading
            && job.is_work()
        {
            in_hand.tracked.is_about(job.event_key.subject);
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
    /// a note that stays if the process dies.
    pub(crate) async fn suspect(context: &Context, mut in_hand: InHand, leave: &CancellationToken) -> Worked {
        in_hand.is_suspect = true;
        let account_state = in_hand.account_state.clone();
        let reads = async {
            let reading = AssertUnwindSafe(|| drop(read(&in_hand.delivery.message, &context.hasher, &account_state)));
            let _ = catch_unwind(reading); // it is read once more below, and heard of then
        };
        match context.isolation.alone(&in_hand.delivery, reads).await {
            Alone::Survived((), note) => {
                if let Some(note) = note {
                    note.erase().await;
                }
                let Some(item) = Self::take(context, in_hand, leave) else { return Worked::Left };
                item.work(context, leave).await
            }
            Alone::Died(times) => {
                let reading = Reading::Final(Outcome::deadly(times));
                Self { reading, standing: None, in_hand }.work(context, leave).await
            }
            Alone::Lost => Worked::Left,
        }
    }

    /// Works the event and settles it.
    pub(crate) async fn work(mut self, context: &Context, leave: &CancellationToken) -> Worked {
        self.in_hand.begin_span(&context.traces);
        let (outcome, headers) = match &self.reading {
            Reading::Final(outcome) => (outcome.clone(), self.headers()),
            Reading::Job(job) => {
                let working = context.work(job, self.standing.as_ref(), &self.in_hand, leave);
                match AssertUnwindSafe(working).catch_unwind().await {
                    Ok(Conclusion::Settle { outcome, headers }) => (outcome, headers),
                    Ok(Conclusion::Leave) => return Worked::Left,
                    Err(_) => (Outcome::panicked(), self.headers()),
                }
            }
        };
        let Self { reading, standing, in_hand } = self;
        let leaving = standing.map(|standing| standing.leave(&outcome));
        settle(context, in_hand, reading.event_key(), leaving, &outcome, headers).await
    }

    /// Lets others go first. From now on the event is away, not only from when this is first polled.
    pub(crate) fn set_aside(self, context: Arc<Context>, aside: Aside) -> impl Future<Output = Worked> + use<> {
        let (outcome, headers) = (Outcome::Aside(aside), self.headers());
        let Self { reading, standing, in_hand } = self;
        let leaving = standing.map(|standing| standing.leave(&outcome));
        async move {
            let settling = settle(&context, in_hand, reading.event_key(), leaving, &outcome, headers);
            AssertUnwindSafe(settling).catch_unwind().await.unwrap_or(Worked::Left)
        }
    }

    /// The headers that it came with.
    fn headers(&self) -> Box<Headers> {
        Box::new(self.in_hand.delivery.message.headers.clone())
    }
}
