use std::collections::{BTreeSet, HashMap, VecDeque};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use refersion_relay_telemetry::{Connection, Counted, Metrics};
use tokio::sync::{Notify, OwnedMutexGuard, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::port::delivery::{Ownership, Settler};
use crate::sqlite::file::fault::Fault;
use crate::sqlite::store::places;
use crate::sqlite::store::row::Stored;
use crate::sqlite::store::work::Done;
use crate::sqlite::writer::writer::{Writer, answer};
use crate::{Backoff, BrokerState, Delivery, Message, Place, Room, Settle, SettleError};

/// Which part of its room an owner has to have free before it takes more.
const ROOM_TO_TAKE: usize = 8;

/// Everybody in this process who takes deliveries, and whether this process may.
pub(crate) struct Owners {
    /// The term of the lease, while it is ours.
    pub(crate) lease: watch::Sender<Option<i64>>,
    here: Mutex<Vec<Arc<Owner>>>,
    /// One owner at a time has a place.
    turns: Mutex<HashMap<Place, Arc<tokio::sync::Mutex<()>>>>,
}

/// Somebody who takes the deliveries of one place.
pub(crate) struct Owner {
    place: Place,
    room: usize,
    in_hand: AtomicUsize,
    /// Something may have come, or there may be room again.
    wake: Notify,
    ended: CancellationToken,
    begun: Mutex<Option<Begun>>,
}

/// What an owner knows once the place is its own.
#[derive(Clone, Copy, Debug)]
struct Begun {
    term: i64,
    /// The number of the place.
    place: i64,
}

impl Owners {
    pub(crate) fn new() -> Self {
        Self { lease: watch::Sender::new(None), here: Mutex::new(Vec::new()), turns: Mutex::new(HashMap::new()) }
    }

    /// Whether anybody wants the lease.
    pub(crate) fn are_there(&self) -> bool {
        !self.lock().is_empty()
    }

    /// Something has happened at these places.
    pub(crate) fn something_at(&self, places: &BTreeSet<i64>) {
        if places.is_empty() {
            return;
        }
        for owner in self.lock().iter() {
            if owner.begun().is_none_or(|begun| places.contains(&begun.place)) {
                owner.wake.notify_one();
            }
        }
    }

    /// Something may have happened anywhere.
    pub(crate) fn something_somewhere(&self) {
        self.lock().iter().for_each(|owner| owner.wake.notify_one());
    }

    /// The lease is somebody else's: whoever has begun is at its end. Who waits goes on waiting.
    pub(crate) fn lease_lost(&self) {
        self.lock().iter().filter(|owner| owner.begun().is_some()).for_each(|owner| owner.ended.cancel());
    }

    fn turn(&self, place: &Place) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.entry(place.clone()).or_default().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Owner>>> {
        self.here.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Owner {
    fn begun(&self) -> Option<Begun> {
        *self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_begun(&self, begun: Option<Begun>) {
        *self.begun.lock().unwrap_or_else(PoisonError::into_inner) = begun;
    }

    /// How many more may be in hand, if they are so many that taking them is worth a transaction.
    fn free(&self) -> Option<usize> {
        let free = self.room.saturating_sub(self.in_hand.load(Ordering::Acquire));
        let enough = (self.room / ROOM_TO_TAKE).max(1);
        (enough <= free).then_some(free)
    }
}

/// The right to the deliveries of one place.
pub(crate) struct SqliteOwned {
    writer: Arc<Writer>,
    owners: Arc<Owners>,
    owner: Arc<Owner>,
    turn: Option<OwnedMutexGuard<()>>,
    /// Up to which number deliveries were taken.
    taken_up_to: i64,
    taken: VecDeque<Delivery>,
    /// On its way from the thread. Kept here, because whoever waits for it may stop waiting.
    taking: Option<oneshot::Receiver<Result<Option<Vec<Stored>>, Fault>>>,
    backoff: Backoff,
    is_over: bool,
    _open: Counted,
}

impl SqliteOwned {
    pub(crate) fn new(
        writer: Arc<Writer>,
        owners: Arc<Owners>,
        place: Place,
        room: Room,
        ended: CancellationToken,
        metrics: &Metrics,
    ) -> Self {
        let owner = Arc::new(Owner {
            place,
            room: usize::from(room.events.max(1)),
            in_hand: AtomicUsize::new(0),
            wake: Notify::new(),
            ended,
            begun: Mutex::new(None),
        });
        owners.lock().push(owner.clone());
        writer.nudge();
        let backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
        Self {
            writer,
            owners,
            owner,
            turn: None,
            taken_up_to: 0,
            taken: VecDeque::new(),
            taking: None,
            backoff,
            is_over: false,
            _open: metrics.connected(Connection::Consume),
        }
    }

    /// Waits until the place is ours, and begins with what is there. Can be dropped at any point.
    async fn begin(&mut self) {
        loop {
            if self.turn.is_none() {
                self.turn = Some(self.owners.turn(&self.owner.place).lock_owned().await);
            }
            let mut lease = self.owners.lease.subscribe();
            let term = lease.wait_for(Option::is_some).await.map(|term| *term);
            let Ok(Some(term)) = term else { return std::future::pending().await };
            let place = self.owner.place.clone();
            let begun = self.writer.run(1, move |work| {
                // Between the wait and this the lease may have been lost, and then the place is somebody else's.
                if work.term != term {
                    return Ok(None);
                }
                let place = work.place(&place)?;
                work.put_back(place, SystemTime::now())?;
                Ok(Some(Begun { term, place }))
            });
            if let Ok(Some(begun)) = begun.await {
                self.owner.set_begun(Some(begun));
                if *self.owners.lease.borrow() == Some(term) {
                    return;
                }
                // It was given up when nobody wanted it, a moment ago. Nothing was delivered yet, so that is no end.
                self.owner.set_begun(None);
            }
            self.pause().await;
        }
    }

    async fn pause(&mut self) {
        tokio::time::sleep(self.backoff.next_wait()).await;
        let _ = self.writer.state().wait_for(BrokerState::is_up).await;
    }

    /// Takes what is there, as far as there is room. Can be dropped at any point.
    async fn take(&mut self, begun: Begun) {
        if self.taking.is_none() {
            let Some(room) = self.owner.free() else {
                return self.owner.wake.notified().await;
            };
            let after = self.taken_up_to;
            self.taking = Some(self.writer.submit(room, move |work| {
                if work.term == begun.term { work.take(begun.place, after, room).map(Some) } else { Ok(None) }
            }));
        }
        let Some(taking) = &mut self.taking else { return };
        let taken = answer(taking).await;
        self.taking = None;
        match taken {
            Ok(Some(taken)) if taken.is_empty() => self.owner.wake.notified().await,
            Ok(Some(taken)) => {
                self.backoff.reset();
                self.owner.in_hand.fetch_add(taken.len(), Ordering::AcqRel);
                for stored in taken {
                    self.taken_up_to = stored.number;
                    self.taken.push_back(self.delivery(stored, begun));
                }
            }
            Ok(None) => self.owner.ended.cancel(),
            Err(_) => self.pause().await,
        }
    }

    fn delivery(&self, mut stored: Stored, begun: Begun) -> Delivery {
        if let Place::Work(account) = &self.owner.place {
            stored.message.headers.account = Some(account.clone());
        }
        let settler =
            SqliteSettler { writer: self.writer.clone(), owner: self.owner.clone(), begun, number: stored.number };
        let count = u32::try_from(stored.deliveries).unwrap_or(0);
        Delivery::new(stored.message, count, 0 < count, Box::new(settler))
    }

    /// Gives the place up. What is settled before this is settled; nothing is afterwards.
    fn give_up(&mut self) -> Option<oneshot::Receiver<Result<(), Fault>>> {
        if std::mem::replace(&mut self.is_over, true) {
            return None;
        }
        self.owner.ended.cancel();
        self.taken.clear();
        let begun = self.owner.begun();
        let leaving = Leaving { owners: self.owners.clone(), owner: self.owner.clone(), _turn: self.turn.take() };
        let going = self.writer.submit(1, move |work| {
            let _leaving = leaving;
            match begun {
                Some(begun) if begun.term == work.term => work.put_back(begun.place, SystemTime::now()),
                Some(_) | None => Ok(()),
            }
        });
        Some(going)
    }
}

/// An owner that is about to go. It goes even when nothing can be written: the next owner puts back what it left.
struct Leaving {
    owners: Arc<Owners>,
    owner: Arc<Owner>,
    /// The next owner's turn is when this is over.
    _turn: Option<OwnedMutexGuard<()>>,
}

impl Drop for Leaving {
    fn drop(&mut self) {
        self.owners.lock().retain(|other| !Arc::ptr_eq(other, &self.owner));
    }
}

#[async_trait]
impl Ownership for SqliteOwned {
    async fn next(&mut self) -> Option<Delivery> {
        let ended = self.owner.ended.clone();
        let next = async {
            loop {
                match self.owner.begun() {
                    None => self.begin().await,
                    Some(_) if self.owner.ended.is_cancelled() => return None,
                    Some(begun) => {
                        if let Some(delivery) = self.taken.pop_front() {
                            return Some(delivery);
                        }
                        self.take(begun).await;
                    }
                }
            }
        };
        tokio::select! {
            // A term that has ended yields nothing more: it could not be settled.
            biased;
            () = ended.cancelled() => None,
            delivery = next => delivery,
        }
    }

    async fn release(mut self: Box<Self>) {
        if let Some(going) = self.give_up() {
            let _ = answer(going).await;
        }
    }
}

impl Drop for SqliteOwned {
    /// An owner that is only dropped, by a panic for example, gives the place up too.
    fn drop(&mut self) {
        drop(self.give_up());
    }
}

struct SqliteSettler {
    writer: Arc<Writer>,
    owner: Arc<Owner>,
    begun: Begun,
    number: i64,
}

#[async_trait]
impl Settler for SqliteSettler {
    async fn note(&self, _message: &Message) -> Result<u32, SettleError> {
        let (owner, begun, number) = (self.owner.clone(), self.begun, self.number);
        let noted = self.writer.run(1, move |work| {
            if work.term != begun.term || owner.ended.is_cancelled() {
                return Ok(None);
            }
            work.note(begun.place, number)
        });
        let note = noted.await.ok().flatten().ok_or(SettleError)?;
        Ok(u32::try_from(note).unwrap_or(0))
    }

    async fn erase(&self, _message: &Message, notes: Range<u32>) {
        let (begun, number) = (self.begun, self.number);
        let erased = self.writer.run(1, move |work| {
            if work.term == begun.term { work.erase(begun.place, number, notes.start.into()) } else { Ok(()) }
        });
        if let Err(fault) = erased.await {
            tracing::debug!(queue.error = %fault, "a note could not be erased");
        }
    }

    async fn settle(self: Box<Self>, _message: Message, settle: Settle) -> Result<(), SettleError> {
        if let Settle::Move(place, _) = &settle
            && let Some(objection) = places::objection(place)
        {
            // As everywhere a copy that is never confirmed is waited for as long as the term lasts.
            tracing::error!("an event cannot be moved: {objection}");
            self.owner.ended.cancelled().await;
            return Err(SettleError);
        }
        let settle = Arc::new(settle);
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
        loop {
            if self.owner.ended.is_cancelled() {
                return Err(SettleError);
            }
            let (owner, begun, number, settle) = (self.owner.clone(), self.begun, self.number, settle.clone());
            let settled = self.writer.settle(move |work| {
                // Of another term, or given up meanwhile: it is delivered again, perhaps it is already.
                if work.term != begun.term || owner.ended.is_cancelled() {
                    return Ok(Done::No);
                }
                match &*settle {
                    Settle::Done(ending) => work.finish(begun.place, number, *ending),
                    Settle::Move(to, headers) => work.pass_on(begun.place, number, to, headers, SystemTime::now()),
                }
            });
            match settled.await {
                // One that is not there any more, as after a commit whose answer was lost, takes up no room either.
                Ok(done) => {
                    self.owner.in_hand.fetch_sub(1, Ordering::AcqRel);
                    if self.owner.free().is_some() {
                        self.owner.wake.notify_one();
                    }
                    return if done == Done::Yes { Ok(()) } else { Err(SettleError) };
                }
                Err(fault) => tracing::debug!(queue.error = %fault, "an event could not be settled, trying again"),
            }
            tokio::select! {
                () = self.owner.ended.cancelled() => {}
                () = tokio::time::sleep(backoff.next_wait()) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_takes_more_when_an_eighth_of_its_room_is_free() {
        for (room, in_hand, free) in [
            (16, 0, Some(16)),
            (16, 14, Some(2)),
            (16, 15, None),
            (16, 16, None),
            (512, 448, Some(64)),
            (512, 449, None),
            (7, 6, Some(1)),
            (1, 0, Some(1)),
            (1, 1, None),
        ] {
            let (ended, in_hand_now) = (CancellationToken::new(), AtomicUsize::new(in_hand));
            let (wake, begun) = (Notify::new(), Mutex::new(None));
            let owner = Owner { place: Place::Intake, room, in_hand: in_hand_now, wake, ended, begun };
            assert_eq!(owner.free(), free, "{in_hand} of {room}");
        }
    }
}
