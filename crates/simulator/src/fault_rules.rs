use crate::{
    fault::{Fault, FaultRule},
    operation::Operation,
};

/// The rules in force, in the order they were added, each with what is left of its counters.
#[derive(Default)]
pub(crate) struct FaultRules(Vec<FaultRule>);

impl FaultRules {
    pub(crate) fn add(&mut self, rule: FaultRule) {
        if rule.times != Some(0) {
            self.0.push(rule);
        }
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    pub(crate) fn all(&self) -> Vec<FaultRule> {
        self.0.clone()
    }

    /// Returns what goes wrong with this call, if anything does, and counts it.
    ///
    /// A rule that lets the call pass leaves it to the rules behind; one that is used up goes away.
    pub(crate) fn draw(&mut self, operation: Operation, public_key: &str, body: &[u8]) -> Option<Fault> {
        let index = self.0.iter_mut().position(|rule| {
            let concerned = rule.concerns(operation, public_key, body);
            let passes = concerned && rule.skip > 0;
            if passes {
                rule.skip -= 1;
            }
            concerned && !passes
        })?;
        let rule = &mut self.0[index];
        let fault = rule.fault.clone();
        if let Some(times) = &mut rule.times {
            *times -= 1;
            if *times == 0 {
                self.0.remove(index);
            }
        }
        Some(fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draws(rules: &mut FaultRules, calls: usize) -> Vec<Option<&'static str>> {
        (0..calls).map(|_| rules.draw(Operation::New, "pub_1", b"{}").map(|fault| fault.kind())).collect()
    }

    #[test]
    fn a_rule_skips_then_strikes_then_is_gone() {
        let mut rules = FaultRules::default();
        rules.add(FaultRule { skip: 1, times: Some(2), ..FaultRule::always(Fault::Hang) });

        assert_eq!(draws(&mut rules, 4), [None, Some("hang"), Some("hang"), None]);
        assert!(rules.all().is_empty());
    }

    #[test]
    fn the_rule_added_first_goes_first() {
        let mut rules = FaultRules::default();
        rules.add(FaultRule { times: Some(1), ..FaultRule::always(Fault::Hang) });
        rules.add(FaultRule::always(Fault::Reset));

        assert_eq!(draws(&mut rules, 3), [Some("hang"), Some("reset"), Some("reset")]);
    }

    #[test]
    fn a_rule_for_another_call_is_not_counted() {
        let mut rules = FaultRules::default();
        let once = FaultRule { times: Some(1), ..FaultRule::always(Fault::Hang) };
        rules.add(FaultRule { operation: Some(Operation::Edit), ..once.clone() });
        rules.add(FaultRule { public_key: Some("pub_2".into()), ..once.clone() });
        rules.add(FaultRule { email_contains: Some("jo@x.co".into()), ..once });

        assert_eq!(draws(&mut rules, 1), [None]);
        assert_eq!(rules.all().len(), 3);
        assert!(rules.draw(Operation::New, "pub_1", b"\"jo@x.co\"").is_some());
    }
}
