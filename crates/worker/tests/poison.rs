//! An event that makes the worker panic, on a real broker.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use refersion_relay_model::{AccountName, Class, Command, Event, Fingerprint, KeyPair, Shard, Subject};
use refersion_relay_queue::{
    BrokerState, BrokerUrl, Headers, Message, Place, Queue, RabbitMq, RabbitMqSettings, Room, Scan,
};
use refersion_relay_refersion::{Applied, Existing, Failure, NewAffiliateDefaults};
use refersion_relay_telemetry::Metrics;
use refersion_relay_worker::{Account, Destination, RetryPolicy, Worker, WorkerSettings};
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(30);

/// A destination with a bug that one event meets.
#[derive(Default)]
struct Buggy {
    applied: AtomicUsize,
}

#[async_trait]
impl Destination for Buggy {
    async fn apply(&self, _: &Account, command: &Command) -> Result<Applied, Failure> {
        assert!(!command.email().expose().starts_with("poison"), "cannot stand {}", command.email().expose());
        self.applied.fetch_add(1, Ordering::Relaxed);
        Ok(Applied::Created)
    }

    async fn check_keys(&self, _: &Account) -> Result<(), Failure> {
        Ok(())
    }
}

#[tokio::test]
async fn an_event_that_makes_the_worker_panic_is_poison_and_the_worker_goes_on() {
    let url =
        std::env::var("RELAY_TEST_AMQP_URL").expect("RELAY_TEST_AMQP_URL is not set: run the tests with tests/run");
    let metrics = Metrics::new();
    let account = account();
    let settings = RabbitMqSettings {
        url: BrokerUrl::parse(&url).expect("a URL"),
        prefix: format!(
            "worker-{:x}",
            SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("now").as_nanos()
        ),
        shards: 1,
        tiers: vec![Duration::from_secs(1)],
        accounts: vec![account.name.clone()],
        confirm_timeout: Duration::from_secs(5),
    };
    let queue = Arc::new(RabbitMq::start(settings, metrics.clone()));
    let mut state = queue.state();
    tokio::time::timeout(PATIENCE, state.wait_for(BrokerState::is_up)).await.expect("up").expect("a supervisor");
    let emails = ["before@example.com", "poison@example.com", "after@example.com", "poison@example.com"];
    let batch = emails.iter().map(|email| (Place::Shard(Shard { index: 0, count: 1 }), message(&account, email)));
    assert!(queue.publish(batch.collect()).await.iter().all(Result::is_ok));

    let destination = Arc::new(Buggy::default());
    let stop = CancellationToken::new();
    let worker = Worker::new(queue.clone(), destination.clone(), vec![account], 4, worker_settings(), metrics.clone());
    let working = tokio::spawn(worker.run(stop.clone(), CancellationToken::new()));
    let all = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        while metrics.ended() < 4 {
            ticks.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, all).await.expect("all four events end");

    assert_eq!(destination.applied.load(Ordering::Relaxed), 2);
    let mut poison = Vec::new();
    queue.browse(Class::Poison, Scan { letters: 10 }, &mut |letter| poison.push(letter)).await.expect("letters");
    let deaths: Vec<_> = poison.iter().filter_map(|letter| letter.message.headers.death.as_ref()).collect();
    assert_eq!(deaths.iter().map(|death| death.reason.as_str()).collect::<Vec<_>>(), ["panicked", "panicked"]);
    assert!(deaths.iter().all(|death| !format!("{death:?}").contains("@example.com")), "{deaths:?}");
    stop.cancel();
    tokio::time::timeout(PATIENCE, working).await.expect("an orderly end").expect("no panic of the worker itself");
}

fn account() -> Account {
    let keys = KeyPair::new("pub_1", "sec_1");
    Account {
        name: AccountName::try_from("acme").expect("a name"),
        fingerprint: Fingerprint::new(&keys),
        keys,
        defaults: NewAffiliateDefaults::default(),
        existing: Existing::Keep,
    }
}

fn message(account: &Account, email: &str) -> Message {
    let body = format!(r#"{{"type":"identify","traits":{{"name":"Test Person","email":"{email}"}}}}"#).into_bytes();
    let event = Event::parse(&body).expect("an event");
    let id = account.fingerprint.message_id(&event, &body);
    let subject = account.fingerprint.subject(&Subject::of(&event, id.as_str()));
    let headers = Headers::received(id.as_str(), "identify", account.name.clone(), subject, SystemTime::now());
    Message { body: Bytes::from(body), headers }
}

fn worker_settings() -> WorkerSettings {
    WorkerSettings {
        shards: vec![Shard { index: 0, count: 1 }],
        room: Room { events: 16 },
        retry: RetryPolicy {
            in_hand: Duration::from_secs(5),
            tiers: vec![Duration::from_secs(1)],
            max_attempts: 5,
            max_age: Duration::from_hours(1),
            max_held: Duration::from_hours(1),
        },
    }
}
