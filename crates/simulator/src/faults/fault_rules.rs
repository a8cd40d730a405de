use std::time::{Duration, Instant};

use crate::faults::chance::Dice;
use crate::faults::fault::Fault;
use crate::faults::fault_rule::FaultRule;
use crate::faults::pace::Pace;
use crate::operation::Operation;

/// The rules in force, in the order they were added.
#[derive(Default)]
pub(crate) struct FaultRules(Vec<InForce>);

/// A rule with what is left of its counters, and what it remembers.
struct InForce {
    rule: FaultRule,
    ends_at: Option<Instant>,
    pace: Pace,
    dice: Option<Dice>,
}

impl FaultRules {
    pub(crate) fn add(&mut self, rule: FaultRule, now: Instant) {
        if rule.times != Some(0) {
            self.0.push(InForce {
                // A time that no clock reaches is never.
                ends_at: rule.for_ms.and_then(|ms| now.checked_add(Duration::from_millis(ms))),
                pace: Pace::default(),
                dice: rule.chance.map(Dice::new),
                rule,
            });
        }
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// Returns the rules with what is left of their calls and of their time.
    pub(crate) fn all(&mut self, now: Instant) -> Vec<FaultRule> {
        self.forget_the_ended(now);
        let left = |ends_at: Instant| u64::try_from((ends_at - now).as_millis()).unwrap_or(u64::MAX);
        self.0
            .iter()
            .map(|in_force| FaultRule { for_ms: in_force.ends_at.map(left), ..in_force.rule.clone() })
            .collect()
    }

    /// Returns what goes wrong with this call, if anything does, and counts it.
    ///
    /// A rule that lets the call pass leaves it to the rules behind; one that is used up goes away.
    pub(crate) fn draw(&mut self, operation: Operation, public_key: &str, body: &[u8], now: Instant) -> Option<Fault> {
        self.forget_the_ended(now);
        let index = self.0.iter_mut().position(|in_force| in_force.strikes(operation, public_key, body, now))?;
        let rule = &mut self.0[index].rule;
        let fault = rule.fault.clone();
        if let Some(times) = &mut rule.times {
            *times -= 1;
            if *times == 0 {
                self.0.remove(index);
            }
        }
        Some(fault)
    }

    fn forget_the_ended(&mut self, now: Instant) {
        self.0.retain(|in_force| in_force.ends_at.is_none_or(|ends_at| now < ends_at));
    }
}

impl InForce {
    fn strikes(&mut self, operation: Operation, public_key: &str, body: &[u8], now: Instant) -> bool {
        if !self.rule.concerns(operation, public_key, body) {
            return false;
        }
        if self.rule.skip > 0 {
            self.rule.skip -= 1;
            return false;
        }
        if self.rule.above_per_second.is_some_and(|per_second| self.pace.admits(public_key, per_second, now)) {
            return false;
        }
        self.dice.as_mut().is_none_or(Dice::throw)
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::faults::chance::Chance;

    /// Rules added at a moment, to be asked some milliseconds after it.
    struct Told {
        rules: FaultRules,
        start: Instant,
    }

    fn told(rules: impl IntoIterator<Item = FaultRule>) -> Told {
        let mut told = Told { rules: FaultRules::default(), start: Instant::now() };
        rules.into_iter().for_each(|rule| told.rules.add(rule, told.start));
        told
    }

    impl Told {
        fn draw(&mut self, public_key: &str, after_ms: u64) -> Option<&'static str> {
            let now = self.start + Duration::from_millis(after_ms);
            self.rules.draw(Operation::New, public_key, b"{}", now).map(|fault| fault.kind())
        }

        fn draws(&mut self, calls: usize) -> Vec<Option<&'static str>> {
            (0..calls).map(|_| self.draw("pub_1", 0)).collect()
        }
    }

    #[test]
    fn a_rule_skips_then_strikes_then_is_gone() {
        let mut told = told([FaultRule { skip: 1, times: Some(2), ..FaultRule::always(Fault::Hang) }]);

        assert_eq!(told.draws(4), [None, Some("hang"), Some("hang"), None]);
        assert!(told.rules.all(told.start).is_empty());
    }

    #[test]
    fn the_rule_added_first_goes_first() {
        let once = FaultRule { times: Some(1), ..FaultRule::always(Fault::Hang) };
        let mut told = told([once, FaultRule::always(Fault::Reset)]);

        assert_eq!(told.draws(3), [Some("hang"), Some("reset"), Some("reset")]);
    }

    #[test]
    fn a_rule_for_another_call_is_not_counted() {
        let once = FaultRule { times: Some(1), ..FaultRule::always(Fault::Hang) };
        let mut told = told([
            FaultRule { operation: Some(Operation::Edit), ..once.clone() },
            FaultRule { public_key: Some("pub_2".into()), ..once.clone() },
            FaultRule { email_contains: Some("jo@x.co".into()), ..once },
        ]);

        assert_eq!(told.draws(1), [None]);
        assert_eq!(told.rules.all(told.start).len(), 3);
        assert!(told.rules.draw(Operation::New, "pub_1", b"\"jo@x.co\"", told.start).is_some());
    }

    #[test]
    fn a_rule_ends_after_its_time() {
        let mut told = told([FaultRule { for_ms: Some(500), ..FaultRule::always(Fault::Hang) }]);

        assert_eq!([0, 499].map(|ms| told.draw("pub_1", ms)), [Some("hang"); 2]);
        let left = told.rules.all(told.start + Duration::from_millis(200));
        assert_eq!(left[0].for_ms, Some(300));
        assert_eq!(told.draw("pub_1", 500), None);
        assert!(told.rules.all(told.start + Duration::from_millis(500)).is_empty());
    }

    #[test]
    fn only_calls_beyond_the_rate_go_wrong_and_each_key_has_its_own() {
        let above_per_second = NonZeroU32::new(2);
        let mut told = told([FaultRule { above_per_second, ..FaultRule::always(Fault::Reset) }]);

        assert_eq!(told.draws(4), [None, None, Some("reset"), Some("reset")]);
        assert_eq!(told.draw("pub_2", 0), None);
        assert_eq!(told.draw("pub_1", 1_000), None);
    }

    #[test]
    fn a_chance_strikes_some_calls_the_same_ones_each_time_and_uses_up_only_what_it_strikes() {
        let rule = FaultRule {
            chance: Some(Chance { probability: 0.5, seed: 1 }),
            times: Some(3),
            ..FaultRule::always(Fault::Reset)
        };
        let (mut first, mut second) = (told([rule.clone()]), told([rule]));

        let draws = first.draws(100);

        assert_eq!(draws, second.draws(100));
        assert_eq!(draws.iter().flatten().count(), 3);
        assert!(draws[..10].contains(&None) && draws[..10].contains(&Some("reset")), "{draws:?}");
    }
}
