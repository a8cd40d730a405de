//! A relay's queue under a fresh prefix, and how the tests wait.

use std::env;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use refersion_relay_model::{AccountName, Class, Shard};
use refersion_relay_queue::{
    BrokerState, BrokerUrl, Delivery, Headers, Letter, Message, Owned, Place, Queue, RabbitMq, RabbitMqSettings, Room,
    Scan,
};
use refersion_relay_telemetry::Metrics;
use tokio::time::{interval, timeout};

use crate::admin::Admin;

/// What works at all works within this time, even beside a compiler.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// The only tier of [`settings`].
pub(crate) const TIER: Duration = Duration::from_secs(1);
pub(crate) const ROOM: Room = Room { events: 100 };
pub(crate) const EVERYTHING: Scan = Scan { letters: usize::MAX };
/// The work queues of [`settings`], as places.
pub(crate) const SHARD: Place = Place::Shard(Shard { index: 0, count: 2 });
pub(crate) const OTHER_SHARD: Place = Place::Shard(Shard { index: 1, count: 2 });

/// A queue on a broker, and an administrator beside it.
pub(crate) struct Relay {
    pub(crate) queue: Arc<RabbitMq>,
    pub(crate) metrics: Metrics,
    pub(crate) settings: RabbitMqSettings,
    pub(crate) admin: Admin,
}

/// The broker that all tests share.
pub(crate) fn shared_broker() -> String {
    env::var("RELAY_TEST_AMQP_URL").expect(
        "there is no broker: RELAY_TEST_AMQP_URL is not set; `tests/run -p refersion-relay-queue` starts one for the tests",
    )
}

/// Two work queues, one tier, one account, under a prefix that nobody else has.
pub(crate) fn settings(url: &str) -> RabbitMqSettings {
    RabbitMqSettings {
        url: BrokerUrl::parse(url).unwrap(),
        prefix: format!("test-{:016x}", rand::random::<u64>()),
        shards: 2,
        tiers: vec![TIER],
        accounts: vec![account("acme")],
        confirm_timeout: Duration::from_secs(10),
    }
}

impl Relay {
    /// On the shared broker, and up.
    pub(crate) async fn start() -> Self {
        Self::start_on(&shared_broker()).await
    }

    /// On the broker at `url`, and up.
    pub(crate) async fn start_on(url: &str) -> Self {
        Self::start_with(url, settings(url)).await
    }

    /// With these settings, which may reach the broker at `url` in another way, and up.
    pub(crate) async fn start_with(url: &str, settings: RabbitMqSettings) -> Self {
        let relay = Self::begin(url, settings).await;
        relay.until_up().await;
        relay
    }

    /// Not necessarily up.
    pub(crate) async fn begin(url: &str, settings: RabbitMqSettings) -> Self {
        let metrics = Metrics::new();
        let queue = Arc::new(RabbitMq::start(settings.clone(), metrics.clone()));
        Self { queue, metrics, settings, admin: Admin::connect(url).await }
    }

    /// A name on the broker.
    pub(crate) fn name(&self, rest: &str) -> String {
        format!("{}.{rest}", self.settings.prefix)
    }

    /// The name of the queue behind [`SHARD`] or [`OTHER_SHARD`].
    pub(crate) fn shard_queue(&self, index: u16) -> String {
        self.name(&format!("events.n{}.{index}", self.settings.shards))
    }

    pub(crate) async fn until(&self, what: &str, wanted: impl FnMut(&BrokerState) -> bool) -> BrokerState {
        let mut state = self.queue.state();
        let seen = timeout(PATIENCE, state.wait_for(wanted)).await.map(|state| state.unwrap().clone());
        seen.unwrap_or_else(|_| panic!("not {what} within {} s: {}", PATIENCE.as_secs(), *state.borrow()))
    }

    pub(crate) async fn until_up(&self) {
        self.until("up", BrokerState::is_up).await;
    }

    /// Publishes and insists that everything is stored.
    #[track_caller]
    pub(crate) fn store(&self, place: &Place, messages: impl IntoIterator<Item = Message>) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        let batch: Vec<_> = messages.into_iter().map(|message| (place.clone(), message)).collect();
        let queue = self.queue.clone();
        async move {
            for result in queue.publish(batch).await {
                assert_eq!(result, Ok(()), "at {caller}");
            }
        }
    }

    pub(crate) async fn own(&self, place: &Place) -> Owned {
        self.queue.own(place.clone(), ROOM).await.unwrap()
    }

    pub(crate) async fn depth(&self, place: &Place) -> u64 {
        self.queue.depth(place).await.unwrap().ready
    }

    pub(crate) async fn until_depth(&self, place: &Place, depth: u64) {
        eventually(&format!("a depth of {depth} at {place:?}"), async || {
            (self.depth(place).await == depth).then_some(())
        })
        .await;
    }

    /// The first letters of a class, and how many there are in all.
    pub(crate) async fn browse(&self, class: Class, scan: Scan) -> (u64, Vec<Letter>) {
        let mut letters = Vec::new();
        let browsed = self.queue.browse(class, scan, &mut |letter| letters.push(letter)).await.unwrap();
        assert_eq!(browsed.seen, letters.len() as u64);
        (browsed.total, letters)
    }

    /// The bodies of a class, in order.
    pub(crate) async fn bodies(&self, class: Class) -> Vec<String> {
        let (_, letters) = self.browse(class, EVERYTHING).await;
        letters.iter().map(|letter| body(&letter.message)).collect()
    }

    /// Ends the relay and deletes what it declared.
    pub(crate) async fn clean(self) {
        let Self { queue, settings, admin, .. } = self;
        drop(queue);
        admin.delete_everything(&settings).await;
    }
}

pub(crate) fn account(name: &str) -> AccountName {
    AccountName::try_from(name).unwrap()
}

/// An event of `subject`.
pub(crate) fn event(subject: &str, body: &str) -> Message {
    let headers = Headers::received(body, "identify", account("acme"), subject.to_owned(), SystemTime::now());
    Message { body: Bytes::copy_from_slice(body.as_bytes()), headers }
}

/// Events of one subject, whose bodies are these numbers.
pub(crate) fn events(numbers: impl IntoIterator<Item = usize>) -> Vec<Message> {
    numbers.into_iter().map(|number| event("one", &number.to_string())).collect()
}

/// Events of as many subjects, whose bodies are these numbers.
pub(crate) fn crowd(numbers: impl IntoIterator<Item = usize>) -> Vec<Message> {
    numbers.into_iter().map(|number| event(&format!("subject {number}"), &number.to_string())).collect()
}

/// The bodies of [`events`] and [`crowd`].
pub(crate) fn numbers(numbers: impl IntoIterator<Item = usize>) -> Vec<String> {
    numbers.into_iter().map(|number| number.to_string()).collect()
}

pub(crate) fn body(message: &Message) -> String {
    String::from_utf8(message.body.to_vec()).unwrap()
}

pub(crate) fn bodies(deliveries: &[Delivery]) -> Vec<String> {
    deliveries.iter().map(|delivery| body(&delivery.message)).collect()
}

/// The next `count` deliveries, unsettled.
pub(crate) async fn take(owned: &mut Owned, count: usize) -> Vec<Delivery> {
    let mut taken = Vec::new();
    while taken.len() < count {
        let next = timeout(PATIENCE, owned.next()).await;
        let next = next.unwrap_or_else(|_| panic!("only {} of {count} deliveries came", taken.len()));
        taken.push(next.unwrap_or_else(|| panic!("the term ended after {} of {count} deliveries", taken.len())));
    }
    taken
}

/// Waits until a term has ended, whatever is delivered before.
pub(crate) async fn until_ended(owned: &mut Owned) {
    let draining = async { while owned.next().await.is_some() {} };
    timeout(PATIENCE, draining).await.expect("the term did not end");
}

/// Asks until there is an answer.
pub(crate) async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let mut ticks = interval(Duration::from_millis(20));
    let asking = async {
        loop {
            ticks.tick().await;
            if let Some(answer) = ask().await {
                return answer;
            }
        }
    };
    timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("never came: {what}"))
}

/// Watches that something stays as it is.
pub(crate) async fn stays(what: &str, during: Duration, mut holds: impl FnMut() -> bool) {
    let mut ticks = interval(Duration::from_millis(20));
    let watching = async {
        while holds() {
            ticks.tick().await;
        }
    };
    assert!(timeout(during, watching).await.is_err(), "did not stay: {what}");
}

/// Watches that nothing comes for long enough to believe it.
pub(crate) async fn nothing_comes(owned: &mut Owned) {
    if let Ok(next) = timeout(Duration::from_millis(300), owned.next()).await {
        panic!("came: {:?}", next.map(|delivery| body(&delivery.message)));
    }
}
