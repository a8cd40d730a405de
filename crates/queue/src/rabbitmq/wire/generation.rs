use std::collections::HashSet;
use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use lapin::options::{BasicConsumeOptions, BasicQosOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, Consumer, ErrorKind};
use refersion_relay_supervise::Parts;
use refersion_relay_telemetry::{self as telemetry, Counted, Metrics};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::{self, ConnectError, Notice};
use crate::Room;
use crate::rabbitmq::consume::shared_connection::SharedConnection;
use crate::rabbitmq::wire::requests;

/// So many places begin to be consumed at a time: where one of them ends the connection, nobody can say which it was.
const TURNS: usize = 8;
/// How long a place has its turn. The next one need not wait for a queue that says nothing.
const TURN: Duration = Duration::from_secs(1);
/// How long a queue may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a connection may take to show that it is not it that says nothing.
const ALIVE: Duration = Duration::from_secs(5);
/// How long the broker may take to say that a channel is closed.
const CLOSING: Duration = Duration::from_secs(10);
/// AMQP's `CONNECTION_FORCED`: a person ends a connection, or the broker itself ends.
const CONNECTION_FORCED: u16 = 320;

/// One generation of a consuming connection. When it breaks, every term on it ends; it is torn down whole.
pub(crate) struct Generation {
    pub(crate) connection: Connection,
    /// Cancelled when no term on it goes on: because it is lost, or because it is closed.
    over: CancellationToken,
    /// Why it is lost, if it is.
    lost: OnceLock<String>,
    turns: Semaphore,
    /// Queues that have not answered yet over this connection.
    silent: Mutex<HashSet<String>>,
    /// What has a channel open. Where it is closed in order, that is closed before.
    users: TaskTracker,
    until: Until,
    uses: AtomicUsize,
    pub(crate) parts: Parts,
}

/// When a connection that works is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    Closed,
    /// When nobody uses it any more.
    Unused,
}

/// A generation, for somebody who uses it.
pub(crate) struct InUse(Arc<Generation>);

/// Why a queue is not consumed.
pub(crate) struct NotConsumed {
    pub(crate) error: lapin::Error,
    /// Whether it costs others their terms, or may the next time: it has ended the connection; or says nothing, which ends it after a
    /// minute; or is not there, and RabbitMQ ends a connection that consumes what is just being made.
    pub(crate) disturbs: bool,
}

impl Generation {
    /// Opens a connection, and attends to it until it is over.
    pub(crate) async fn open(
        consuming: &SharedConnection,
        purpose: &str,
        until: Until,
    ) -> Result<Arc<Self>, ConnectError> {
        let SharedConnection { url, metrics, stop, generations, parts, .. } = consuming;
        let generation = Arc::new(Self {
            connection: connection::connect(url, purpose).await?,
            over: stop.child_token(),
            lost: OnceLock::new(),
            turns: Semaphore::new(TURNS),
            silent: Mutex::default(),
            users: TaskTracker::new(),
            until,
            uses: AtomicUsize::new(0),
            parts: parts.clone(),
        });
        let open = metrics.connected(telemetry::Connection::Consume);
        let attending = generation.clone().attend(metrics.clone(), open);
        generations.spawn(parts.supervise("queue/consuming", &generation.over, attending));
        Ok(generation)
    }

    async fn attend(self: Arc<Self>, metrics: Metrics, open: Counted) {
        connection::watch(&self.connection, &self.over, |notice| match notice {
            Notice::Broken(why) => self.lose(&why),
            Notice::Blocked(_) | Notice::Unblocked => {} // what never publishes never is
        })
        .await;
        if !self.connection.status().connected() {
            self.lose("closed"); // as whoever used it last has heard before
        }
        if let Some(why) = self.lost.get() {
            tracing::debug!(queue.error = why, "a consuming connection was lost");
            metrics.connection_lost(telemetry::Connection::Consume);
        } else {
            self.users.close();
            self.users.wait().await;
        }
        connection::close(&self.connection).await;
        drop(open);
    }

    pub(crate) fn in_use(self: &Arc<Self>) -> InUse {
        self.uses.fetch_add(1, Ordering::AcqRel);
        InUse(self.clone())
    }

    pub(crate) fn is_up(&self) -> bool {
        !self.over.is_cancelled() && self.connection.status().connected()
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.lost.get().is_some()
    }

    /// Ends every term: the broker may have given their places to others already.
    fn lose(&self, why: &str) {
        let _ = self.lost.set(why.to_owned()); // the first reason is kept
        self.over.cancel();
    }

    /// What ends with this connection.
    pub(crate) fn term(&self) -> CancellationToken {
        self.over.child_token()
    }

    /// Does something that leaves no channel open at its end.
    pub(crate) fn spawn(&self, user: impl Future<Output = ()> + Send + 'static) -> tokio::task::JoinHandle<()> {
        self.users.spawn(user)
    }

    /// Whether a queue has not answered yet over this connection: what it says one day is given back then.
    pub(crate) fn is_silent(&self, queue: &str) -> bool {
        self.silent().contains(queue)
    }

    fn silent(&self) -> MutexGuard<'_, HashSet<String>> {
        self.silent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Consumes a queue over a channel of its own.
    pub(crate) async fn consume(
        self: &Arc<Self>,
        queue: &str,
        room: Room,
        priority: Option<i32>,
    ) -> Result<(Channel, Consumer), NotConsumed> {
        let turn = self.turns.acquire().await;
        let channel = match self.within(PATIENCE, self.connection.create_channel()).await {
            Some(Ok(channel)) => channel,
            Some(Err(error)) => return Err(self.refused(error)),
            None => return Err(self.unanswered("the broker opens no channel")),
        };
        let mut consuming = Box::pin(consume(channel.clone(), queue.to_owned(), room, priority));
        let answered = match self.within(TURN, &mut consuming).await {
            None if !self.over.is_cancelled() => {
                drop(turn);
                self.within(PATIENCE, &mut consuming).await
            }
            answered => answered,
        };
        match answered {
            Some(Ok(consumer)) => return Ok((channel, consumer)),
            Some(Err(error)) => return Err(self.refused(error)),
            None if self.over.is_cancelled() => {}
            None => {
                self.close_when_it_answers(queue.to_owned(), channel, consuming);
                if self.is_alive().await {
                    return Err(NotConsumed { error: requests::silence_of(queue), disturbs: true });
                }
            }
        }
        Err(self.unanswered("the broker does not answer"))
    }

    fn refused(&self, error: lapin::Error) -> NotConsumed {
        // It is what was asked over the connection that the broker has ended it for.
        let is_error = matches!(error.kind(), ErrorKind::ProtocolError(amqp) if amqp.get_id() != CONNECTION_FORCED);
        let has_ended = is_error && !self.connection.status().connected();
        NotConsumed { disturbs: has_ended || requests::has_code(&error, requests::NOT_FOUND), error }
    }

    /// It is the broker that says nothing, not a queue; or it is over.
    fn unanswered(&self, why: &str) -> NotConsumed {
        if !self.over.is_cancelled() {
            self.lose(why);
        }
        NotConsumed { error: requests::io_error(why.to_owned()), disturbs: false }
    }

    /// What is answered in time. An answer that ends the connection is one.
    async fn within<T>(&self, patience: Duration, asking: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            answered = timeout(patience, asking) => answered.ok(),
            () = self.over.cancelled() => None,
        }
    }

    /// Nobody waits for this answer any more, and what it brings must not stay in hand. So the channel is closed at once, though that is
    /// answered later still.
    fn close_when_it_answers(
        self: &Arc<Self>,
        queue: String,
        channel: Channel,
        consuming: impl Future<Output = Result<Consumer, lapin::Error>> + Send + 'static,
    ) {
        self.silent().insert(queue.clone());
        let generation = self.in_use();
        self.spawn(async move {
            let closed = generation.over.run_until_cancelled(channel.close(200, "done".into())).await;
            tracing::debug!(queue.name = queue, ?closed, "what did not answer is closed");
            drop(consuming); // not before, since its consumer would be cancelled
            generation.silent().remove(&queue);
        });
    }

    /// Gives a place up: closing the channel returns everything unsettled in order, and disturbs no other place. A `basic.cancel`
    /// would activate the next consumer while deliveries of ours are still being worked.
    pub(crate) async fn give_back(&self, channel: &Channel, consumer: Consumer) {
        // The broker has closed it itself, or closes it just now.
        if !self.is_lost() && channel.status().connected() {
            match timeout(CLOSING, channel.close(200, "done".into())).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(queue.error = %error, "a channel was gone before it was closed"),
                // Nobody can say whether others may have the place now.
                Err(_) => self.lose("a channel was not closed in time"),
            }
        }
        drop(consumer); // not before, since that cancels it
    }

    async fn is_alive(&self) -> bool {
        let asking = async { self.connection.create_channel().await?.close(200, "done".into()).await };
        timeout(ALIVE, asking).await.is_ok() && self.is_up()
    }
}

impl Deref for InUse {
    type Target = Arc<Generation>;

    fn deref(&self) -> &Arc<Generation> {
        &self.0
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        if self.uses.fetch_sub(1, Ordering::AcqRel) == 1 && self.until == Until::Unused {
            self.over.cancel();
        }
    }
}

async fn consume(channel: Channel, queue: String, room: Room, priority: Option<i32>) -> Result<Consumer, lapin::Error> {
    // Never zero: that would be "everything", into unbounded memory.
    channel.basic_qos(room.events.max(1), BasicQosOptions::default()).await?;
    let mut arguments = FieldTable::default();
    if let Some(priority) = priority {
        arguments.insert("x-priority".into(), AMQPValue::LongInt(priority));
    }
    channel.basic_consume(queue.as_str().into(), "".into(), BasicConsumeOptions::default(), arguments).await
}
