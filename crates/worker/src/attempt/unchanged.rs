use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lru::LruCache;
use refersion_relay_model::Command;
use refersion_relay_refersion::{Applied, Existing};
use tokio::time::Instant;

use crate::event::reading::Job;
use crate::order::event_key::{Digest, KeyHasher};

/// People of whom it is remembered what Refersion was told last. About 20 MiB.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(200_000).expect("above zero");

/// What Refersion was told of each person, so that telling it the same again can be left out.
///
/// It holds for as long as nobody else works the account's queue, who may tell it something else; and
/// for as long as it is trusted, because somebody may change it at Refersion.
pub(crate) struct Unchanged {
    trusted: Duration,
    memory: Mutex<LruCache<Digest, Told>>,
}

/// What would be told by an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Telling {
    subject: Digest,
    /// Of everything that would be written, and of the settings by which it is.
    what: Digest,
    stay: u64,
}

#[derive(Clone, Copy)]
struct Told {
    what: Digest,
    stay: u64,
    at: Instant,
}

impl Unchanged {
    pub(crate) fn new(trusted: Duration) -> Self {
        Self { trusted, memory: Mutex::new(LruCache::new(REMEMBERED)) }
    }

    /// What the event would tell.
    pub(crate) fn telling(hasher: &KeyHasher, job: &Job, command: &Command) -> Telling {
        let account = job.account();
        let settings = (account.keys.expose_public(), account.existing, account.defaults);
        let what = match (command, account.existing) {
            // Of somebody who exists nothing is written.
            (Command::Create(_), Existing::Keep) | (Command::Deactivate(_), _) => hasher.digest(settings),
            (Command::Create(affiliate), Existing::Update) => hasher.digest((settings, affiliate)),
        };
        Telling { subject: job.event_key.subject, what, stay: job.account_state.stay() }
    }

    /// Whether Refersion was told the same before, and nothing else since.
    pub(crate) fn is_known(&self, telling: Telling) -> bool {
        let Telling { subject, what, stay } = telling;
        self.memory()
            .get(&subject)
            .is_some_and(|told| (told.what, told.stay) == (what, stay) && told.at.elapsed() < self.trusted)
    }

    /// It is about to be told something, and what will be there then is not known.
    pub(crate) fn forget(&self, telling: Telling) {
        self.memory().pop(&telling.subject);
    }

    /// It has been told.
    pub(crate) fn told(&self, telling: Telling, command: &Command, applied: Applied) {
        let Telling { subject, what, stay } = telling;
        let holds = match applied {
            Applied::Created | Applied::Existing | Applied::Updated | Applied::Unchanged => true,
            Applied::LeftInactive | Applied::Deactivated | Applied::AlreadyInactive | Applied::NotFound => false,
        };
        if holds && matches!(command, Command::Create(_)) {
            self.memory().put(subject, Told { what, stay, at: Instant::now() });
        }
    }

    fn memory(&self) -> MutexGuard<'_, LruCache<Digest, Told>> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRUSTED: Duration = Duration::from_hours(1);
    const PETER: Telling = Telling { subject: [1, 1], what: [2, 2], stay: 7 };

    fn create() -> Command {
        let event = br#"{"type":"identify","traits":{"name":"A B","email":"a@example.com"}}"#;
        match refersion_relay_model::judge(
            &refersion_relay_model::Event::parse(event).unwrap(),
            refersion_relay_model::MissingLastName::Refuse,
        ) {
            refersion_relay_model::Judgement::Work(command) => command,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_told_is_believed_for_a_time_in_its_stay_and_until_something_else_is() {
        let unchanged = Unchanged::new(TRUSTED);
        assert!(!unchanged.is_known(PETER));
        let tell = || unchanged.told(PETER, &create(), Applied::Created);
        tell();
        assert!(unchanged.is_known(PETER));
        assert!(!unchanged.is_known(Telling { what: [2, 3], ..PETER }));
        assert!(!unchanged.is_known(Telling { subject: [1, 2], ..PETER }));
        assert!(!unchanged.is_known(Telling { stay: 8, ..PETER }), "another worker had the queue");
        tokio::time::advance(Duration::from_secs(3_599)).await;
        assert!(unchanged.is_known(PETER));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(!unchanged.is_known(PETER));
        tell();
        unchanged.forget(Telling { what: [9, 9], ..PETER });
        assert!(!unchanged.is_known(PETER), "something else is being told");
    }

    #[test]
    fn only_what_leaves_a_known_affiliate_is_remembered() {
        for applied in Applied::ALL {
            let unchanged = Unchanged::new(TRUSTED);
            unchanged.told(PETER, &create(), applied);
            let leaves = [Applied::Created, Applied::Existing, Applied::Updated, Applied::Unchanged];
            assert_eq!(unchanged.is_known(PETER), leaves.contains(&applied), "{applied:?}");
        }
    }
}
