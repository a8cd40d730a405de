use std::collections::BTreeMap;
use std::time::Duration;

use lapin::options::{
    BasicAckOptions, BasicGetOptions, BasicNackOptions, BasicPublishOptions, ConfirmSelectOptions, QueueBindOptions,
    QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Confirmation, Connection};
use tokio::time::{Instant, sleep};

use super::note::Note;
use crate::Backoff;
use crate::rabbitmq::names::Names;
use crate::rabbitmq::reader::{ACCESS_REFUSED, RESOURCE_LOCKED, answer, count, exists, is, is_silence};

/// How many processes can count at once.
const MOST: u16 = 1_000;
/// How often a note can be looked at: up to RabbitMQ 4.2 each time counts as a failed delivery.
const LOOKS: i32 = i32::MAX;
/// How long a note may be in its writer's hand, or in a reader's.
const PATIENCE: Duration = Duration::from_secs(2);

/// A slot that is this connection's.
pub(crate) struct Slot {
    pub(crate) index: u16,
    pub(crate) note: Note,
    /// The number of the note that it went on from.
    began_with: u64,
    names: Names,
    queue: String,
    channel: Channel,
}

impl Slot {
    /// Takes the first slot that is nobody's, `preferred` before all others. An error comes with the slot that is at fault, if
    /// one is: the queue of one that a broker died in the middle of making can stay unusable.
    pub(crate) async fn claim(
        connection: &Connection,
        names: &Names,
        preferred: Option<u16>,
        unusable: &BTreeMap<u16, Instant>,
    ) -> Result<Self, (Option<u16>, lapin::Error)> {
        for index in preferred.into_iter().chain(0..MOST).filter(|index| !unusable.contains_key(index)) {
            match lock(connection, &names.tally_holder(index)).await {
                Ok(()) => {
                    let opened = Self::open(connection, names, index).await;
                    return opened.map_err(|error| (is_at_fault(&error).then_some(index), error));
                }
                Err(error) if is(&error, RESOURCE_LOCKED) => {}
                Err(error) => return Err((None, error)),
            }
        }
        Err((None, std::io::Error::other("no slot is free").into()))
    }

    async fn open(connection: &Connection, names: &Names, index: u16) -> Result<Self, lapin::Error> {
        let queue = names.tally(index);
        // Its note may be in somebody's hand just now, and without it the slot would lose its history.
        let note = last(connection, &queue, |note: &Note| note.number).await?.unwrap_or_default();
        let channel = answer(connection.create_channel()).await?;
        declare(&channel, names, &queue).await?;
        answer(channel.confirm_select(ConfirmSelectOptions::default())).await?;
        Ok(Self { index, began_with: note.number, note, names: names.clone(), queue, channel })
    }

    /// Puts a note beside the last one. If the queue is gone nothing takes it, and nothing says so before [`Self::tidy`].
    pub(crate) async fn put(&mut self, note: Note) -> Result<(), lapin::Error> {
        store(&self.channel, &self.names, &self.queue, &note.to_bytes()).await?;
        self.note = note;
        Ok(())
    }

    /// Takes away what is outdated. `false`: a note came to light that this slot should have gone on from. Then what was
    /// written does not count, and the slot has to be opened again.
    pub(crate) async fn tidy(&self) -> Result<bool, lapin::Error> {
        let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_millis(200));
        let begin = Instant::now();
        loop {
            if let Some(is_right) = self.sort().await? {
                return Ok(is_right);
            }
            // As long as it cannot be taken back it is better than nothing.
            if PATIENCE <= begin.elapsed() {
                return Ok(true);
            }
            sleep(backoff.next_wait()).await;
        }
    }

    /// Does so once. `None`: what was written is in somebody's hand, and would have to be taken back.
    async fn sort(&self) -> Result<Option<bool>, lapin::Error> {
        // Somebody may be reading them at this moment; then what is outdated goes with the next note.
        let (mut own, mut overlooked) = (None, Vec::new());
        while own.is_none()
            && let Some(got) =
                answer(self.channel.basic_get(self.queue.as_str().into(), BasicGetOptions::default())).await?
        {
            let tag = got.delivery.delivery_tag;
            match Note::parse(&got.delivery.data) {
                Some(found) if found == self.note => own = Some(tag),
                Some(found) if self.overlooked(&found) => overlooked.push(tag),
                _ => self.take(tag).await?,
            }
        }
        match own {
            None if overlooked.is_empty() => Ok(Some(true)),
            Some(own) if overlooked.is_empty() => self.put_back(own).await.map(|()| Some(true)),
            Some(own) => {
                // Where that fails the connection is lost, and everything that was got goes back.
                for tag in overlooked {
                    let _ = self.put_back(tag).await;
                }
                let _ = self.take(own).await;
                Ok(Some(false))
            }
            None => {
                for tag in overlooked {
                    self.put_back(tag).await?;
                }
                Ok(None)
            }
        }
    }

    /// Whether a note was there before the first one that was written here, and in somebody's hand for too long.
    fn overlooked(&self, found: &Note) -> bool {
        let by_another = found.writer != self.note.writer && self.began_with < found.number;
        by_another || self.note.number <= found.number
    }

    async fn take(&self, tag: u64) -> Result<(), lapin::Error> {
        answer(self.channel.basic_ack(tag, BasicAckOptions::default())).await
    }

    async fn put_back(&self, tag: u64) -> Result<(), lapin::Error> {
        let options = BasicNackOptions { requeue: true, ..BasicNackOptions::default() };
        answer(self.channel.basic_nack(tag, options)).await
    }
}

/// Whether another slot may do where this one failed. The right to use one is missing for all of them.
pub(super) fn is_at_fault(error: &lapin::Error) -> bool {
    !is(error, ACCESS_REFUSED)
}

/// Makes a queue that is this connection's for as long as it lives; `RESOURCE_LOCKED` where it is another one's.
pub(in crate::rabbitmq) async fn lock(connection: &Connection, holder: &str) -> Result<(), lapin::Error> {
    answer(async {
        let channel = connection.create_channel().await?;
        let options = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
        channel.queue_declare(holder.into(), options, FieldTable::default()).await?;
        channel.close(200, "done".into()).await
    })
    .await
}

/// A queue for notes, if there is none yet.
pub(super) async fn declare(channel: &Channel, names: &Names, queue: &str) -> Result<(), lapin::Error> {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    arguments.insert("x-delivery-limit".into(), AMQPValue::LongInt(LOOKS));
    answer(channel.queue_declare(queue.into(), QueueDeclareOptions::durable(), arguments)).await?;
    let bound = channel.queue_bind(
        queue.into(),
        names.notes().into(),
        queue.into(),
        QueueBindOptions::default(),
        FieldTable::default(),
    );
    answer(bound).await
}

/// Stores bytes in a queue of notes, and resolves when they are durable.
pub(in crate::rabbitmq) async fn store(
    channel: &Channel,
    names: &Names,
    queue: &str,
    bytes: &[u8],
) -> Result<(), lapin::Error> {
    let properties = BasicProperties::default().with_delivery_mode(2).with_content_type("application/json".into());
    let publishing = async {
        let options = BasicPublishOptions::default();
        channel.basic_publish(names.notes().into(), queue.into(), options, bytes, properties).await?.await
    };
    match answer(publishing).await? {
        Confirmation::Ack(None) => Ok(()),
        _ => Err(std::io::Error::other("the broker refused to store a note").into()),
    }
}

/// The last note in a queue, if there is such a queue and a note was ever written to it. It may be in somebody's hand
/// just now, so an empty queue is looked at for some time.
pub(super) async fn last<T: serde::de::DeserializeOwned>(
    connection: &Connection,
    queue: &str,
    number: impl Fn(&T) -> u64,
) -> Result<Option<T>, lapin::Error> {
    if !exists(connection, queue).await? {
        return Ok(None);
    }
    let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_millis(200));
    let begin = Instant::now();
    loop {
        // One that is just being made is not asked for a message: RabbitMQ 3.10 ends the connection, and the queue may answer
        // nobody ever after. In the end it is, since only then it is certain that there is nothing: a count does not need
        // whoever leads the queue.
        let is_over = PATIENCE <= begin.elapsed();
        if is_over || 0 < count(connection, queue).await?.ready {
            let found = look(connection, queue, &number).await.map_err(|error| of_queue(error, queue))?;
            if is_over || found.is_some() {
                return Ok(found);
            }
        }
        sleep(backoff.next_wait()).await;
    }
}

/// Says which queue does not answer: where it is only one, a person can delete it.
fn of_queue(error: lapin::Error, queue: &str) -> lapin::Error {
    if is_silence(&error) {
        return std::io::Error::new(std::io::ErrorKind::TimedOut, format!("the queue {queue} does not answer")).into();
    }
    error
}

/// The last note that nobody has in hand; everything stays there.
async fn look<T: serde::de::DeserializeOwned>(
    connection: &Connection,
    queue: &str,
    number: impl Fn(&T) -> u64,
) -> Result<Option<T>, lapin::Error> {
    let channel = answer(connection.create_channel()).await?;
    let mut last: Option<T> = None;
    while let Some(got) = answer(channel.basic_get(queue.into(), BasicGetOptions::default())).await? {
        if let Ok(note) = serde_json::from_slice::<T>(&got.delivery.data)
            && last.as_ref().is_none_or(|last| number(last) <= number(&note))
        {
            last = Some(note);
        }
    }
    answer(channel.close(200, "done".into())).await?;
    Ok(last)
}
