use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicGetOptions, BasicPublishOptions};
use lapin::{BasicProperties, Channel, Confirmation, Connection};
use tokio::time::{Instant, sleep};

use super::fold::{Entry, Sum};
use crate::rabbitmq::letters::reader::{show, until_all_are_back};
use crate::rabbitmq::topology::marks::{Marks, lock};
use crate::rabbitmq::topology::names::Names;
use crate::rabbitmq::topology::topology::Topology;
use crate::rabbitmq::wire::connection;
use crate::rabbitmq::wire::queue_counts::count;
use crate::rabbitmq::wire::requests::{RESOURCE_LOCKED, answer, confirming, has_code, io_error, of_queue};
use crate::rabbitmq::wire::url::BrokerUrl;
use crate::{Backoff, QueueError};

/// A reader that finds more entries than that replaces them by one.
const FOLDED_FROM: usize = 200;
/// How many entries are read at most, and how many bytes. What is left is read when the others are folded.
const MOST: u16 = u16::MAX;
const MOST_BYTES: usize = 64 * 1024 * 1024;

/// The journal, read by this process and by no other as long as this lives, since an exclusive queue stands for that.
///
/// Over a connection of its own, since reading can end one: RabbitMQ 3.10 closes one that asks a queue which is just being made. And
/// a fold goes over the same one, so whoever has lost the right to read can write none any more.
pub(crate) struct Journal {
    pub(crate) connection: Connection,
    pub(crate) sum: Sum,
    names: Names,
    read: Read,
}

/// What is in hand.
struct Read {
    channel: Channel,
    entries: Vec<Entry>,
    bytes: usize,
    /// How many messages are no entries.
    strange: usize,
    last_tag: u64,
    /// Whether nobody else has anything of the journal in hand.
    is_whole: bool,
    /// Writers that have ended without a word.
    gone: BTreeSet<String>,
}

impl Journal {
    /// Reads everything. `None`: somebody else was reading for so long.
    pub(crate) async fn open(
        url: &BrokerUrl,
        topology: &Topology,
        patience: Duration,
    ) -> Result<Option<Self>, QueueError> {
        let names = topology.names.clone();
        let connection = connection::connect(url, "tally").await;
        let connection = connection.map_err(|error| QueueError::Away(error.to_string()))?;
        match Read::everything(&connection, &names, patience).await {
            Ok(Some(read)) => Ok(Some(Self { connection, sum: Sum::of(&read.entries), names, read })),
            other => {
                connection::close(&connection).await;
                other.map(|_| None).map_err(|error| of_queue(error, &names.tally()).into())
            }
        }
    }

    /// The sum as it is at this moment, with those who are gone.
    pub(crate) fn now(&self) -> Sum {
        self.sum.clone().without(&self.read.gone)
    }

    /// Appends an entry of one's own.
    pub(crate) async fn append(&self, entry: &Entry) -> Result<(), lapin::Error> {
        append(&self.read.channel, &self.names, entry).await
    }

    /// Replaces everything that was read by its sum.
    pub(crate) async fn fold(&mut self) -> Result<(), lapin::Error> {
        if !self.read.is_whole {
            return Err(io_error("somebody else has something of the journal of counts in hand".to_owned()));
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        self.sum = self.sum.clone().folded(&self.read.gone, now);
        self.append(&Entry::Fold(Box::new(self.sum.clone()))).await?;
        // Whoever dies before this leaves both.
        self.read.take_away().await
    }

    /// Gives back what was read, or folds it where it is much.
    pub(crate) async fn end(mut self) {
        if FOLDED_FROM < self.read.len()
            && let Err(error) = self.fold().await
        {
            tracing::debug!(queue.error = %error, "the journal of counts could not be folded");
        }
        let _ = answer(self.read.channel.close(200, "done".into())).await;
        connection::close(&self.connection).await;
    }
}

impl Read {
    /// `None`: somebody else was reading for so long.
    async fn everything(
        connection: &Connection,
        names: &Names,
        patience: Duration,
    ) -> Result<Option<Self>, lapin::Error> {
        let (marks, queue) = (Marks::ask(connection, names).await?, names.tally());
        if !is_alone(connection, &marks, names, patience).await? {
            return Ok(None);
        }
        let is_whole = until_all_are_back(connection, &queue).await;
        let (channel, gone) = (confirming(connection).await?, BTreeSet::new());
        let mut read = Self { channel, entries: Vec::new(), bytes: 0, strange: 0, last_tag: 0, is_whole, gone };
        let ready = u16::try_from(count(connection, &queue).await?.ready).unwrap_or(MOST);
        let channel = read.channel.clone();
        show(&channel, &queue, ready, &mut |delivery| read.add(&delivery)).await?;
        // A count may be of some time ago, or of a queue whose leader did not answer in time; this is from the leader.
        read.rest(&queue).await?;
        for writer in Sum::of(&read.entries).open_writers() {
            if !marks.has(&names.tally_writer(writer)).await? {
                read.gone.insert(writer.to_owned());
            }
        }
        marks.end().await?;
        if !read.gone.is_empty() {
            // Of one that has ended in good order meanwhile the last entry was stored before its mark went.
            read.rest(&queue).await?;
        }
        Ok(Some(read))
    }

    fn len(&self) -> usize {
        self.entries.len() + self.strange
    }

    async fn rest(&mut self, queue: &str) -> Result<(), lapin::Error> {
        while self.len() < MOST.into()
            && self.bytes < MOST_BYTES
            && let Some(got) = answer(self.channel.basic_get(queue.into(), BasicGetOptions::default())).await?
        {
            self.add(&got.delivery);
        }
        Ok(())
    }

    fn add(&mut self, delivery: &Delivery) {
        self.last_tag = delivery.delivery_tag;
        self.bytes += delivery.data.len();
        match Entry::parse(&delivery.data) {
            Some(entry) => self.entries.push(entry),
            None => self.strange += 1,
        }
    }

    async fn take_away(&mut self) -> Result<(), lapin::Error> {
        if 0 < self.len() {
            answer(self.channel.basic_ack(self.last_tag, BasicAckOptions { multiple: true })).await?;
        }
        if 0 < self.strange {
            tracing::warn!(
                events = self.strange,
                "there was something in the journal of counts that no relay has written"
            );
        }
        (self.entries, self.strange) = (Vec::new(), 0);
        Ok(())
    }
}

/// Waits until nobody else reads, and keeps others out then. A mark is asked for before: to want what another one has is an
/// error, which stands in the broker's log.
async fn is_alone(
    connection: &Connection,
    marks: &Marks,
    names: &Names,
    patience: Duration,
) -> Result<bool, lapin::Error> {
    let (reader, begin) = (names.tally_reader(), Instant::now());
    let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_millis(200));
    loop {
        if !marks.has(&reader).await? {
            match lock(connection, names, &reader).await {
                // Another one was quicker.
                Err(error) if has_code(&error, RESOURCE_LOCKED) => {}
                locked => return locked.map(|()| true),
            }
        }
        if patience <= begin.elapsed() {
            return Ok(false);
        }
        sleep(backoff.next_wait()).await;
    }
}

/// Stores an entry, and resolves when it is durable. Nothing else is published over the channel meanwhile, so what comes back is
/// this.
pub(super) async fn append(channel: &Channel, names: &Names, entry: &Entry) -> Result<(), lapin::Error> {
    let properties = BasicProperties::default().with_delivery_mode(2).with_content_type("application/json".into());
    let body = entry.to_bytes();
    let publishing = async {
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        channel.basic_publish(names.notes().into(), names.tally().into(), options, &body, properties).await?.await
    };
    match answer(publishing).await? {
        Confirmation::Ack(None) => Ok(()),
        Confirmation::Ack(Some(_)) => {
            Err(std::io::Error::new(ErrorKind::NotFound, "no queue took what was counted").into())
        }
        _ => Err(std::io::Error::other("the broker refused to store what was counted").into()),
    }
}

/// Whether an entry was not stored because the journal is not there, or not bound.
pub(super) fn is_unrouted(error: &lapin::Error) -> bool {
    matches!(error.kind(), lapin::ErrorKind::IOError(error) if error.kind() == ErrorKind::NotFound)
}
