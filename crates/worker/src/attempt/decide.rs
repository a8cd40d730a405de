use std::time::{Duration, SystemTime};

use refersion_relay_model::DeadReason;
use refersion_relay_refersion::{Failure, Rejection};

use crate::RetryPolicy;
use crate::attempt::verdict::{Retry, Verdict};
use crate::outage::breaker::{Known, Trouble};
use crate::settings;

/// The longest `Retry-After` that is obeyed.
const MAX_PAUSE: Duration = Duration::from_hours(1);

/// A failed attempt, with what is known of the ones before it.
#[derive(Clone, Debug)]
pub struct Failed<'a> {
    /// What happened.
    pub failure: &'a Failure,
    /// Charged attempts before this one.
    pub attempts: u32,
    /// When the first charged attempt failed, if one had.
    pub first_failed_at: Option<SystemTime>,
    /// How long nothing could be called since then: Refersion was out, or the account paused.
    pub out: Duration,
    /// What is known of Refersion. Counts only for a failure that can be Refersion's; with any other it has answered.
    pub refersion: Known,
    /// How long to wait if the event keeps its place; drawn by the caller.
    pub wait: Duration,
    /// How much longer the event may stay unacknowledged.
    pub may_stay: Duration,
    /// Whether keys that were refused were refused for what the event says: they work for others.
    pub is_its_own: bool,
}

/// What a failure says by itself.
enum Blame {
    /// The event, or Refersion: it takes to know whether Refersion is up.
    Unknown(Trouble),
    /// The event, or a moment; Refersion has answered.
    Event,
    /// Nobody: Refersion wants to be left alone for so long.
    Pause(Duration),
    /// Nobody: Refersion wants fewer calls, and does not say for how long.
    Limit,
    /// The account's keys.
    Account,
    /// The event, for good.
    Final(DeadReason),
}

/// The one place where a failure becomes an action.
fn blame(failure: &Failure, is_its_own: bool) -> Blame {
    match failure {
        Failure::Limited { retry_after: Some(after) } | Failure::Unavailable { retry_after: Some(after), .. }
            if !after.is_zero() =>
        {
            Blame::Pause((*after).min(MAX_PAUSE))
        }
        Failure::Transport { .. } => Blame::Unknown(Trouble::NoAnswer),
        Failure::Unavailable { .. } => Blame::Unknown(Trouble::Unavailable),
        Failure::Unclear { .. } => Blame::Unknown(Trouble::Unclear),
        Failure::Limited { .. } => Blame::Limit,
        Failure::Unauthorized { .. } if is_its_own => Blame::Event,
        Failure::Unauthorized { .. } => Blame::Account,
        Failure::Rejected(Rejection::Refused { .. }) => Blame::Final(DeadReason::Refused),
        Failure::Rejected(Rejection::NotDone) => Blame::Final(DeadReason::NotDone),
        Failure::Rejected(Rejection::NotIdentified | Rejection::TakenNotFound | Rejection::SeveralFound) => {
            Blame::Final(DeadReason::NotIdentified)
        }
    }
}

/// The trouble that Refersion would be in, if a failure were Refersion's; `None` where it cannot be.
pub(crate) fn trouble(failure: &Failure) -> Option<Trouble> {
    match blame(failure, false) {
        Blame::Unknown(trouble) => Some(trouble),
        Blame::Event | Blame::Pause(_) | Blame::Limit | Blame::Account | Blame::Final(_) => None,
    }
}

/// Decides what becomes of an event after a failed attempt.
#[must_use]
pub fn decide(failed: &Failed<'_>, policy: &RetryPolicy, now: SystemTime) -> Verdict {
    let dead =
        |reason| Verdict::DeadLetter { reason, status: failed.failure.status(), error: failed.failure.to_string() };
    match (blame(failed.failure, failed.is_its_own), failed.refersion) {
        (Blame::Account, _) => Verdict::Hold,
        (Blame::Final(reason), _) => dead(reason),
        (Blame::Pause(pause), _) => Verdict::Retry(Retry::Pause(pause)),
        (Blame::Limit, _) => Verdict::Retry(Retry::Slower),
        (Blame::Unknown(_), Known::Out) => Verdict::Retry(Retry::Outage),
        (Blame::Unknown(_), Known::Up) | (Blame::Event, _) => {
            let age = failed.first_failed_at.and_then(|first| now.duration_since(first).ok()).unwrap_or_default();
            let age = age.saturating_sub(failed.out);
            if policy.max_attempts <= failed.attempts.saturating_add(1) {
                dead(DeadReason::Attempts)
            } else if policy.max_age <= age {
                dead(DeadReason::Age)
            } else {
                Verdict::Retry(wait(failed, policy, age))
            }
        }
    }
}

/// Decides about an event whose attempt took so long that it was called off. That is no attempt in vain, so none is charged.
/// But it makes the event older, since one that never gets done has to end somewhere.
pub(crate) fn unfinished(
    first: SystemTime,
    out: Duration,
    took: Duration,
    policy: &RetryPolicy,
    now: SystemTime,
) -> Verdict {
    let age = now.duration_since(first).unwrap_or_default().saturating_sub(out);
    if age < policy.max_age {
        return Verdict::Retry(Retry::Tier(policy.tier(age)));
    }
    let (minutes, seconds) = (took.as_secs() / 60, took.as_secs() % 60);
    let error = format!("its attempts never got done: the last one was called off after {minutes} min {seconds} s");
    Verdict::DeadLetter { reason: DeadReason::Age, status: None, error }
}

fn wait(failed: &Failed<'_>, policy: &settings::RetryPolicy, age: Duration) -> Retry {
    if age.saturating_add(failed.wait) <= policy.in_hand && failed.wait <= failed.may_stay {
        Retry::InHand(failed.wait)
    } else {
        Retry::Tier(policy.tier(age))
    }
}

#[cfg(test)]
mod tests {
    use refersion_relay_refersion::Unreadable;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const MINUTE: Duration = Duration::from_mins(1);

    fn policy() -> RetryPolicy {
        RetryPolicy {
            in_hand: 30 * SECOND,
            tiers: vec![MINUTE, 10 * MINUTE, 60 * MINUTE],
            max_attempts: 40,
            max_age: 24 * 60 * MINUTE,
        }
    }

    /// Decides about an event that failed for the first time `age` ago, `attempts` times before now.
    fn decided(failure: &Failure, attempts: u32, age: Duration) -> Verdict {
        decided_if(Known::Up, failure, attempts, age, Duration::ZERO)
    }

    /// The same, if that is known of Refersion, and it was out for some of the time.
    fn decided_if(refersion: Known, failure: &Failure, attempts: u32, age: Duration, out: Duration) -> Verdict {
        let now = SystemTime::UNIX_EPOCH + 1_000_000 * SECOND;
        let first_failed_at = (attempts > 0).then(|| now - age);
        let failed = Failed {
            failure,
            attempts,
            first_failed_at,
            out,
            refersion,
            wait: SECOND,
            may_stay: MINUTE,
            is_its_own: false,
        };
        decide(&failed, &policy(), now)
    }

    fn transient() -> [Failure; 3] {
        [
            Failure::Transport { what: "it took too long" },
            Failure::Unavailable { status: 500, retry_after: None },
            Failure::Unclear { status: 200, bytes: 0, why: Unreadable::NotJson },
        ]
    }

    #[test]
    fn what_may_succeed_later_waits_in_hand_first() {
        for failure in transient() {
            assert_eq!(decided(&failure, 0, Duration::ZERO), Verdict::Retry(Retry::InHand(SECOND)), "{failure}");
            assert_eq!(decided(&failure, 6, 29 * SECOND), Verdict::Retry(Retry::InHand(SECOND)), "{failure}");
        }
    }

    #[test]
    fn an_outage_charges_nobody_whatever_had_been_charged_before() {
        let day = 24 * 60 * MINUTE;
        let out = |failure: &Failure| decided_if(Known::Out, failure, 39, day, Duration::ZERO);
        for failure in transient() {
            assert_eq!(out(&failure), Verdict::Retry(Retry::Outage), "{failure}");
        }
        // These are answers, so it cannot be out.
        assert_eq!(out(&Failure::Limited { retry_after: None }), Verdict::Retry(Retry::Slower));
        assert_eq!(out(&Failure::Unauthorized { status: 401 }), Verdict::Hold);
        let pause = Failure::Unavailable { status: 503, retry_after: Some(SECOND) };
        assert_eq!(out(&pause), Verdict::Retry(Retry::Pause(SECOND)));
    }

    #[test]
    fn an_outage_makes_no_event_older() {
        let day = 24 * 60 * MINUTE;
        let later = |out| decided_if(Known::Up, &transient()[0], 3, 2 * day, out);
        assert!(matches!(later(Duration::ZERO), Verdict::DeadLetter { reason: DeadReason::Age, .. }));
        assert_eq!(later((2 * 24 * 60 - 1) * MINUTE), Verdict::Retry(Retry::Tier(MINUTE)));
        assert_eq!(
            later((2 * 24 * 60 * 60 - 1) * SECOND),
            Verdict::Retry(Retry::InHand(SECOND)),
            "it keeps its place as before"
        );
        assert_eq!(later(3 * day), Verdict::Retry(Retry::InHand(SECOND)));
    }

    #[test]
    fn then_it_climbs_the_tiers_and_repeats_the_last_one() {
        let tier = |age| match decided(&transient()[0], 7, age) {
            Verdict::Retry(Retry::Tier(delay)) => delay,
            other => panic!("{other:?}"),
        };
        assert_eq!(tier(30 * SECOND), MINUTE);
        assert_eq!(tier(91 * SECOND), 10 * MINUTE);
        assert_eq!(tier(12 * MINUTE), 60 * MINUTE);
        assert_eq!(tier(23 * 60 * MINUTE), 60 * MINUTE);
    }

    #[test]
    fn it_ends_with_its_attempts_or_its_age() {
        let reason = |attempts, age| match decided(&transient()[1], attempts, age) {
            Verdict::DeadLetter { reason, status, .. } => Some((reason, status)),
            _ => None,
        };
        assert_eq!(reason(38, MINUTE), None);
        assert_eq!(reason(39, MINUTE), Some((DeadReason::Attempts, Some(500))));
        assert_eq!(reason(5, 24 * 60 * MINUTE), Some((DeadReason::Age, Some(500))));
    }

    #[test]
    fn retry_after_pauses_the_account_and_charges_nobody() {
        let limited = |after| Failure::Limited { retry_after: Some(after) };
        assert_eq!(decided(&limited(90 * SECOND), 39, MINUTE), Verdict::Retry(Retry::Pause(90 * SECOND)));
        assert_eq!(decided(&limited(7 * 60 * MINUTE), 0, MINUTE), Verdict::Retry(Retry::Pause(60 * MINUTE)));
        let unavailable = Failure::Unavailable { status: 503, retry_after: Some(SECOND) };
        assert_eq!(decided(&unavailable, 0, MINUTE), Verdict::Retry(Retry::Pause(SECOND)));
        // "Now" is no wait, and a server that always says so must not make a loop.
        assert_eq!(decided(&limited(Duration::ZERO), 0, MINUTE), Verdict::Retry(Retry::Slower));
        let unavailable = Failure::Unavailable { status: 503, retry_after: Some(Duration::ZERO) };
        assert_eq!(decided(&unavailable, 0, MINUTE), Verdict::Retry(Retry::InHand(SECOND)));
    }

    #[test]
    fn a_rate_limit_makes_no_dead_letter_however_long_it_lasts() {
        let week = 7 * 24 * 60 * MINUTE;
        for attempts in [0, 39, 1_000] {
            let verdict = decided(&Failure::Limited { retry_after: None }, attempts, week);
            assert_eq!(verdict, Verdict::Retry(Retry::Slower), "after {attempts} attempts");
        }
    }

    #[test]
    fn an_event_that_never_gets_done_climbs_the_tiers_and_ends_with_its_age() {
        let now = SystemTime::UNIX_EPOCH + 10_000_000 * SECOND;
        let decided = |age, out| unfinished(now - age, out, 20 * MINUTE, &policy(), now);
        assert_eq!(decided(Duration::ZERO, Duration::ZERO), Verdict::Retry(Retry::Tier(MINUTE)));
        assert_eq!(decided(5 * MINUTE, Duration::ZERO), Verdict::Retry(Retry::Tier(10 * MINUTE)));
        assert_eq!(decided(23 * 60 * MINUTE, Duration::ZERO), Verdict::Retry(Retry::Tier(60 * MINUTE)));
        let day = 24 * 60 * MINUTE;
        assert!(matches!(decided(day, Duration::ZERO), Verdict::DeadLetter { reason: DeadReason::Age, .. }));
        assert_eq!(decided(day, 2 * MINUTE), Verdict::Retry(Retry::Tier(60 * MINUTE)), "an outage makes nobody older");
    }

    #[test]
    fn refused_keys_hold_and_a_proper_no_is_final() {
        assert_eq!(decided(&Failure::Unauthorized { status: 401 }, 39, MINUTE), Verdict::Hold);
        let refused = Failure::Rejected(Rejection::Refused { status: 204, known: Vec::new(), bytes: 0 });
        let Verdict::DeadLetter { reason, status, error } = decided(&refused, 0, MINUTE) else { panic!("final") };
        assert_eq!((reason, status), (DeadReason::Refused, Some(204)));
        assert!(error.contains("204"), "{error}");
    }
}
