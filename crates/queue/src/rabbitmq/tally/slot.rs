use std::collections::BTreeMap;
use std::time::Duration;

use lapin::options::{BasicAckOptions, BasicGetOptions, BasicNackOptions, ConfirmSelectOptions};
use lapin::{Channel, Connection};
use tokio::time::{Instant, sleep};

use super::note::Note;
use super::notes::{PATIENCE, last, make, store};
use crate::Backoff;
use crate::rabbitmq::marks::{Marks, lock};
use crate::rabbitmq::names::Names;
use crate::rabbitmq::reader::{ACCESS_REFUSED, RESOURCE_LOCKED, answer, is};
use crate::rabbitmq::topology::Topology;
use crate::rabbitmq::url::BrokerUrl;

/// How many processes can count at once.
const MOST: u16 = 1_000;

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
    /// one is: the nodes that have its queue may be away.
    pub(crate) async fn claim(
        url: &BrokerUrl,
        connection: &Connection,
        topology: &Topology,
        preferred: Option<u16>,
        unusable: &BTreeMap<u16, Instant>,
    ) -> Result<Self, (Option<u16>, lapin::Error)> {
        let names = &topology.names;
        let marks = Marks::ask(connection, names).await.map_err(|error| (None, error))?;
        for index in preferred.into_iter().chain(0..MOST).filter(|index| !unusable.contains_key(index)) {
            let holder = names.tally_holder(index);
            if marks.has(&holder).await.map_err(|error| (None, error))? {
                continue;
            }
            match lock(connection, names, &holder).await {
                Ok(()) => {
                    marks.end().await.map_err(|error| (None, error))?;
                    let opened = Self::open(url, connection, topology, index).await;
                    return opened.map_err(|error| (is_at_fault(&error).then_some(index), error));
                }
                Err(error) if is(&error, RESOURCE_LOCKED) => {}
                Err(error) => return Err((None, error)),
            }
        }
        Err((None, std::io::Error::other("no slot is free").into()))
    }

    async fn open(
        url: &BrokerUrl,
        connection: &Connection,
        topology: &Topology,
        index: u16,
    ) -> Result<Self, lapin::Error> {
        let names = &topology.names;
        let queue = names.tally(index);
        // Its note may be in somebody's hand just now, and without it the slot would lose its history.
        let has_notes = make(url, connection, topology, &queue).await?;
        let found = if has_notes { last(connection, names, &queue, |note: &Note| note.number).await? } else { None };
        let note = found.unwrap_or_default();
        let channel = answer(connection.create_channel()).await?;
        answer(channel.confirm_select(ConfirmSelectOptions::default())).await?;
        Ok(Self { index, began_with: note.number, note, names: names.clone(), queue, channel })
    }

    /// Puts a note beside the last one; [`is_unrouted`](super::notes::is_unrouted) when its queue is gone.
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
        let (mut own, mut overlooked, mut outdated) = (None, Vec::new(), Vec::new());
        while own.is_none()
            && let Some(got) =
                answer(self.channel.basic_get(self.queue.as_str().into(), BasicGetOptions::default())).await?
        {
            let tag = got.delivery.delivery_tag;
            match Note::parse(&got.delivery.data) {
                Some(found) if found == self.note => own = Some(tag),
                Some(found) if self.overlooked(&found) => overlooked.push(tag),
                _ => outdated.push(tag),
            }
        }
        for tag in outdated {
            // Without what was written it is all there is.
            if own.is_some() { self.take(tag).await? } else { self.put_back(tag).await? }
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
