use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use refersion_relay_model::Class;
use refersion_relay_queue::{Letter, LetterId, Place, QueueError, Scan};
use serde::Serialize;

use crate::filter::dead_at;
use crate::operation::is_too_large;
use crate::{DeadLetters, Selection};

/// What is there: exact totals, and counts from the letters that were looked at.
#[derive(Clone, Debug, Default, Serialize)]
pub struct LetterStats {
    /// Letters in the classes.
    pub total: u64,
    /// Letters that were looked at for the counts below.
    pub scanned: u64,
    /// Of those, letters that are selected.
    pub selected: u64,
    /// Of those, letters that name no account, and so cannot be sent again.
    pub without_account: u64,
    /// Of those, letters with more bytes than an event may have, which so cannot be sent again.
    pub too_large: u64,
    /// Letters that match and are left out, since nothing shows that their sender had the right to what they ask for.
    pub left_out: u64,
    /// Each class on its own.
    pub classes: Vec<ClassStats>,
    /// Selected letters by class.
    pub by_class: BTreeMap<String, u64>,
    /// Selected letters by account, nobody's under the empty name.
    pub by_account: BTreeMap<String, u64>,
    /// Selected letters by type.
    pub by_type: BTreeMap<String, u64>,
    /// Selected letters by reason.
    pub by_reason: BTreeMap<String, u64>,
    /// Selected letters by how long they are dead.
    pub by_age: BTreeMap<Age, u64>,
    /// The selected ids that were not among the letters looked at.
    pub not_found: Vec<String>,
}

/// What is in one class.
#[derive(Clone, Debug, Serialize)]
pub struct ClassStats {
    /// Which.
    pub class: &'static str,
    /// Letters in it.
    pub total: u64,
    /// Letters that were looked at.
    pub scanned: u64,
    /// Of those, letters that are selected.
    pub selected: u64,
    /// Whether nothing could be looked at because somebody else is at work on it.
    pub busy: bool,
}

/// How long a letter is dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Age {
    /// Less than an hour.
    UnderAnHour,
    /// Less than a day.
    UnderADay,
    /// Less than a week.
    UnderAWeek,
    /// Less than 30 days.
    #[serde(rename = "under_30_days")]
    Under30Days,
    /// Longer.
    Older,
    /// Only the broker knows, and does not say.
    Unknown,
}

/// What to do about a class that somebody else is at work on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenBusy {
    /// Say so and go on with the next one.
    CountOnly,
    /// Fail.
    Fail,
}

impl Age {
    const HOUR: Duration = Duration::from_hours(1);
    const DAY: Duration = Duration::from_hours(24);

    /// A letter that is dead since a time yet to come is young.
    #[must_use]
    pub fn of(dead_at: Option<SystemTime>, now: SystemTime) -> Self {
        let Some(dead_at) = dead_at else { return Self::Unknown };
        match now.duration_since(dead_at).unwrap_or_default() {
            age if age < Self::HOUR => Self::UnderAnHour,
            age if age < Self::DAY => Self::UnderADay,
            age if age < Self::DAY * 7 => Self::UnderAWeek,
            age if age < Self::DAY * 30 => Self::Under30Days,
            _ => Self::Older,
        }
    }

    /// As a person says it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UnderAnHour => "under an hour",
            Self::UnderADay => "under a day",
            Self::UnderAWeek => "under a week",
            Self::Under30Days => "under 30 days",
            Self::Older => "older",
            Self::Unknown => "unknown",
        }
    }
}

impl LetterStats {
    fn count(&mut self, letter: &Letter, now: SystemTime) {
        let headers = &letter.message.headers;
        let add = |counts: &mut BTreeMap<String, u64>, key: &str| *counts.entry(key.to_owned()).or_default() += 1;
        self.selected += 1;
        self.without_account += u64::from(headers.account.is_none());
        self.too_large += u64::from(is_too_large(letter));
        add(&mut self.by_class, letter.class.as_str());
        add(&mut self.by_account, headers.account.as_ref().map_or("", |account| account.as_str()));
        add(&mut self.by_type, &headers.kind);
        add(&mut self.by_reason, headers.death.as_ref().map_or("", |death| &death.reason));
        *self.by_age.entry(Age::of(dead_at(letter), now)).or_default() += 1;
    }
}

impl DeadLetters {
    /// Looks at the first letters of each class and counts those that are selected.
    pub async fn stats(&self, selection: &Selection, scan: Scan, busy: WhenBusy) -> Result<LetterStats, QueueError> {
        let now = SystemTime::now();
        let mut stats = LetterStats::default();
        let mut missing = selection.filter.ids.clone();
        for class in &selection.classes {
            let counted = self.survey_class(*class, selection, scan, now, (&mut stats, &mut missing)).await;
            let counted = match counted {
                Err(QueueError::Busy(_)) if busy == WhenBusy::CountOnly => {
                    let total = self.queue.depth(&Place::Dead(*class)).await?.ready;
                    ClassStats { class: class.as_str(), total, scanned: 0, selected: 0, busy: true }
                }
                counted => counted?,
            };
            stats.total += counted.total;
            stats.scanned += counted.scanned;
            stats.classes.push(counted);
        }
        stats.not_found = missing.iter().map(ToString::to_string).collect();
        Ok(stats)
    }

    async fn survey_class(
        &self,
        class: Class,
        selection: &Selection,
        scan: Scan,
        now: SystemTime,
        (stats, missing): (&mut LetterStats, &mut std::collections::BTreeSet<LetterId>),
    ) -> Result<ClassStats, QueueError> {
        let before = stats.selected;
        let mut visit = |letter: Letter| {
            if selection.matches(&letter) {
                stats.count(&letter, now);
                missing.remove(&letter.id);
            } else if selection.leaves_out(&letter) {
                stats.left_out += 1;
            }
        };
        let browsed = self.queue.browse(class, scan, &mut visit).await?;
        Ok(ClassStats {
            class: class.as_str(),
            total: browsed.total,
            scanned: browsed.seen,
            selected: stats.selected - before,
            busy: false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{at, letter};

    #[test]
    fn ages_are_told_apart_at_their_bounds() {
        let age = |seconds| Age::of(Some(at()), at() + Duration::from_secs(seconds));
        assert_eq!((age(0), age(3_599)), (Age::UnderAnHour, Age::UnderAnHour));
        assert_eq!((age(3_600), age(86_399)), (Age::UnderADay, Age::UnderADay));
        assert_eq!((age(86_400), age(7 * 86_400 - 1)), (Age::UnderAWeek, Age::UnderAWeek));
        assert_eq!((age(7 * 86_400), age(30 * 86_400 - 1)), (Age::Under30Days, Age::Under30Days));
        assert_eq!(age(30 * 86_400), Age::Older);
        assert_eq!(Age::of(Some(at() + Duration::from_secs(9)), at()), Age::UnderAnHour);
        assert_eq!(Age::of(None, at()), Age::Unknown);
    }

    #[test]
    fn a_survey_counts_each_letter_under_everything_it_is() {
        let mut stats = LetterStats::default();
        stats.count(&letter("m1", |_| ()), at());
        stats.count(&letter("m2", |headers| headers.account = None), at() + Duration::from_hours(48));
        let json = serde_json::to_value(&stats).unwrap();
        assert_eq!((json["selected"].as_u64(), json["without_account"].as_u64()), (Some(2), Some(1)));
        assert_eq!(json["by_account"], serde_json::json!({"acme": 1, "": 1}));
        assert_eq!(json["by_class"], serde_json::json!({"rejected": 2}));
        assert_eq!(json["by_reason"], serde_json::json!({"refused": 2}));
        assert_eq!(json["by_type"], serde_json::json!({"identify": 2}));
        assert_eq!(json["by_age"], serde_json::json!({"under_an_hour": 1, "under_a_week": 1}));
    }
}
