use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// How much may be in hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoomSettings {
    /// Unsettled events of an account that has shown no backlog: at most so many, and fewer where there are many accounts.
    pub first: u16,
    /// Unsettled events of one account at most.
    pub most: u16,
    /// Unsettled events of all accounts together that have shown a backlog.
    pub shared: u16,
    /// Bytes of bodies in hand, of all accounts together, from which on no account keeps more than its first room.
    pub bytes: usize,
}

/// Shares out what a process may have in hand among its accounts.
///
/// A queue delivers as much as there is room for, and how large that is shows only afterwards. So each account begins with
/// a small room. One whose room is full has a backlog, and gets a larger one: fewer events the larger they are.
pub(crate) struct Rooms {
    settings: RoomSettings,
    /// What is left to be shared.
    free: Mutex<u16>,
    bytes: AtomicUsize,
}

/// A larger room for one account, for as long as it lives.
pub(crate) struct Share {
    rooms: Arc<Rooms>,
    events: u16,
}

/// Bytes in hand, for as long as it lives.
pub(crate) struct Weight {
    rooms: Arc<Rooms>,
    bytes: usize,
}

/// First rooms of all accounts together, as long as each of them has the least there is.
const FIRST_ROOMS: usize = 1_024;
const LEAST: u16 = 4;
/// The part of all bytes that one account may take.
const PART: usize = 4;

impl Default for RoomSettings {
    fn default() -> Self {
        Self { first: 16, most: 512, shared: 4_096, bytes: 256 * 1_024 * 1_024 }
    }
}

impl Rooms {
    pub(crate) fn new(settings: RoomSettings) -> Self {
        Self { settings, free: Mutex::new(settings.shared), bytes: AtomicUsize::new(0) }
    }

    /// The room of an account that has shown no backlog, one among so many.
    pub(crate) fn first(&self, accounts: usize) -> u16 {
        let each = u16::try_from(FIRST_ROOMS / accounts.max(1)).unwrap_or(u16::MAX);
        each.max(LEAST).min(self.settings.first)
    }

    /// A larger room than `now` for events of `body` bytes on average; `None` where there is none.
    pub(crate) fn share(self: &Arc<Self>, now: u16, body: usize) -> Option<Share> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let by_weight = u16::try_from(self.settings.bytes / PART / body.max(1)).unwrap_or(u16::MAX);
        // Half of what is left: the next one gets something too.
        let events = (*free / 2).min(self.settings.most).min(by_weight);
        if events <= now || self.is_full() {
            return None;
        }
        *free -= events;
        Some(Share { rooms: self.clone(), events })
    }

    /// Counts a body that is taken in hand.
    pub(crate) fn weigh(self: &Arc<Self>, bytes: usize) -> Weight {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        Weight { rooms: self.clone(), bytes }
    }

    /// Whether so many bytes are in hand that larger rooms are to be given up.
    pub(crate) fn is_full(&self) -> bool {
        self.settings.bytes < self.bytes.load(Ordering::Relaxed)
    }
}

impl Share {
    pub(crate) fn events(&self) -> u16 {
        self.events
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        *self.rooms.free.lock().unwrap_or_else(PoisonError::into_inner) += self.events;
    }
}

impl Drop for Weight {
    fn drop(&mut self) {
        self.rooms.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rooms() -> Arc<Rooms> {
        Arc::new(Rooms::new(RoomSettings { first: 16, most: 512, shared: 2_048, bytes: 1_000_000 }))
    }

    #[test]
    fn many_accounts_have_small_rooms_and_each_has_one() {
        let rooms = rooms();
        assert_eq!([0, 1, 64, 128, 200, 5_000].map(|accounts| rooms.first(accounts)), [16, 16, 16, 8, 5, 4]);
    }

    #[test]
    fn a_backlog_gets_a_share_of_what_is_left_and_gives_it_back() {
        let rooms = rooms();
        let mut shares: Vec<_> = (0..4).map(|_| rooms.share(16, 100).expect("a share")).collect();
        assert_eq!(shares.iter().map(Share::events).collect::<Vec<_>>(), [512, 512, 512, 256]);
        assert_eq!(rooms.share(16, 100).map(|share| share.events()), Some(128));
        assert!(rooms.share(128, 100).is_none(), "no more than it has");
        shares.clear();
        assert_eq!(rooms.share(16, 100).map(|share| share.events()), Some(512));
    }

    #[test]
    fn large_events_are_fewer_and_too_much_in_hand_means_no_larger_rooms() {
        let rooms = rooms();
        assert_eq!(rooms.share(16, 5_000).map(|share| share.events()), Some(50));
        assert!(rooms.share(16, 50_000).is_none());
        let weight = rooms.weigh(1_000_001);
        assert!(rooms.is_full() && rooms.share(16, 100).is_none());
        drop(weight);
        assert!(!rooms.is_full() && rooms.share(16, 100).is_some());
    }
}
