use std::sync::Arc;
use std::time::Duration;

use refersion_relay_telemetry::{self as telemetry, Metrics};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::link::{Link, OpenError};
use crate::rabbitmq::tally::Appender;
use crate::rabbitmq::topology::topology::Topology;
use crate::rabbitmq::topology::upkeep::Upkeep;
use crate::rabbitmq::wire::connection::{self, Notice};
use crate::rabbitmq::wire::url::BrokerUrl;
use crate::{Backoff, BrokerState};

/// Keeps a link up: opens one, watches it, tears it down whole, and begins again.
pub(crate) struct Supervisor {
    pub(crate) url: BrokerUrl,
    pub(crate) topology: Topology,
    pub(crate) upkeep: Arc<Upkeep>,
    pub(crate) appender: Arc<Appender>,
    pub(crate) metrics: Metrics,
    pub(crate) link: watch::Sender<Option<Arc<Link>>>,
    pub(crate) state: watch::Sender<BrokerState>,
    pub(crate) stop: CancellationToken,
}

impl Supervisor {
    pub(crate) async fn run(self) {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(3));
        loop {
            let opened = tokio::select! {
                () = self.stop.cancelled() => return,
                opened = Link::open(&self.url, &self.topology, &self.appender) => opened,
            };
            match opened {
                Ok(link) => {
                    backoff.reset();
                    self.serve(Arc::new(link)).await;
                    if self.stop.is_cancelled() {
                        return;
                    }
                }
                Err(OpenError::Mismatch(why)) => self.change(&BrokerState::Mismatch { why }),
                Err(OpenError::Away(why)) => self.change(&BrokerState::Away { why }),
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
            () = self.upkeep.run(&link.connection) => {}
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
            *current = state.clone();
            changed
        });
        match (changed, state) {
            (false, _) => tracing::debug!(queue.state = %state, "no change of the queue"),
            (true, BrokerState::Up) => tracing::info!(queue.url = %self.url, "the queue is up"),
            (true, BrokerState::Mismatch { .. }) => tracing::error!("{state}"),
            (true, _) => tracing::warn!(queue.url = %self.url, "{state}; trying again until it works"),
        }
    }
}
