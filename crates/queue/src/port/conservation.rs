use refersion_relay_model::Class;
use serde::{Serialize, Serializer};

use crate::Place;

/// Whether every event is accounted for, at one moment.
///
/// `accepted + copies = delivered + ignored + dropped + dead + waiting`, give or take the tolerance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Conservation {
    /// Events that were stored for a sender.
    pub accepted: u64,
    /// Events that are there once more, since an acknowledgement could not be sent any more when its copy was stored.
    pub copies: u64,
    /// Events whose effect has happened.
    pub delivered: u64,
    /// Events about which nothing was to be done, those that were sent twice among them.
    pub ignored: u64,
    /// Dead letters that a person deleted.
    pub dropped: u64,
    /// Where events are now.
    pub stocks: Vec<Stock>,
    /// By how much the sum may be wrong.
    pub tolerance: Tolerance,
    /// The difference that was taken for right when the baseline was set.
    pub baseline: i64,
}

/// What is in one kind of places.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Stock {
    /// Which.
    pub group: Group,
    /// How many events are there, in hand or not.
    pub events: u64,
    /// How many more than have come and not gone. What the broker moves by itself is missing in one kind of places and
    /// too much in another.
    pub difference: i64,
}

/// Why a sum may be wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tolerance {
    /// Publishes and acknowledgements of which nobody knows whether they happened, since their connection was lost.
    pub uncertain: u64,
    /// Processes that ended without a word since the baseline.
    pub deaths: u64,
    /// How much those may have counted and not stored.
    pub lost: u64,
    /// How much has moved while the numbers were gathered.
    pub moving: u64,
}

/// The kinds of places that are counted apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Group {
    /// In work queues, and on the way back to one.
    Work,
    /// Dead letters of a class.
    Dead(Class),
}

impl Conservation {
    /// Events that are still to be worked, wherever they wait.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.stock(|group| !matches!(group, Group::Dead(_)))
    }

    /// Dead letters that are there.
    #[must_use]
    pub fn dead(&self) -> u64 {
        self.stock(|group| matches!(group, Group::Dead(_)))
    }

    fn stock(&self, of: impl Fn(Group) -> bool) -> u64 {
        let stocks = self.stocks.iter().filter(|stock| of(stock.group));
        stocks.fold(0, |sum, stock| sum.saturating_add(stock.events))
    }

    /// How many events are accounted for beyond those that were accepted or copied; below zero: how many are missing.
    #[must_use]
    pub fn difference(&self) -> i128 {
        let Self { accepted, copies, delivered, ignored, dropped, baseline, .. } = self;
        let ended: i128 =
            [*delivered, *ignored, *dropped, self.dead(), self.waiting()].into_iter().map(i128::from).sum();
        ended - i128::from(*accepted) - i128::from(*copies) - i128::from(*baseline)
    }

    /// The same, with what has moved since `before` as tolerance: the numbers of a queue in use are from several moments.
    #[must_use]
    pub fn moving_since(mut self, before: &Self) -> Self {
        let numbers = |sum: &Self| {
            let Self { accepted, copies, delivered, ignored, dropped, stocks, .. } = sum;
            let flows = [*accepted, *copies, *delivered, *ignored, *dropped];
            flows.into_iter().chain(stocks.iter().map(|stock| stock.events)).collect::<Vec<_>>()
        };
        let (now, before) = (numbers(&self), numbers(before));
        let moved = now.iter().zip(&before).map(|(now, before)| now.abs_diff(*before));
        self.tolerance.moving = moved.fold(0, u64::saturating_add);
        self
    }

    /// Whether nothing has happened since `before`, so that the difference is known exactly and the tolerance can end: what
    /// is missing or too much was lost with what the tolerance stands for.
    #[must_use]
    pub fn is_settled_since(&self, before: &Self) -> bool {
        let still = self.clone().moving_since(before).tolerance;
        let same = Tolerance { moving: 0, ..before.tolerance } == still && self.baseline == before.baseline;
        same && 0 < still.events() && self.difference().unsigned_abs() <= u128::from(still.events())
    }

    /// Whether the difference is within the tolerance.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.difference().unsigned_abs() <= u128::from(self.tolerance.events())
    }
}

/// `12 accepted = 9 delivered + …`, and what is wrong with it, if anything.
impl std::fmt::Display for Conservation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { accepted, copies, delivered, ignored, dropped, tolerance, .. } = self;
        write!(f, "{accepted} accepted")?;
        if 0 < *copies {
            write!(f, " + {copies} copies")?;
        }
        let (dead, waiting) = (self.dead(), self.waiting());
        write!(
            f,
            " = {delivered} delivered + {ignored} ignored + {dropped} dropped + {dead} dead + {waiting} waiting"
        )?;
        let difference = self.difference();
        if difference != 0 {
            write!(f, "; the difference is {difference:+}")?;
            for Stock { group, difference, .. } in self.stocks.iter().filter(|stock| stock.difference != 0) {
                write!(f, ", {}: {difference:+}", group.as_str())?;
            }
        }
        if 0 < self.tolerance.events() {
            write!(f, "; tolerance {} ({tolerance})", tolerance.events())?;
        }
        Ok(())
    }
}

impl Tolerance {
    /// In events.
    #[must_use]
    pub fn events(&self) -> u64 {
        let Self { uncertain, lost, moving, deaths: _ } = self;
        uncertain.saturating_add(*lost).saturating_add(*moving)
    }
}

impl std::fmt::Display for Tolerance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { uncertain, deaths, lost, moving } = self;
        let processes = if *deaths == 1 { "process" } else { "processes" };
        write!(f, "{uncertain} for lost connections, {lost} for {deaths} {processes} that died, {moving} in motion")
    }
}

impl Group {
    /// Every kind, in the order of [`Group::index`]. That is also the order of counts that are stored, so a new kind comes last.
    pub const ALL: [Self; 8] = [
        Self::Work,
        Self::Dead(Class::Malformed),
        Self::Dead(Class::Invalid),
        Self::Dead(Class::Rejected),
        Self::Dead(Class::Exhausted),
        Self::Dead(Class::Poison),
        Self::Dead(Class::Unrouted),
        Self::Dead(Class::Unverified),
    ];

    /// The kind of a place. The intake is none: what is there is not accepted yet.
    #[must_use]
    pub fn of(place: &Place) -> Option<Self> {
        match place {
            Place::Intake => None,
            Place::Work(_) | Place::Later(..) => Some(Self::Work),
            Place::Dead(class) => Some(Self::Dead(*class)),
        }
    }

    /// Where it stands in [`Group::ALL`].
    #[must_use]
    pub fn index(self) -> usize {
        let index = Self::ALL.iter().position(|group| *group == self);
        index.expect("a class that is not among all groups would not have passed the test below")
    }

    /// One word, a class's own for dead letters.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Work => "work",
            Self::Dead(class) => class.as_str(),
        }
    }
}

impl Serialize for Group {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_is_a_group() {
        for class in Class::ALL {
            assert_eq!(Group::ALL[Group::Dead(class).index()], Group::Dead(class));
        }
        assert_eq!(Group::ALL.len(), 1 + Class::ALL.len());
    }

    fn stock(group: Group, events: u64, difference: i64) -> Stock {
        Stock { group, events, difference }
    }

    #[test]
    fn a_sum_says_what_is_missing_and_where() {
        let stocks = vec![stock(Group::Work, 4, -2), stock(Group::Dead(Class::Rejected), 2, 0)];
        let sum = Conservation { accepted: 20, delivered: 10, ignored: 2, stocks, ..Conservation::default() };
        assert_eq!((sum.waiting(), sum.dead(), sum.difference()), (4, 2, -2));
        assert!(!sum.holds());
        let said =
            "20 accepted = 10 delivered + 2 ignored + 0 dropped + 2 dead + 4 waiting; the difference is -2, work: -2";
        assert_eq!(sum.to_string(), said);
    }

    #[test]
    fn absurd_numbers_add_up_to_something() {
        let stocks =
            vec![stock(Group::Work, u64::MAX, i64::MIN), stock(Group::Dead(Class::Rejected), u64::MAX, i64::MAX)];
        let sum = Conservation { accepted: u64::MAX, baseline: i64::MIN, stocks, ..Conservation::default() };
        assert_eq!((sum.waiting(), sum.dead()), (u64::MAX, u64::MAX));
        let moving = sum
            .clone()
            .moving_since(&Conservation { stocks: vec![stock(Group::Work, 0, 0); 2], ..Conservation::default() });
        assert_eq!(moving.tolerance.events(), u64::MAX);
        assert!(!sum.to_string().is_empty());
    }

    #[test]
    fn the_tolerance_ends_only_when_nothing_happens_and_it_explains_the_difference() {
        let tolerance = Tolerance { uncertain: 1, deaths: 1, lost: 4, moving: 0 };
        let sum = |delivered| Conservation { accepted: 10, delivered, tolerance, ..Conservation::default() };
        assert!(sum(10).is_settled_since(&sum(10)) && sum(5).is_settled_since(&sum(5)));
        assert!(!sum(4).is_settled_since(&sum(4)), "more is missing than it explains");
        assert!(!sum(10).is_settled_since(&sum(9)), "something moves");
        let fewer = Conservation { tolerance: Tolerance { deaths: 0, lost: 2, ..tolerance }, ..sum(10) };
        assert!(!sum(10).is_settled_since(&fewer), "somebody has just died");
        let others = Conservation { baseline: 1, ..sum(10) };
        assert!(!sum(10).is_settled_since(&others), "somebody has just done so");
        let exact = Conservation { tolerance: Tolerance::default(), ..sum(10) };
        assert!(!exact.is_settled_since(&exact), "there is none");
        let moved = Conservation { tolerance: Tolerance { moving: 3, ..tolerance }, ..sum(10) };
        assert!(sum(10).is_settled_since(&moved), "what moved before is over");
    }

    #[test]
    fn a_difference_within_the_tolerance_holds() {
        let tolerance = Tolerance { uncertain: 1, deaths: 1, lost: 4, moving: 0 };
        let sum = |delivered| Conservation { accepted: 10, copies: 1, delivered, tolerance, ..Conservation::default() };
        assert!(sum(11).holds() && sum(16).holds() && sum(6).holds());
        assert!(!sum(17).holds() && !sum(5).holds());
        let said = "10 accepted + 1 copies = 11 delivered + 0 ignored + 0 dropped + 0 dead + 0 waiting; tolerance 5 \
                    (1 for lost connections, 4 for 1 process that died, 0 in motion)";
        assert_eq!(sum(11).to_string(), said);
        let moving = sum(12).moving_since(&sum(11));
        assert_eq!((moving.tolerance.moving, moving.tolerance.events()), (1, 6));
        assert_eq!(Conservation { baseline: 3, delivered: 3, ..Conservation::default() }.difference(), 0);
    }
}
