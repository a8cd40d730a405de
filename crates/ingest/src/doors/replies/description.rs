//! The doors as `OpenAPI` 3.1 describes them. The tests here compare the description with what the doors do.

/// Where it is.
pub(crate) const PATH: &str = "/openapi.json";
/// The description. Written by hand.
pub(crate) const TEXT: &str = include_str!("openapi.json");

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use axum::body::Body;
    use axum::extract::Request;
    use axum::response::{IntoResponse, Response};
    use http_body_util::BodyExt;
    use refersion_relay_model::{EventType, Missing, ParseError};
    use serde_json::Value;
    use tower::ServiceExt;

    use super::{PATH, TEXT};
    use crate::access::basic::KeyForm;
    use crate::doors::fake;
    use crate::doors::health;
    use crate::doors::pixel::Picture;
    use crate::doors::replies::batch_reply::BatchReply;
    use crate::doors::replies::reply::Reply;
    use crate::doors::router::routes;
    use crate::doors::tracking::Call;
    use crate::events::batch::Counts;
    use crate::{Access, router};

    /// The kinds of path that answer alike.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum At {
        Destination,
        Webhook,
        One,
        Batch,
        Pixel,
        /// Any path, asked with a method that it does not take.
        WrongMethod,
        /// Any path that is not there.
        NoSuchPath,
    }

    const ANYWHERE: &[At] = &[At::Webhook, At::One, At::Batch, At::Pixel];

    /// Lists samples of an enum with where they are answered. A variant without a line does not compile.
    macro_rules! samples {
        ($name:ident: $reply:ty { $($pattern:pat = $sample:expr => $at:expr,)* }) => {
            fn $name() -> Vec<($reply, &'static [At])> {
                let at = |reply: &$reply| -> &'static [At] {
                    match reply { $($pattern => $at,)* }
                };
                vec![$($sample),*].into_iter().map(|reply: $reply| { let at = at(&reply); (reply, at) }).collect()
            }
        };
    }

    samples!(replies: Reply {
        Reply::Accepted(_) = Reply::Accepted("m1".to_owned()) => &[At::Destination],
        Reply::AcceptedAll(_) = Reply::AcceptedAll(Counts::default()) => &[At::Destination],
        Reply::Ignored(_) = Reply::Ignored("it is a test") => &[At::Destination],
        Reply::TooLarge = Reply::TooLarge => &[At::Destination],
        Reply::Unauthorized(_) = Reply::Unauthorized(KeyForm::Spaced) => &[At::Destination],
        Reply::Malformed(_) = Reply::Malformed(ParseError::NoType) => &[At::Destination],
        Reply::TooMany = Reply::TooMany => &[At::Destination],
        Reply::Encoding = Reply::Encoding => &[At::Destination],
        Reply::Packed = Reply::Packed => &[At::Destination],
        Reply::Settings = Reply::Settings => &[At::Destination],
        Reply::UnsupportedType(_) = Reply::UnsupportedType(EventType::Track) => &[At::Destination],
        Reply::Incomplete(..) = Reply::Incomplete(EventType::Delete, vec![Missing::Email]) => &[At::Destination],
        Reply::Slow = Reply::Slow => &[At::Destination],
        Reply::OverLimit(_) = Reply::OverLimit(1) => &[At::Destination],
        Reply::Busy = Reply::Busy => &[At::Destination],
        Reply::Unavailable = Reply::Unavailable => &[At::Destination],
        Reply::NoSuchPath = Reply::NoSuchPath => &[At::NoSuchPath],
        Reply::WrongMethod(_) = Reply::WrongMethod("POST") => &[At::WrongMethod],
        Reply::Broken = Reply::Broken => &[At::Destination],
    });

    samples!(batch_replies: BatchReply {
        BatchReply::Taken = BatchReply::Taken => ANYWHERE,
        BatchReply::TooLarge(_) = BatchReply::TooLarge(1024) => &[At::Webhook, At::One, At::Batch],
        BatchReply::TooMany = BatchReply::TooMany => &[At::Webhook, At::Batch],
        BatchReply::Unauthorized(_) = BatchReply::Unauthorized(KeyForm::Spaced) => &[At::One, At::Batch, At::Pixel],
        BatchReply::KeysDisagree = BatchReply::KeysDisagree => &[At::One, At::Batch],
        BatchReply::BadSignature = BatchReply::BadSignature => &[At::Webhook],
        BatchReply::Malformed { .. } = BatchReply::Malformed { line: 1, column: 0 } => &[At::Webhook, At::One, At::Batch],
        BatchReply::NoBatch = BatchReply::NoBatch => &[At::Batch],
        BatchReply::NoEvent = BatchReply::NoEvent => &[At::One],
        BatchReply::Encoding = BatchReply::Encoding => &[At::Webhook, At::One, At::Batch],
        BatchReply::Packed = BatchReply::Packed => &[At::Webhook, At::One, At::Batch],
        BatchReply::Slow = BatchReply::Slow => &[At::Webhook, At::One, At::Batch],
        BatchReply::OverLimit(_) = BatchReply::OverLimit(1) => ANYWHERE,
        BatchReply::Busy = BatchReply::Busy => ANYWHERE,
        BatchReply::Unavailable = BatchReply::Unavailable => ANYWHERE,
        BatchReply::NoSuchPath = BatchReply::NoSuchPath => &[At::Pixel, At::NoSuchPath],
        BatchReply::WrongMethod(_) = BatchReply::WrongMethod("POST") => &[At::WrongMethod],
        BatchReply::Broken = BatchReply::Broken => ANYWHERE,
    });

    /// Every answer, with where it is given.
    fn answers() -> Vec<(Response, At)> {
        let mut answers = Vec::new();
        for (reply, at) in replies() {
            answers.extend(at.iter().map(|at| (reply.clone().into_response(), *at)));
        }
        for (reply, at) in batch_replies() {
            answers.extend(at.iter().map(|at| {
                // A path that is no pixel's is told as such.
                let is_picture = *at == At::Pixel && reply != BatchReply::NoSuchPath;
                let response =
                    if is_picture { Picture(reply.clone()).into_response() } else { reply.clone().into_response() };
                (response, *at)
            }));
        }
        answers
    }

    fn document() -> Value {
        serde_json::from_str(TEXT).expect("the description is JSON")
    }

    /// What stands at a place of the document, behind its references.
    fn resolve<'a>(document: &'a Value, mut value: &'a Value) -> &'a Value {
        while let Some(reference) = value["$ref"].as_str() {
            let pointer = reference.strip_prefix('#').expect("references stay in the document");
            value = document.pointer(pointer).unwrap_or_else(|| panic!("{reference} is not there"));
        }
        value
    }

    const METHODS: [&str; 8] = ["get", "head", "post", "put", "patch", "delete", "options", "trace"];

    /// The described operations: path, method, operation.
    fn operations(document: &Value) -> Vec<(String, &'static str, &Value)> {
        let paths = document["paths"].as_object().expect("paths");
        let paths = paths.iter().filter(|(path, _)| path.starts_with('/'));
        paths
            .flat_map(|(path, item)| {
                let item = resolve(document, item);
                METHODS.into_iter().filter_map(move |method| Some((path.clone(), method, item.get(method)?)))
            })
            .collect()
    }

    /// The paths that answer alike.
    fn at(path: &str) -> Option<At> {
        match path.trim_end_matches('/') {
            PATH | health::PATH => None,
            "/v1/destination" => Some(At::Destination),
            "/v1/webhook/{account}" => Some(At::Webhook),
            "/v1/pixel/{call}" => Some(At::Pixel),
            path => {
                let call = path.strip_prefix("/v1/").expect("a call");
                let (_, call) = Call::ALL.into_iter().find(|(name, _)| *name == call).expect("a call");
                Some(if call == Call::Batch { At::Batch } else { At::One })
            }
        }
    }

    #[test]
    fn the_described_paths_are_those_that_are_served() {
        let document = document();
        let described: BTreeSet<_> = operations(&document).into_iter().map(|(path, ..)| path).collect();
        let mut served = BTreeSet::new();
        for (path, _) in routes() {
            match path.strip_prefix("/v1/{call}") {
                Some(slash) => served.extend(Call::ALL.map(|(call, _)| format!("/v1/{call}{slash}"))),
                None => {
                    served.insert(path.to_owned());
                }
            }
        }
        assert_eq!(described, served);
        let types = &document["paths"]["/v1/pixel/{call}"]["parameters"][0]["schema"]["enum"];
        let singles = Call::ALL.into_iter().filter(|(_, call)| *call != Call::Batch).map(|(name, _)| name);
        assert_eq!(types, &singles.collect::<Value>());
        assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    }

    #[tokio::test]
    async fn the_described_methods_are_those_that_are_taken() {
        let document = document();
        let described: BTreeSet<_> =
            operations(&document).into_iter().map(|(path, method, _)| (path, method)).collect();
        let paths: BTreeSet<_> = described.iter().map(|(path, _)| path.clone()).collect();
        for path in paths {
            for method in METHODS {
                let uri = path.replace("{account}", "acme").replace("{call}", "identify");
                let request = Request::builder().method(method.to_uppercase().as_str()).uri(uri);
                let response = router(fake::ingest(Access::default()).0)
                    .oneshot(request.body(Body::empty()).unwrap())
                    .await
                    .unwrap();
                let is_taken = response.status() != 405;
                assert_eq!(is_taken, described.contains(&(path.clone(), method)), "{method} {path}");
                assert_ne!(response.status(), 404, "{method} {path}");
                if is_taken {
                    continue;
                }
                let allowed = response.headers()["allow"].to_str().unwrap().to_lowercase();
                let allowed: BTreeSet<_> = allowed.split(", ").map(str::to_owned).collect();
                let of_path = described.iter().filter(|(of, _)| *of == path);
                assert_eq!(allowed, of_path.map(|(_, method)| (*method).to_owned()).collect(), "{path}");
                assert!(resolve(&document, &document["paths"][&path]).get("x-any-other-method").is_some(), "{path}");
            }
        }
    }

    #[test]
    fn the_described_statuses_are_those_that_are_answered() {
        let (document, answers) = (document(), answers());
        for (path, method, operation) in operations(&document) {
            let described: BTreeSet<_> =
                operation["responses"].as_object().expect("responses").keys().cloned().collect();
            let given: BTreeSet<_> = match (at(&path), method) {
                (None, _) if path == health::PATH => BTreeSet::from(["200".to_owned(), "503".to_owned()]),
                (None, _) | (Some(At::One | At::Batch), "options") => BTreeSet::from(["200".to_owned()]),
                (Some(here), _) => {
                    let here = answers.iter().filter(|(_, at)| *at == here);
                    here.map(|(response, _)| response.status().as_u16().to_string()).collect()
                }
            };
            assert_eq!(described, given, "{method} {path}");
        }
    }

    #[tokio::test]
    async fn the_described_headers_and_bodies_are_those_of_the_answers() {
        let document = document();
        let operations = operations(&document);
        let mut codes = BTreeSet::new();
        for (response, here) in answers() {
            let status = response.status().as_u16().to_string();
            let (parts, body) = response.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let body: BTreeMap<String, Value> = serde_json::from_slice(&body).unwrap_or_default();
            codes.extend(body.get("code").and_then(Value::as_str).map(ToOwned::to_owned));
            let described: Vec<_> = match here {
                At::NoSuchPath => vec![&document["paths"]["x-any-other-path"]],
                At::WrongMethod if body.contains_key("code") => {
                    vec![&document["components"]["responses"]["WrongMethod"]]
                }
                At::WrongMethod => vec![&document["components"]["responses"]["DestinationWrongMethod"]],
                here => operations
                    .iter()
                    .filter(|(path, method, _)| at(path) == Some(here) && !matches!(*method, "options" | "head"))
                    .map(|(.., operation)| &operation["responses"][&status])
                    .collect(),
            };
            assert!(!described.is_empty());
            for described in described {
                let described = resolve(&document, described);
                for name in ["retry-after", "www-authenticate", "allow"] {
                    let is_described = described["headers"]
                        .as_object()
                        .is_some_and(|headers| headers.keys().any(|key| key.eq_ignore_ascii_case(name)));
                    // Of the answers with this status at this place, one may have a header that another has not.
                    assert!(is_described || !parts.headers.contains_key(name), "{here:?} {status} {name}");
                }
                let (media, content) =
                    described["content"].as_object().and_then(|content| content.iter().next()).unwrap();
                assert_eq!(parts.headers["content-type"], media.as_str(), "{here:?} {status}");
                let schema = resolve(&document, &content["schema"]);
                let alternatives = schema["anyOf"].as_array().cloned().unwrap_or_else(|| vec![schema.clone()]);
                let fits = |schema: &Value| {
                    let schema = resolve(&document, schema);
                    let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
                    let may_be_there = |key: &String| schema["properties"].get(key).is_some();
                    required.into_iter().all(|key| body.contains_key(key)) && body.keys().all(may_be_there)
                };
                assert!(alternatives.iter().any(fits), "{here:?} {status}: {body:?}");
            }
        }
        let described = &document["components"]["schemas"]["Failure"]["properties"]["code"]["enum"];
        let described: BTreeSet<_> =
            described.as_array().unwrap().iter().map(|code| code.as_str().unwrap().to_owned()).collect();
        assert_eq!(described, codes);
    }

    #[test]
    fn every_reference_leads_somewhere_and_everything_is_referred_to() {
        fn walk(document: &Value, value: &Value, seen: &mut BTreeSet<String>) {
            if let Some(reference) = value.get("$ref").and_then(Value::as_str) {
                resolve(document, value);
                seen.insert(reference.to_owned());
            }
            match value {
                Value::Object(map) => map.values().for_each(|value| walk(document, value, seen)),
                Value::Array(values) => values.iter().for_each(|value| walk(document, value, seen)),
                _ => {}
            }
        }
        let document = document();
        let mut seen = BTreeSet::new();
        walk(&document, &document, &mut seen);
        for (kind, items) in document["components"].as_object().unwrap() {
            for name in items.as_object().unwrap().keys().filter(|_| kind != "securitySchemes") {
                assert!(seen.contains(&format!("#/components/{kind}/{name}")), "nothing refers to {kind}/{name}");
            }
        }
    }
}
