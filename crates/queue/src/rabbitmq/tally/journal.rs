use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicGetOptions, BasicPublishOptions};
use lapin::{BasicProperties, Channel, Confirmation, Connection};
use tokio::time::{Instant, sleep};

use super::fold::{Entry, Fold, MOST_WRITERS, Sum};
use crate::rabbitmq::connection;
use crate::rabbitmq::marks::{Marks, lock};
use crate::rabbitmq::names::Names;
use crate::rabbitmq::reader::{RESOURCE_LOCKED, answer, confirming, count, is, of_queue, show, until_all_are_back};
use crate::rabbitmq::topology::Topology;
use crate::rabbitmq::url::BrokerUrl;
use crate::{Backoff, QueueError};

/// A reader that finds more entries than that replaces them by one.
const FOLDED_FROM: usize = 200;
/// How many entries are read at most. What is left then is read when these are folded.
const MOST: u16 = u16::MAX;

/// The journal, read by this process and by no other as long as this lives, since an exclusive queue stands for that.
///
/// Over a connection of its own, since reading can end one: RabbitMQ 3.10 closes one that asks a queue which is just being made. And
/// a fold goes over the same one, so whoever has lost the right to read can write none any more.
pub(crate) struct Journal {
    pub(crate) connection: Connection,
    pub(crate) sum: Sum,
    names: Names,
    read: Read,
    /// Writers that have ended without a word.
    gone: BTreeSet<String>,
}

/// What is in hand.
struct Read {
    channel: Channel,
    entries: Vec<Entry>,
    /// How many messages are no entries.
    strange: usize,
    last_tag: Option<u64>,
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
        match Self::read(&connection, &names, patience).await {
            Ok(Some((read, gone))) => {
                let sum = Sum::of(&read.entries);
                Ok(Some(Self { connection, sum, names, read, gone }))
            }
            other => {
                connection::close(&connection).await;
                other.map(|_| None).map_err(|error| of_queue(error, &names.tally()).into())
            }
        }
    }

    async fn read(
        connection: &Connection,
        names: &Names,
        patience: Duration,
    ) -> Result<Option<(Read, BTreeSet<String>)>, lapin::Error> {
        let (marks, queue) = (Marks::ask(connection, names).await?, names.tally());
        if !is_alone(connection, &marks, names, patience).await? {
            return Ok(None);
        }
        until_all_are_back(connection, &queue).await;
        let mut read = Read::begin(connection).await?;
        let ready = count(connection, &queue).await?.ready;
        read.many(&queue, u16::try_from(ready).unwrap_or(MOST)).await?;
        // A count may be of some time ago, or of a queue whose leader did not answer in time; this is from the leader.
        read.rest(&queue).await?;
        let mut gone = BTreeSet::new();
        for writer in Sum::of(&read.entries).open_writers().take(MOST_WRITERS) {
            if !marks.has(&names.tally_writer(writer)).await? {
                gone.insert(writer.to_owned());
            }
        }
        marks.end().await?;
        if !gone.is_empty() {
            // Of one that has ended in good order meanwhile the last entry was stored before its mark went.
            read.rest(&queue).await?;
            let sum = Sum::of(&read.entries);
            let open: BTreeSet<_> = sum.open_writers().collect();
            gone.retain(|writer| open.contains(writer.as_str()));
        }
        Ok(Some((read, gone)))
    }

    /// The sum as it is at this moment, with those who are gone.
    pub(crate) fn now(&self) -> Sum {
        self.sum.clone().without(&self.gone)
    }

    /// Appends an entry of one's own.
    pub(crate) async fn append(&self, entry: &Entry) -> Result<(), lapin::Error> {
        append(&self.read.channel, &self.names, entry).await
    }

    /// Replaces everything that was read by its sum.
    pub(crate) async fn fold(&mut self) -> Result<(), lapin::Error> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let fold = Fold::of(&self.read.entries, self.sum.clone(), &self.gone, now);
        self.append(&Entry::Fold(Box::new(fold))).await?;
        // Whoever dies before this leaves both.
        self.read.take_away().await
    }

    /// Gives back what was read, or folds it where it is much.
    pub(crate) async fn end(mut self) {
        if FOLDED_FROM < self.read.entries.len() + self.read.strange
            && let Err(error) = self.fold().await
        {
            tracing::debug!(queue.error = %error, "the journal of counts could not be folded");
        }
        let _ = answer(self.read.channel.close(200, "done".into())).await;
        connection::close(&self.connection).await;
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
                Ok(()) => return Ok(true),
                // Another one was quicker.
                Err(error) if is(&error, RESOURCE_LOCKED) => {}
                Err(error) => return Err(error),
            }
        }
        if patience <= begin.elapsed() {
            return Ok(false);
        }
        sleep(backoff.next_wait()).await;
    }
}

impl Read {
    async fn begin(connection: &Connection) -> Result<Self, lapin::Error> {
        let channel = confirming(connection).await?;
        Ok(Self { channel, entries: Vec::new(), strange: 0, last_tag: None })
    }

    /// What is certainly there, quickly.
    async fn many(&mut self, queue: &str, ready: u16) -> Result<(), lapin::Error> {
        let channel = self.channel.clone();
        show(&channel, queue, ready, &mut |delivery| self.add(&delivery)).await.map(drop)
    }

    /// Everything else, one after the other.
    async fn rest(&mut self, queue: &str) -> Result<(), lapin::Error> {
        while self.entries.len() + self.strange < MOST.into()
            && let Some(got) = answer(self.channel.basic_get(queue.into(), BasicGetOptions::default())).await?
        {
            self.add(&got.delivery);
        }
        Ok(())
    }

    fn add(&mut self, delivery: &Delivery) {
        self.last_tag = self.last_tag.max(Some(delivery.delivery_tag));
        match Entry::parse(&delivery.data) {
            Some(entry) => self.entries.push(entry),
            None => self.strange += 1,
        }
    }

    async fn take_away(&mut self) -> Result<(), lapin::Error> {
        if let Some(tag) = self.last_tag.take() {
            answer(self.channel.basic_ack(tag, BasicAckOptions { multiple: true })).await?;
        }
        if 0 < self.strange {
            tracing::warn!(
                messages = self.strange,
                "there was something in the journal of counts that no relay has written"
            );
        }
        (self.entries, self.strange) = (Vec::new(), 0);
        Ok(())
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
