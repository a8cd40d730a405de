//! What holds for the reading of an answer whatever the answer is.

use std::time::SystemTime;

use serde_json::Value;

use crate::answers::classify::{Answer, RawAnswer, classify, retry_after};
use crate::{Failure, KnownText, Operation};

/// Stands for what is personal: where it is in an answer, it is in nothing that may be shown.
const MARKER: &str = "Vqx7Personal";

/// Reads an answer and checks what comes of it. Its first line has the status, the operation and `Retry-After`, such as
/// `429 new 120`; the rest is the body.
///
/// # Panics
/// When something does not hold.
pub fn answer(input: &[u8]) {
    let end = input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len());
    let head = String::from_utf8_lossy(&input[..end]);
    let mut words = head.splitn(3, ' ');
    let status = words.next().and_then(|word| word.parse().ok()).unwrap_or(200);
    let word = words.next().unwrap_or_default();
    let operation = Operation::ALL.into_iter().find(|operation| operation.as_str() == word).unwrap_or(Operation::New);
    let retry_after = retry_after(words.next().unwrap_or_default(), SystemTime::UNIX_EPOCH);
    let body = input.get(end + 1..).unwrap_or_default().to_vec();
    check(&RawAnswer { status, retry_after, body }, operation.success_keys());
}

fn check(raw: &RawAnswer, success_keys: &[&str]) {
    let answer = classify(raw, raw.object(), success_keys);
    assert_eq!(answer, classify(raw, raw.object(), success_keys));
    let json: Option<Value> = serde_json::from_slice(&raw.body).ok();
    let said = |key: &str| json.as_ref().and_then(|json| json.as_object()?.get(key)).filter(|value| !value.is_null());
    match answer {
        Answer::Success(object) => {
            assert!((200..=299).contains(&raw.status) && raw.status != 204, "{} is no success", raw.status);
            assert!(success_keys.iter().any(|key| said(key).is_some()), "a success has its keys");
            assert_eq!(json.as_ref().and_then(Value::as_object), Some(&object));
            let refusals = [said("error"), said("errors")];
            assert!(refusals.iter().flatten().all(|refusal| refusal.as_str().is_none_or(str::is_empty)));
        }
        Answer::Taken => assert_said(raw, &[KnownText::EmailTaken]),
        Answer::NotFound => assert_said(raw, &[KnownText::NoMatch, KnownText::AffiliateNotFound]),
        Answer::Failed(failure) => check_failure(&failure, raw),
    }
}

/// Something is known only of 2xx and 422, and only when Refersion says so.
fn assert_said(raw: &RawAnswer, known: &[KnownText]) {
    assert!(raw.status == 422 || (200..=299).contains(&raw.status));
    // An escape may stand for any letter, so the text is looked for in what the JSON says.
    let json: Value = serde_json::from_slice(&raw.body).expect("Refersion speaks JSON");
    let texts = ["error", "errors", "message"].iter().filter_map(|key| json.get(*key)).flat_map(|value| match value {
        Value::Array(items) => items.clone(),
        other => vec![other.clone()],
    });
    let read = |text: Value| text.as_str().and_then(KnownText::read);
    assert!(texts.filter_map(read).any(|text| known.contains(&text)));
}

fn check_failure(failure: &Failure, raw: &RawAnswer) {
    assert_eq!(failure.status(), Some(raw.status), "an answer keeps its status");
    let unauthorized = matches!(failure, Failure::Unauthorized { .. });
    assert_eq!(unauthorized, matches!(raw.status, 401 | 403), "the keys are refused by the status alone");
    let waits = match failure {
        Failure::Unavailable { retry_after, .. } => {
            assert!(raw.status == 408 || (500..=599).contains(&raw.status));
            *retry_after
        }
        Failure::Limited { retry_after } => *retry_after,
        Failure::Rejected(_) => {
            assert!(raw.status == 204 || (400..=499).contains(&raw.status), "{} is no refusal", raw.status);
            None
        }
        Failure::Transport { .. } => panic!("there was an answer"),
        Failure::Unclear { .. } | Failure::Unauthorized { .. } => None,
    };
    assert!(waits.is_none() || waits == raw.retry_after, "a wait is what the answer asked for");
    let shown = format!("{failure} {failure:?}");
    assert!(!shown.contains(MARKER), "{shown}");
}

#[cfg(test)]
mod tests {
    #[test]
    fn whatever_the_answer_is() {
        refersion_relay_mutations::drive("answer", super::answer);
    }
}
