use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use lapin::message::Delivery;
use lapin::options::{BasicConsumeOptions, BasicPublishOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Confirmation, Connection, Consumer};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::parcel::{Numbered, TOGETHER, pack, packed_len, unpack};
use super::server::{self, MailboxDepth};
use crate::Backoff;
use crate::rabbitmq::publish::publisher::Publisher;
use crate::rabbitmq::topology::topology::Topology;
use crate::rabbitmq::wire::cause::Cause;
use crate::rabbitmq::wire::connection;
use crate::rabbitmq::wire::requests::{answer, confirming, io_error};
use crate::rabbitmq::wire::url::BrokerUrl;

/// The most bytes of a message with more than one request.
const TOGETHER_BYTES: usize = 256 * 1024;
/// Requests that wait for the connection; more wait before it.
const WAITING: usize = 1_024;
const NO_ANSWER: &str = "the broker does not answer";
/// How long it may take until a request is stored, and then until a question is answered.
const STORED: Duration = Duration::from_secs(5);
const ANSWER: Duration = Duration::from_secs(5);
/// The same after a question that nobody has answered in time. Thousands may ask.
const ANSWER_IN_SILENCE: Duration = Duration::from_millis(500);
/// Messages that may wait before a question that follows an unanswered one.
const BEHIND: u64 = 100;
/// After so long nobody waits for an answer any more, and one that comes says nothing.
const FORGOTTEN: Duration = Duration::from_mins(1);
/// After so long a connection over which the broker refuses everything is opened anew: it is not told that a policy which limited the
/// queue is gone.
const RENEW_AFTER: Duration = Duration::from_secs(15);
/// So long may an answer be missing before the connection is opened anew: its queue may not be bound any more, and nobody says so.
const UNHEARD: Duration = Duration::from_secs(10);
/// What fails for so long is told.
const SAID_AFTER: Duration = Duration::from_secs(10);
/// How long it is believed that somebody reads the mailbox, or not.
const PROBED: Duration = Duration::from_secs(1);

/// Sends requests to whoever reads the mailbox.
pub struct Mailbox {
    requests: mpsc::Sender<Outgoing>,
    /// Whether the last question had no answer in time.
    is_silent: Arc<AtomicBool>,
    publisher: Arc<Publisher>,
    /// Whether a question would be read soon, and when that was found out.
    probed: tokio::sync::Mutex<Option<(Instant, bool)>>,
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

/// A request on its way.
struct Outgoing {
    bytes: Bytes,
    /// Who hears that it is stored.
    stored: oneshot::Sender<Result<(), MailboxError>>,
    /// Of a question, who hears the answer.
    answered: Option<oneshot::Sender<Result<Bytes, MailboxError>>>,
}

impl Mailbox {
    pub(crate) fn start(url: BrokerUrl, publisher: Arc<Publisher>) -> Self {
        let (sender, requests) = mpsc::channel(WAITING);
        let (stop, is_silent) = (CancellationToken::new(), Arc::<AtomicBool>::default());
        let sending = Sending {
            url,
            topology: publisher.topology.clone(),
            requests,
            open: HashMap::new(),
            next: 1,
            is_silent: is_silent.clone(),
            refusing_since: None,
            unheard_since: None,
            failing: None,
        };
        let sending = publisher.parts.supervise("queue/mailbox", &stop, sending.run(stop.clone()));
        let task = Mutex::new(Some(tokio::spawn(sending)));
        Self { requests: sender, is_silent, publisher, probed: tokio::sync::Mutex::default(), stop, task }
    }

    /// Stores a request. `Ok`: it is read, whatever becomes of this process, once somebody reads the mailbox.
    pub async fn tell(&self, request: impl Into<Bytes>) -> Result<(), MailboxError> {
        self.send(request.into(), None).await
    }

    /// Stores a request and waits some seconds for its answer. It is read behind everything that was told before.
    pub async fn ask(&self, request: impl Into<Bytes>) -> Result<Bytes, MailboxError> {
        let is_silent = self.is_silent.load(Ordering::Relaxed);
        // A question stays in the queue, and somebody has to read it one day.
        if is_silent && !self.may_be_read().await? {
            return Err(MailboxError::Silent);
        }
        let (asked, answer) = oneshot::channel();
        self.send(request.into(), Some(asked)).await?;
        let patience = if is_silent { ANSWER_IN_SILENCE } else { ANSWER };
        match timeout(patience, answer).await {
            Ok(Ok(answered)) => answered,
            Ok(Err(_)) => Err(ended()),
            Err(_) => {
                self.is_silent.store(true, Ordering::Relaxed);
                Err(MailboxError::Silent)
            }
        }
    }

    async fn send(
        &self,
        bytes: Bytes,
        answered: Option<oneshot::Sender<Result<Bytes, MailboxError>>>,
    ) -> Result<(), MailboxError> {
        let (stored, hears) = oneshot::channel();
        let storing = async {
            self.requests.send(Outgoing { bytes, stored, answered }).await.map_err(|_| ended())?;
            hears.await.unwrap_or_else(|_| Err(ended()))
        };
        timeout(STORED, storing).await.unwrap_or_else(|_| Err(MailboxError::NotStored(NO_ANSWER.to_owned())))
    }

    /// Whether somebody reads the mailbox, and there is little before what is sent now. One asks at a time; for the others nobody does.
    async fn may_be_read(&self) -> Result<bool, MailboxError> {
        let Ok(mut probed) = self.probed.try_lock() else { return Ok(false) };
        if let Some((at, may_be)) = *probed
            && at.elapsed() < PROBED
        {
            return Ok(may_be);
        }
        let depth = timeout(PROBED, server::depth(&self.publisher)).await;
        let MailboxDepth { messages, is_read } = depth
            .map_err(|_| MailboxError::NotStored(NO_ANSWER.to_owned()))?
            .map_err(|error| MailboxError::NotStored(error.to_string()))?;
        let may_be = is_read && messages <= BEHIND;
        *probed = Some((Instant::now(), may_be));
        Ok(may_be)
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
    /// Who waits for the answer to which question, and since when.
    open: HashMap<u64, (Instant, oneshot::Sender<Result<Bytes, MailboxError>>)>,
    next: u64,
    is_silent: Arc<AtomicBool>,
    /// Since when the broker has refused everything, over this connection.
    refusing_since: Option<Instant>,
    /// Since when a question is stored and no answer to anything has come over this connection.
    unheard_since: Option<Instant>,
    /// Since when nothing can be stored, and whether that was said.
    failing: Option<(Instant, bool)>,
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
                    self.unheard_since = None;
                    // A broker that refuses lets anybody connect.
                    if self.refusing_since.is_none() {
                        self.works();
                    }
                    let served = self.serve(&mut line, &stop).await;
                    connection::close(&line.connection).await;
                    match served {
                        Ok(()) => return,
                        Err(error) => error,
                    }
                }
                Err(error) => error,
            };
            let why = Cause::of(&why).to_string();
            self.failed(&why);
            let why = MailboxError::NotStored(why);
            for (_, (_, asked)) in self.open.drain() {
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

    /// Said once, and once more when it works again.
    fn failed(&mut self, why: &str) {
        let (since, is_said) = self.failing.get_or_insert_with(|| (Instant::now(), false));
        if !*is_said && SAID_AFTER <= since.elapsed() {
            *is_said = true;
            tracing::warn!(queue.error = why, "nothing can be put into the directory's queue: what has to be waits");
        } else {
            tracing::debug!(queue.error = why, "nothing can be put into the directory's queue");
        }
    }

    fn works(&mut self) {
        if let Some((_, true)) = self.failing.take() {
            tracing::info!("something can be put into the directory's queue again");
        }
    }

    /// Passes answers on. Whatever else somebody has published there is nobody's.
    fn hear(&mut self, answers: Option<Result<Delivery, lapin::Error>>) -> Result<(), lapin::Error> {
        let answers = answers.unwrap_or_else(|| Err(io_error("the connection was lost".to_owned())))?;
        self.unheard_since = None;
        for Numbered { number, bytes } in unpack(Bytes::from(answers.data)).unwrap_or_default() {
            if let Some((_, asked)) = self.open.remove(&number) {
                // Also one that comes too late for who asked.
                self.is_silent.store(false, Ordering::Relaxed);
                let _ = asked.send(Ok(bytes));
            }
        }
        Ok(())
    }

    /// Sends a request with those that have come meanwhile. Returns when the broker has stored them.
    async fn send(&mut self, line: &mut Line, first: Outgoing) -> Result<(), lapin::Error> {
        let now = Instant::now();
        self.open.retain(|_, (asked, _)| now.duration_since(*asked) < FORGOTTEN);
        let (mut all, mut told, mut bytes, mut next) = (Vec::new(), Vec::new(), 0, Some(first));
        while let Some(Outgoing { bytes: request, stored, answered }) = next {
            // Who has gone perhaps sends it again. It must not come later than what was sent meanwhile.
            if !stored.is_closed() {
                let mut number = 0;
                if let Some(answered) = answered {
                    number = self.next;
                    self.next += 1;
                    self.open.insert(number, (now, answered));
                }
                bytes += packed_len(request.len());
                told.push(stored);
                all.push(Numbered { number, bytes: request });
            }
            let is_full = TOGETHER <= all.len() || TOGETHER_BYTES <= bytes;
            next = if is_full { None } else { self.requests.try_recv().ok() };
        }
        if all.is_empty() {
            return Ok(());
        }
        let stored = self.publish(line, &pack(&all)).await;
        let says = match &stored {
            Ok(Ok(())) => {
                self.works();
                self.refusing_since = None;
                if all.iter().any(|one| one.number != 0) {
                    self.unheard_since.get_or_insert_with(Instant::now);
                }
                Ok(())
            }
            Ok(Err(refused)) => {
                self.failed(refused);
                Err(MailboxError::NotStored((*refused).to_owned()))
            }
            Err(error) => Err(MailboxError::NotStored(Cause::of(error).to_string())),
        };
        if says.is_err() {
            for one in &all {
                self.open.remove(&one.number);
            }
        }
        for told in told {
            let _ = told.send(says.clone()); // whoever has sent it may have gone
        }
        if let Ok(Err(refused)) = stored
            && RENEW_AFTER <= self.refusing_since.get_or_insert_with(Instant::now).elapsed()
        {
            self.refusing_since = Some(Instant::now());
            return Err(io_error(refused.to_owned()));
        }
        if self.unheard_since.is_some_and(|since| UNHEARD <= since.elapsed()) {
            return Err(io_error("no answer has come over this connection".to_owned()));
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
        let properties =
            BasicProperties::default().with_delivery_mode(2).with_reply_to(self.answers_to.as_str().into());
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
        let _ = self.stored.send(Err(why.clone())); // whoever has sent it may have gone
    }
}
