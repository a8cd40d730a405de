use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use futures_util::stream::{self, FuturesUnordered};
use futures_util::{FutureExt, Stream, StreamExt};
use lapin::options::BasicPublishOptions;
use lapin::{BasicProperties, Channel, Confirmation, Connection};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::rabbitmq::tally::Appender;
use crate::rabbitmq::topology::names::Address;
use crate::rabbitmq::topology::topology::{DeclareError, Topology};
use crate::rabbitmq::wire::cause::Cause;
use crate::rabbitmq::wire::connection;
use crate::rabbitmq::wire::requests::confirming;
use crate::rabbitmq::wire::url::BrokerUrl;

/// Publishes without their confirm at a time. Throughput comes from confirms in flight; beyond a thousand only latency
/// and memory grow.
const WINDOW: u32 = 1_000;
/// How long after its first refusal a channel that still refuses is replaced. A queue that is full takes what is on its
/// way over a new channel, some messages, before it says so again: seldom enough that a limit stays one.
const RENEW_AFTER: Duration = Duration::from_secs(15);
/// How long each step of replacing a channel may take.
const RENEW_TIMEOUT: Duration = Duration::from_secs(10);

/// One generation of the publishing connection. Torn down whole on any error.
pub(crate) struct Link {
    pub(crate) connection: Connection,
    confirming: RwLock<Arc<Confirming>>,
    pub(crate) broken: CancellationToken,
    why: Mutex<Option<String>>,
    last_confirm: Mutex<Instant>,
}

/// A channel with confirms.
pub(crate) struct Confirming {
    channel: Channel,
    /// Room among the unconfirmed.
    pub(crate) window: Semaphore,
    /// One publish is handed over at a time, see [`Self::publish`].
    handing_over: Mutex<()>,
    /// Since when the broker refuses to store something that comes over it.
    refusing_since: Mutex<Option<Instant>>,
}

impl Link {
    pub(crate) async fn open(url: &BrokerUrl, topology: &Topology, appender: &Appender) -> Result<Self, OpenError> {
        let connection =
            connection::connect_to_publish(url, "publish").await.map_err(|error| OpenError::Away(error.to_string()))?;
        match Self::prepare(&connection, topology, appender).await {
            Ok(confirming) => Ok(Self {
                connection,
                confirming: RwLock::new(Arc::new(confirming)),
                broken: CancellationToken::new(),
                why: Mutex::new(None),
                last_confirm: Mutex::new(Instant::now()),
            }),
            Err(error) => {
                connection::close(&connection).await;
                Err(error)
            }
        }
    }

    async fn prepare(
        connection: &Connection,
        topology: &Topology,
        appender: &Appender,
    ) -> Result<Confirming, OpenError> {
        topology.declare(connection).await.map_err(OpenError::from)?;
        // Before anything is counted.
        appender.register().await;
        Ok(Confirming::open(connection).await?)
    }

    /// What to publish over now.
    pub(crate) fn confirming(&self) -> Arc<Confirming> {
        self.confirming.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether this has not been replaced.
    pub(crate) fn is_current(&self, confirming: &Arc<Confirming>) -> bool {
        Arc::ptr_eq(&self.confirming(), confirming)
    }

    /// The broker refused to store something: the queue is full. It tells the channel of that, and later that there is
    /// room again; but not when a policy with its limit is taken away, so a channel that was told so long ago is replaced.
    pub(crate) fn refused(self: &Arc<Self>, confirming: &Arc<Confirming>) {
        if confirming.refuses_for_long() {
            let (link, old) = (self.clone(), confirming.clone());
            tokio::spawn(async move {
                match timeout(RENEW_TIMEOUT, Confirming::open(&link.connection)).await {
                    Ok(Ok(new)) => *link.confirming.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(new),
                    Ok(Err(error)) => return tracing::debug!(queue.error = %error, "no new channel"),
                    Err(_) => return tracing::debug!("no new channel in time"),
                }
                // What is on its way over the old one is confirmed, or given up.
                let _ = timeout(RENEW_TIMEOUT, old.window.acquire_many(WINDOW)).await;
                old.window.close(); // who waits still has sent nothing
                let _ = timeout(RENEW_TIMEOUT, old.channel.close(200, "done".into())).await;
            });
        }
    }

    pub(crate) fn fail(&self, why: &str) {
        self.why.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| why.to_owned());
        self.broken.cancel();
    }

    pub(crate) fn why(&self) -> String {
        let why = self.why.lock().unwrap_or_else(PoisonError::into_inner).clone();
        why.unwrap_or_else(|| "the connection was lost".to_owned())
    }

    pub(crate) fn since_last_confirm(&self) -> Duration {
        self.last_confirm.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    pub(crate) fn confirmed(&self) {
        *self.last_confirm.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }
}

impl Confirming {
    async fn open(connection: &Connection) -> Result<Self, lapin::Error> {
        let channel = confirming(connection).await?;
        let (window, handing_over) = (Semaphore::new(WINDOW as usize), Mutex::new(()));
        Ok(Self { channel, window, handing_over, refusing_since: Mutex::new(None) })
    }

    /// Publishes messages in their order, and yields the broker's answers as they come, each with what its message is known by.
    ///
    /// lapin (4.12) gives a publish its number first and queues its frames then, so two at the same time may be sent in the
    /// other order than they are numbered in, and each gets the other's answer: `Ok` for what the broker has refused, or has
    /// not stored when it dies. All of that happens when the future is polled first, so only one is at a time.
    pub(crate) fn publish<'a, K: 'a>(
        &'a self,
        messages: impl Iterator<Item = (K, &'a Address, &'a [u8], BasicProperties)>,
    ) -> impl Stream<Item = (K, Result<Confirmation, lapin::Error>)> + Unpin {
        let polled = Arc::new(AtomicUsize::new(0));
        let publishing = |(known, address, body, properties): (K, &'a Address, &'a [u8], BasicProperties)| {
            let (exchange, key) = (address.exchange.as_str().into(), address.key.as_str().into());
            let (polled, options) = (polled.clone(), BasicPublishOptions::default());
            async move {
                polled.fetch_add(1, Ordering::Relaxed);
                let confirm = match self.channel.basic_publish(exchange, key, options, body, properties).await {
                    Ok(confirm) => confirm.await,
                    Err(error) => Err(error),
                };
                (known, confirm)
            }
        };
        let mut confirms: FuturesUnordered<_> = messages.map(publishing).collect();
        let (all, mut answered) = (confirms.len(), Vec::new());
        {
            let _one_at_a_time = self.handing_over.lock().unwrap_or_else(PoisonError::into_inner);
            // One look does not necessarily poll all of them.
            while polled.load(Ordering::Relaxed) < all {
                if let Some(Some(answer)) = confirms.next().now_or_never() {
                    answered.push(answer);
                }
            }
        }
        stream::iter(answered).chain(confirms)
    }

    /// Whether something was refused now, and long ago. Says so once.
    fn refuses_for_long(&self) -> bool {
        let mut since = self.refusing_since.lock().unwrap_or_else(PoisonError::into_inner);
        let is_long = RENEW_AFTER <= since.get_or_insert_with(Instant::now).elapsed();
        if is_long {
            *since = None;
        }
        is_long
    }
}

/// Why there is no link.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error("{0}")]
    Away(String),
    #[error("{0}")]
    Mismatch(String),
}

impl From<lapin::Error> for OpenError {
    fn from(error: lapin::Error) -> Self {
        Self::Away(Cause::of(&error).to_string())
    }
}

impl From<DeclareError> for OpenError {
    fn from(error: DeclareError) -> Self {
        match error {
            DeclareError::Differs(why) | DeclareError::Refused { why, .. } => Self::Mismatch(why),
            DeclareError::Broker(error) => error.into(),
        }
    }
}
