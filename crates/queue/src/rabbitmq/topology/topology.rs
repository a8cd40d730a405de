use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ErrorKind, ExchangeKind};
use refersion_relay_model::{AccountName, Class};

use super::names::{DIED_AT_INTAKE, Names};
use crate::port::left_behind::Configured;
use crate::rabbitmq::wire::cause::Cause;
use crate::rabbitmq::wire::requests::{NOT_FOUND, answer, has_code, io_error};
use crate::rabbitmq::wire::silence::{self, Asked};
use crate::rabbitmq::wire::url::BrokerUrl;

/// How often the intake delivers an event before the broker gives up on it. Up to RabbitMQ 4.2 every lost connection
/// counts, so this is far above what crashes explain; it has to be a positive number, since -1 means 0 on old brokers.
const INTAKE_LIMIT: i32 = 100;
/// The same for every other queue that is consumed: what is in hand is put back whenever an account is not worked for some
/// time, and so are letters that somebody looks at.
const DELIVERY_LIMIT: i32 = 1_000_000;
/// The same for the journal of counts, which everybody reads all the time, and of which nothing must ever be given up.
const NO_LIMIT: i32 = i32::MAX;

/// What has to exist on the broker. All queues are durable quorum queues, because a classic queue loses messages that
/// are being dead-lettered when the broker dies; all dead-lettering is at-least-once, which needs `reject-publish`.
///
/// Each answer of the broker has to come in time, not all of them together: it can be a great many over a slow line.
#[derive(Clone, Debug)]
pub(crate) struct Topology {
    pub(crate) names: Names,
    pub(crate) tiers: Vec<Duration>,
    pub(crate) accounts: Accounts,
    /// Who this process is among those who consume.
    pub(crate) worker: u64,
    /// The name of the directory's keys, in a process that sends something to its mailbox, or reads it.
    pub(crate) directory: Option<String>,
}

/// The accounts with work queues. Clones share them, since accounts can come and go while the relay runs.
#[derive(Clone, Debug)]
pub(crate) struct Accounts(Arc<RwLock<Vec<AccountName>>>);

impl Accounts {
    pub(crate) fn new(names: Vec<AccountName>) -> Self {
        Self(Arc::new(RwLock::new(names)))
    }

    pub(crate) fn get(&self) -> Vec<AccountName> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn replace(&self, names: &[AccountName]) {
        let mut accounts = self.0.write().unwrap_or_else(PoisonError::into_inner);
        accounts.clear();
        accounts.extend_from_slice(names);
    }
}

/// What `check` says about the broker.
#[derive(Clone, Debug, Default)]
pub struct TopologyReport {
    /// How many exchanges and queues are as they should be.
    pub in_order: usize,
    /// What differs, each with what to do.
    pub differences: Vec<String>,
}

/// How many queues, connections and channels are needed, about: where a broker allows fewer, something does not work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    /// Queues in the vhost.
    pub queues: u64,
    /// Connections to it.
    pub connections: u64,
    /// Channels of the user, over all connections.
    pub channels: u64,
}

/// Why the topology could not be declared.
#[derive(Debug)]
pub(crate) enum DeclareError {
    /// What exists has other arguments, as the broker has found when it compared them.
    Differs(String),
    /// It does not make what was asked for, whatever exists. Only a person can change that.
    Refused {
        cause: Cause,
        why: String,
    },
    Broker(lapin::Error),
}

impl DeclareError {
    fn into_lapin(self) -> lapin::Error {
        match self {
            Self::Broker(error) => error,
            Self::Differs(why) | Self::Refused { why, .. } => io_error(why),
        }
    }

    /// A broker that does not answer, or is gone, is asked nothing more; one that refuses something has closed the channel.
    fn go_on(&self) -> Result<(), lapin::Error> {
        match self {
            Self::Broker(error) if !matches!(error.kind(), ErrorKind::ProtocolError(_)) => Err(error.clone()),
            Self::Broker(_) | Self::Differs(_) | Self::Refused { .. } => Ok(()),
        }
    }
}

struct QueueSpec {
    name: String,
    arguments: FieldTable,
    /// The exchanges and routing keys it is bound to.
    bindings: Vec<(String, String)>,
}

struct ExchangeSpec {
    name: String,
    kind: ExchangeKind,
    arguments: FieldTable,
}

impl Topology {
    /// Declares everything that is missing, and stops at the first thing that differs.
    pub(crate) async fn declare(&self, connection: &Connection) -> Result<(), DeclareError> {
        let channel = answer(connection.create_channel()).await.map_err(DeclareError::Broker)?;
        for exchange in self.exchanges() {
            exchange.declare(&channel).await?;
        }
        for queue in self.queues() {
            queue.declare(&channel).await?;
        }
        answer(channel.close(200, "done".into())).await.map_err(DeclareError::Broker)
    }

    /// Declares the journal of counts, and binds it.
    pub(crate) async fn declare_tally(&self, channel: &Channel) -> Result<(), lapin::Error> {
        self.tally().declare(channel).await.map_err(DeclareError::into_lapin)
    }

    /// Declares the mailbox of the directory, and binds it.
    pub(crate) async fn declare_mailbox(&self, channel: &Channel) -> Result<(), lapin::Error> {
        self.notes().declare(channel).await.map_err(DeclareError::into_lapin)?;
        self.mailbox(&self.mailbox_name()).declare(channel).await.map_err(DeclareError::into_lapin)
    }

    /// The queue of the mailbox, which is the key it is bound with, too.
    pub(crate) fn mailbox_name(&self) -> String {
        self.names.mailbox(self.directory.as_deref().unwrap_or_default())
    }

    /// Declares everything that is missing and gathers what differs.
    pub(crate) async fn check(&self, connection: &Connection) -> Result<TopologyReport, lapin::Error> {
        let mut report = TopologyReport::default();
        let mut channel = answer(connection.create_channel()).await?;
        let (exchanges, queues) = (self.exchanges(), self.queues());
        let mut results = Vec::new();
        for exchange in &exchanges {
            results.push(exchange.declare(&channel).await);
            if let Some(Err(error)) = results.last() {
                error.go_on()?;
                channel = answer(connection.create_channel()).await?;
            }
        }
        for queue in &queues {
            results.push(queue.declare(&channel).await);
            if let Some(Err(error)) = results.last() {
                error.go_on()?;
                channel = answer(connection.create_channel()).await?;
            }
        }
        for result in results {
            match result {
                Ok(()) => report.in_order += 1,
                // A limit, say, is the same for all that it keeps from being made.
                Err(DeclareError::Differs(why) | DeclareError::Refused { why, .. }) => {
                    if !report.differences.contains(&why) {
                        report.differences.push(why);
                    }
                }
                Err(DeclareError::Broker(error)) => return Err(error),
            }
        }
        answer(channel.close(200, "done".into())).await?;
        Ok(report)
    }

    /// What is wrong with queues that count as empty and do not answer.
    pub(crate) async fn silent(&self, url: &BrokerUrl, connection: &Connection) -> Vec<String> {
        let asked = self.queues().into_iter().map(|queue| Asked {
            is_single_active: queue.arguments.contains_key("x-single-active-consumer"),
            name: queue.name,
        });
        let silent = silence::silent(url, connection, asked).await;
        let says = silent.into_iter().map(|(name, found)| match found {
            Ok(()) => does_not_answer(&name),
            Err(error) => format!("queue {name} could not be asked: {}", Cause::of(&error)),
        });
        says.collect()
    }

    /// How much of everything that a broker may limit has to be there at once, for one process that does all of it and one
    /// command beside it.
    pub(crate) fn needs(&self) -> Needs {
        let accounts = self.accounts.get().len() as u64;
        // Whoever sends to the mailbox, reads it and answers; and the queue for the answers.
        let (mailbox, answers) = if self.directory.is_some() { (3, 1) } else { (0, 0) };
        // Besides: what stands for both, for who reads letters, and for who reads the journal of counts.
        let queues = self.queues().len() as u64 + 2 + 1 + 1 + answers;
        // All places are consumed over one, and some are tried over a second one; and both publish, count and look.
        let connections = 2 + 2 * 3 + mailbox;
        // A channel for each work queue and the intake, and over each connection something is asked besides what it is there for.
        Needs { queues, connections, channels: accounts + 1 + 2 * connections + silence::ASKED as u64 }
    }

    /// The names of what does not exist. Changes nothing.
    pub(crate) async fn missing(&self, connection: &Connection) -> Result<Vec<String>, lapin::Error> {
        let exchanges = self.exchanges().into_iter().map(|exchange| (What::Exchange(exchange.kind), exchange.name));
        let queues = self.queues().into_iter().map(|queue| (What::Queue, queue.name));
        let mut missing = Vec::new();
        let mut channel = answer(connection.create_channel()).await?;
        for (what, name) in exchanges.chain(queues) {
            match what.look(&channel, &name).await {
                Ok(()) => {}
                Err(error) if has_code(&error, NOT_FOUND) => {
                    missing.push(name);
                    channel = answer(connection.create_channel()).await?; // the error has closed it
                }
                Err(error) => return Err(error),
            }
        }
        answer(channel.close(200, "done".into())).await?;
        Ok(missing)
    }

    /// What places exist for.
    pub(crate) fn configured(&self) -> Configured {
        Configured { accounts: self.accounts.get().into_iter().collect(), tiers: self.tiers.iter().copied().collect() }
    }

    /// Every queue that has to exist.
    pub(crate) fn queue_names(&self) -> impl Iterator<Item = String> + use<> {
        self.queues().into_iter().map(|queue| queue.name)
    }

    fn exchanges(&self) -> Vec<ExchangeSpec> {
        let names = &self.names;
        let unrouted =
            ExchangeSpec { name: names.unrouted(), kind: ExchangeKind::Fanout, arguments: FieldTable::default() };
        let mut exchanges = vec![
            unrouted,
            self.notes(),
            self.exchange(names.events(), ExchangeKind::Direct),
            self.exchange(names.dead_exchange(), ExchangeKind::Direct),
        ];
        exchanges.extend(self.tiers.iter().map(|tier| self.exchange(names.retry(*tier), ExchangeKind::Fanout)));
        for account in &self.accounts.get() {
            exchanges.push(self.exchange(names.intake_exchange(account), ExchangeKind::Fanout));
        }
        exchanges
    }

    fn queues(&self) -> Vec<QueueSpec> {
        let names = &self.names;
        // The journal first: RabbitMQ 3.10 may lose what it made last, if it dies within a second or so.
        let mut queues = vec![
            self.tally(),
            QueueSpec {
                name: names.unrouted(),
                arguments: arguments([limit(DELIVERY_LIMIT), ("x-overflow", text("reject-publish"))]),
                bindings: vec![(names.unrouted(), String::new())],
            },
        ];
        for class in Class::ALL.into_iter().filter(|class| *class != Class::Unrouted) {
            queues.push(QueueSpec {
                name: names.dead(class),
                arguments: DeadLettering::to(names.unrouted()).arguments([limit(DELIVERY_LIMIT)]),
                bindings: dead_bindings(names, class),
            });
        }
        for account in &self.accounts.get() {
            queues.push(QueueSpec {
                name: names.work(account),
                arguments: DeadLettering::to(names.dead_exchange())
                    .with_key(Class::Poison.as_str())
                    .arguments([limit(DELIVERY_LIMIT), SINGLE_ACTIVE]),
                bindings: vec![(names.events(), account.to_string())],
            });
        }
        for tier in &self.tiers {
            let ttl = i64::try_from(tier.as_millis()).unwrap_or(i64::MAX);
            queues.push(QueueSpec {
                name: names.retry(*tier),
                // Without a routing key of its own: the account's key comes back with the event.
                arguments: DeadLettering::to(names.events())
                    .arguments([("x-message-ttl", AMQPValue::LongLongInt(ttl))]),
                bindings: vec![(names.retry(*tier), String::new())],
            });
        }
        queues.push(QueueSpec {
            name: names.intake(),
            arguments: DeadLettering::to(names.dead_exchange())
                .with_key(DIED_AT_INTAKE)
                .arguments([limit(INTAKE_LIMIT), SINGLE_ACTIVE]),
            // An exchange for each account: the right to publish to it is the authority to speak for the account.
            bindings: self
                .accounts
                .get()
                .iter()
                .map(|account| (names.intake_exchange(account), String::new()))
                .collect(),
        });
        if self.directory.is_some() {
            queues.push(self.mailbox(&self.mailbox_name()));
        }
        queues
    }

    fn mailbox(&self, name: &str) -> QueueSpec {
        QueueSpec {
            name: name.to_owned(),
            arguments: arguments([limit(NO_LIMIT), ("x-overflow", text("reject-publish")), SINGLE_ACTIVE]),
            bindings: vec![(self.names.notes(), name.to_owned())],
        }
    }

    fn tally(&self) -> QueueSpec {
        let name = self.names.tally();
        QueueSpec {
            bindings: vec![(self.names.notes(), name.clone())],
            name,
            arguments: arguments([limit(NO_LIMIT), ("x-overflow", text("reject-publish"))]),
        }
    }

    fn exchange(&self, name: String, kind: ExchangeKind) -> ExchangeSpec {
        let arguments = table([("alternate-exchange", text(&self.names.unrouted()))]);
        ExchangeSpec { name, kind, arguments }
    }

    /// What no queue takes comes back.
    fn notes(&self) -> ExchangeSpec {
        ExchangeSpec { name: self.names.notes(), kind: ExchangeKind::Direct, arguments: FieldTable::default() }
    }
}

/// Something to look at.
enum What {
    Exchange(ExchangeKind),
    Queue,
}

impl What {
    /// Fails with `NOT_FOUND` if it does not exist.
    async fn look(self, channel: &Channel, name: &str) -> Result<(), lapin::Error> {
        match self {
            Self::Exchange(kind) => {
                let options = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
                answer(channel.exchange_declare(name.into(), kind, options, FieldTable::default())).await
            }
            Self::Queue => {
                let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
                answer(channel.queue_declare(name.into(), options, FieldTable::default())).await.map(drop)
            }
        }
    }
}

impl ExchangeSpec {
    async fn declare(&self, channel: &Channel) -> Result<(), DeclareError> {
        let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        let declared =
            channel.exchange_declare(self.name.as_str().into(), self.kind.clone(), options, self.arguments.clone());
        answer(declared).await.map_err(|error| differs("exchange", &self.name, error))
    }
}

impl QueueSpec {
    async fn declare(&self, channel: &Channel) -> Result<(), DeclareError> {
        let declared =
            channel.queue_declare(self.name.as_str().into(), QueueDeclareOptions::durable(), self.arguments.clone());
        answer(declared).await.map_err(|error| differs("queue", &self.name, error))?;
        for (exchange, key) in &self.bindings {
            let (queue, exchange, key) = (self.name.as_str().into(), exchange.as_str().into(), key.as_str().into());
            let bound = channel.queue_bind(queue, exchange, key, QueueBindOptions::default(), FieldTable::default());
            answer(bound).await.map_err(|error| differs("the bindings of queue", &self.name, error))?;
        }
        Ok(())
    }
}

/// Arguments of a queue cannot be changed, so a difference needs a person: the broker's own words say what differs. To delete
/// something is advised only where the broker has found such a difference.
fn differs(what: &str, name: &str, error: lapin::Error) -> DeclareError {
    match Cause::of(&error) {
        Cause::Differs(words) => DeclareError::Differs(format!(
            "{what} {name} exists and differs from what is configured ({words}): set the configuration back, or let it run \
             empty, delete it on the broker and start again",
        )),
        // The same sentence, whatever is not made for it.
        cause @ Cause::Limit(_) => DeclareError::Refused { why: cause.to_string(), cause },
        cause if cause.needs_a_person() => DeclareError::Refused { why: format!("{what} {name}: {cause}"), cause },
        _ => DeclareError::Broker(error),
    }
}

fn does_not_answer(name: &str) -> String {
    format!(
        "queue {name} does not answer: the nodes that have it are away, or not ready yet; if it stays so with all nodes up, the \
         broker died within a second of making it, and has lost what was in it: then delete it on the broker, and it is made again"
    )
}

/// What is put away at the intake has a key of its own, so that it is not taken for a message of ours.
fn dead_bindings(names: &Names, class: Class) -> Vec<(String, String)> {
    let key = |key: &str| (names.dead_exchange(), key.to_owned());
    match class {
        Class::Poison => vec![key(class.as_str()), key(DIED_AT_INTAKE)],
        class => vec![key(class.as_str())],
    }
}

/// Where a queue's dropped messages go, in the one way that survives a crash of the broker.
struct DeadLettering {
    exchange: String,
    key: Option<&'static str>,
}

impl DeadLettering {
    fn to(exchange: String) -> Self {
        Self { exchange, key: None }
    }

    fn with_key(self, key: &'static str) -> Self {
        Self { key: Some(key), ..self }
    }

    fn arguments<const N: usize>(self, more: [(&'static str, AMQPValue); N]) -> FieldTable {
        let key = self.key.map(|key| ("x-dead-letter-routing-key", text(key)));
        let own = [
            ("x-dead-letter-exchange", text(&self.exchange)),
            ("x-dead-letter-strategy", text("at-least-once")),
            ("x-overflow", text("reject-publish")),
        ];
        arguments(own.into_iter().chain(key).chain(more))
    }
}

const SINGLE_ACTIVE: (&str, AMQPValue) = ("x-single-active-consumer", AMQPValue::Boolean(true));

fn limit(deliveries: i32) -> (&'static str, AMQPValue) {
    ("x-delivery-limit", AMQPValue::LongInt(deliveries))
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}

fn arguments(more: impl IntoIterator<Item = (&'static str, AMQPValue)>) -> FieldTable {
    table([("x-queue-type", text("quorum"))].into_iter().chain(more))
}

fn table(entries: impl IntoIterator<Item = (&'static str, AMQPValue)>) -> FieldTable {
    let mut table = FieldTable::default();
    for (key, value) in entries {
        table.insert(key.into(), value);
    }
    table
}
