//! A relay's queue on a broker under a fresh prefix.

use std::env;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use refersion_relay_queue::{BrokerUrl, RabbitMq, RabbitMqSettings};
use refersion_relay_telemetry::Metrics;

use crate::admin::Admin;
use crate::events::{TIER, account};
use crate::instance::Instance;

/// A queue on a broker, and an administrator beside it.
pub struct Relay {
    pub instance: Instance<RabbitMq>,
    pub metrics: Metrics,
    pub settings: RabbitMqSettings,
    pub admin: Admin,
}

/// The broker that all tests share.
pub fn shared_broker() -> String {
    env::var("RELAY_TEST_AMQP_URL").expect(
        "there is no broker: RELAY_TEST_AMQP_URL is not set; `tests/run -p refersion-relay-queue` starts one for the tests",
    )
}

/// Two accounts and one tier, under a prefix that nobody else has.
pub fn settings(url: &str) -> RabbitMqSettings {
    RabbitMqSettings {
        url: BrokerUrl::parse(url).unwrap(),
        prefix: format!("test-{:016x}", rand::random::<u64>()),
        tiers: vec![TIER],
        accounts: vec![account("acme"), account("other")],
        confirm_timeout: Duration::from_secs(10),
        look_every: RabbitMqSettings::LOOK_EVERY,
        worker: 1,
        directory: None,
    }
}

/// For a test that deletes what it does not want to be declared again before it has looked.
pub fn without_upkeep(settings: RabbitMqSettings) -> RabbitMqSettings {
    RabbitMqSettings { look_every: Duration::from_hours(1), ..settings }
}

impl Relay {
    /// On the shared broker, and up.
    pub async fn start() -> Self {
        Self::start_on(&shared_broker()).await
    }

    /// On the broker at `url`, and up.
    pub async fn start_on(url: &str) -> Self {
        Self::start_with(url, settings(url)).await
    }

    /// With these settings, which may reach the broker at `url` in another way, and up.
    pub async fn start_with(url: &str, settings: RabbitMqSettings) -> Self {
        let relay = Self::begin(url, settings).await;
        relay.until_up().await;
        relay
    }

    /// Not necessarily up.
    pub async fn begin(url: &str, settings: RabbitMqSettings) -> Self {
        let metrics = Metrics::new();
        let queue = Arc::new(RabbitMq::start(settings.clone(), metrics.clone()));
        Self { instance: Instance { queue }, metrics, settings, admin: Admin::connect(url).await }
    }

    /// A name on the broker.
    pub fn name(&self, rest: &str) -> String {
        format!("{}.{rest}", self.settings.prefix)
    }

    /// The name of an account's work queue.
    pub fn work_queue(&self, account: &str) -> String {
        self.name(&format!("events.{account}"))
    }

    /// Ends the relay and deletes what it declared.
    pub async fn clean(self) {
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
