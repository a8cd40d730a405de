use std::pin::pin;
use std::sync::Arc;

use futures_util::StreamExt;
use lapin::Consumer;
use lapin::message::Delivery;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::priority;
use crate::rabbitmq::consume::ack_writer::{AckWriter, Settled};
use crate::rabbitmq::consume::shared_connection::Disturbing;
use crate::rabbitmq::publish::publisher::Publisher;
use crate::rabbitmq::wire::cause::Cause;
use crate::rabbitmq::wire::generation::{InUse, NotConsumed};
use crate::rabbitmq::wire::requests;
use crate::{Place, Room};

/// One term of one place: the channel that it is consumed over, from the first word to the last. It is a task of its own, so that
/// whoever goes away meanwhile leaves nothing open, and so that it hears of its end while nobody asks for deliveries.
pub(crate) struct Term {
    pub(crate) generation: InUse,
    pub(crate) disturbing: Disturbing,
    pub(crate) publisher: Arc<Publisher>,
    pub(crate) place: Place,
    pub(crate) queue: String,
    pub(crate) room: Room,
    pub(crate) ended: CancellationToken,
}

/// Why nothing more is delivered.
enum End {
    /// The owner does not want any more.
    GivenUp,
    /// The broker has taken the queue away.
    Cancelled,
    /// The broker has closed the channel, in its words.
    Closed(String),
    Lost,
}

impl Term {
    /// Says when it has begun, and goes on until it has `ended` and everything in hand was given back.
    pub(crate) async fn run(
        self,
        say: oneshot::Sender<Result<(), lapin::Error>>,
        deliveries: mpsc::UnboundedSender<Delivery>,
        settled: mpsc::UnboundedReceiver<Settled>,
    ) {
        let _ended = self.ended.clone().drop_guard(); // also by a panic
        let begin = self.consume().await;
        self.judge(&begin);
        match begin {
            Ok((channel, mut consumer)) => {
                let _ = say.send(Ok(())); // whoever has gone away has ended the term
                let mut ack_writer = AckWriter::begin(&self.generation, &self.queue, &channel, settled);
                let end = self.pass_on(&mut consumer, &deliveries).await;
                let is_there = matches!(end, End::GivenUp | End::Cancelled);
                if !is_there {
                    ack_writer.break_off().await;
                }
                self.account_for(&end, &ack_writer);
                self.ended.cancel();
                if is_there {
                    ack_writer.end().await;
                }
                self.generation.give_back(&channel, consumer).await;
                if matches!(end, End::GivenUp) && self.generation.is_lost() {
                    self.lose(&ack_writer);
                }
            }
            Err(NotConsumed { error, .. }) => {
                let _ = say.send(Err(requests::of_queue(error, &self.queue)));
            }
        }
    }

    async fn consume(&self) -> Result<(lapin::Channel, Consumer), NotConsumed> {
        let priority = priority::priority(self.publisher.topology.worker, &self.place);
        self.generation.consume(&self.queue, self.room, priority).await
    }

    /// A place that disturbs others is tried over the second connection until that works once.
    fn judge<T>(&self, begin: &Result<T, NotConsumed>) {
        match begin {
            Ok(_) => self.disturbing.remove(&self.queue),
            Err(NotConsumed { disturbs: true, .. }) => self.disturbing.insert(&self.queue),
            Err(NotConsumed { disturbs: false, .. }) => {}
        }
    }

    async fn pass_on(&self, consumer: &mut Consumer, deliveries: &mpsc::UnboundedSender<Delivery>) -> End {
        let mut ended = pin!(self.ended.cancelled());
        loop {
            let next = tokio::select! {
                biased;
                () = &mut ended => return if self.generation.is_lost() { End::Lost } else { End::GivenUp },
                next = consumer.next() => next,
            };
            match next {
                // There are no more of them than there is room for.
                Some(Ok(delivery)) => {
                    let _ = deliveries.send(delivery); // whoever has gone away ends the term
                }
                Some(Err(_)) if !self.generation.is_up() => return End::Lost,
                Some(Err(error)) => return End::Closed(Cause::of(&error).to_string()),
                None => return End::Cancelled,
            }
        }
    }

    fn account_for(&self, end: &End, ack_writer: &AckWriter) {
        match end {
            End::GivenUp => {}
            End::Cancelled => {
                // The queue may have been deleted, and be made again just now.
                self.disturbing.insert(&self.queue);
                self.publisher.look_now();
            }
            End::Closed(why) => {
                tracing::warn!(place = self.queue, "what was in hand comes again: {why}");
                self.lose(ack_writer);
                self.publisher.look_now();
            }
            End::Lost => self.lose(ack_writer),
        }
    }

    /// The broker never has more unsettled deliveries out, so no more acknowledgements can be lost.
    fn lose(&self, ack_writer: &AckWriter) {
        let lost = ack_writer.deliveries().min(self.room.events.into());
        self.publisher.tally.uncertain(lost);
    }
}
