use serde::Serialize;
use serde_json::Value;

use crate::operation::Operation;

/// One API call as it arrived, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Call {
    /// Counts the calls of this simulator from 1 in order of arrival.
    pub seq: u64,
    pub operation: Operation,
    /// As sent, whether it was let in or not; empty if none was.
    pub public_key: String,
    /// The e-mail address or the keyword in the request.
    pub email: Option<String>,
    /// The numeric ids in the request.
    pub ids: Vec<u64>,
    /// The last name in the request.
    pub last_name: Option<String>,
    /// `None` while the call is under way, and for good if it never got an answer.
    pub status: Option<u16>,
    /// The name of the fault that was applied, as in the fault's JSON.
    pub fault: Option<&'static str>,
    /// Milliseconds between the start of the simulator and the arrival.
    pub started_ms: u64,
}

/// Whom a request is about, as far as it can be made out.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Subject {
    pub(crate) email: Option<String>,
    pub(crate) ids: Vec<u64>,
    pub(crate) last_name: Option<String>,
}

impl Subject {
    pub(crate) fn of(body: &[u8]) -> Self {
        let Ok(request) = serde_json::from_slice::<Value>(body) else {
            return Self::default();
        };
        let edits = request["affiliates"].as_array().map(Vec::as_slice).unwrap_or_default();
        let email = [&request["email"], &request["keyword"]]
            .into_iter()
            .chain(edits.iter().map(|edit| &edit["email"]))
            .find_map(Value::as_str);
        let ids = request["ids"].as_array().map(Vec::as_slice).unwrap_or_default();
        let mut last_names = [&request["last_name"]].into_iter().chain(edits.iter().map(|edit| &edit["last_name"]));
        Self {
            last_name: last_names.find_map(Value::as_str).map(str::to_owned),
            email: email.map(str::to_owned),
            ids: [&request["id"]]
                .into_iter()
                .chain(ids)
                .chain(edits.iter().map(|edit| &edit["id"]))
                .filter_map(Value::as_u64)
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(body: &str, email: Option<&str>, ids: &[u64]) {
        let subject = Subject::of(body.as_bytes());
        assert_eq!((subject.email.as_deref(), subject.ids.as_slice()), (email, ids), "{body}");
    }

    #[test]
    fn every_kind_of_request_names_its_subject() {
        check(r#"{"email":"a@x.co"}"#, Some("a@x.co"), &[]);
        check(r#"{"keyword":"a@x"}"#, Some("a@x"), &[]);
        check(r#"{"id":7}"#, None, &[7]);
        check(r#"{"ids":[7,8],"status":"DENIED"}"#, None, &[7, 8]);
        check(r#"{"affiliates":[{"id":7,"email":"b@x.co"}]}"#, Some("b@x.co"), &[7]);
    }

    #[test]
    fn a_request_says_what_somebody_is_to_be_called() {
        let named = [r#"{"last_name":"Bolton"}"#, r#"{"affiliates":[{"id":7,"last_name":"Bolton"}]}"#];
        for body in named {
            assert_eq!(Subject::of(body.as_bytes()).last_name.as_deref(), Some("Bolton"), "{body}");
        }
    }

    #[test]
    fn a_body_that_cannot_be_read_names_nobody() {
        check("", None, &[]);
        check("[1]", None, &[]);
        check("{", None, &[]);
    }
}
