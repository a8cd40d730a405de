use std::collections::BTreeSet;
use std::time::SystemTime;

use refersion_relay_model::{AccountName, Class, DeadReason};
use refersion_relay_queue::{Letter, LetterId};

/// Which dead letters are meant: those in the classes that the filter lets through.
#[derive(Clone, Debug)]
pub struct Selection {
    /// In these classes.
    pub classes: Vec<Class>,
    /// Those of them that match.
    pub filter: Filter,
    /// Whether letters that nobody may have had the right to send are left out, unless they are named by their ids: what sends
    /// many of them again by the way would do what was refused.
    pub spares_unverified: bool,
}

impl Selection {
    /// Whether a letter is meant.
    #[must_use]
    pub fn matches(&self, letter: &Letter) -> bool {
        self.filter.matches(letter) && !self.spares(letter)
    }

    /// Whether a letter would be meant, but is left out for want of its sender's right.
    #[must_use]
    pub fn leaves_out(&self, letter: &Letter) -> bool {
        self.filter.matches(letter) && self.spares(letter)
    }

    /// Whether nothing in a class can be meant, so that it need not be touched.
    pub(crate) fn passes_by(&self, class: Class) -> bool {
        self.spares_unverified && class == Class::Unverified && self.filter.ids.is_empty()
    }

    fn spares(&self, letter: &Letter) -> bool {
        self.spares_unverified && is_unverified(letter) && !self.filter.ids.contains(&letter.id)
    }
}

/// Wherever it lies: earlier releases put such letters among the invalid ones, and the broker puts what it cannot route elsewhere.
pub(crate) fn is_unverified(letter: &Letter) -> bool {
    let reason = letter.message.headers.death.as_ref().map(|death| death.reason.as_str());
    letter.class == Class::Unverified || reason == Some(DeadReason::Unsigned.as_str())
}

/// What a letter has to be like. Empty parts let everything through; a part with several values wants one of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// The letters themselves.
    pub ids: BTreeSet<LetterId>,
    /// Why they are dead.
    pub reasons: Vec<String>,
    /// Whose events they are.
    pub accounts: Vec<AccountName>,
    /// What they are.
    pub types: Vec<String>,
    /// The ids that are shown for their events.
    pub message_ids: Vec<String>,
    /// How often they were replayed.
    pub generations: Vec<u32>,
    /// Dead at this time already.
    pub dead_before: Option<SystemTime>,
    /// Dead since this time at the earliest.
    pub dead_after: Option<SystemTime>,
}

impl Filter {
    /// Whether it lets everything through.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a letter is meant.
    #[must_use]
    pub fn matches(&self, letter: &Letter) -> bool {
        let headers = &letter.message.headers;
        let death = headers.death.as_ref();
        let dead_at = dead_at(letter);
        (self.ids.is_empty() || self.ids.contains(&letter.id))
            && one_of(&self.reasons, death.map(|death| &death.reason))
            && one_of(&self.accounts, headers.account.as_ref())
            && one_of(&self.types, Some(&headers.kind))
            && one_of(&self.message_ids, Some(&headers.message_id))
            && one_of(&self.generations, Some(&headers.generation))
            // Of unknown age is neither old nor new.
            && self.dead_before.is_none_or(|limit| dead_at.is_some_and(|at| at <= limit))
            && self.dead_after.is_none_or(|limit| dead_at.is_some_and(|at| limit <= at))
    }
}

fn one_of<T: PartialEq>(wanted: &[T], value: Option<&T>) -> bool {
    wanted.is_empty() || value.is_some_and(|value| wanted.contains(value))
}

/// Since when a letter is dead, where that is known.
pub(crate) fn dead_at(letter: &Letter) -> Option<SystemTime> {
    letter.message.headers.death.as_ref().and_then(|death| death.dead_at)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::tests::{at, letter};

    #[track_caller]
    fn check(filter: &Filter, expected: bool) {
        let letter = letter("m1", |_| ());
        assert_eq!(filter.matches(&letter), expected, "{filter:?}");
    }

    #[test]
    fn an_empty_filter_lets_everything_through() {
        assert!(Filter::default().is_empty());
        check(&Filter::default(), true);
    }

    #[test]
    fn each_part_decides_alone_and_takes_one_of_several() {
        let text = |value: &str| vec!["nothing".to_owned(), value.to_owned()];
        let account = |name: &str| vec![AccountName::try_from(name).unwrap()];
        for (reason, expected) in [("refused", true), ("age", false)] {
            check(&Filter { reasons: text(reason), ..Filter::default() }, expected);
        }
        for (name, expected) in [("acme", true), ("other", false)] {
            check(&Filter { accounts: account(name), ..Filter::default() }, expected);
        }
        for (kind, expected) in [("identify", true), ("delete", false), ("Identify", false)] {
            check(&Filter { types: text(kind), ..Filter::default() }, expected);
        }
        for (id, expected) in [("m1", true), ("m", false)] {
            check(&Filter { message_ids: text(id), ..Filter::default() }, expected);
        }
        for (generation, expected) in [(2, true), (0, false)] {
            check(&Filter { generations: vec![7, generation], ..Filter::default() }, expected);
        }
        let own = letter("m1", |_| ()).id;
        check(&Filter { ids: BTreeSet::from([own.clone()]), ..Filter::default() }, true);
        check(&Filter { ids: BTreeSet::from(["0123456789abcdef".parse().unwrap()]), ..Filter::default() }, false);
    }

    #[test]
    fn ages_are_limits_that_belong_to_them() {
        let (before, after) = (at() - Duration::from_millis(1), at() + Duration::from_millis(1));
        for (limit, expected) in [(before, false), (at(), true), (after, true)] {
            check(&Filter { dead_before: Some(limit), ..Filter::default() }, expected);
        }
        for (limit, expected) in [(before, true), (at(), true), (after, false)] {
            check(&Filter { dead_after: Some(limit), ..Filter::default() }, expected);
        }
    }

    #[test]
    fn all_parts_have_to_agree() {
        let filter = Filter { types: vec!["identify".to_owned()], generations: vec![0], ..Filter::default() };
        check(&filter, false);
        check(&Filter { generations: vec![2], ..filter }, true);
    }

    #[test]
    fn what_is_not_verified_is_meant_only_by_its_class_or_its_id() {
        let unsigned = |class| {
            let mut letter = letter("m1", |headers| {
                if let Some(death) = &mut headers.death {
                    death.reason = "unsigned".to_owned();
                }
            });
            letter.class = class;
            letter
        };
        let selection = |spares_unverified, ids: &[&LetterId]| Selection {
            classes: Class::ALL.to_vec(),
            filter: Filter { ids: ids.iter().map(|id| (*id).clone()).collect(), ..Filter::default() },
            spares_unverified,
        };
        // Also where an earlier release, or the broker, has put it.
        for class in [Class::Unverified, Class::Invalid, Class::Unrouted] {
            let letter = unsigned(class);
            let sparing = selection(true, &[]);
            assert!(!sparing.matches(&letter) && sparing.leaves_out(&letter), "{class}");
            for meaning in [selection(false, &[]), selection(true, &[&letter.id])] {
                assert!(meaning.matches(&letter) && !meaning.leaves_out(&letter), "{class}");
            }
        }
        let other = letter("m1", |_| ());
        assert!(selection(true, &[]).matches(&other) && !selection(true, &[]).leaves_out(&other));
        assert!(selection(true, &[]).passes_by(Class::Unverified) && !selection(true, &[]).passes_by(Class::Invalid));
        assert!(!selection(true, &[&other.id]).passes_by(Class::Unverified));
    }

    #[test]
    fn a_letter_without_an_account_is_of_no_account() {
        let nobodys = letter("m1", |headers| headers.account = None);
        let filter = Filter { accounts: vec![AccountName::try_from("acme").unwrap()], ..Filter::default() };
        assert!(!filter.matches(&nobodys));
    }
}
