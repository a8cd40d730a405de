use std::sync::atomic::{AtomicU32, Ordering};

use refersion_relay_private_broker::PrivateBroker;
use refersion_relay_tests::Config;

use crate::arguments::Arguments;
use crate::feed::Feed;
use crate::process::Process;
use crate::stand_in::StandIn;

/// What each section has for itself, so that no section meets what another one left behind.
pub(crate) struct Stage<'a> {
    pub(crate) arguments: &'a Arguments,
    pub(crate) broker: PrivateBroker,
    /// The broker's process.
    pub(crate) vm: Process,
    pub(crate) stand_in: StandIn,
    pub(crate) feed: Feed,
    words: AtomicU32,
}

/// The two queues that the relay has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    RabbitMq,
    Embedded,
}

impl Backend {
    pub(crate) const BOTH: [Self; 2] = [Self::RabbitMq, Self::Embedded];

    /// The relay's row.
    pub(crate) fn row(self) -> &'static str {
        match self {
            Self::RabbitMq => "relay, RabbitMQ",
            Self::Embedded => "relay, embedded",
        }
    }
}

impl<'a> Stage<'a> {
    pub(crate) async fn set(arguments: &'a Arguments) -> anyhow::Result<Self> {
        let broker = PrivateBroker::start().await?;
        let (vm, feed) = (Process::of(broker.pid()), Feed::connect(&broker.url()).await?);
        Ok(Self { arguments, broker, vm, stand_in: StandIn::start().await?, feed, words: AtomicU32::new(0) })
    }

    /// A relay that calls the stand-in and logs as one in operation does.
    pub(crate) fn config(&self, backend: Backend, more: &[(&str, &str)]) -> Config {
        let config = match backend {
            Backend::RabbitMq => Config::new(&self.broker.url(), self.stand_in.url(), more),
            Backend::Embedded => Config::embedded(self.stand_in.url(), more),
        };
        config.edit("filter = \"debug\"", "filter = \"info\"");
        config
    }

    /// A word that no other events have, nor any other queue.
    pub(crate) fn word(&self) -> String {
        format!("bench{}", self.words.fetch_add(1, Ordering::Relaxed))
    }

    /// The queue on the broker of the account whose events are measured.
    pub(crate) fn work_queue(config: &Config) -> String {
        format!("{}.events.acme", config.prefix)
    }
}
