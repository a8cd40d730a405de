use std::collections::{HashSet, VecDeque};

use refersion_relay_model::AccountName;

use crate::{Fate, Headers};

/// The letters that a sweep has begun with and that are not known to be gone, in the order of their delivery tags.
///
/// An acknowledgement covers everything up to its tag, and there is one under way at a time: many single ones would queue
/// up in the broker, where a crash of this process can still undo them.
#[derive(Debug)]
pub(crate) struct InHand {
    most: usize,
    /// The tag of the oldest letter.
    first: u64,
    letters: VecDeque<Held>,
    copies: usize,
    /// Whom an unconfirmed copy is about.
    subjects: HashSet<Subject>,
}

/// Whom a letter is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Subject {
    /// By its headers.
    Said(Option<AccountName>, String),
    /// By the visitor, who has read it.
    Number(u64),
}

#[derive(Debug)]
struct Held {
    fate: Fate,
    is_copied: bool,
    /// What has to be true before the original may be acknowledged is true.
    is_ready: bool,
    subject: Option<Subject>,
}

impl InHand {
    /// `most`: letters in hand as long as there are copies among them.
    pub(crate) fn new(most: u16) -> Self {
        let (letters, subjects) = (VecDeque::new(), HashSet::new());
        Self { most: usize::from(most), first: 1, letters, copies: 0, subjects }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.letters.is_empty()
    }

    /// Whether a copy may be published now. Asked for each letter in turn, so letters do not overtake one another.
    pub(crate) fn takes_copy(&self, subject: Option<&Subject>) -> bool {
        self.letters.len() < self.most && subject.is_none_or(|subject| !self.subjects.contains(subject))
    }

    /// Whether a letter may be dropped now. Without copies there is nothing that could be there twice after a crash.
    pub(crate) fn takes_drop(&self) -> bool {
        self.letters.len() < self.most || self.copies == 0
    }

    /// Begins with the next letter, of which a copy is being published. Returns its delivery tag.
    pub(crate) fn copy(&mut self, fate: Fate, subject: Option<Subject>) -> u64 {
        self.subjects.extend(subject.clone());
        self.copies += 1;
        self.letters.push_back(Held { fate, is_copied: true, is_ready: false, subject });
        self.first + self.letters.len() as u64 - 1
    }

    /// Begins with the next letter, of which nothing is to remain.
    pub(crate) fn drop(&mut self) {
        self.letters.push_back(Held { fate: Fate::Dropped, is_copied: false, is_ready: true, subject: None });
    }

    /// The copy of the letter with this tag is confirmed.
    pub(crate) fn confirmed(&mut self, tag: u64) {
        let position = usize::try_from(tag - self.first).expect("as many as in memory");
        let held = &mut self.letters[position];
        held.is_ready = true;
        if let Some(subject) = held.subject.take() {
            self.subjects.remove(&subject);
        }
    }

    /// How many letters are settled but for the acknowledgement of their originals.
    pub(crate) fn ready(&self) -> u64 {
        self.letters.iter().filter(|held| held.is_ready).count() as u64
    }

    /// Up to which tag, at most `limit`, everything may be acknowledged, if anything.
    pub(crate) fn ackable(&self, limit: u64) -> Option<u64> {
        let ready = self.letters.iter().take_while(|held| held.is_ready).count() as u64;
        let tag = (self.first + ready - 1).min(limit);
        (self.first <= tag).then_some(tag)
    }

    /// The broker has taken the acknowledgement up to this tag. Returns what became of the letters, in order.
    pub(crate) fn gone(&mut self, tag: u64) -> Vec<Fate> {
        let mut fates = Vec::new();
        while self.first <= tag {
            let held = self.letters.pop_front().expect("only what is in hand is acknowledged");
            self.copies -= usize::from(held.is_copied);
            fates.push(held.fate);
            self.first += 1;
        }
        fates
    }

    /// The highest tag that the broker knows to be settled.
    pub(crate) fn settled(&self) -> u64 {
        self.first - 1
    }
}

impl Subject {
    /// As the headers say it; a letter whose headers do not say is about nobody else.
    pub(crate) fn said(headers: &Headers) -> Option<Self> {
        Some(Self::Said(headers.account.clone(), headers.subject.clone()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::unnecessary_wraps, reason = "as the headers say it")]
    fn about(who: &str) -> Option<Subject> {
        Some(Subject::Said(None, who.to_owned()))
    }

    #[test]
    fn one_in_flight_is_one_letter_until_the_broker_has_taken_its_acknowledgement() {
        let mut hand = InHand::new(1);
        assert!(hand.takes_copy(about("a").as_ref()));
        let tag = hand.copy(Fate::Kept, about("a"));
        assert_eq!((tag, hand.ackable(u64::MAX)), (1, None));
        assert!(!hand.takes_copy(about("b").as_ref()) && !hand.takes_drop());
        hand.confirmed(tag);
        assert_eq!(hand.ackable(u64::MAX), Some(1));
        assert!(!hand.takes_copy(None), "it may still be there twice");
        assert_eq!(hand.gone(1), [Fate::Kept]);
        assert!(hand.is_empty() && hand.takes_copy(about("a").as_ref()));
        assert_eq!(hand.copy(Fate::Moved, None), 2);
    }

    #[test]
    fn drops_need_no_room_while_there_are_only_drops() {
        let mut hand = InHand::new(1);
        for _ in 0..5 {
            assert!(hand.takes_drop());
            hand.drop();
        }
        assert!(!hand.takes_copy(None));
        assert_eq!(hand.ackable(u64::MAX), Some(5));
        assert_eq!(hand.ackable(3), Some(3), "not beyond what is allowed");
        assert_eq!(hand.ackable(0), None);
        assert_eq!(hand.gone(5), [Fate::Dropped; 5]);
        hand.copy(Fate::Kept, None);
        assert!(!hand.takes_drop());
    }

    #[test]
    fn a_subject_has_one_unconfirmed_copy() {
        let mut hand = InHand::new(10);
        let first = hand.copy(Fate::Kept, about("a"));
        hand.copy(Fate::Moved, about("b"));
        assert!(!hand.takes_copy(about("a").as_ref()) && hand.takes_copy(about("c").as_ref()) && hand.takes_copy(None));
        hand.confirmed(first);
        assert!(hand.takes_copy(about("a").as_ref()) && !hand.takes_copy(about("b").as_ref()));
    }

    #[test]
    fn nothing_is_acknowledged_past_an_unconfirmed_copy() {
        let mut hand = InHand::new(10);
        let tags: Vec<_> = (0..3).map(|_| hand.copy(Fate::Kept, None)).collect();
        hand.drop();
        hand.confirmed(tags[2]);
        assert_eq!(hand.ackable(u64::MAX), None);
        hand.confirmed(tags[0]);
        assert_eq!(hand.ackable(u64::MAX), Some(1));
        hand.confirmed(tags[1]);
        assert_eq!(hand.ackable(u64::MAX), Some(4));
        assert_eq!(hand.gone(2), [Fate::Kept, Fate::Kept]);
        assert_eq!((hand.settled(), hand.ackable(u64::MAX)), (2, Some(4)));
        assert_eq!(hand.gone(4), [Fate::Kept, Fate::Dropped]);
        assert!(hand.is_empty());
    }
}
