use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::try_join;
use futures_util::stream::FuturesUnordered;
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicCancelOptions, BasicQosOptions};
use lapin::{Channel, Consumer};
use tokio::task::unconstrained;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::in_hand::{InHand, Subject};
use crate::rabbitmq::consume::ack_backlog::AckBacklog;
use crate::rabbitmq::letters::reader::Reader;
use crate::rabbitmq::publish::publisher::Publisher;
use crate::rabbitmq::wire::requests::answer;
use crate::{
    Action, Backoff, Fate, Group, InFlight, Letter, LetterVisitor, Message, Place, PublishError, QueueError, Swept,
};

/// Letters that lie ready beyond those in hand, so that the next one does not have to be waited for.
const AHEAD: u16 = 4;
/// How long nothing may happen before the queue is believed to be shorter than it was counted.
const SHORT: Duration = Duration::from_secs(2);
/// How long a copy may stay unconfirmed, however often it is tried.
const COPY_PATIENCE: Duration = Duration::from_secs(30);
/// How long ending may take after something went wrong.
const END_PATIENCE: Duration = Duration::from_secs(5);

/// Walks over the letters that are there now, once.
pub(crate) async fn sweep(
    reader: &Reader,
    publisher: Arc<Publisher>,
    in_flight: InFlight,
    visitor: &mut dyn LetterVisitor,
    stop: &CancellationToken,
) -> Result<Swept, QueueError> {
    let total = reader.depth().await?;
    visitor.begin(total);
    let mut swept = Swept { total, ..Swept::default() };
    if total == 0 {
        return Ok(swept);
    }
    let room = (in_flight.get() + AHEAD).min(u16::try_from(total).unwrap_or(u16::MAX));
    let (channel, consumer) = reader.consume(room).await?;
    let mut sweeping = Sweeping {
        reader,
        publisher,
        channel,
        consumer,
        room,
        total,
        received: 0,
        ready: VecDeque::new(),
        source: Source::Flowing,
        hand: InHand::new(in_flight.get()),
        copies: FuturesUnordered::new(),
        asking: None,
        backlog: AckBacklog::default(),
        fates: VecDeque::new(),
        told: 0,
    };
    let mut walked = sweeping.walk(visitor, &mut swept, stop).await;
    if walked.is_ok() {
        walked = sweeping.put_back(&swept).await;
    } else {
        // What was copied meanwhile need not be there twice.
        let _ = timeout(END_PATIENCE, sweeping.settle_all()).await;
    }
    sweeping.tell(visitor, &mut swept);
    // What was copied or dropped and not acknowledged for certain may be there still, and a copy that is on its way may be
    // stored, which nobody waits for any more.
    sweeping.publisher.tally.uncertain(sweeping.hand.ready() + sweeping.copies.len() as u64);
    sweeping.backlog.until_passed_on().await;
    let _ = answer(sweeping.channel.close(200, "done".into())).await;
    walked.map(|()| swept)
}

struct Sweeping<'a> {
    reader: &'a Reader,
    publisher: Arc<Publisher>,
    channel: Channel,
    consumer: Consumer,
    /// The prefetch: deliveries that the broker has not seen settled.
    room: u16,
    total: u64,
    received: u64,
    /// Received, and nothing is decided yet.
    ready: VecDeque<Delivery>,
    source: Source,
    hand: InHand,
    copies: FuturesUnordered<Copying>,
    asking: Option<(Asked, Asking)>,
    backlog: AckBacklog,
    /// Not yet told to the visitor.
    fates: VecDeque<Fate>,
    told: u64,
}

type Copying = Pin<Box<dyn Future<Output = (u64, Result<(), PublishError>)> + Send>>;
type Asking = Pin<Box<dyn Future<Output = Result<(), lapin::Error>> + Send>>;

/// What the broker has not answered yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// To take everything up to this tag as settled.
    Acknowledge(u64),
    /// To send nothing more.
    Cancel,
}

/// How much still comes from the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// Everything up to the total.
    Flowing,
    /// Only what the prefetch makes it send anyway: nothing more is acknowledged until that is here.
    Ebbing,
    /// Nothing.
    Dry,
}

impl Sweeping<'_> {
    async fn walk(
        &mut self,
        visitor: &mut dyn LetterVisitor,
        swept: &mut Swept,
        stop: &CancellationToken,
    ) -> Result<(), QueueError> {
        while swept.seen < self.total {
            let Some(delivery) = self.next(visitor, swept, stop).await? else { break };
            let message = self.reader.message(delivery);
            let letter = Letter::new(self.reader.class, message);
            let action = {
                let mut judging = pin!(visitor.judge(&letter));
                loop {
                    tokio::select! {
                        biased;
                        action = &mut judging => break action,
                        more = self.progress(), if self.is_moving() => more?,
                    }
                }
            };
            swept.seen += 1;
            match action {
                Action::Drop => {
                    while !self.hand.takes_drop() {
                        self.progress().await?;
                    }
                    self.hand.drop();
                }
                Action::Keep => self.keep(letter.message).await?,
                Action::Move { place, headers, subject } => {
                    let copy = Message { headers: *headers, ..letter.message };
                    self.copy(Fate::Moved, Some(Subject::Number(subject)), place, copy).await?;
                }
            }
            self.tell(visitor, swept);
        }
        Ok(())
    }

    /// Ends in good order: what came and was not decided about goes to the tail too, so that it stays between what was
    /// looked at and what was not. Put back by the broker it could go behind letters that were put back before.
    async fn put_back(&mut self, swept: &Swept) -> Result<(), QueueError> {
        if self.source == Source::Flowing {
            self.source = Source::Ebbing;
        }
        while self.source != Source::Dry {
            self.progress().await?;
        }
        let mut seen = swept.seen;
        while seen < self.total
            && let Some(delivery) = self.ready.pop_front()
        {
            seen += 1;
            let message = self.reader.message(delivery);
            self.keep(message).await?;
        }
        self.settle_all().await
    }

    async fn settle_all(&mut self) -> Result<(), QueueError> {
        while !self.hand.is_empty() {
            self.progress().await?;
        }
        Ok(())
    }

    /// The next letter, or `None` when there is none or the sweep is to end.
    async fn next(
        &mut self,
        visitor: &mut dyn LetterVisitor,
        swept: &mut Swept,
        stop: &CancellationToken,
    ) -> Result<Option<Delivery>, QueueError> {
        loop {
            self.tell(visitor, swept);
            if stop.is_cancelled() {
                return Ok(None);
            }
            if let Some(delivery) = self.ready.pop_front() {
                return Ok(Some(delivery));
            }
            if !self.is_moving() {
                return Ok(None);
            }
            tokio::select! {
                () = stop.cancelled() => {}
                more = self.progress() => more?,
            }
        }
    }

    async fn keep(&mut self, message: Message) -> Result<(), QueueError> {
        let subject = Subject::said(&message.headers);
        self.copy(Fate::Kept, subject, Place::Dead(self.reader.class), message).await
    }

    async fn copy(
        &mut self,
        fate: Fate,
        subject: Option<Subject>,
        place: Place,
        message: Message,
    ) -> Result<(), QueueError> {
        while !self.hand.takes_copy(subject.as_ref()) {
            self.progress().await?;
        }
        let tag = self.hand.copy(fate, subject);
        let (publisher, from) = (self.publisher.clone(), Group::Dead(self.reader.class));
        let mut copying: Copying =
            Box::pin(unconstrained(async move { (tag, copy(&publisher, from, &place, &message).await) }));
        // The first poll hands the copy to the channel, so copies are stored in the order of their letters.
        match poll_fn(|context| Poll::Ready(copying.as_mut().poll(context))).await {
            Poll::Ready((tag, result)) => self.copied(tag, result),
            Poll::Pending => {
                self.copies.push(copying);
                Ok(())
            }
        }
    }

    fn copied(&mut self, tag: u64, result: Result<(), PublishError>) -> Result<(), QueueError> {
        result?;
        self.hand.confirmed(tag);
        Ok(())
    }

    fn is_moving(&self) -> bool {
        self.source != Source::Dry || !self.hand.is_empty()
    }

    /// Waits until one more thing has happened. Losing the future loses nothing.
    async fn progress(&mut self) -> Result<(), QueueError> {
        // While letters come, nothing is acknowledged that would make the broker send one that was not there at the
        // beginning: it would have to be given back.
        let limit = match self.source {
            Source::Flowing => self.total - u64::from(self.room),
            Source::Ebbing => 0,
            Source::Dry => u64::MAX,
        };
        if self.asking.is_none() {
            let expected = (self.hand.settled() + u64::from(self.room)).min(self.total);
            let is_all = self.received == expected && (self.source == Source::Ebbing || expected == self.total);
            if let Some(tag) = self.hand.ackable(limit) {
                self.ask(Asked::Acknowledge(tag));
            } else if self.source != Source::Dry && is_all {
                self.ask(Asked::Cancel);
            }
        }
        let flows = self.source != Source::Dry && self.asking.as_ref().is_none_or(|(asked, _)| *asked != Asked::Cancel);
        let asking_nothing = self.asking.is_none();
        let asking = self.asking.as_mut();
        tokio::select! {
            Some((tag, result)) = self.copies.next(), if !self.copies.is_empty() => self.copied(tag, result),
            (asked, result) = async {
                let (asked, asking) = asking.expect("the branch is enabled");
                (*asked, asking.await)
            }, if asking.is_some() => {
                self.asking = None;
                result?;
                match asked {
                    Asked::Acknowledge(tag) => {
                        let gone = self.hand.gone(tag);
                        self.backlog.add(gone.len());
                        for fate in &gone {
                            self.count(*fate);
                        }
                        self.fates.extend(gone);
                    }
                    Asked::Cancel => self.source = Source::Dry,
                }
                Ok(())
            }
            delivery = self.consumer.next(), if flows => {
                let lost = || QueueError::Away("the class was lost; what was not finished is where it was".to_owned());
                self.ready.push_back(delivery.ok_or_else(lost)??);
                self.received += 1;
                Ok(())
            }
            () = sleep(SHORT), if flows && asking_nothing && self.copies.is_empty() => {
                // Somebody else has taken letters since they were counted.
                if self.reader.depth().await? == 0 {
                    self.ask(Asked::Cancel);
                }
                Ok(())
            }
        }
    }

    fn ask(&mut self, asked: Asked) {
        let (channel, consumer, room) = (self.channel.clone(), self.consumer.tag(), self.room);
        let asking: Asking = match asked {
            Asked::Acknowledge(tag) => Box::pin(answer(acknowledge(channel, tag, room))),
            // Only when nothing is on its way: it would be given back, and out of order.
            Asked::Cancel => {
                Box::pin(answer(async move { channel.basic_cancel(consumer, BasicCancelOptions::default()).await }))
            }
        };
        self.asking = Some((asked, asking));
    }

    fn count(&self, fate: Fate) {
        let (tally, class) = (&self.publisher.tally, Group::Dead(self.reader.class));
        match fate {
            Fate::Kept | Fate::Moved => tally.left(Some(class)),
            Fate::Dropped => tally.dropped(class),
        }
    }

    fn tell(&mut self, visitor: &mut dyn LetterVisitor, swept: &mut Swept) {
        // What is put back without a decision comes last, and is no news to whoever decides.
        while self.told < swept.seen
            && let Some(fate) = self.fates.pop_front()
        {
            self.told += 1;
            swept.acted += u64::from(fate != Fate::Kept);
            visitor.settled(fate);
        }
    }
}

/// Publishes a copy until it is confirmed, but not for ever.
async fn copy(publisher: &Publisher, from: Group, place: &Place, message: &Message) -> Result<(), PublishError> {
    let begin = Instant::now();
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
    loop {
        match publisher.publish(place, message).await {
            Ok(()) => {
                if let Some(to) = Group::of(place) {
                    publisher.tally.copied(Some(from), to);
                }
                return Ok(());
            }
            Err(error) if COPY_PATIENCE <= begin.elapsed() => return Err(error),
            Err(error) => tracing::debug!(queue.error = %error, "a copy was not confirmed, trying again"),
        }
        sleep(backoff.next_wait()).await;
    }
}

/// Acknowledges everything up to `tag`, and resolves when the broker has taken that. An acknowledgement has no answer of
/// its own, and one that is still on its way when this process dies can be lost with the connection; so the channel is
/// asked for something that changes nothing, which it answers after what came before.
pub(crate) async fn acknowledge(channel: Channel, tag: u64, room: u16) -> Result<(), lapin::Error> {
    let acknowledging = channel.basic_ack(tag, BasicAckOptions { multiple: true });
    // Polled in this order, so written in this order, and at once.
    try_join(acknowledging, channel.basic_qos(room, BasicQosOptions::default())).await.map(|_| ())
}
