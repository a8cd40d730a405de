use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use lapin::Confirmation;
use refersion_relay_supervise::Parts;
use refersion_relay_telemetry::{Metrics, PublishOutcome};
use tokio::sync::{SemaphorePermit, watch};
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::link::{Confirming, Link};
use super::supervisor::Supervisor;
use crate::rabbitmq::tally::{Appender, Tally};
use crate::rabbitmq::topology::names::Address;
use crate::rabbitmq::topology::topology::Topology;
use crate::rabbitmq::topology::upkeep::Upkeep;
use crate::rabbitmq::wire::cause::Cause;
use crate::rabbitmq::wire::properties;
use crate::rabbitmq::wire::url::BrokerUrl;
use crate::{BrokerState, Message, Place, PublishError};

/// Publishes with confirms, over one connection at a time that is never used for consuming: a broker that blocks
/// publishers stops reading such a connection, acknowledgements included.
pub(crate) struct Publisher {
    pub(crate) topology: Topology,
    pub(crate) confirm_timeout: Duration,
    pub(crate) metrics: Metrics,
    pub(crate) tally: Arc<Tally>,
    pub(crate) appender: Arc<Appender>,
    /// What goes on by itself as long as the queue does.
    pub(crate) parts: Parts,
    upkeep: Arc<Upkeep>,
    link: watch::Receiver<Option<Arc<Link>>>,
    state: watch::Receiver<BrokerState>,
    stop: CancellationToken,
    supervisor: Mutex<Option<JoinHandle<()>>>,
}

/// How to publish.
pub(crate) struct PublisherSettings {
    pub(crate) url: BrokerUrl,
    /// How long a publish may wait for its confirm.
    pub(crate) confirm_timeout: Duration,
    /// How often it is looked at whether everything is still there.
    pub(crate) look_every: Duration,
}

impl Publisher {
    /// Begins to reach the broker, and goes on for ever.
    pub(crate) fn start(settings: PublisherSettings, topology: Topology, metrics: Metrics) -> Self {
        let PublisherSettings { url, confirm_timeout, look_every } = settings;
        let (link_sender, link) = watch::channel(None);
        let (state_sender, state) = watch::channel(BrokerState::Connecting);
        let stop = CancellationToken::new();
        let upkeep = Arc::new(Upkeep::new(topology.clone(), look_every, metrics.clone()));
        let tally = Arc::<Tally>::default();
        let appender = Arc::new(Appender::new(url.clone(), tally.clone(), topology.clone()));
        let supervisor = Supervisor {
            url,
            topology: topology.clone(),
            upkeep: upkeep.clone(),
            appender: appender.clone(),
            metrics: metrics.clone(),
            link: link_sender,
            state: state_sender,
            stop: stop.clone(),
        };
        let parts = Parts::default();
        let supervisor = parts.supervise("queue/connection", &stop, supervisor.run());
        let supervisor = Mutex::new(Some(tokio::spawn(supervisor)));
        Self { topology, confirm_timeout, metrics, tally, appender, parts, upkeep, link, state, stop, supervisor }
    }

    /// Closes the connection in an orderly way; nothing can be published afterwards.
    pub(crate) async fn close(&self) {
        self.stop.cancel();
        let supervisor = self.supervisor.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(supervisor) = supervisor {
            let _ = supervisor.await;
        }
    }

    pub(crate) fn state(&self) -> watch::Receiver<BrokerState> {
        self.state.clone()
    }

    /// Something seems to be gone from the broker.
    pub(crate) fn look_now(&self) {
        self.upkeep.look_now();
    }

    /// The connection, if it is up.
    pub(crate) fn link(&self) -> Result<Arc<Link>, PublishError> {
        let state = self.state.borrow();
        if !state.is_up() {
            return Err(PublishError::Refused(state.to_string()));
        }
        self.link.borrow().clone().ok_or_else(|| PublishError::Refused("the queue is away".to_owned()))
    }

    /// Publishes one message, as [`Self::publish_all`] does.
    pub(crate) async fn publish(&self, place: &Place, message: &Message) -> Result<(), PublishError> {
        let published = self.publish_all(&[(place, message)]).await.pop();
        published.unwrap_or_else(|| Err(not_finished()))
    }

    /// Publishes a few messages side by side, and returns what became of each in the same order.
    pub(crate) async fn publish_all(&self, messages: &[(&Place, &Message)]) -> Vec<Result<(), PublishError>> {
        let mut results = vec![None; messages.len()];
        self.publish_each(messages, |position, result| results[position] = Some(result)).await;
        results.into_iter().map(|result| result.unwrap_or_else(|| Err(not_finished()))).collect()
    }

    /// Publishes a few messages side by side, and tells what became of each as soon as that is known; `Ok` means that the broker has
    /// stored one on a majority of its disks.
    ///
    /// A message that no queue takes ends, stored, in the queue behind the alternate exchange. That is why nothing here
    /// is `mandatory`: lapin can attach a returned message to another publish's confirm.
    pub(crate) async fn publish_each(
        &self,
        messages: &[(&Place, &Message)],
        ended: impl FnMut(usize, Result<(), PublishError>) + Send,
    ) {
        let open = vec![true; messages.len()];
        let mut wave = Wave { publisher: self, started: Instant::now(), open, ended };
        match self.link() {
            Ok(link) => self.publish_over(&link, messages, &mut wave).await,
            Err(error) => wave.end_all(&error),
        }
    }

    async fn publish_over<F: FnMut(usize, Result<(), PublishError>) + Send>(
        &self,
        link: &Arc<Link>,
        messages: &[(&Place, &Message)],
        wave: &mut Wave<'_, F>,
    ) {
        let confirming = link.confirming();
        let mut publishes = Vec::with_capacity(messages.len());
        for (position, (place, message)) in messages.iter().enumerate() {
            match self.address(place) {
                Ok(address) => publishes.push((position, address, *message)),
                Err(error) => wave.end(position, Err(error)),
            }
        }
        let room = u32::try_from(publishes.len()).unwrap_or(u32::MAX);
        let Some(mut permits) = self.permits(link, &confirming, room).await else {
            let why = if link.broken.is_cancelled() { link.why() } else { "the broker is too slow".to_owned() };
            return wave.end_all(&PublishError::Refused(why));
        };
        let mut in_flight: Vec<_> = publishes.iter().map(|_| self.metrics.publishing()).collect();
        let mut confirms = confirming.publish(publishes.iter().map(|(position, address, message)| {
            let properties = properties::write(&message.headers);
            (*position, address, &*message.body, properties)
        }));
        let (mut broken, mut late) = (pin!(link.broken.cancelled()), pin!(sleep(self.confirm_timeout)));
        loop {
            tokio::select! {
                biased;
                confirm = confirms.next() => {
                    let Some((position, confirm)) = confirm else { return };
                    wave.end(position, judge(link, &confirming, confirm));
                    drop((in_flight.pop(), permits.split(1))); // there is room for another one
                }
                () = &mut broken => return wave.end_all(&PublishError::Unknown(link.why())),
                () = &mut late => {
                    self.suspect(link);
                    let why = format!("no confirm within {} ms", self.confirm_timeout.as_millis());
                    return wave.end_all(&PublishError::Unknown(why));
                }
            }
        }
    }

    fn address(&self, place: &Place) -> Result<Address, PublishError> {
        if let Place::Later(_, delay) = place
            && !self.topology.tiers.contains(delay)
        {
            return Err(PublishError::Refused("there is no retry queue with this delay".to_owned()));
        }
        let intake = || PublishError::Refused("nothing is published to the intake".to_owned());
        self.topology.names.address(place).ok_or_else(intake)
    }

    /// Waits for room among the unconfirmed, for as long as confirms come: giving up before would have a busy broker store
    /// half of what it is sent, and its sender send all of it again.
    async fn permits<'a>(&self, link: &Link, confirming: &'a Confirming, room: u32) -> Option<SemaphorePermit<'a>> {
        if let Ok(permits) = confirming.window.try_acquire_many(room) {
            return Some(permits);
        }
        let mut acquiring = pin!(confirming.window.acquire_many(room));
        loop {
            tokio::select! {
                permits = &mut acquiring => return permits.ok(),
                () = link.broken.cancelled() => return None,
                () = sleep(self.confirm_timeout) => {
                    if self.confirm_timeout <= link.since_last_confirm() {
                        self.suspect(link);
                        return None;
                    }
                }
            }
        }
    }

    /// A confirm did not come. If none came meanwhile, the broker is frozen or the network is gone: heartbeats would
    /// need longer to notice. A broker that has blocked us confirms nothing either, and a new connection would not
    /// even know that it is blocked.
    fn suspect(&self, link: &Link) {
        let blocked = matches!(*self.state.borrow(), BrokerState::Blocked { .. });
        if !blocked && self.confirm_timeout <= link.since_last_confirm() {
            link.fail("the broker confirms nothing");
        }
    }
}

/// What an answer of the broker says about one message, and about the connection.
fn judge(
    link: &Arc<Link>,
    confirming: &Arc<Confirming>,
    confirm: Result<Confirmation, lapin::Error>,
) -> Result<(), PublishError> {
    match confirm {
        Ok(Confirmation::Ack(None)) => {
            link.confirmed();
            Ok(())
        }
        // Every queue rejects what it has no room for, and then it is certainly not there.
        Ok(Confirmation::Nack(_)) => {
            link.confirmed();
            link.refused(confirming);
            Err(PublishError::Refused("the broker refused to store it".to_owned()))
        }
        Ok(Confirmation::Ack(Some(_))) => {
            link.confirmed();
            Err(PublishError::Unknown("the broker returned it".to_owned()))
        }
        Ok(Confirmation::NotRequested) => {
            link.fail("the channel lost its confirm mode");
            Err(PublishError::Unknown(link.why()))
        }
        // A channel that was replaced is closed, whether or not everything that went over it is confirmed.
        Err(error) if !link.is_current(confirming) => Err(PublishError::Unknown(Cause::of(&error).to_string())),
        Err(error) => {
            link.fail(&Cause::of(&error).to_string());
            Err(PublishError::Unknown(link.why()))
        }
    }
}

/// Messages that are published side by side.
struct Wave<'a, F> {
    publisher: &'a Publisher,
    started: Instant,
    /// Of which it is not known yet what became of them.
    open: Vec<bool>,
    /// Is told.
    ended: F,
}

impl<F: FnMut(usize, Result<(), PublishError>)> Wave<'_, F> {
    fn end(&mut self, position: usize, result: Result<(), PublishError>) {
        let outcome = match &result {
            Ok(()) => PublishOutcome::Confirmed,
            Err(PublishError::Refused(_)) => PublishOutcome::Refused,
            Err(PublishError::Unknown(_)) => PublishOutcome::Unknown,
        };
        if outcome == PublishOutcome::Unknown {
            self.publisher.tally.uncertain(1);
        }
        self.publisher.metrics.published(outcome, self.started.elapsed());
        self.open[position] = false;
        (self.ended)(position, result);
    }

    /// All that have not ended.
    fn end_all(&mut self, error: &PublishError) {
        for position in 0..self.open.len() {
            if self.open[position] {
                self.end(position, Err(error.clone()));
            }
        }
    }
}

pub(crate) fn not_finished() -> PublishError {
    PublishError::Unknown("publishing was not finished".to_owned())
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
