use std::sync::PoisonError;
use std::time::Duration;

use lapin::Connection;
use refersion_relay_telemetry::Metrics;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use super::topology::{DeclareError, Topology};
use crate::rabbitmq::wire::cause::Cause;

/// The time from one look to the next. Often enough that what is deleted is there again within seconds, seldom enough that nobody feels it.
pub(crate) const EVERY: Duration = Duration::from_secs(5);
/// The shortest time between two looks, however often somebody asks for one.
const AT_LEAST: Duration = Duration::from_millis(500);
/// A look takes at most one part in so many of the time: there may be hundreds of queues behind a slow line.
const SHARE: u32 = 20;

/// Declares again what somebody has deleted from the broker while the relay runs. Without it that would wait for the next
/// connection, and what belongs into a queue that is gone would go among the unrouted until then.
///
/// Looking changes nothing on the broker: one passive declaration for each exchange and queue, one after the other.
/// A binding that was removed is not seen, since AMQP cannot ask for one.
pub(crate) struct Upkeep {
    topology: Topology,
    every: Duration,
    asked: Notify,
    metrics: Metrics,
    /// What was said last about what cannot be declared, which is not repeated.
    said: std::sync::Mutex<Option<String>>,
}

impl Upkeep {
    pub(crate) fn new(topology: Topology, every: Duration, metrics: Metrics) -> Self {
        Self { topology, every, asked: Notify::new(), metrics, said: std::sync::Mutex::new(None) }
    }

    /// Has somebody look as soon as possible.
    pub(crate) fn look_now(&self) {
        self.asked.notify_one();
    }

    /// Looks for ever; whoever watches the connection ends it.
    pub(crate) async fn run(&self, connection: &Connection) {
        let mut pause = self.every;
        loop {
            sleep(AT_LEAST.min(pause)).await;
            tokio::select! {
                () = self.asked.notified() => {}
                () = sleep(pause.saturating_sub(AT_LEAST)) => {}
            }
            let began = Instant::now();
            match self.topology.missing(connection).await {
                Ok(missing) if missing.is_empty() => {
                    tracing::debug!(elapsed_ms = began.elapsed().as_millis(), "everything is on the broker");
                    self.say(None);
                }
                Ok(missing) => self.declare(connection, &missing).await,
                // A lost connection is somebody else's to say.
                Err(error) => tracing::debug!(queue.error = %error, "what is on the broker could not be looked at"),
            }
            pause = self.every.max(began.elapsed() * SHARE);
        }
    }

    async fn declare(&self, connection: &Connection, missing: &[String]) {
        let names = missing.join(", ");
        let declaring = async {
            let report = self.topology.check(connection).await.map_err(DeclareError::Broker)?;
            match report.differences.first() {
                None => Ok(()),
                Some(difference) => Err(DeclareError::Differs(difference.clone())),
            }
        };
        let failure = match declaring.await {
            Ok(()) => {
                self.metrics.declared_again(missing.len() as u64);
                tracing::error!("gone from the broker, and declared again: {names}; what was in a queue is lost");
                return self.say(None);
            }
            Err(DeclareError::Differs(why) | DeclareError::Refused { why, .. }) => why,
            Err(DeclareError::Broker(error)) => Cause::of(&error).to_string(),
        };
        self.say(Some(format!("gone from the broker, and cannot be declared again: {names}: {failure}")));
    }

    /// Says what is wrong once, and again only after it was something else.
    fn say(&self, wrong: Option<String>) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(wrong) = &wrong
            && said.as_ref() != Some(wrong)
        {
            tracing::error!("{wrong}");
        }
        *said = wrong;
    }
}
