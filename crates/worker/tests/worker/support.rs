use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use refersion_relay_model::{AccountName, Event, Fingerprint, KeyPair, MissingLastName, Subject};
use refersion_relay_queue::{
    BrokerState, BrokerUrl, Headers, Message, Place, Queue, RabbitMq, RabbitMqSettings, Room, Sqlite, SqlitePath,
    SqliteSettings,
};
use refersion_relay_refersion::{Existing, NewAffiliateDefaults};
use refersion_relay_telemetry::Metrics;
use refersion_relay_worker::{
    Account, Accounts, OutageSettings, Readiness, RefersionApi, RetryPolicy, Worker, WorkerSettings,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A worker at work.
pub(crate) struct Running {
    pub(crate) accounts: Arc<Accounts>,
    pub(crate) readiness: Arc<Readiness>,
    stop: CancellationToken,
    abort: CancellationToken,
    working: JoinHandle<()>,
}

impl Running {
    pub(crate) fn start<Q: Queue + 'static>(
        queue: &Arc<Q>,
        destination: Arc<dyn RefersionApi>,
        accounts: Vec<Account>,
        metrics: &Metrics,
    ) -> Self {
        Self::start_with(settings(), queue, destination, accounts, metrics)
    }

    pub(crate) fn start_with<Q: Queue + 'static>(
        settings: WorkerSettings,
        queue: &Arc<Q>,
        destination: Arc<dyn RefersionApi>,
        accounts: Vec<Account>,
        metrics: &Metrics,
    ) -> Self {
        let worker = Worker::new(queue.clone(), destination, accounts, 4, settings, metrics.clone());
        let (accounts, readiness) = (worker.accounts(), worker.readiness());
        let (stop, abort) = (CancellationToken::new(), CancellationToken::new());
        let working = tokio::spawn(worker.run(stop.clone(), abort.clone()));
        Self { accounts, readiness, stop, abort, working }
    }

    /// Ends it with everything in hand, as a crash would.
    pub(crate) async fn crash(self) {
        self.abort.cancel();
        self.stop().await;
    }

    pub(crate) async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(PATIENCE, self.working)
            .await
            .expect("an orderly end")
            .expect("no panic of the worker itself");
    }
}

/// Waits until the metrics page has all of these lines, without the prefix of every name.
pub(crate) async fn until_shown(metrics: &Metrics, lines: &[&str]) {
    let shown = || {
        let page = metrics.render();
        let shows = |line: &&str| page.lines().any(|shown| shown.strip_prefix("refersion_relay_") == Some(line));
        lines.iter().all(shows)
    };
    let waiting = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        while !shown() {
            ticks.tick().await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, waiting).await;
    assert!(waited.is_ok(), "waited in vain for {lines:?} in\n{}", metrics.render());
}

/// A queue that nobody else uses.
pub(crate) async fn queue(metrics: &Metrics) -> Arc<RabbitMq> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("now");
    queue_called(&format!("worker-{:x}", now.as_nanos()), metrics).await
}

/// The queue that has this prefix on the broker.
pub(crate) async fn queue_called(prefix: &str, metrics: &Metrics) -> Arc<RabbitMq> {
    let url =
        std::env::var("RELAY_TEST_AMQP_URL").expect("RELAY_TEST_AMQP_URL is not set: run the tests with tests/run");
    let settings = RabbitMqSettings {
        url: BrokerUrl::parse(&url).expect("a URL"),
        prefix: prefix.to_owned(),
        tiers: vec![Duration::from_secs(1)],
        accounts: vec![account().name],
        confirm_timeout: Duration::from_secs(5),
        look_every: RabbitMqSettings::LOOK_EVERY,
        worker: 1,
        directory: None,
    };
    let queue = Arc::new(RabbitMq::start(settings, metrics.clone()));
    until_up(&*queue).await;
    queue
}

/// The queue in this file.
pub(crate) async fn queue_in(file: &Path, metrics: &Metrics) -> Arc<Sqlite> {
    let settings = SqliteSettings {
        path: SqlitePath::parse(&format!("sqlite:{}", file.display()), Path::new("/")).expect("a path"),
        tiers: vec![Duration::from_secs(1)],
        accounts: vec![account().name],
        confirm_timeout: Duration::from_secs(5),
    };
    let queue = Arc::new(Sqlite::start(settings, metrics.clone()));
    until_up(&*queue).await;
    queue
}

async fn until_up(queue: &dyn Queue) {
    let mut state = queue.state();
    tokio::time::timeout(PATIENCE, state.wait_for(BrokerState::is_up)).await.expect("up").expect("a supervisor");
}

pub(crate) fn account() -> Account {
    let keys = KeyPair::new("pub_1", "sec_1");
    Account {
        name: AccountName::try_from("acme").expect("a name"),
        fingerprint: Fingerprint::new(&keys),
        keys,
        defaults: NewAffiliateDefaults::default(),
        existing: Existing::Keep,
        missing_last_name: MissingLastName::Refuse,
        has_directory: false,
        max_calls_per_second: None,
    }
}

pub(crate) fn identify(email: &str) -> String {
    format!(r#"{{"type":"identify","traits":{{"name":"Test Person","email":"{email}"}}}}"#)
}

/// Puts an event of the account into its work queue.
pub(crate) async fn store(queue: &RabbitMq, body: &str) {
    store_for(queue, &account(), body).await;
}

/// The same for another account.
pub(crate) async fn store_for(queue: &dyn Queue, account: &Account, body: &str) {
    let (account, body) = (account.clone(), Bytes::copy_from_slice(body.as_bytes()));
    let event = Event::parse(&body).expect("an event");
    let id = account.fingerprint.message_id(&event, &body);
    let subject = account.fingerprint.subject(&Subject::of(&event, id.as_str()));
    let headers =
        Headers::received(id.as_str(), event.kind().as_str(), account.name.clone(), subject, SystemTime::now());
    let stored = queue.publish(vec![(Place::Work(account.name), Message { body, headers })]).await;
    assert!(stored.iter().all(Result::is_ok), "{stored:?}");
}

pub(crate) fn settings() -> WorkerSettings {
    WorkerSettings {
        room: Room { events: 16 },
        in_hand: WorkerSettings::IN_HAND,
        retry: RetryPolicy {
            in_hand: Duration::from_secs(5),
            tiers: vec![Duration::from_secs(1)],
            max_attempts: 5,
            max_age: Duration::from_hours(1),
        },
        longest_stay: WorkerSettings::LONGEST_STAY,
        skip_unchanged: None,
        outage: OutageSettings::default(),
    }
}
