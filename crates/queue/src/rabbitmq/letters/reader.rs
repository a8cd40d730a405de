use std::time::Duration;

use futures_util::StreamExt;
use lapin::message::Delivery;
use lapin::options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions, QueueDeclareOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, Connection, Consumer};
use refersion_relay_model::Class;
use tokio::time::{Instant, sleep, timeout};

use crate::rabbitmq::topology::names::Names;
use crate::rabbitmq::wire::arrival;
use crate::rabbitmq::wire::connection;
use crate::rabbitmq::wire::queue_counts::{count, depth};
use crate::rabbitmq::wire::requests::{ANSWER_TIMEOUT, RESOURCE_LOCKED, answer, has_code};
use crate::rabbitmq::wire::url::BrokerUrl;
use crate::{Backoff, Browsed, Letter, Message, QueueError, Scan};

/// How long to wait for another reader, and for letters to be back.
const PATIENCE: Duration = Duration::from_secs(2);

/// How many letters are asked for at a time: they are in memory before their sizes are known, and one may be as large as the
/// broker takes it. So it begins with one, and asks for as many as fit if they are no larger than the largest so far.
///
/// RabbitMQ gives back what few consumers had in hand in order, and what many had in any.
struct Helpings {
    left: u16,
    seen: u16,
    /// Asked for so far.
    count: u16,
    last: u16,
    largest: usize,
    most: u16,
}

impl Helpings {
    /// More consumers than that come back in disorder.
    const MOST: u16 = 30;
    /// Of them, those that grow up to the most letters at a time.
    const GROWING: u16 = 13;
    /// What may be in memory beside the letter that is looked at.
    const BYTES: usize = 16 * 1024 * 1024;
    const LETTERS: u16 = 32;

    fn new(letters: u16) -> Self {
        let most = letters.div_ceil(Self::MOST - Self::GROWING).max(Self::LETTERS);
        Self { left: letters, seen: 0, count: 0, last: 0, largest: 0, most }
    }

    /// How many are asked for next. `None`: all were seen, or so many large ones that the rest is left for later.
    fn next(&mut self) -> Option<u16> {
        if self.left == 0 || self.count == Self::MOST {
            return None;
        }
        let fitting = u16::try_from(Self::BYTES / self.largest.max(1)).unwrap_or(u16::MAX);
        let size = self.last.saturating_mul(2).min(fitting).min(self.most).max(1).min(self.left);
        (self.count, self.last) = (self.count + 1, size);
        Some(size)
    }

    fn seen(&mut self, bytes: usize) {
        self.largest = self.largest.max(bytes);
        self.seen += 1;
        self.left -= 1;
    }
}

/// The one reader of a class. The broker itself keeps a second one out: a connection has a queue to itself whose name
/// stands for the class. An exclusive consumer would not do, since quorum queues take several.
///
/// The letters are read over the same connection, so whoever has lost the right to read can read no more either.
pub(crate) struct Reader {
    pub(crate) connection: Connection,
    pub(crate) queue: String,
    pub(crate) class: Class,
    names: Names,
}

impl Reader {
    pub(crate) async fn begin(url: &BrokerUrl, names: &Names, class: Class) -> Result<Self, QueueError> {
        let connection = connection::connect(url, "dead letters").await;
        let connection = connection.map_err(|error| QueueError::Away(error.to_string()))?;
        let reader = Self { connection, queue: names.dead(class), class, names: names.clone() };
        let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_millis(200));
        let begin = Instant::now();
        loop {
            match reader.lock().await {
                Err(QueueError::Busy(_)) if begin.elapsed() < PATIENCE => sleep(backoff.next_wait()).await,
                Ok(()) => break,
                Err(error) => {
                    connection::close(&reader.connection).await;
                    return Err(error);
                }
            }
        }
        until_all_are_back(&reader.connection, &reader.queue).await;
        Ok(reader)
    }

    async fn lock(&self) -> Result<(), QueueError> {
        answer(async {
            let channel = self.connection.create_channel().await?;
            let options = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
            channel.queue_declare(format!("{}.reader", self.queue).into(), options, FieldTable::default()).await?;
            channel.close(200, "done".into()).await
        })
        .await
        .map_err(|error| if has_code(&error, RESOURCE_LOCKED) { QueueError::Busy(self.class) } else { error.into() })
    }

    pub(crate) async fn depth(&self) -> Result<u64, QueueError> {
        Ok(depth(&self.connection, &self.queue).await?.ready)
    }

    /// Consumes the class, with as many letters in hand.
    pub(crate) async fn consume(&self, room: u16) -> Result<(Channel, Consumer), QueueError> {
        let channel = answer(self.connection.create_channel()).await?;
        // Never zero: that would be "everything", into unbounded memory.
        answer(channel.basic_qos(room.max(1), BasicQosOptions::default())).await?;
        let (queue, options) = (self.queue.as_str().into(), BasicConsumeOptions::default());
        let consumer = answer(channel.basic_consume(queue, "".into(), options, FieldTable::default())).await?;
        Ok((channel, consumer))
    }

    /// Reads what was delivered.
    pub(crate) fn message(&self, mut delivery: Delivery) -> Message {
        arrival::message(&self.names, &arrival::Origin::Dead(self.class), &mut delivery)
    }

    /// Reads letters without settling them.
    pub(crate) async fn browse(
        &self,
        scan: Scan,
        visit: &mut (dyn FnMut(Letter) + Send),
    ) -> Result<Browsed, QueueError> {
        let total = self.depth().await?;
        let most = u16::try_from(scan.letters.min(usize::try_from(total).unwrap_or(usize::MAX))).unwrap_or(u16::MAX);
        let mut browsed = Browsed { seen: 0, total };
        if most == 0 {
            return Ok(browsed);
        }
        let channel = answer(self.connection.create_channel()).await?;
        let mut show_letter = |delivery| visit(Letter::new(self.class, self.message(delivery)));
        browsed.seen = show(&channel, &self.queue, most, &mut show_letter).await?;
        // With it, or with a connection that is lost, everything goes back in the order of the consumers' tags. What is
        // given back by hand does not.
        answer(channel.close(200, "done".into())).await?;
        Ok(browsed)
    }

    /// Lets the next reader in, when everything is back where it was.
    pub(crate) async fn end(self) {
        until_all_are_back(&self.connection, &self.queue).await;
        connection::close(&self.connection).await;
    }
}

/// What a reader had in hand is back once the queue has no consumer any more: the broker lets the next reader in as soon as
/// the last one's connection is gone, and puts the messages back in its own time. Counted before, they would be missing.
/// `false`: somebody has something in hand for long.
pub(crate) async fn until_all_are_back(connection: &Connection, queue: &str) -> bool {
    let mut backoff = Backoff::new(Duration::from_millis(5), Duration::from_millis(200));
    let back = async {
        while count(connection, queue).await.is_ok_and(|count| 0 < count.consumers) {
            sleep(backoff.next_wait()).await;
        }
    };
    timeout(PATIENCE, back).await.is_ok()
}

/// Shows the next messages of a queue, so many at most. They stay in hand until the channel is closed. How many there were.
pub(crate) async fn show(
    channel: &Channel,
    queue: &str,
    most: u16,
    visit: &mut (dyn FnMut(Delivery) + Send),
) -> Result<u64, lapin::Error> {
    let mut helpings = Helpings::new(most);
    while let Some(size) = helpings.next() {
        let before = helpings.seen;
        look(channel, queue, size, &mut helpings, visit).await?;
        if helpings.seen == before {
            break;
        }
    }
    Ok(helpings.seen.into())
}

/// Shows the next messages by a consumer that is sent no more than those.
async fn look(
    channel: &Channel,
    queue: &str,
    size: u16,
    helpings: &mut Helpings,
    visit: &mut (dyn FnMut(Delivery) + Send),
) -> Result<(), lapin::Error> {
    answer(channel.basic_qos(size, BasicQosOptions::default())).await?;
    let (options, tag) = (BasicConsumeOptions::default(), ShortString::from(format!("look-{:02}", helpings.count)));
    let consuming = channel.basic_consume(queue.into(), tag.clone(), options, FieldTable::default());
    let mut consumer = answer(consuming).await?;
    for _ in 0..size {
        // Something else may have taken messages since they were counted, so an empty queue is an end too.
        let Ok(Some(delivery)) = timeout(ANSWER_TIMEOUT, consumer.next()).await else { break };
        let delivery = delivery?;
        helpings.seen(delivery.data.len());
        visit(delivery);
    }
    answer(channel.basic_cancel(tag, BasicCancelOptions::default())).await
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks at letters of these sizes; how many there were at a time.
    fn looked(letters: u16, size: impl Fn(u16) -> usize) -> (Vec<u16>, u16) {
        let (mut helpings, mut sizes) = (Helpings::new(letters), Vec::new());
        while let Some(many) = helpings.next() {
            sizes.push(many);
            (0..many).for_each(|_| helpings.seen(size(helpings.seen)));
        }
        (sizes, helpings.seen)
    }

    #[test]
    fn all_letters_of_usual_size_are_seen_with_few_consumers() {
        for letters in [1, 7, 100, 1_000, 10_000, u16::MAX] {
            let (sizes, seen) = looked(letters, |_| 1_000);
            assert!(seen == letters && sizes[0] == 1, "{letters}: {sizes:?}");
        }
        assert_eq!(looked(100, |_| 1_000).0, [1, 2, 4, 8, 16, 32, 32, 5]);
    }

    #[test]
    fn of_large_letters_no_more_come_at_a_time_than_fit() {
        let (sizes, seen) = looked(1_000, |_| 4 * 1024 * 1024);
        assert_eq!((sizes[..4].to_vec(), sizes.len(), seen), (vec![1, 2, 4, 4], 30, 115));
        let (sizes, seen) = looked(1_000, |_| 100 * 1024 * 1024);
        assert!(sizes.iter().all(|many| *many == 1) && seen == 30, "{sizes:?}");
        let (sizes, _) = looked(1_000, |seen| if seen < 100 { 1_000 } else { 100 * 1024 * 1024 });
        assert!(sizes[9..].iter().all(|many| *many == 1), "one that is large is enough: {sizes:?}");
    }
}
