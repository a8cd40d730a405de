use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

use crate::operation::Operation;

/// Which calls go wrong, how often, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    pub fault: Fault,
}

impl FaultRule {
    /// Makes every call go wrong. Narrow it down with struct update syntax.
    #[must_use]
    pub fn always(fault: Fault) -> Self {
        Self { operation: None, public_key: None, email_contains: None, times: None, skip: 0, fault }
    }

    /// Whether the rule is about this call, whatever its counters say.
    pub(crate) fn concerns(&self, operation: Operation, public_key: &str, body: &[u8]) -> bool {
        self.operation.is_none_or(|only| only == operation)
            && self.public_key.as_ref().is_none_or(|only| only == public_key)
            && self.email_contains.as_ref().is_none_or(|part| String::from_utf8_lossy(body).contains(part.as_str()))
    }
}

/// What goes wrong. Unless said otherwise, the operation is not carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// The call takes this many milliseconds longer, and is fine otherwise.
    Latency { ms: u64 },
    /// Any status from 200 to 599, with any text. One that is out of range becomes a 500.
    Status {
        #[serde(deserialize_with = "final_status")]
        status: u16,
        #[serde(default)]
        body: Option<String>,
        /// JSON if not given, and not sent without a body.
        #[serde(default)]
        content_type: Option<String>,
        #[serde(default)]
        retry_after: Option<String>,
    },
    /// A 429 that is about speed.
    TooManyRequests {
        #[serde(default)]
        retry_after: Option<String>,
    },
    /// No answer, on a connection that stays open until the client goes or the simulator stops.
    Hang,
    /// No answer, and a TCP reset.
    Reset,
    /// A page for a person, such as a proxy shows.
    Html {
        #[serde(deserialize_with = "final_status")]
        status: u16,
    },
    /// The operation is carried out, and its answer comes as a 200 that breaks off halfway.
    Truncated,
    /// A 200 without a body.
    #[serde(rename = "empty_200")]
    Empty200,
    /// A 204.
    NoContent,
    /// The operation is carried out, and then the other fault happens to its answer.
    AfterEffect { then: Box<Fault> },
}

impl Fault {
    /// Makes the effect happen before the fault.
    #[must_use]
    pub fn after_effect(then: Fault) -> Self {
        Self::AfterEffect { then: Box::new(then) }
    }

    /// Answers with a status and a body that is JSON, or empty where there is none.
    #[must_use]
    pub fn status(status: u16, body: Option<&str>) -> Self {
        Self::Status { status, body: body.map(str::to_owned), content_type: None, retry_after: None }
    }

    /// Returns the fault's name in JSON.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Latency { .. } => "latency",
            Self::Status { .. } => "status",
            Self::TooManyRequests { .. } => "too_many_requests",
            Self::Hang => "hang",
            Self::Reset => "reset",
            Self::Html { .. } => "html",
            Self::Truncated => "truncated",
            Self::Empty200 => "empty_200",
            Self::NoContent => "no_content",
            Self::AfterEffect { .. } => "after_effect",
        }
    }
}

/// Informational statuses are no answer, and there is nothing beyond 599.
fn final_status<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u16, D::Error> {
    let status = u16::deserialize(deserializer)?;
    if (200..600).contains(&status) {
        Ok(status)
    } else {
        Err(D::Error::custom(format!("status {status} is not from 200 to 599")))
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
    fn the_name_of_a_fault_is_its_tag() {
        let faults = [
            Fault::Latency { ms: 1 },
            Fault::status(500, None),
            Fault::TooManyRequests { retry_after: None },
            Fault::Hang,
            Fault::Reset,
            Fault::Html { status: 502 },
            Fault::Truncated,
            Fault::Empty200,
            Fault::NoContent,
            Fault::after_effect(Fault::Hang),
        ];
        for fault in faults {
            assert_eq!(serde_json::to_value(&fault).unwrap()["kind"], fault.kind());
        }
    }

    #[test]
    fn a_rule_with_a_typing_error_is_refused() {
        for text in [
            r#"{"fault":{"kind":"hang"},"tims":1}"#,
            r#"{"fault":{"kind":"status","status":1000}}"#,
            r#"{"fault":{"kind":"latency"}}"#,
            r#"{"operation":"delete","fault":{"kind":"hang"}}"#,
        ] {
            assert!(serde_json::from_str::<FaultRule>(text).is_err(), "{text}");
        }
    }
}
