use std::time::{Duration, SystemTime};

use refersion_relay_model::DeadReason;
use refersion_relay_refersion::{Failure, Rejection};

use crate::RetryPolicy;
use crate::event::outcome::{Defect, Outcome};
use crate::outage::breaker::{Known, Trouble};

/// The longest `Retry-After` that is obeyed.
const MAX_PAUSE: Duration = Duration::from_hours(1);

/// A failed attempt, with what is known of the ones before it.
#[derive(Clone, Debug)]
pub(crate) struct Failed<'a> {
    /// What happened.
    pub(crate) failure: &'a Failure,
    /// Charged attempts before this one.
    pub(crate) attempts: u32,
    /// When the first charged attempt failed, if one had.
    pub(crate) first_failed_at: Option<SystemTime>,
    /// How long nothing could be called since then: Refersion was out, or the account paused.
    pub(crate) out: Duration,
    /// What is known of Refersion. Counts only for a failure that can be Refersion's; with any other it has answered.
    pub(crate) refersion: Known,
    /// How long to wait if the event keeps its place; drawn by the caller.
    pub(crate) wait: Duration,
    /// How much longer the event may wait in hand.
    pub(crate) may_stay: Duration,
    /// Whether keys that were refused were refused for what the event says: they work for others.
    pub(crate) is_its_own: bool,
}

/// What follows from a failed attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// The event keeps its place and is tried again after so long. What is behind it waits too.
    Wait(Duration),
    /// Refersion asked to be left alone for so long: the account pauses. It costs the event nothing.
    Pause(Duration),
    /// Refersion asked for fewer calls, and not for how long: the account pauses, for longer each time. It costs nothing.
    SlowDown,
    /// The event keeps its place until Refersion is back from an outage: that is nobody's fault, and costs nothing.
    AwaitRefersion,
    /// The account's keys were refused: the queue gets the event back, which is as good as it was.
    Hold,
    /// The event leaves the hand.
    Settle(Outcome),
}

impl Decision {
    /// Whether the attempt counts against its event.
    pub(crate) fn is_charged(&self) -> bool {
        match self {
            Self::Wait(_) | Self::Settle(Outcome::Retry(_) | Outcome::Dead(_)) => true,
            Self::Pause(_)
            | Self::SlowDown
            | Self::AwaitRefersion
            | Self::Hold
            | Self::Settle(
                Outcome::Delivered(_)
                | Outcome::Known
                | Outcome::Completed
                | Outcome::Ignored(_)
                | Outcome::Copy
                | Outcome::Aside(_),
            ) => false,
        }
    }
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

/// Whose fault a failure is. `decide` makes a decision of that, and nothing else does.
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
pub(crate) fn decide(failed: &Failed<'_>, policy: &RetryPolicy, now: SystemTime) -> Decision {
    let dead = |reason| {
        let (status, error) = (failed.failure.status(), failed.failure.to_string());
        Decision::Settle(Outcome::Dead(Defect { reason, status, error }))
    };
    match (blame(failed.failure, failed.is_its_own), failed.refersion) {
        (Blame::Account, _) => Decision::Hold,
        (Blame::Final(reason), _) => dead(reason),
        (Blame::Pause(pause), _) => Decision::Pause(pause),
        (Blame::Limit, _) => Decision::SlowDown,
        (Blame::Unknown(_), Known::Out) => Decision::AwaitRefersion,
        (Blame::Unknown(_), Known::Up) | (Blame::Event, _) => {
            let age = failed.first_failed_at.and_then(|first| now.duration_since(first).ok()).unwrap_or_default();
            let age = age.saturating_sub(failed.out);
            if policy.max_attempts <= failed.attempts.saturating_add(1) {
                dead(DeadReason::Attempts)
            } else if policy.max_age <= age {
                dead(DeadReason::Age)
            } else {
                wait(failed, policy, age)
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
) -> Outcome {
    let age = now.duration_since(first).unwrap_or_default().saturating_sub(out);
    if age < policy.max_age {
        return Outcome::Retry(policy.tier(age));
    }
    let (minutes, seconds) = (took.as_secs() / 60, took.as_secs() % 60);
    let error = format!("its attempts never got done: the last one was called off after {minutes} min {seconds} s");
    Outcome::dead(DeadReason::Age, error)
}

fn wait(failed: &Failed<'_>, policy: &RetryPolicy, age: Duration) -> Decision {
    if age.saturating_add(failed.wait) <= policy.in_hand && failed.wait <= failed.may_stay {
        Decision::Wait(failed.wait)
    } else {
        Decision::Settle(Outcome::Retry(policy.tier(age)))
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
    fn decided(failure: &Failure, attempts: u32, age: Duration) -> Decision {
        decided_if(Known::Up, failure, attempts, age, Duration::ZERO)
    }

    /// The same, if that is known of Refersion, and it was out for some of the time.
    fn decided_if(refersion: Known, failure: &Failure, attempts: u32, age: Duration, out: Duration) -> Decision {
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
            assert_eq!(decided(&failure, 0, Duration::ZERO), Decision::Wait(SECOND), "{failure}");
            assert_eq!(decided(&failure, 6, 29 * SECOND), Decision::Wait(SECOND), "{failure}");
        }
    }

    #[test]
    fn an_outage_charges_nobody_whatever_had_been_charged_before() {
        let day = 24 * 60 * MINUTE;
        let out = |failure: &Failure| decided_if(Known::Out, failure, 39, day, Duration::ZERO);
        for failure in transient() {
            assert_eq!(out(&failure), Decision::AwaitRefersion, "{failure}");
        }
        // These are answers, so it cannot be out.
        assert_eq!(out(&Failure::Limited { retry_after: None }), Decision::SlowDown);
        assert_eq!(out(&Failure::Unauthorized { status: 401 }), Decision::Hold);
        let pause = Failure::Unavailable { status: 503, retry_after: Some(SECOND) };
        assert_eq!(out(&pause), Decision::Pause(SECOND));
    }

    #[test]
    fn an_outage_makes_no_event_older() {
        let day = 24 * 60 * MINUTE;
        let later = |out| decided_if(Known::Up, &transient()[0], 3, 2 * day, out);
        assert!(matches!(
            later(Duration::ZERO),
            Decision::Settle(Outcome::Dead(Defect { reason: DeadReason::Age, .. }))
        ));
        assert_eq!(later((2 * 24 * 60 - 1) * MINUTE), Decision::Settle(Outcome::Retry(MINUTE)));
        assert_eq!(later((2 * 24 * 60 * 60 - 1) * SECOND), Decision::Wait(SECOND), "it keeps its place as before");
        assert_eq!(later(3 * day), Decision::Wait(SECOND));
    }

    #[test]
    fn then_it_climbs_the_tiers_and_repeats_the_last_one() {
        let tier = |age| match decided(&transient()[0], 7, age) {
            Decision::Settle(Outcome::Retry(delay)) => delay,
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
            Decision::Settle(Outcome::Dead(Defect { reason, status, .. })) => Some((reason, status)),
            _ => None,
        };
        assert_eq!(reason(38, MINUTE), None);
        assert_eq!(reason(39, MINUTE), Some((DeadReason::Attempts, Some(500))));
        assert_eq!(reason(5, 24 * 60 * MINUTE), Some((DeadReason::Age, Some(500))));
    }

    #[test]
    fn retry_after_pauses_the_account_and_charges_nobody() {
        let limited = |after| Failure::Limited { retry_after: Some(after) };
        assert_eq!(decided(&limited(90 * SECOND), 39, MINUTE), Decision::Pause(90 * SECOND));
        assert_eq!(decided(&limited(7 * 60 * MINUTE), 0, MINUTE), Decision::Pause(60 * MINUTE));
        let unavailable = Failure::Unavailable { status: 503, retry_after: Some(SECOND) };
        assert_eq!(decided(&unavailable, 0, MINUTE), Decision::Pause(SECOND));
        // "Now" is no wait, and a server that always says so must not make a loop.
        assert_eq!(decided(&limited(Duration::ZERO), 0, MINUTE), Decision::SlowDown);
        let unavailable = Failure::Unavailable { status: 503, retry_after: Some(Duration::ZERO) };
        assert_eq!(decided(&unavailable, 0, MINUTE), Decision::Wait(SECOND));
    }

    #[test]
    fn a_rate_limit_makes_no_dead_letter_however_long_it_lasts() {
        let week = 7 * 24 * 60 * MINUTE;
        for attempts in [0, 39, 1_000] {
            let decision = decided(&Failure::Limited { retry_after: None }, attempts, week);
            assert_eq!(decision, Decision::SlowDown, "after {attempts} attempts");
        }
    }

    #[test]
    fn an_event_that_never_gets_done_climbs_the_tiers_and_ends_with_its_age() {
        let now = SystemTime::UNIX_EPOCH + 10_000_000 * SECOND;
        let decided = |age, out| unfinished(now - age, out, 20 * MINUTE, &policy(), now);
        assert_eq!(decided(Duration::ZERO, Duration::ZERO), Outcome::Retry(MINUTE));
        assert_eq!(decided(5 * MINUTE, Duration::ZERO), Outcome::Retry(10 * MINUTE));
        assert_eq!(decided(23 * 60 * MINUTE, Duration::ZERO), Outcome::Retry(60 * MINUTE));
        let day = 24 * 60 * MINUTE;
        assert!(matches!(decided(day, Duration::ZERO), Outcome::Dead(Defect { reason: DeadReason::Age, .. })));
        assert_eq!(decided(day, 2 * MINUTE), Outcome::Retry(60 * MINUTE), "an outage makes nobody older");
    }

    #[test]
    fn refused_keys_hold_and_a_proper_no_is_final() {
        assert_eq!(decided(&Failure::Unauthorized { status: 401 }, 39, MINUTE), Decision::Hold);
        let refused = Failure::Rejected(Rejection::Refused { status: 204, known: Vec::new(), bytes: 0 });
        let Decision::Settle(Outcome::Dead(Defect { reason, status, error })) = decided(&refused, 0, MINUTE) else {
            panic!("final")
        };
        assert_eq!((reason, status), (DeadReason::Refused, Some(204)));
        assert!(error.contains("204"), "{error}");
    }
}
