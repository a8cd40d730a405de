use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};

use crate::{Failure, KnownText, Rejection, Unreadable};

/// An HTTP answer as it came, before anybody believed it.
#[derive(Clone, Debug)]
pub(crate) struct RawAnswer {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) body: Vec<u8>,
}

/// What an answer means, for the operations that read some refusals as information.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
    /// A 2xx with the operation's success keys.
    Success(Map<String, Value>),
    /// The address is taken.
    Taken,
    /// Nothing was found.
    NotFound,
    /// Anything else.
    Failed(Failure),
}

impl RawAnswer {
    /// The JSON object that it is, if it is one.
    pub(crate) fn object(&self) -> Option<Map<String, Value>> {
        match serde_json::from_slice(&self.body) {
            Ok(Value::Object(object)) => Some(object),
            Ok(_) | Err(_) => None,
        }
    }
}

/// Reads an answer, of which `json` is the object. `success_keys`: a 2xx counts only if it has at least one of them.
///
/// Every status has one meaning here, and this is the only place that knows it.
pub(crate) fn classify(answer: &RawAnswer, json: Option<Map<String, Value>>, success_keys: &[&str]) -> Answer {
    let (status, bytes) = (answer.status, answer.body.len());
    let unclear = |why| Answer::Failed(Failure::Unclear { status, bytes, why });
    let texts = json.as_ref().map(|object| texts(object, &["error", "errors", "message"])).unwrap_or_default();
    let known: Vec<KnownText> = texts.iter().filter_map(|text| KnownText::read(text)).collect();
    let refused = || Answer::Failed(Failure::Rejected(Rejection::Refused { status, known: known.clone(), bytes }));

    match status {
        // Its meaning is "a field is not accepted"; it has no body to say which.
        204 => refused(),
        200..=299 => match json {
            None => unclear(Unreadable::NotJson),
            Some(object) => {
                let keys = success_keys.iter().any(|key| object.get(*key).is_some_and(|value| !value.is_null()));
                let error = ["error", "errors"].iter().filter_map(|key| object.get(*key)).any(says_something);
                match (keys, error) {
                    (true, false) => Answer::Success(object),
                    _ if known.contains(&KnownText::EmailTaken) => Answer::Taken,
                    _ => unclear(Unreadable::NoSuccessKeys),
                }
            }
        },
        401 | 403 => Answer::Failed(Failure::Unauthorized { status }),
        408 | 500..=599 => Answer::Failed(Failure::Unavailable { status, retry_after: answer.retry_after }),
        // The one documented 429 is about the size of a request, which no waiting will change.
        429 if known.contains(&KnownText::TooManyElements) => refused(),
        429 => Answer::Failed(Failure::Limited { retry_after: answer.retry_after }),
        // Not Refersion's words: a proxy, or a wrong base URL.
        400..=499 if texts.is_empty() => unclear(Unreadable::NotJson),
        422 if known.contains(&KnownText::EmailTaken) => Answer::Taken,
        422 if known.iter().any(|text| matches!(text, KnownText::NoMatch | KnownText::AffiliateNotFound)) => {
            Answer::NotFound
        }
        400..=499 => refused(),
        // 1xx never gets here, redirects are not followed, and nothing above 599 is HTTP.
        _ => unclear(Unreadable::NotJson),
    }
}

/// Gathers the strings under `keys`, each of which may be a string or an array of strings.
fn texts(object: &Map<String, Value>, keys: &[&str]) -> Vec<String> {
    let mut texts = Vec::new();
    for value in keys.iter().filter_map(|key| object.get(*key)) {
        match value {
            Value::String(text) => texts.push(text.clone()),
            Value::Array(items) => texts.extend(items.iter().filter_map(Value::as_str).map(str::to_owned)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {}
        }
    }
    texts.retain(|text| !text.is_empty());
    texts
}

/// Whether a value under an error key reports an error, whatever its form.
fn says_something(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Bool(true) | Value::Number(_) => true,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(entries) => !entries.is_empty(),
    }
}

/// Parses `Retry-After`: seconds, or an HTTP date (RFC 9110, section 10.2.3). A date in the past is zero.
pub(crate) fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const KEYS: &[&str] = &["id"];

    fn answer(status: u16, body: &str) -> Answer {
        let raw = RawAnswer { status, retry_after: None, body: body.as_bytes().to_vec() };
        classify(&raw, raw.object(), KEYS)
    }

    #[track_caller]
    fn check(status: u16, body: &str, expected: &str) {
        let found = match answer(status, body) {
            Answer::Success(_) => "success",
            Answer::Taken => "taken",
            Answer::NotFound => "not found",
            Answer::Failed(failure) => failure.as_str(),
        };
        assert_eq!(found, expected, "{status} {body}");
    }

    #[test]
    fn only_the_success_keys_make_a_success() {
        check(200, r#"{"id":"a3y7","message":"created"}"#, "success");
        check(201, r#"{"id":7}"#, "success");
        for body in ["", "{}", "[]", r#"{"id":"a3"#, r#"{"message":"created"}"#, r#"{"id":null}"#, "<html>"] {
            check(200, body, "unclear");
        }
        check(200, r#"{"id":"a3y7","error":"something"}"#, "unclear");
        check(200, r#"{"error":["The email you have entered is taken by another Affiliate."]}"#, "taken");
    }

    #[test]
    fn a_204_is_a_refusal() {
        check(204, "", "rejected");
    }

    #[test]
    fn a_422_is_read_by_its_text_wherever_it_stands() {
        let taken = "The email you have entered is taken by another Affiliate.";
        for key in ["error", "errors", "message"] {
            check(422, &json!({key: taken}).to_string(), "taken");
            check(422, &json!({key: ["The First Name field is required.", taken]}).to_string(), "taken");
            check(422, &json!({key: "Could not find affiliates with this keyword."}).to_string(), "not found");
            check(422, &json!({key: ["Affiliate not found."]}).to_string(), "not found");
            check(422, &json!({key: ["Value exceed the char limit'"]}).to_string(), "rejected");
        }
        check(422, "<html>", "unclear");
        check(422, "{}", "unclear");
    }

    #[test]
    fn the_other_refusals_are_final_when_they_are_refersions() {
        for status in [400, 404, 405, 413] {
            check(status, r#"{"error":"Bad request, no body"}"#, "rejected");
            check(status, "<html>not found</html>", "unclear");
            check(status, "", "unclear");
        }
        check(429, r#"{"errors":["Max number of elements on attribute (50) reached."]}"#, "rejected");
    }

    #[test]
    fn the_keys_and_the_service_are_told_apart() {
        check(401, r#"{"error":"Invalid API credentials (error 2)."}"#, "unauthorized");
        check(403, r#"{"message":"Forbidden"}"#, "unauthorized");
        check(401, "", "unauthorized");
        for status in [408, 500, 502, 503, 504, 599] {
            check(status, "<html>", "unavailable");
        }
        check(429, "", "limited");
        for status in [301, 302, 307] {
            check(status, r#"{"id":1}"#, "unclear");
        }
    }

    #[test]
    fn an_explanation_quotes_nothing() {
        let Answer::Failed(failure) =
            answer(422, r#"{"errors":["peter@example.com is not a allowed value for field email"]}"#)
        else {
            panic!("a refusal")
        };
        assert_eq!(failure.to_string(), "a value is not among those Refersion takes (status 422)");
        let Answer::Failed(failure) = answer(422, r#"{"errors":["peter@example.com is ugly"]}"#) else {
            panic!("a refusal")
        };
        assert_eq!(failure.to_string(), "unrecognised answer (status 422, 40 bytes)");
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        assert_eq!(retry_after(" 120 ", now), Some(Duration::from_mins(2)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:50:37 GMT", now), Some(Duration::from_mins(1)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:40:37 GMT", now), Some(Duration::ZERO));
        assert_eq!(retry_after("soon", now), None);
        assert_eq!(retry_after("-1", now), None);
    }
}
