//! What the contract needs of a backend, beyond the port.

use std::ops::Deref;

use refersion_relay_queue::{Queue, RabbitMq, RabbitMqSettings, Sqlite};

use refersion_relay_queue_testkit::events::{account, other_work};
use refersion_relay_queue_testkit::instance::Instance;
use refersion_relay_queue_testkit::rabbitmq::{Relay, settings, shared_broker};
use refersion_relay_queue_testkit::sqlite::{self, Embedded};
use refersion_relay_queue_testkit::wire::Wire;

/// A store that nobody else has, and one process that uses it.
pub(crate) trait Backend: Deref<Target = Instance<Self::Queue>> + Sized {
    type Queue: Queue + 'static;

    /// Begins with nothing in the store. Knows the accounts `acme` and `other`, and one tier. Is up.
    async fn start() -> Self;

    /// Another process that uses the same store. Is up.
    async fn another(&self) -> Instance<Self::Queue>;

    /// Ends the terms of the first process, as if it had been away from the store for too long.
    async fn lose_terms(&self);

    /// Removes the store; insists that nothing was lost where the backend can tell.
    async fn clean(self);
}

impl Backend for Embedded {
    type Queue = Sqlite;

    async fn start() -> Self {
        Embedded::start().await
    }

    async fn another(&self) -> Instance<Sqlite> {
        sqlite::open(&self.path()).await
    }

    async fn lose_terms(&self) {
        // Somebody who wants the lease, whatever the test does.
        let other = self.another().await;
        let owned = other.own(&other_work()).await;
        self.silence_holder();
        owned.release().await;
        other.queue.close().await;
    }

    async fn clean(self) {
        Embedded::clean(self).await;
    }
}

/// A relay whose connections can be cut.
pub(crate) struct OnBroker {
    relay: Relay,
    wire: Wire,
    direct: RabbitMqSettings,
}

impl Deref for OnBroker {
    type Target = Instance<RabbitMq>;

    fn deref(&self) -> &Instance<RabbitMq> {
        &self.relay
    }
}

impl Backend for OnBroker {
    type Queue = RabbitMq;

    async fn start() -> Self {
        let url = shared_broker();
        let wire = Wire::to(&url).await;
        let direct = settings(&url);
        let mut wired = settings(&wire.url(&url));
        wired.prefix.clone_from(&direct.prefix);
        Self { relay: Relay::start_with(&url, wired).await, wire, direct }
    }

    async fn another(&self) -> Instance<RabbitMq> {
        Relay::start_with(&shared_broker(), self.direct.clone()).await.instance
    }

    async fn lose_terms(&self) {
        self.wire.cut();
        self.until("away", |state| !state.is_up()).await;
    }

    async fn clean(mut self) {
        // Some tests have admitted it.
        self.relay.settings.accounts.push(account("stranger"));
        self.relay.clean().await;
    }
}
