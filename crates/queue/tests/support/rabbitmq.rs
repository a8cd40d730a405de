//! A relay's queue on a broker under a fresh prefix.

use std::env;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use refersion_relay_queue::{BrokerUrl, RabbitMq, RabbitMqSettings};
use refersion_relay_telemetry::Metrics;

use super::admin::Admin;
use super::events::{TIER, account};
use super::instance::Instance;

/// A queue on a broker, and an administrator beside it.
pub(crate) struct Relay {
    pub(crate) instance: Instance<RabbitMq>,
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

/// Two accounts and one tier, under a prefix that nobody else has.
pub(crate) fn settings(url: &str) -> RabbitMqSettings {
    RabbitMqSettings {
        url: BrokerUrl::parse(url).unwrap(),
        prefix: format!("test-{:016x}", rand::random::<u64>()),
        tiers: vec![TIER],
        accounts: vec![account("acme"), account("other")],
        confirm_timeout: Duration::from_secs(10),
        look_every: RabbitMqSettings::LOOK_EVERY,
        worker: 1,
    }
}

/// For a test that deletes what it does not want to be declared again before it has looked.
pub(crate) fn without_upkeep(settings: RabbitMqSettings) -> RabbitMqSettings {
    RabbitMqSettings { look_every: Duration::from_hours(1), ..settings }
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
        Self { instance: Instance { queue }, metrics, settings, admin: Admin::connect(url).await }
    }

    /// A name on the broker.
    pub(crate) fn name(&self, rest: &str) -> String {
        format!("{}.{rest}", self.settings.prefix)
    }

    /// The name of an account's work queue.
    pub(crate) fn work_queue(&self, account: &str) -> String {
        self.name(&format!("events.{account}"))
    }

    /// Ends the relay and deletes what it declared.
    pub(crate) async fn clean(self) {
        let Self { instance, settings, admin, .. } = self;
        drop(instance);
        admin.delete_everything(&settings).await;
    }
}

impl Deref for Relay {
    type Target = Instance<RabbitMq>;

    fn deref(&self) -> &Instance<RabbitMq> {
        &self.instance
    }
}
