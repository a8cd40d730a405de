use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use lapin::Channel;
use lapin::options::BasicAckOptions;
use tokio::sync::{mpsc, oneshot};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::rabbitmq::consume::ack_backlog::AckBacklog;
use crate::rabbitmq::consume::ack_batch::{AckBatch, Acknowledgement};
use crate::rabbitmq::wire::generation::Generation;

/// So many that are settled at once mean that there is a lot to do, and that others are settled soon.
const MANY: usize = 4;

/// How long what was settled may take to be written at the end.
const WRITTEN_WITHIN: Duration = Duration::from_secs(10);
/// How often it is looked at meanwhile whether the connection is still there: of what lapin was writing when that broke it may never
/// say anything.
const LOOK: Duration = Duration::from_millis(100);

/// Acknowledges what is settled of one channel's deliveries, as much as it can at once. It is a task of its own.
///
/// Nothing waits for a clock while there is little to do: what was settled is written as soon as whoever else could settle something
/// at the same moment has had a turn, and what is settled while that is being written goes next.
pub(crate) struct AckWriter {
    generation: Arc<Generation>,
    backlog: Arc<AckBacklog>,
    end: CancellationToken,
    writer: AbortOnDropHandle<()>,
}

struct Writer {
    channel: Channel,
    settled: mpsc::UnboundedReceiver<Settled>,
    backlog: Arc<AckBacklog>,
}

/// What became of an acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It was handed over to the connection.
    Written,
    /// It was not written, and never is.
    NotWritten,
    /// The connection broke meanwhile.
    Uncertain,
}

/// Where what was settled is acknowledged.
#[derive(Clone, Debug)]
pub(crate) struct Acknowledger(mpsc::UnboundedSender<Settled>);

/// A delivery that was settled. Whoever settled it hears of its fate, whatever becomes of this.
#[derive(Debug)]
pub(crate) struct Settled {
    tag: u64,
    told: Option<oneshot::Sender<Fate>>,
}

pub(crate) fn acknowledger() -> (Acknowledger, mpsc::UnboundedReceiver<Settled>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (Acknowledger(sender), receiver)
}

impl Acknowledger {
    /// Resolves when the acknowledgement was handed over, or when it is certain that it was not.
    pub(crate) async fn acknowledge(&self, tag: u64) -> Fate {
        let (told, fate) = oneshot::channel();
        let _ = self.0.send(Settled { tag, told: Some(told) }); // dropped, it tells its fate
        fate.await.unwrap_or(Fate::Uncertain)
    }
}

impl Settled {
    /// From here on it is uncertain whether it is acknowledged, until that is told.
    fn handed_over(mut self) -> Option<oneshot::Sender<Fate>> {
        self.told.take()
    }
}

impl Drop for Settled {
    fn drop(&mut self) {
        if let Some(told) = self.told.take() {
            let _ = told.send(Fate::NotWritten);
        }
    }
}

impl AckWriter {
    pub(crate) fn begin(
        generation: &Arc<Generation>,
        queue: &str,
        channel: &Channel,
        settled: mpsc::UnboundedReceiver<Settled>,
    ) -> Self {
        let (backlog, end) = (Arc::<AckBacklog>::default(), CancellationToken::new());
        let writer = Writer { channel: channel.clone(), settled, backlog: backlog.clone() };
        let name = format!("queue/acknowledgements of {queue}");
        let writer = tokio::spawn(generation.parts.supervise(&name, &end, writer.run(end.clone())));
        Self { generation: generation.clone(), backlog, end, writer: AbortOnDropHandle::new(writer) }
    }

    /// How many deliveries were acknowledged.
    pub(crate) fn deliveries(&self) -> u64 {
        self.backlog.deliveries()
    }

    /// Acknowledges what was settled before, and waits until the broker keeps none of that back. Nothing is acknowledged afterwards.
    pub(crate) async fn end(&mut self) {
        self.end.cancel();
        let looks = WRITTEN_WITHIN.as_millis() / LOOK.as_millis();
        for _ in 0..looks {
            if timeout(LOOK, &mut self.writer).await.is_ok() {
                return self.backlog.until_passed_on().await;
            }
            if self.generation.is_lost() || !self.generation.connection.status().connected() {
                break;
            }
        }
        self.break_off().await;
    }

    /// Of what is being written nobody knows whether it was, and nothing else is acknowledged.
    pub(crate) async fn break_off(&mut self) {
        self.end.cancel();
        self.writer.abort();
        let _ = (&mut self.writer).await;
    }
}

impl Writer {
    /// Goes on until it is asked to `end`. What was settled before is acknowledged then, and nothing afterwards.
    async fn run(mut self, end: CancellationToken) {
        let mut batch = AckBatch::default();
        while !end.is_cancelled() {
            let mut came = Vec::new();
            tokio::select! {
                biased;
                () = end.cancelled() => {}
                () = self.some(&mut came) => {}
                () = until(batch.due()) => {}
            }
            // A worker that is busy has others that are about to settle something, and one that is not loses no time by this.
            yield_now().await;
            while let Ok(settled) = self.settled.try_recv() {
                came.push(settled);
            }
            let (now, are_many) = (Instant::now(), MANY <= came.len());
            for settled in came {
                batch.settled(settled.tag, now, settled);
            }
            self.write(batch.take(now, are_many)).await;
        }
        self.settled.close();
        let now = Instant::now();
        while let Some(settled) = self.settled.recv().await {
            batch.settled(settled.tag, now, settled);
        }
        self.write(batch.take(now, false)).await;
    }

    async fn some(&mut self, came: &mut Vec<Settled>) {
        if self.settled.recv_many(came, usize::MAX).await == 0 {
            pending::<()>().await; // nobody is left who could settle anything
        }
    }

    async fn write(&self, acknowledgements: Vec<Acknowledgement<Settled>>) {
        if !self.channel.status().connected() {
            return; // what was to be covered tells that
        }
        let writing = acknowledgements.into_iter().map(|Acknowledgement { tag, covered }| {
            let covered: Vec<_> = covered.into_iter().filter_map(Settled::handed_over).collect();
            let options = BasicAckOptions { multiple: 1 < covered.len() };
            async move {
                if let Err(error) = self.channel.basic_ack(tag, options).await {
                    return tracing::debug!(queue.error = %error, "an acknowledgement may have been lost");
                }
                self.backlog.add(covered.len());
                for told in covered {
                    let _ = told.send(Fate::Written); // whoever settled it may have gone away
                }
            }
        });
        join_all(writing).await;
    }
}

async fn until(when: Option<Instant>) {
    match when {
        Some(when) => sleep_until(when).await,
        None => pending().await,
    }
}
