use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use crate::{Door, Metrics, Refused};

/// When a door last took an event, and when it last refused one, and why. As far as this process knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LastAtDoor {
    /// It was durable, and its sender heard so.
    pub accepted: Option<SystemTime>,
    /// Of a request or an event.
    pub refused: Option<(SystemTime, Refused)>,
}

/// Of each door, in the order of [`Door::ALL`].
#[derive(Clone, Debug, Default)]
pub(crate) struct LastAtDoors(Arc<[Mutex<LastAtDoor>; Door::ALL.len()]>);

impl LastAtDoors {
    pub(crate) fn change(&self, door: Door, change: impl FnOnce(&mut LastAtDoor)) {
        change(&mut self.0[door as usize].lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Metrics {
    /// What a door did last.
    #[must_use]
    pub fn last_at(&self, door: Door) -> LastAtDoor {
        let mut last = LastAtDoor::default();
        self.last_at_doors.change(door, |known| last = *known);
        last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_door_remembers_what_it_did_last() {
        for (n, door) in Door::ALL.into_iter().enumerate() {
            assert_eq!(door as usize, n);
        }
        let metrics = Metrics::new();
        metrics.accepted(Door::Webhook, 0);
        assert_eq!(metrics.last_at(Door::Webhook), LastAtDoor::default(), "nothing was accepted");
        let before = SystemTime::now();
        metrics.accepted(Door::Webhook, 2);
        metrics.refused(Door::Webhook, Refused::Slow);
        metrics.refused(Door::Webhook, Refused::Unauthorized);
        let last = metrics.clone().last_at(Door::Webhook);
        assert!(last.accepted >= Some(before));
        assert!(matches!(last.refused, Some((at, Refused::Unauthorized)) if before <= at), "{last:?}");
        assert_eq!(metrics.last_at(Door::Destination), LastAtDoor::default());
    }
}
