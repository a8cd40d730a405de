use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use crate::faults::chance::Chance;
use crate::faults::fault::Fault;
use crate::operation::Operation;

/// Which calls go wrong, how often, and how. A call has to pass every condition that is given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultRule {
    /// `None` is any operation.
    #[serde(default)]
    pub operation: Option<Operation>,
    /// `None` is any merchant.
    #[serde(default)]
    pub public_key: Option<String>,
    /// Text to look for in the request body as it was sent, capitals and all.
    #[serde(default)]
    pub email_contains: Option<String>,
    /// How many calls go wrong; `None` until the rules are cleared.
    #[serde(default)]
    pub times: Option<u64>,
    /// How many matching calls pass before the first goes wrong.
    #[serde(default)]
    pub skip: u64,
    /// A rate limit: of each public key, so many matching calls pass in any second, and only those beyond go wrong.
    #[serde(default)]
    pub above_per_second: Option<NonZeroU32>,
    /// Whether a matching call goes wrong is drawn; `None` is always.
    #[serde(default)]
    pub chance: Option<Chance>,
    /// The rule goes away so many milliseconds after it was added; `None` is never.
    #[serde(default)]
    pub for_ms: Option<u64>,
    pub fault: Fault,
}

impl FaultRule {
    /// Makes every call go wrong. Narrow it down with struct update syntax.
    #[must_use]
    pub fn always(fault: Fault) -> Self {
        Self {
            operation: None,
            public_key: None,
            email_contains: None,
            times: None,
            skip: 0,
            above_per_second: None,
            chance: None,
            for_ms: None,
            fault,
        }
    }

    /// Whether the rule is about this call, whatever its counters say.
    pub(crate) fn concerns(&self, operation: Operation, public_key: &str, body: &[u8]) -> bool {
        self.operation.is_none_or(|only| only == operation)
            && self.public_key.as_ref().is_none_or(|only| only == public_key)
            && self.email_contains.as_ref().is_none_or(|part| String::from_utf8_lossy(body).contains(part.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_says_in_json_what_it_is() {
        let rule: FaultRule =
            serde_json::from_str(r#"{"operation":"new","fault":{"kind":"after_effect","then":{"kind":"reset"}}}"#)
                .unwrap();

        assert_eq!(
            rule,
            FaultRule { operation: Some(Operation::New), ..FaultRule::always(Fault::after_effect(Fault::Reset)) }
        );
        assert_eq!(serde_json::to_value(&rule).unwrap()["fault"]["then"]["kind"], "reset");
    }

    #[test]
    fn a_rule_with_a_typing_error_is_refused() {
        for text in [
            r#"{"fault":{"kind":"hang"},"tims":1}"#,
            r#"{"fault":{"kind":"status","status":1000}}"#,
            r#"{"fault":{"kind":"latency"}}"#,
            r#"{"fault":{"kind":"reset","ms":1}}"#,
            r#"{"fault":{"kind":"drip","bytes":0,"pause_ms":1}}"#,
            r#"{"fault":{"kind":"wrong_shape","shape":"object"}}"#,
            r#"{"fault":{"kind":"redirect","status":200,"location":"/"}}"#,
            r#"{"fault":{"kind":"redirect","status":302,"location":"\n"}}"#,
            r#"{"fault":{"kind":"hang"},"above_per_second":0}"#,
            r#"{"fault":{"kind":"hang"},"chance":{"probability":1.5}}"#,
            r#"{"fault":{"kind":"hang"},"chance":{"probability":-0.1}}"#,
            r#"{"fault":{"kind":"hang"},"chance":{"seed":1}}"#,
            r#"{"fault":{"kind":"hang"},"chance":{"probability":0.5,"seeds":1}}"#,
            r#"{"operation":"delete","fault":{"kind":"hang"}}"#,
        ] {
            assert!(serde_json::from_str::<FaultRule>(text).is_err(), "{text}");
        }
    }
}
