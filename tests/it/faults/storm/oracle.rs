use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use refersion_relay_simulator::{Affiliate, Status};
use refersion_relay_tests::Refersion;

/// How long nothing may change before something is taken to be lost: longer than an event is in the first tier.
const STANDSTILL: Duration = Duration::from_mins(2);

/// The least time between one look at everybody and the next.
const LEAST_REST: Duration = Duration::from_millis(50);

/// Knows what has to become of everybody, from what was accepted and in which order. It needs no replay: the last accepted
/// version of a person stands where affiliates are updated, the first where they are kept.
#[derive(Default)]
pub(super) struct Oracle {
    people: Mutex<HashMap<Person, Fate>>,
    accepted: tokio::sync::watch::Sender<u64>,
}

/// Somebody at one merchant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Person {
    /// The number of the account: 1 updates affiliates, 2 keeps them.
    pub(super) account: u8,
    pub(super) email: String,
}

/// What somebody's accepted events say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    Identify {
        version: u32,
    },
    Delete,
    /// By the person's id alone: it takes its place among the person's events when their address is found.
    DeleteById,
    /// An identify that Refersion refuses for good.
    Refused,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Not an affiliate.
    Nobody,
    Active {
        version: u32,
    },
    Disabled {
        /// `None`: whichever it was then.
        version: Option<u32>,
    },
    /// A dead letter.
    Refused,
}

impl Fate {
    fn after(self, said: Said, updates: bool) -> Self {
        match (self, said) {
            (_, Said::Refused) => Self::Refused,
            (Self::Nobody, Said::Identify { version }) => Self::Active { version },
            (Self::Active { .. }, Said::Identify { version }) if updates => Self::Active { version },
            (Self::Active { version }, Said::Delete) => Self::Disabled { version: Some(version) },
            (Self::Active { .. }, Said::DeleteById) => Self::Disabled { version: None },
            // Nobody is brought back, and who is not there cannot be deleted.
            (fate, Said::Identify { .. } | Said::Delete | Said::DeleteById) => fate,
        }
    }

    fn is_fulfilled(self, found: &[Affiliate]) -> bool {
        let only = |status, version: u32| matches!(found, [one] if one.status == status && one.last_name == last_name(version));
        match self {
            Self::Nobody | Self::Refused => found.is_empty(),
            Self::Active { version } => only(Status::Pending, version),
            Self::Disabled { version: Some(version) } => only(Status::Disabled, version),
            Self::Disabled { version: None } => matches!(found, [one] if one.status == Status::Disabled),
        }
    }
}

/// How a version of somebody is called.
pub(super) fn last_name(version: u32) -> String {
    format!("Version{version}")
}

impl Oracle {
    /// An event was accepted. Events of one person are told in the order of their acceptance.
    pub(super) fn accept(&self, person: &Person, said: Said) {
        let mut people = self.people();
        let fate = people.entry(person.clone()).or_insert(Fate::Nobody);
        *fate = fate.after(said, person.account == 1);
        drop(people);
        self.accepted.send_modify(|accepted| *accepted += 1);
    }

    /// Whether any event of this person was accepted.
    pub(super) fn knows(&self, person: &Person) -> bool {
        self.people().contains_key(person)
    }

    pub(super) fn accepted(&self) -> u64 {
        *self.accepted.borrow()
    }

    pub(super) async fn until_accepted(&self, count: u64) {
        let mut accepted = self.accepted.subscribe();
        accepted.wait_for(|accepted| count <= *accepted).await.expect("the oracle lives");
    }

    pub(super) fn people_count(&self) -> usize {
        self.people().len()
    }

    /// The addresses of those whom Refersion refuses.
    pub(super) fn refused(&self) -> BTreeSet<String> {
        let people = self.people();
        people.iter().filter(|(_, fate)| **fate == Fate::Refused).map(|(person, _)| person.email.clone()).collect()
    }

    pub(super) fn is_fulfilled(&self, refersion: &Refersion) -> bool {
        self.count_unfulfilled(refersion) == 0
    }

    /// Waits until everybody is as they should be, for as long as there is any progress. Whether they are.
    pub(super) async fn until_fulfilled(&self, refersion: &Refersion) -> bool {
        let mut best = (usize::MAX, Instant::now());
        loop {
            let began = Instant::now();
            let open = self.count_unfulfilled(refersion);
            if open == 0 {
                return true;
            }
            if open < best.0 {
                best = (open, Instant::now());
            }
            if STANDSTILL < best.1.elapsed() {
                return false;
            }
            // Among many people that takes long, and the simulated Refersion answers nobody meanwhile.
            tokio::time::sleep(LEAST_REST.max(began.elapsed() * 20)).await;
        }
    }

    /// # Panics
    /// When somebody is not as they should be.
    pub(super) fn check(&self, refersion: &Refersion) {
        let open = self.unfulfilled(refersion);
        for person in open.keys() {
            println!("what Refersion was asked about {person:?}:");
            let affiliates = refersion.simulator.affiliates();
            let id = affiliates.iter().find(|found| found.email == person.email).map(|found| found.id);
            for call in refersion.simulator.calls() {
                let is_about =
                    call.email.as_ref() == Some(&person.email) || id.is_some_and(|id| call.ids.contains(&id));
                if is_about && call.public_key == format!("pub_{}", person.account) {
                    println!("  {call:?}");
                }
            }
        }
        assert!(open.is_empty(), "{} of {} are not as accepted: {open:#?}", open.len(), self.people_count());
    }

    fn unfulfilled(&self, refersion: &Refersion) -> BTreeMap<Person, String> {
        let mut open = BTreeMap::new();
        self.each_unfulfilled(refersion, |person, fate, found| {
            let seen: Vec<_> = found.iter().map(|one| (one.status, one.last_name.clone())).collect();
            open.insert(person.clone(), format!("{fate:?} was accepted, found {seen:?}"));
        });
        open
    }

    fn count_unfulfilled(&self, refersion: &Refersion) -> usize {
        let mut count = 0;
        self.each_unfulfilled(refersion, |_, _, _| count += 1);
        count
    }

    fn each_unfulfilled(&self, refersion: &Refersion, mut visit: impl FnMut(&Person, Fate, &[Affiliate])) {
        let mut found = HashMap::<Person, Vec<Affiliate>>::new();
        for affiliate in refersion.simulator.affiliates() {
            let account = if affiliate.public_key == "pub_1" { 1 } else { 2 };
            let person = Person { account, email: affiliate.email.clone() };
            found.entry(person).or_default().push(affiliate);
        }
        for (person, fate) in &*self.people() {
            let found = found.get(person).map(Vec::as_slice).unwrap_or_default();
            if !fate.is_fulfilled(found) {
                visit(person, *fate, found);
            }
        }
    }

    fn people(&self) -> MutexGuard<'_, HashMap<Person, Fate>> {
        self.people.lock().expect("not poisoned")
    }
}
