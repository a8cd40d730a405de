use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use lapin::options::{BasicConsumeOptions, BasicPublishOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Confirmation, Connection, Consumer};
use refersion_relay_supervise::Parts;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::parcel::{Numbered, pack, packed_len, unpack};
use crate::Backoff;
use crate::rabbitmq::topology::topology::Topology;
use crate::rabbitmq::wire::cause::Cause;
use crate::rabbitmq::wire::connection;
use crate::rabbitmq::wire::requests::{answer, confirming, io_error};
use crate::rabbitmq::wire::url::BrokerUrl;

/// Requests in one message.
const TOGETHER: usize = 500;
/// The most bytes of a message with more than one request.
const TOGETHER_BYTES: usize = 256 * 1024;
/// Requests that wait for the connection; more wait before it.
const WAITING: usize = 1_024;
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(5);
/// The same while nobody answers. Thousands may ask.
const ANSWER_IN_SILENCE: Duration = Duration::from_millis(500);
const DELIVERY_MODE_PERSISTENT: u8 = 2;

/// Sends requests to whoever reads the mailbox.
pub struct Mailbox {
    requests: mpsc::Sender<Outgoing>,
    /// Whether the last question had no answer.
    is_silent: AtomicBool,
    stop: CancellationToken,
    task: Mutex<Option<JoinHandle<()>>>,
}

/// Why a request was not stored, or not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MailboxError {
    /// The broker did not store it, or did not say so.
    #[error("{0}")]
    NotStored(String),
    /// It is stored, perhaps, and nobody has answered in time.
    #[error("nobody answers")]
    Silent,
}

/// A request on its way, with whom to tell of it.
struct Outgoing {
    bytes: Bytes,
    then: Then,
}

enum Then {
    /// Hears that it is stored.
    Told(oneshot::Sender<Result<(), MailboxError>>),
    /// Hears the answer.
    Asked(oneshot::Sender<Result<Bytes, MailboxError>>),
}

impl Mailbox {
    pub(crate) fn start(url: BrokerUrl, topology: Topology, parts: &Parts) -> Self {
        let (sender, requests) = mpsc::channel(WAITING);
        let stop = CancellationToken::new();
        let sending = Sending { url, topology, requests, open: HashMap::new(), next: 1 };
        let sending = parts.supervise("queue/mailbox", &stop, sending.run(stop.clone()));
        let task = Mutex::new(Some(tokio::spawn(sending)));
        Self { requests: sender, is_silent: AtomicBool::new(false), stop, task }
    }

    /// Stores a request. `Ok`: it is read, whatever becomes of this process, once somebody reads the mailbox.
    pub async fn tell(&self, request: impl Into<Bytes>) -> Result<(), MailboxError> {
        let (told, hears) = oneshot::channel();
        self.send(Outgoing { bytes: request.into(), then: Then::Told(told) }).await?;
        hears.await.unwrap_or_else(|_| Err(ended()))
    }

    /// Stores a request and waits some seconds for its answer. It is read behind everything that was told before.
    pub async fn ask(&self, request: impl Into<Bytes>) -> Result<Bytes, MailboxError> {
        let (asked, hears) = oneshot::channel();
        let asking = async {
            self.send(Outgoing { bytes: request.into(), then: Then::Asked(asked) }).await?;
            hears.await.unwrap_or_else(|_| Err(ended()))
        };
        let patience = if self.is_silent.load(Ordering::Relaxed) { ANSWER_IN_SILENCE } else { ANSWER };
        let answered = timeout(patience, asking).await.unwrap_or(Err(MailboxError::Silent));
        self.is_silent.store(answered == Err(MailboxError::Silent), Ordering::Relaxed);
        answered
    }

    async fn send(&self, request: Outgoing) -> Result<(), MailboxError> {
        self.requests.send(request).await.map_err(|_| ended())
    }

    pub(crate) async fn close(&self) {
        self.stop.cancel();
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task {
            let _ = task.await;
        }
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn ended() -> MailboxError {
    MailboxError::NotStored("the queue is closed".to_owned())
}

/// Sends what is to be sent, over one connection after the other.
struct Sending {
    url: BrokerUrl,
    topology: Topology,
    requests: mpsc::Receiver<Outgoing>,
    /// Who waits for the answer to which question.
    open: HashMap<u64, oneshot::Sender<Result<Bytes, MailboxError>>>,
    next: u64,
}

/// A connection to send over, and to hear answers.
struct Line {
    connection: Connection,
    channel: Channel,
    /// Where answers are published to.
    answers_to: String,
    answers: Consumer,
}

impl Sending {
    async fn run(mut self, stop: CancellationToken) {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(3));
        loop {
            let opened = tokio::select! {
                () = stop.cancelled() => return,
                opened = Line::open(&self.url, &self.topology) => opened,
            };
            let why = match opened {
                Ok(mut line) => {
                    backoff.reset();
                    let served = self.serve(&mut line, &stop).await;
                    connection::close(&line.connection).await;
                    match served {
                        Ok(()) => return,
                        Err(error) => error,
                    }
                }
                Err(error) => error,
            };
            tracing::debug!(queue.error = %why, "nothing can be sent to the mailbox");
            let why = MailboxError::NotStored(Cause::of(&why).to_string());
            for (_, asked) in self.open.drain() {
                let _ = asked.send(Err(why.clone()));
            }
            let pause = sleep(backoff.next_wait());
            tokio::pin!(pause);
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = &mut pause => break,
                    request = self.requests.recv() => match request {
                        Some(request) => request.failed(&why),
                        None => return,
                    },
                }
            }
        }
    }

    /// Sends until it is stopped, or the connection is lost.
    async fn serve(&mut self, line: &mut Line, stop: &CancellationToken) -> Result<(), lapin::Error> {
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                answers = line.answers.next() => self.hear(answers)?,
                first = self.requests.recv() => match first {
                    Some(first) => self.send(line, first).await?,
                    None => return Ok(()),
                },
            }
        }
    }

    /// Passes answers on. Whatever else somebody has published there is nobody's.
    fn hear(&mut self, answers: Option<Result<lapin::message::Delivery, lapin::Error>>) -> Result<(), lapin::Error> {
        let answers = answers.unwrap_or_else(|| Err(io_error("the connection was lost".to_owned())))?;
        for Numbered { number, bytes } in unpack(Bytes::from(answers.data)).unwrap_or_default() {
            if let Some(asked) = self.open.remove(&number) {
                let _ = asked.send(Ok(bytes)); // who asked may have gone
            }
        }
        Ok(())
    }

    /// Sends a request with those that have come meanwhile. Returns when the broker has stored them.
    async fn send(&mut self, line: &mut Line, first: Outgoing) -> Result<(), lapin::Error> {
        self.open.retain(|_, asked| !asked.is_closed());
        let (mut all, mut told, mut bytes, mut next) = (Vec::new(), Vec::new(), 0, Some(first));
        while let Some(Outgoing { bytes: request, then }) = next {
            let number = self.next;
            self.next += 1;
            bytes += packed_len(request.len());
            match then {
                Then::Told(sender) => {
                    told.push(sender);
                    all.push(Numbered { number: 0, bytes: request });
                }
                Then::Asked(sender) => {
                    self.open.insert(number, sender);
                    all.push(Numbered { number, bytes: request });
                }
            }
            let is_full = TOGETHER <= all.len() || TOGETHER_BYTES <= bytes;
            next = if is_full { None } else { self.requests.try_recv().ok() };
        }
        let stored = self.publish(line, &pack(&all)).await;
        let says = match &stored {
            Ok(Ok(())) => Ok(()),
            Ok(Err(refused)) => Err(MailboxError::NotStored((*refused).to_owned())),
            Err(error) => Err(MailboxError::NotStored(Cause::of(error).to_string())),
        };
        // Whoever has sent it may have gone.
        for told in told {
            let _ = told.send(says.clone());
        }
        if let Err(error) = says {
            for asked in all.iter().filter_map(|one| self.open.remove(&one.number)) {
                let _ = asked.send(Err(error.clone()));
            }
        }
        stored.map(drop)
    }

    /// Publishes one message. The inner error: the broker has not stored it.
    async fn publish(&self, line: &Line, body: &[u8]) -> Result<Result<(), &'static str>, lapin::Error> {
        // Somebody may have deleted the queue, or what binds it.
        for is_last in [false, true] {
            match line.publish(&self.topology, body).await? {
                Confirmation::Ack(None) => return Ok(Ok(())),
                Confirmation::Ack(Some(_)) if !is_last => self.topology.declare_mailbox(&line.channel).await?,
                Confirmation::Ack(Some(_)) => break,
                Confirmation::Nack(_) | Confirmation::NotRequested => return Ok(Err("the broker refuses it")),
            }
        }
        Ok(Err("the mailbox is not bound"))
    }
}

impl Line {
    async fn open(url: &BrokerUrl, topology: &Topology) -> Result<Self, lapin::Error> {
        let connection = connection::connect(url, "mailbox").await.map_err(|error| io_error(error.to_string()))?;
        let opening = async {
            let channel = confirming(&connection).await?;
            topology.declare_mailbox(&channel).await?;
            let answers_to = topology.names.answers(rand::random());
            let options = QueueDeclareOptions { exclusive: true, auto_delete: true, ..QueueDeclareOptions::default() };
            let mut arguments = FieldTable::default();
            arguments.insert("x-queue-type".into(), AMQPValue::LongString("classic".into()));
            answer(channel.queue_declare(answers_to.as_str().into(), options, arguments)).await?;
            let (notes, key) = (topology.names.notes(), answers_to.as_str());
            let (options, none) = (QueueBindOptions::default(), FieldTable::default());
            answer(channel.queue_bind(key.into(), notes.into(), key.into(), options, none.clone())).await?;
            let options = BasicConsumeOptions { no_ack: true, exclusive: true, ..BasicConsumeOptions::default() };
            let answers = answer(channel.basic_consume(key.into(), "".into(), options, none)).await?;
            Ok((channel, answers_to, answers))
        };
        match opening.await {
            Ok((channel, answers_to, answers)) => Ok(Self { connection, channel, answers_to, answers }),
            Err(error) => {
                connection::close(&connection).await;
                Err(error)
            }
        }
    }

    async fn publish(&self, topology: &Topology, body: &[u8]) -> Result<Confirmation, lapin::Error> {
        let properties = BasicProperties::default()
            .with_delivery_mode(DELIVERY_MODE_PERSISTENT)
            .with_reply_to(self.answers_to.as_str().into());
        let (exchange, key) = (topology.names.notes(), topology.mailbox_name());
        answer(async {
            // One at a time, so what comes back is this.
            let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
            self.channel.basic_publish(exchange.into(), key.into(), options, body, properties).await?.await
        })
        .await
    }
}

impl Outgoing {
    fn failed(self, why: &MailboxError) {
        // Who sent it may have gone.
        match self.then {
            Then::Told(told) => drop(told.send(Err(why.clone()))),
            Then::Asked(asked) => drop(asked.send(Err(why.clone()))),
        }
    }
}
