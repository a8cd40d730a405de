use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{Channel, Confirmation, Connection};
use refersion_relay_model::AccountName;
use refersion_relay_telemetry::{self as telemetry, Metrics, PublishOutcome};
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::connection::{self, Notice};
use super::properties;
use super::tally::Tally;
use super::topology::{DeclareError, Topology};
use super::url::BrokerUrl;
use crate::{Backoff, BrokerState, Message, Place, PublishError};

/// Publishes without their confirm at a time. Throughput comes from confirms in flight; beyond a thousand only latency
/// and memory grow.
const WINDOW: usize = 1_000;

/// Publishes with confirms, over one connection at a time that is never used for consuming: a broker that blocks
/// publishers stops reading such a connection, acknowledgements included.
pub(crate) struct Publisher {
    pub(crate) topology: Topology,
    pub(crate) confirm_timeout: Duration,
    pub(crate) metrics: Metrics,
    pub(crate) tally: Arc<Tally>,
    link: watch::Receiver<Option<Arc<Link>>>,
    state: watch::Receiver<BrokerState>,
    stop: CancellationToken,
    supervisor: Mutex<Option<JoinHandle<()>>>,
}

/// One generation of the publishing connection. Torn down whole on any error.
pub(crate) struct Link {
    pub(crate) connection: Connection,
    channel: Channel,
    window: Semaphore,
    broken: CancellationToken,
    why: Mutex<Option<String>>,
    last_confirm: Mutex<Instant>,
    held: tokio::sync::Mutex<HashSet<AccountName>>,
}

impl Publisher {
    /// Begins to reach the broker, and goes on for ever.
    pub(crate) fn start(url: BrokerUrl, topology: Topology, confirm_timeout: Duration, metrics: Metrics) -> Self {
        let (link_sender, link) = watch::channel(None);
        let away = BrokerState::Away { why: "not reached yet".to_owned() };
        let (state_sender, state) = watch::channel(away);
        let stop = CancellationToken::new();
        let supervisor = Supervisor {
            url,
            topology: topology.clone(),
            metrics: metrics.clone(),
            link: link_sender,
            state: state_sender,
            stop: stop.clone(),
        };
        let supervisor = Mutex::new(Some(tokio::spawn(supervisor.run())));
        Self { topology, confirm_timeout, metrics, tally: Arc::default(), link, state, stop, supervisor }
    }

    /// Closes the connection in an orderly way; nothing can be published afterwards.
    pub(crate) async fn close(&self) {
        self.stop.cancel();
        let supervisor = self.supervisor.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(supervisor) = supervisor {
            let _ = supervisor.await;
        }
    }

    pub(crate) fn state(&self) -> watch::Receiver<BrokerState> {
        self.state.clone()
    }

    /// The connection, if it is up.
    pub(crate) fn link(&self) -> Result<Arc<Link>, PublishError> {
        let state = self.state.borrow();
        if !state.is_up() {
            return Err(PublishError::Refused(state.to_string()));
        }
        self.link.borrow().clone().ok_or_else(|| PublishError::Refused("the queue is away".to_owned()))
    }

    /// Publishes one message; `Ok` means that the broker has stored it on a majority of its disks.
    ///
    /// A message that no queue takes ends, stored, in the queue behind the alternate exchange. That is why nothing here
    /// is `mandatory`: lapin can attach a returned message to another publish's confirm.
    pub(crate) async fn publish(&self, place: &Place, message: &Message) -> Result<(), PublishError> {
        let started = Instant::now();
        let result = self.try_publish(place, message).await;
        let outcome = match &result {
            Ok(()) => PublishOutcome::Confirmed,
            Err(PublishError::Refused(_)) => PublishOutcome::Refused,
            Err(PublishError::Unknown(_)) => PublishOutcome::Unknown,
        };
        if outcome == PublishOutcome::Unknown {
            self.tally.uncertain(1);
        }
        self.metrics.published(outcome, started.elapsed());
        result
    }

    async fn try_publish(&self, place: &Place, message: &Message) -> Result<(), PublishError> {
        let link = self.link()?;
        let address = self.topology.names.address(place);
        let address = address.ok_or_else(|| PublishError::Refused("nothing is published to the intake".to_owned()))?;
        if let Place::Later(_, delay) = place
            && !self.topology.tiers.contains(delay)
        {
            return Err(PublishError::Refused("there is no retry queue with this delay".to_owned()));
        }
        if let Place::Held(account) = place {
            let held = timeout(self.confirm_timeout, link.ensure_held(&self.topology, account)).await;
            held.unwrap_or_else(|_| Err(PublishError::Refused("the broker is too slow".to_owned())))?;
            self.tally.holds(account);
        }
        let Some(_permit) = self.permit(&link).await else {
            return Err(PublishError::Refused("the broker is too slow".to_owned()));
        };
        let _in_flight = self.metrics.publishing();
        let published = async {
            let (exchange, key) = (address.exchange.as_str().into(), address.key.as_str().into());
            let options = BasicPublishOptions::default();
            let properties = properties::write(&message.headers);
            link.channel.basic_publish(exchange, key, options, &message.body, properties).await?.await
        };
        let result = tokio::select! {
            result = timeout(self.confirm_timeout, published) => result,
            () = link.broken.cancelled() => return Err(PublishError::Unknown(link.why())),
        };
        match result {
            Ok(Ok(Confirmation::Ack(None))) => {
                link.confirmed();
                Ok(())
            }
            Ok(Ok(Confirmation::Ack(Some(_)) | Confirmation::Nack(_))) => {
                link.confirmed();
                Err(PublishError::Unknown("the broker refused to store it".to_owned()))
            }
            Ok(Ok(Confirmation::NotRequested)) => {
                link.fail("the channel lost its confirm mode");
                Err(PublishError::Unknown(link.why()))
            }
            Ok(Err(error)) => {
                link.fail(&error.to_string());
                Err(PublishError::Unknown(link.why()))
            }
            Err(_) => {
                self.suspect(&link);
                Err(PublishError::Unknown(format!("no confirm within {} ms", self.confirm_timeout.as_millis())))
            }
        }
    }

    /// Waits for room among the unconfirmed, for as long as confirms come: giving up before would have a busy broker store
    /// half of what it is sent, and its sender send all of it again.
    async fn permit<'a>(&self, link: &'a Link) -> Option<SemaphorePermit<'a>> {
        let mut acquiring = std::pin::pin!(link.window.acquire());
        loop {
            tokio::select! {
                permit = &mut acquiring => return permit.ok(),
                () = link.broken.cancelled() => return None,
                () = tokio::time::sleep(self.confirm_timeout) => {
                    if self.confirm_timeout <= link.since_last_confirm() {
                        self.suspect(link);
                        return None;
                    }
                }
            }
        }
    }

    /// A confirm did not come. If none came meanwhile, the broker is frozen or the network is gone: heartbeats would
    /// need longer to notice. A broker that has blocked us confirms nothing either, and a new connection would not
    /// even know that it is blocked.
    fn suspect(&self, link: &Link) {
        let blocked = matches!(*self.state.borrow(), BrokerState::Blocked { .. });
        if !blocked && self.confirm_timeout <= link.since_last_confirm() {
            link.fail("the broker confirms nothing");
        }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Link {
    async fn open(url: &BrokerUrl, topology: &Topology) -> Result<Self, OpenError> {
        let connection =
            connection::connect(url, "publish").await.map_err(|error| OpenError::Away(error.to_string()))?;
        match Self::prepare(&connection, topology).await {
            Ok(channel) => Ok(Self {
                connection,
                channel,
                window: Semaphore::new(WINDOW),
                broken: CancellationToken::new(),
                why: Mutex::new(None),
                last_confirm: Mutex::new(Instant::now()),
                held: tokio::sync::Mutex::new(topology.accounts.get().into_iter().collect()),
            }),
            Err(error) => {
                connection::close(&connection).await;
                Err(error)
            }
        }
    }

    async fn prepare(connection: &Connection, topology: &Topology) -> Result<Channel, OpenError> {
        topology.declare(connection).await.map_err(OpenError::from)?;
        let channel = connection.create_channel().await.map_err(OpenError::from)?;
        channel.confirm_select(ConfirmSelectOptions::default()).await.map_err(OpenError::from)?;
        Ok(channel)
    }

    /// The place of an account's held events is made when it is first needed: it may be an account that is not
    /// configured any more.
    async fn ensure_held(&self, topology: &Topology, account: &AccountName) -> Result<(), PublishError> {
        let mut held = self.held.lock().await;
        if !held.contains(account) {
            let declared = topology.declare_held(&self.connection, account).await;
            declared.map_err(|error| PublishError::Refused(OpenError::from(error).to_string()))?;
            held.insert(account.clone());
        }
        Ok(())
    }

    fn fail(&self, why: &str) {
        self.why.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| why.to_owned());
        self.broken.cancel();
    }

    fn why(&self) -> String {
        let why = self.why.lock().unwrap_or_else(PoisonError::into_inner).clone();
        why.unwrap_or_else(|| "the connection was lost".to_owned())
    }

    fn since_last_confirm(&self) -> Duration {
        self.last_confirm.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    fn confirmed(&self) {
        *self.last_confirm.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }
}

#[derive(Debug, thiserror::Error)]
enum OpenError {
    #[error("{0}")]
    Away(String),
    #[error("{0}")]
    Mismatch(String),
}

impl From<lapin::Error> for OpenError {
    fn from(error: lapin::Error) -> Self {
        Self::Away(error.to_string())
    }
}

impl From<DeclareError> for OpenError {
    fn from(error: DeclareError) -> Self {
        match error {
            DeclareError::Mismatch(why) => Self::Mismatch(why),
            DeclareError::Broker(error) => error.into(),
        }
    }
}

/// Keeps a link up: opens one, watches it, tears it down whole, and begins again.
struct Supervisor {
    url: BrokerUrl,
    topology: Topology,
    metrics: Metrics,
    link: watch::Sender<Option<Arc<Link>>>,
    state: watch::Sender<BrokerState>,
    stop: CancellationToken,
}

/// How long preparing a link may take after connecting: declaring is many round trips, and a frozen broker answers none.
const OPEN_TIMEOUT: Duration = Duration::from_secs(30);

impl Supervisor {
    async fn run(self) {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(3));
        loop {
            let opened = tokio::select! {
                () = self.stop.cancelled() => return,
                opened = timeout(OPEN_TIMEOUT, Link::open(&self.url, &self.topology)) => opened,
            };
            match opened {
                Ok(Ok(link)) => {
                    backoff.reset();
                    self.serve(Arc::new(link)).await;
                    if self.stop.is_cancelled() {
                        return;
                    }
                }
                Ok(Err(OpenError::Mismatch(why))) => self.change(&BrokerState::Mismatch { why }),
                Ok(Err(OpenError::Away(why))) => self.change(&BrokerState::Away { why }),
                Err(_) => self.change(&BrokerState::Away { why: "the broker does not answer".to_owned() }),
            }
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(backoff.next_wait()) => {}
            }
        }
    }

    /// Serves one generation until it ends.
    async fn serve(&self, link: Arc<Link>) {
        let _connected = self.metrics.connected(telemetry::Connection::Publish);
        self.link.send_replace(Some(link.clone()));
        self.change(&BrokerState::Up);
        let watching = connection::watch(&link.connection, &self.stop, |notice| match notice {
            Notice::Blocked(why) => self.change(&BrokerState::Blocked { why }),
            Notice::Unblocked => self.change(&BrokerState::Up),
            Notice::Broken(why) => link.fail(&why),
        });
        tokio::select! {
            () = watching => {}
            () = link.broken.cancelled() => {}
        }
        let why = link.why();
        link.fail(&why);
        self.link.send_replace(None);
        if self.stop.is_cancelled() {
            self.metrics.blocked(false);
        } else {
            self.metrics.connection_lost(telemetry::Connection::Publish);
            self.change(&BrokerState::Away { why }); // before closing, which can take its time
        }
        connection::close(&link.connection).await;
    }

    /// Says a change once.
    fn change(&self, state: &BrokerState) {
        self.metrics.blocked(matches!(state, BrokerState::Blocked { .. }));
        let changed = self.state.send_if_modified(|current| {
            let changed = std::mem::discriminant(current) != std::mem::discriminant(state);
            let first = matches!(current, BrokerState::Away { why } if why == "not reached yet");
            *current = state.clone();
            changed || first
        });
        match (changed, state) {
            (false, _) => tracing::debug!(queue.state = %state, "no change of the queue"),
            (true, BrokerState::Up) => tracing::info!(queue.url = %self.url, "the queue is up"),
            (true, BrokerState::Mismatch { .. }) => tracing::error!("{state}"),
            (true, _) => tracing::warn!(queue.url = %self.url, "{state}; trying again until it works"),
        }
    }
}
