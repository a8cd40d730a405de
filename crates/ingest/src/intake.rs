use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use refersion_relay_model::{AccountName, DeadReason, Fingerprint, Ignored, KeyPair, MAX_EVENT_BYTES};
use refersion_relay_queue::{Delivery, Ending, Headers, Owned, Place, Room, Settle, Terms};
use refersion_relay_telemetry::Door;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::access::credential::Credential;
use crate::context::{Done, EventId, Ingest};
use crate::events::classify::{Classified, Received, UNKNOWN_TYPE, death, traceparent};

const DOOR: Door = Door::Intake;
/// Small, because a message is in memory before its size is known, and may be as large as the broker takes them.
const ROOM: Room = Room { events: 4 };

/// Takes plain events from where pipelines publish them, and gives each to its account's work queue. Whatever cannot be worked becomes a
/// dead letter with a reason. Of several processes one reads and the others stand by. Ends after `stop`, when everything
/// in hand is settled.
pub async fn intake(ingest: Ingest, stop: CancellationToken) {
    let intake = Arc::new(Intake { ingest, fingerprint: strangers(), large: Semaphore::new(1) });
    let mut terms = Terms::new(intake.ingest.queue.clone(), Place::Intake);
    while let Some(mut owned) = terms.next(ROOM, &stop).await {
        intake.clone().read(&mut owned, &stop).await;
        owned.release().await;
    }
}

struct Intake {
    ingest: Ingest,
    /// Makes the ids of messages that belong to no account.
    fingerprint: Fingerprint,
    /// A body that is too large for a work queue is copied alone.
    large: Semaphore,
}

/// What a message turned out to be.
enum Outcome {
    Work(Place, Headers),
    Dead(DeadReason, Headers),
    Ignored(Ignored, Option<EventId>),
}

/// The messages about one person follow one another, the others run side by side.
type Lanes = HashMap<Lane, VecDeque<(Delivery, Outcome)>>;
type Lane = (Option<AccountName>, Option<String>);

impl Intake {
    async fn read(self: Arc<Self>, owned: &mut Owned, stop: &CancellationToken) {
        let (mut lanes, mut tasks) = (Lanes::new(), JoinSet::new());
        let ended = owned.ended();
        let mut lost = false;
        loop {
            let taking = !lost && !stop.is_cancelled() && !ended.is_cancelled();
            if !taking {
                // Begins nothing more: what waits comes again, behind what could not be settled.
                lanes.values_mut().for_each(VecDeque::clear);
                if tasks.is_empty() {
                    return;
                }
            }
            tokio::select! {
                biased;
                () = stop.cancelled(), if taking => {}
                Some(settled) = tasks.join_next(), if !tasks.is_empty() => {
                    let Ok(Settled { lane, done: true }) = settled else {
                        // Not settled, by a lost connection or a panic: nothing of its person may pass it.
                        lost = true;
                        continue;
                    };
                    match lanes.get_mut(&lane).and_then(VecDeque::pop_front) {
                        Some((delivery, outcome)) => drop(tasks.spawn(self.clone().settle(lane, delivery, outcome))),
                        None => drop(lanes.remove(&lane)),
                    }
                }
                delivery = owned.next(), if taking => {
                    let Some(delivery) = delivery else {
                        lost = true;
                        continue;
                    };
                    let outcome = self.judge(&delivery);
                    let lane = outcome.lane();
                    if let Some(waiting) = lanes.get_mut(&lane) {
                        waiting.push_back((delivery, outcome));
                    } else {
                        lanes.insert(lane.clone(), VecDeque::new());
                        tasks.spawn(self.clone().settle(lane, delivery, outcome));
                    }
                }
            }
        }
    }

    /// Sorts a message. The account is the one whose exchange it came through; nothing else beside the body is believed.
    fn judge(&self, delivery: &Delivery) -> Outcome {
        let message = &delivery.message;
        let trace = message.headers.traceparent.as_deref().and_then(traceparent);
        let received = Received { at: message.headers.received_at, traceparent: trace };
        let name = message.headers.account.as_ref();
        let Some(account) = name.and_then(|name| self.ingest.access().by_name(name).cloned()) else {
            let error = match name {
                Some(_) => "the account of the exchange it came through is not configured",
                None => "it came through no account's exchange",
            };
            return self.dead(delivery, &received, DeadReason::UnknownAccount, error);
        };
        let body = message.body.clone();
        match catch_unwind(AssertUnwindSafe(|| account.classify(Credential::Exchange, body, &received))) {
            Ok(Classified::Work(place, message)) => Outcome::Work(place, message.headers),
            Ok(Classified::Dead(reason, message)) => Outcome::Dead(reason, message.headers),
            Ok(Classified::Ignored(why, id)) => Outcome::Ignored(why, id),
            Err(_) => {
                let error = "the relay panicked on this message; its log has the place";
                self.dead(delivery, &received, DeadReason::Panicked, error)
            }
        }
    }

    fn dead(&self, delivery: &Delivery, received: &Received, reason: DeadReason, error: &str) -> Outcome {
        let message_id = self.fingerprint.minted(&delivery.message.body);
        let headers = Headers {
            message_id: message_id.as_str().to_owned(),
            kind: UNKNOWN_TYPE.to_owned(),
            traceparent: received.traceparent.clone(),
            death: Some(death(reason, error.to_owned(), received.at)),
            ..delivery.message.headers.clone()
        };
        Outcome::Dead(reason, headers)
    }

    /// Settles a message, and counts it if that worked; if not, it comes again.
    async fn settle(self: Arc<Self>, lane: Lane, delivery: Delivery, outcome: Outcome) -> Settled {
        let _alone = match delivery.message.body.len() {
            size if MAX_EVENT_BYTES < size => self.large.acquire().await.ok(),
            _ => None,
        };
        let (settle, id, what) = match outcome {
            Outcome::Work(place, headers) => {
                let id = EventId::of_headers(&headers);
                (Settle::Move(place, Box::new(headers)), id, Done::Accepted)
            }
            Outcome::Dead(reason, headers) => {
                let id = EventId::of_headers(&headers);
                (Settle::Move(Place::Dead(reason.class()), Box::new(headers)), id, Done::Dead(reason))
            }
            Outcome::Ignored(why, id) => (Settle::Done(Ending::Ignored), id, Done::Ignored(why)),
        };
        let done = delivery.settle(settle).await.is_ok();
        if done {
            match what {
                Done::Accepted | Done::Dead(_) => self.ingest.metrics.accepted(DOOR, 1),
                Done::Ignored(_) => {}
            }
            self.ingest.passed(DOOR, id, what);
        }
        Settled { lane, done }
    }
}

struct Settled {
    lane: Lane,
    /// If not, it comes again.
    done: bool,
}

impl Outcome {
    fn lane(&self) -> Lane {
        match self {
            Self::Work(_, headers) => (headers.account.clone(), headers.subject.clone()),
            // Nobody waits for what nobody works.
            Self::Dead(_, headers) => (None, Some(headers.message_id.clone())),
            Self::Ignored(..) => (None, None),
        }
    }
}

/// A key of this process: nobody can guess from an id what a message without an account says.
fn strangers() -> Fingerprint {
    Fingerprint::new(&KeyPair::new("", format!("{:032x}", rand::random::<u128>())))
}
