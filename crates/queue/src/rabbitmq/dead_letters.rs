use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use lapin::options::{BasicConsumeOptions, BasicQosOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{Connection, ErrorKind};
use refersion_relay_model::Class;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::publisher::Publisher;
use super::url::BrokerUrl;
use super::{connection, consumer, properties};
use crate::{
    Action, Backoff, Browsed, Depth, Letter, Place, PublishError, QueueError, Room, Scan, Settle, Sweeper, Swept,
};

/// AMQP's `RESOURCE_LOCKED`: somebody else has the queue to themselves.
const RESOURCE_LOCKED: u16 = 405;
/// AMQP's `NOT_FOUND`.
const NOT_FOUND: u16 = 404;
/// How long one answer of the broker may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long to wait for another reader, and for letters to be back.
const PATIENCE: Duration = Duration::from_secs(2);
/// Letters in hand during a sweep.
const SWEEP_ROOM: Room = Room { events: 100 };

/// Counts what is ready in a queue. The management plugin would know more, some seconds later, where it is installed.
pub(crate) async fn depth(connection: &Connection, queue: &str) -> Result<Depth, QueueError> {
    let counted = answer(async {
        let channel = connection.create_channel().await?;
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let declared = channel.queue_declare(queue.into(), options, FieldTable::default()).await;
        if declared.is_ok() {
            channel.close(200, "done".into()).await?;
        }
        declared
    });
    match counted.await {
        Ok(queue) => Ok(Depth { ready: u64::from(queue.message_count()) }),
        Err(error) if is(&error, NOT_FOUND) => Ok(Depth::default()),
        Err(error) => Err(error.into()),
    }
}

/// Reads letters without settling them, and returns when they are back where they were.
pub(crate) async fn browse(
    url: &BrokerUrl,
    publisher: &Publisher,
    class: Class,
    scan: Scan,
) -> Result<Browsed, QueueError> {
    let reader = Reader::begin(url, publisher, class).await?;
    let browsed = reader.browse(scan).await;
    reader.end(browsed.as_ref().map_or(0, |browsed| browsed.total)).await;
    browsed
}

/// Walks over the letters that are there now.
pub(crate) async fn sweep(
    url: &BrokerUrl,
    publisher: Arc<Publisher>,
    class: Class,
    sweeper: Sweeper,
    stop: CancellationToken,
) -> Result<Swept, QueueError> {
    publisher.link().map_err(|error| QueueError::Away(error.to_string()))?;
    let reader = Reader::begin(url, &publisher, class).await?;
    let swept = reader.sweep(url, publisher, sweeper, stop).await;
    reader.end(swept.as_ref().map_or(0, |swept| swept.total - swept.acted)).await;
    swept
}

/// The one reader of a class. The broker itself keeps a second one out: a connection has a queue to itself whose name
/// stands for the class. An exclusive consumer would not do, since quorum queues take several.
struct Reader {
    connection: Connection,
    queue: String,
    class: Class,
}

impl Reader {
    async fn begin(url: &BrokerUrl, publisher: &Publisher, class: Class) -> Result<Self, QueueError> {
        let connection = connection::connect(url, "dead letters").await;
        let connection = connection.map_err(|error| QueueError::Away(error.to_string()))?;
        let reader = Self { connection, queue: publisher.topology.names.dead(class), class };
        let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_millis(200));
        let begin = Instant::now();
        loop {
            match reader.lock().await {
                Err(QueueError::Busy(_)) if begin.elapsed() < PATIENCE => sleep(backoff.next_wait()).await,
                Ok(()) => return Ok(reader),
                Err(error) => {
                    connection::close(&reader.connection).await;
                    return Err(error);
                }
            }
        }
    }

    async fn lock(&self) -> Result<(), QueueError> {
        answer(async {
            let channel = self.connection.create_channel().await?;
            let options = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
            channel.queue_declare(format!("{}.reader", self.queue).into(), options, FieldTable::default()).await?;
            channel.close(200, "done".into()).await
        })
        .await
        .map_err(|error| if is(&error, RESOURCE_LOCKED) { QueueError::Busy(self.class) } else { error.into() })
    }

    async fn browse(&self, scan: Scan) -> Result<Browsed, QueueError> {
        let total = depth(&self.connection, &self.queue).await?.ready;
        let most = scan.letters.min(usize::try_from(total).unwrap_or(usize::MAX)).min(usize::from(u16::MAX));
        let mut browsed = Browsed { letters: Vec::new(), total };
        if most == 0 {
            return Ok(browsed);
        }
        let channel = answer(self.connection.create_channel()).await?;
        // What one consumer had in hand goes back in order; what several gets had does not. It goes behind whatever
        // went back before, so there is never less room than a sweep has.
        let room = u16::try_from(most).unwrap_or(u16::MAX).max(SWEEP_ROOM.events);
        answer(channel.basic_qos(room, BasicQosOptions::default())).await?;
        let (queue, options) = (self.queue.as_str().into(), BasicConsumeOptions::default());
        let mut consumer = answer(channel.basic_consume(queue, "".into(), options, FieldTable::default())).await?;
        while browsed.letters.len() < most {
            // Something else may have taken letters since they were counted, so an empty queue is an end too.
            let Ok(Some(delivery)) = timeout(ANSWER_TIMEOUT, consumer.next()).await else { break };
            let delivery = delivery?;
            let message = properties::read(delivery.data, &delivery.properties, Some(self.class));
            browsed.letters.push(Letter::new(self.class, message));
        }
        answer(channel.close(200, "done".into())).await?;
        Ok(browsed)
    }

    async fn sweep(
        &self,
        url: &BrokerUrl,
        publisher: Arc<Publisher>,
        mut sweeper: Sweeper,
        stop: CancellationToken,
    ) -> Result<Swept, QueueError> {
        let mut swept = Swept { total: depth(&self.connection, &self.queue).await?.ready, ..Swept::default() };
        if swept.total == 0 {
            return Ok(swept);
        }
        let place = Place::Dead(self.class);
        let mut owned = consumer::own(url, publisher, &place, SWEEP_ROOM).await?;
        while swept.seen < swept.total && !stop.is_cancelled() {
            let Ok(Some(delivery)) = timeout(ANSWER_TIMEOUT, owned.next()).await else { break };
            let letter = Letter::new(self.class, delivery.message.clone());
            let (settle, acted) = match sweeper(&letter) {
                Action::Keep => (Settle::Move(place.clone(), Box::new(letter.message.headers)), 0),
                Action::Drop => (Settle::Done, 1),
                Action::Move(place, headers) => (Settle::Move(place, headers), 1),
            };
            if delivery.settle(settle).await.is_err() {
                owned.release().await;
                let lost = "the connection was lost; what was not finished is where it was".to_owned();
                return Err(QueueError::NotCopied(PublishError::Unknown(lost)));
            }
            swept.seen += 1;
            swept.acted += acted;
        }
        owned.release().await;
        Ok(swept)
    }

    /// Waits until as many letters can be read again, since the broker puts them back in its own time, and lets the next
    /// reader in.
    async fn end(self, letters: u64) {
        let mut backoff = Backoff::new(Duration::from_millis(5), Duration::from_millis(200));
        let back = async {
            while depth(&self.connection, &self.queue).await.is_ok_and(|depth| depth.ready < letters) {
                sleep(backoff.next_wait()).await;
            }
        };
        let _ = timeout(PATIENCE, back).await;
        connection::close(&self.connection).await;
    }
}

/// Waits for the broker's answer, but not for ever.
async fn answer<T>(asking: impl Future<Output = Result<T, lapin::Error>>) -> Result<T, lapin::Error> {
    let silent = |_| Err(std::io::Error::other("the broker does not answer").into());
    timeout(ANSWER_TIMEOUT, asking).await.unwrap_or_else(silent)
}

fn is(error: &lapin::Error, id: u16) -> bool {
    matches!(error.kind(), ErrorKind::ProtocolError(amqp) if amqp.get_id() == id)
}
