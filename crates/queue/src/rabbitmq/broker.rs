use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use lapin::{Connection, Event};
use refersion_relay_model::{AccountName, Class};
use refersion_relay_supervise::Parts;
use refersion_relay_telemetry::Metrics;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::tally::{self, Journal, Storing};
use crate::rabbitmq::consume::consumer;
use crate::rabbitmq::consume::moves::Moves;
use crate::rabbitmq::consume::shared_connection::SharedConnection;
use crate::rabbitmq::consume::untaken::Untaken;
use crate::rabbitmq::letters::reader::Reader;
use crate::rabbitmq::letters::sweep;
use crate::rabbitmq::mailbox::client::Mailbox;
use crate::rabbitmq::mailbox::server;
use crate::rabbitmq::publish::batch;
use crate::rabbitmq::publish::publisher::{Publisher, PublisherSettings};
use crate::rabbitmq::publish::singles::Singles;
use crate::rabbitmq::topology::history;
use crate::rabbitmq::topology::left_behind;
use crate::rabbitmq::topology::marks::Marks;
use crate::rabbitmq::topology::names::Names;
use crate::rabbitmq::topology::topology::{Accounts, DeclareError, Needs, Topology, TopologyReport};
use crate::rabbitmq::topology::upkeep;
use crate::rabbitmq::wire::cause::Cause;
use crate::rabbitmq::wire::connection;
use crate::rabbitmq::wire::queue_counts;
use crate::rabbitmq::wire::url::BrokerUrl;
use crate::{
    BrokerState, Browsed, Conservation, Depth, InFlight, LeftBehind, Letter, LetterVisitor, MailboxDepth,
    MailboxReader, Message, Owned, Place, PublishError, Queue, QueueError, Room, Scan, Shown, Stuck, Swept,
};

/// How long another process may be adding up what was counted.
const ADDING_UP: Duration = Duration::from_secs(10);

/// How to reach a broker, and what to expect on it.
#[derive(Clone, Debug)]
pub struct RabbitMqSettings {
    /// Where it is.
    pub url: BrokerUrl,
    /// The first part of every name.
    pub prefix: String,
    /// The delays of the retry queues.
    pub tiers: Vec<Duration>,
    /// Accounts with an intake exchange and a work queue.
    pub accounts: Vec<AccountName>,
    /// How long a publish may wait for its confirm.
    pub confirm_timeout: Duration,
    /// How often it is looked at whether somebody has deleted what has to exist.
    pub look_every: Duration,
    /// Who this process is among the workers; anything that no other process has. Which accounts it prefers follows from it.
    pub worker: u64,
    /// The name of the directory's keys, in a process that sends something to its mailbox, or reads it.
    pub directory: Option<String>,
}

/// The queue on RabbitMQ. Reaches the broker in the background, for ever.
pub struct RabbitMq {
    url: BrokerUrl,
    publisher: Arc<Publisher>,
    singles: Arc<Singles>,
    consuming: Arc<SharedConnection>,
    moves: Arc<Moves>,
    untaken: Untaken,
    storing: Storing,
    mailbox: OnceLock<Arc<Mailbox>>,
}

impl RabbitMqSettings {
    /// What to look at the topology with.
    pub const LOOK_EVERY: Duration = upkeep::EVERY;

    /// Somebody whom nobody else is.
    #[must_use]
    pub fn new_worker() -> u64 {
        rand::random()
    }
}

impl RabbitMq {
    /// Begins to reach the broker; needs a tokio runtime. Everything missing on the broker is declared.
    #[must_use]
    pub fn start(settings: RabbitMqSettings, metrics: Metrics) -> Self {
        let RabbitMqSettings { url, prefix, mut tiers, accounts, confirm_timeout, look_every, worker, directory } =
            settings;
        tiers.sort_unstable();
        tiers.dedup();
        let (names, accounts) = (Names::new(&prefix), Accounts::new(accounts));
        let topology = Topology { names, tiers, accounts, worker, directory };
        let settings = PublisherSettings { url: url.clone(), confirm_timeout, look_every };
        let publisher = Arc::new(Publisher::start(settings, topology, metrics.clone()));
        let consuming = Arc::new(SharedConnection::new(url.clone(), metrics.clone(), publisher.parts.clone()));
        let moves = Arc::new(Moves::new(metrics));
        let storing = Storing::start(url.clone(), publisher.clone());
        Self {
            url,
            publisher,
            singles: Arc::default(),
            consuming,
            moves,
            untaken: Untaken::default(),
            storing,
            mailbox: OnceLock::new(),
        }
    }

    /// What sends to the directory's mailbox, until the queue is closed. `None`: this process has none.
    #[must_use]
    pub fn mailbox(&self) -> Option<Arc<Mailbox>> {
        self.publisher.topology.directory.as_ref()?;
        let start = || Arc::new(Mailbox::start(self.url.clone(), self.publisher.clone()));
        Some(self.mailbox.get_or_init(start).clone())
    }

    /// Reads the directory's mailbox until `stop` is cancelled. Of several processes that do, one has it at a time.
    pub async fn read_mailbox(&self, reader: &dyn MailboxReader, stop: &CancellationToken) {
        server::serve(&self.url, &self.publisher.topology, reader, stop).await;
    }

    /// How much waits in the directory's mailbox.
    pub async fn mailbox_depth(&self) -> Result<MailboxDepth, QueueError> {
        server::depth(&self.publisher).await
    }

    /// What goes on in the background until the queue is closed.
    #[must_use]
    pub fn parts(&self) -> Parts {
        self.publisher.parts.clone()
    }

    /// Compares what exists on the broker with what is configured, and declares what is missing.
    pub async fn check(&self) -> Result<TopologyReport, QueueError> {
        let connection =
            connection::connect(&self.url, "check").await.map_err(|error| QueueError::Away(error.to_string()))?;
        let topology = &self.publisher.topology;
        let report = async {
            let mut report = topology.check(&connection).await?;
            report.differences.extend(topology.silent(&self.url, &connection).await);
            Ok::<_, lapin::Error>(report)
        };
        let report = report.await;
        connection::close(&connection).await;
        Ok(report?)
    }

    /// Why the broker takes no messages now, in its own words, if it does not. It says so only to a connection that publishes,
    /// so this publishes to nobody.
    pub async fn alarm(&self) -> Result<Option<String>, QueueError> {
        let connection =
            connection::connect(&self.url, "check").await.map_err(|error| QueueError::Away(error.to_string()))?;
        let alarm = alarm(&connection, &self.publisher.topology.names).await;
        connection::close(&connection).await;
        Ok(alarm?)
    }

    /// How many queues, connections and channels are needed, about.
    #[must_use]
    pub fn needs(&self) -> Needs {
        self.publisher.topology.needs()
    }

    /// Where the broker is.
    #[must_use]
    pub fn url(&self) -> &BrokerUrl {
        &self.url
    }

    /// What the names of all its queues begin with.
    #[must_use]
    pub fn prefix(&self) -> &str {
        self.publisher.topology.names.prefix()
    }

    /// The queues that should be there.
    #[must_use]
    pub fn queue_names(&self) -> Vec<String> {
        self.publisher.topology.queue_names().collect()
    }

    /// Adds what is configured here to what was ever configured, which is kept on the broker: what is left behind one day is
    /// found by that.
    pub async fn remember(&self) -> Result<(), QueueError> {
        let mut journal = self.journal().await?;
        let remembered = history::remember(&mut journal, &self.publisher.topology).await;
        journal.end().await;
        remembered
    }

    /// What the broker has and no configuration names, as far as that can be known: what was configured is remembered, and
    /// what else there is only the management API shows.
    pub async fn left_behind(&self, shown: Shown) -> Result<LeftBehind, QueueError> {
        let mut journal = self.journal().await?;
        let found = left_behind::look(&mut journal, &self.publisher.topology, shown).await;
        journal.end().await;
        found
    }

    /// Takes for right what [`Queue::conservation`] says now: differences and tolerances count from here on.
    pub async fn set_baseline(&self) -> Result<(), QueueError> {
        let journal = self.journal().await?;
        let set = tally::baseline(&journal, &self.publisher.topology).await;
        journal.end().await;
        set
    }

    /// What all processes have counted.
    async fn journal(&self) -> Result<Journal, QueueError> {
        let busy = || QueueError::Away("another process is adding up what was counted; try again".to_owned());
        Journal::open(&self.url, &self.publisher.topology, ADDING_UP).await?.ok_or_else(busy)
    }
}

async fn alarm(connection: &Connection, names: &Names) -> Result<Option<String>, lapin::Error> {
    let mut events = std::pin::pin!(connection.events_listener());
    let blocked = async {
        loop {
            match events.next().await {
                Some(Event::ConnectionBlocked(why)) => return why,
                Some(_) => {}
                None => std::future::pending().await,
            }
        }
    };
    let publishing = async {
        let marks = Marks::ask(connection, names).await?;
        // The first publish is what a broker in need takes still; then it says so, and reads nothing more.
        for _ in 0..2 {
            marks.has("alarm").await?;
        }
        marks.end().await
    };
    tokio::select! {
        biased;
        why = blocked => Ok(Some(why)),
        published = publishing => published.map(|()| None),
    }
}

#[async_trait]
impl Queue for RabbitMq {
    async fn publish(&self, mut batch: Vec<(Place, Message)>) -> Vec<Result<(), PublishError>> {
        let count = batch.len();
        if let Some(single) = batch.pop_if(|_| count == 1) {
            return vec![self.singles.publish(&self.publisher, single).await];
        }
        batch::publish(self.publisher.clone(), batch).await
    }

    async fn own(&self, place: Place, room: Room) -> Result<Owned, QueueError> {
        // What is settled before would be missing if this process died, and nobody would know.
        if !self.publisher.appender.has_begun().await {
            return Err(QueueError::Away(self.publisher.state().borrow().to_string()));
        }
        let queue = self.publisher.topology.names.queue(&place);
        match consumer::own(&self.consuming, self.publisher.clone(), self.moves.clone(), &place, room).await {
            Ok(owned) => {
                if self.untaken.is_last(&queue) {
                    tracing::info!("every place can be taken up again");
                }
                Ok(owned)
            }
            Err(error) => {
                let error = QueueError::from(error);
                // That the broker is away is said already.
                if self.publisher.state().borrow().is_up() && self.untaken.is_new(&queue, &error.to_string()) {
                    tracing::warn!(place = queue, "a place cannot be taken up, trying again until it works: {error}");
                }
                Err(error)
            }
        }
    }

    async fn admit(&self, accounts: &[AccountName]) -> Result<(), QueueError> {
        let topology = &self.publisher.topology;
        if topology.accounts.get() == accounts {
            return Ok(());
        }
        let link = self.publisher.link().map_err(|error| QueueError::Away(error.to_string()))?;
        if topology.accounts.get().iter().any(|account| !accounts.contains(account)) {
            // What is left in the work queue of one that leaves has to be found.
            self.remember().await?;
        }
        // A new account must not keep the next connection from being used, so it counts only once its places are there.
        let wanted = Topology { accounts: Accounts::new(accounts.to_vec()), ..topology.clone() };
        match wanted.declare(&link.connection).await {
            Ok(()) => {
                topology.accounts.replace(accounts);
                Ok(())
            }
            Err(DeclareError::Refused { cause: Cause::NoRight(_), why }) => Err(QueueError::Forbidden(why)),
            Err(DeclareError::Differs(why) | DeclareError::Refused { why, .. }) => Err(QueueError::Mismatch(why)),
            Err(DeclareError::Broker(error)) => Err(error.into()),
        }
    }

    async fn depth(&self, place: &Place) -> Result<Depth, QueueError> {
        let link = self.publisher.link().map_err(|error| QueueError::Away(error.to_string()))?;
        queue_counts::depth(&link.connection, &self.publisher.topology.names.queue(place)).await
    }

    async fn conservation(&self) -> Result<Conservation, QueueError> {
        let journal = self.journal().await?;
        let sum = tally::sample(&journal, &self.publisher.topology).await;
        journal.end().await;
        sum
    }

    async fn end_tolerance(&self, before: &Conservation) -> Result<Option<Conservation>, QueueError> {
        // What this process has counted and could not store yet is a difference that will go by itself.
        if self.publisher.appender.unwritten().await.is_some() {
            return Ok(None);
        }
        let topology = &self.publisher.topology;
        // Whoever reads just now may be doing the same.
        let Some(journal) = Journal::open(&self.url, topology, Duration::ZERO).await? else { return Ok(None) };
        let ended = tally::end_tolerance(&self.url, &journal, topology, before).await;
        journal.end().await;
        ended
    }

    async fn browse(
        &self,
        class: Class,
        scan: Scan,
        visit: &mut (dyn FnMut(Letter) + Send),
    ) -> Result<Browsed, QueueError> {
        let reader = Reader::begin(&self.url, &self.publisher.topology.names, class).await?;
        let browsed = reader.browse(scan, visit).await;
        reader.end().await;
        browsed
    }

    async fn sweep(
        &self,
        class: Class,
        in_flight: InFlight,
        visitor: &mut dyn LetterVisitor,
        stop: &CancellationToken,
    ) -> Result<Swept, QueueError> {
        self.publisher.link().map_err(|error| QueueError::Away(error.to_string()))?;
        let reader = Reader::begin(&self.url, &self.publisher.topology.names, class).await?;
        let swept = sweep::sweep(&reader, self.publisher.clone(), in_flight, visitor, stop).await;
        reader.end().await;
        swept
    }

    fn state(&self) -> watch::Receiver<BrokerState> {
        self.publisher.state()
    }

    fn stuck(&self) -> watch::Receiver<Vec<Stuck>> {
        self.moves.stuck()
    }

    /// From RabbitMQ 4.0 on a consumer with a higher priority becomes the active one as soon as the active one has nothing in hand, and
    /// nobody tells either.
    fn changes_owners_unseen(&self) -> bool {
        true
    }

    /// The broker then logs no lost connection.
    async fn close(&self) {
        self.consuming.close().await;
        if let Some(mailbox) = self.mailbox.get() {
            mailbox.close().await;
        }
        self.storing.close().await;
        self.publisher.close().await;
    }
}
