//! `/openapi.json`: its own examples are sent, and the answers are what it says they are.

use refersion_relay_tests::{Answer, Config, Relay, signature};
use serde_json::Value;

/// What stands at a place of the document, behind its references.
fn resolve<'a>(document: &'a Value, mut value: &'a Value) -> &'a Value {
    while let Some(reference) = value["$ref"].as_str() {
        let pointer = reference.strip_prefix('#').expect("references stay in the document");
        value = document.pointer(pointer).unwrap_or_else(|| panic!("{reference} is not there"));
    }
    value
}

/// Why a value is not as a schema says, as far as the document's schemas use the language.
fn unlike(document: &Value, schema: &Value, value: &Value) -> Option<String> {
    let schema = resolve(document, schema);
    let of_type = |name: &str| match name {
        "string" => value.is_string(),
        "number" => value.is_number(),
        "object" => value.is_object(),
        "array" => value.is_array(),
        "null" => value.is_null(),
        other => panic!("a type that is not checked: {other}"),
    };
    for (keyword, rule) in schema.as_object().expect("a schema") {
        let fits = match keyword.as_str() {
            "description" => true,
            "type" => match rule {
                Value::String(name) => of_type(name),
                names => names.as_array().expect("types").iter().any(|name| of_type(name.as_str().expect("a type"))),
            },
            "const" => value == rule,
            "enum" => rule.as_array().expect("values").contains(value),
            "anyOf" => rule.as_array().expect("schemas").iter().any(|schema| unlike(document, schema, value).is_none()),
            "required" => {
                rule.as_array().expect("keys").iter().all(|key| value.get(key.as_str().expect("a key")).is_some())
            }
            "properties" => {
                let present = rule.as_object().expect("properties").iter();
                let mut present = present.filter_map(|(key, schema)| Some((schema, value.get(key)?)));
                match present.find_map(|(schema, value)| unlike(document, schema, value)) {
                    Some(why) => return Some(why),
                    None => true,
                }
            }
            "additionalProperties" if *rule == Value::Bool(false) => {
                let known = schema["properties"].as_object();
                let mut keys = value.as_object().into_iter().flatten().map(|(key, _)| key);
                keys.all(|key| known.is_some_and(|known| known.contains_key(key)))
            }
            "items" => {
                value.as_array().is_none_or(|items| items.iter().all(|item| unlike(document, rule, item).is_none()))
            }
            "maxItems" => value.as_array().is_none_or(|items| items.len() as u64 <= rule.as_u64().expect("a count")),
            "minLength" => value.as_str().is_none_or(|text| rule.as_u64().expect("a count") <= text.len() as u64),
            "pattern" => panic!("patterns are not checked"),
            other => panic!("a keyword that is not checked: {other}"),
        };
        if !fits {
            return Some(format!("{value} breaks {keyword}: {rule}"));
        }
    }
    None
}

/// Compares an answer with what an operation, or an extension beside it, says about it.
#[track_caller]
fn check(document: &Value, described: &Value, answer: &Answer) {
    check_head(document, described, answer);
    let described = resolve(document, described);
    let Some(content) = described["content"].as_object() else {
        assert_eq!(answer.body, "", "no body is described");
        return;
    };
    let media = answer.header("content-type").expect("a content type");
    let content = content.get(media).unwrap_or_else(|| panic!("{media} is not described"));
    if media == "application/json" {
        let body = serde_json::from_str(&answer.body).unwrap_or_else(|_| panic!("JSON: {answer:?}"));
        assert_eq!(unlike(document, &content["schema"], &body), None, "{answer:?}");
    }
}

/// The same of an answer to HEAD, which has no body.
#[track_caller]
fn check_head(document: &Value, described: &Value, answer: &Answer) {
    let described = resolve(document, described);
    assert!(described.is_object(), "{} is not described: {answer:?}", answer.status);
    for (name, header) in described["headers"].as_object().into_iter().flatten() {
        let header = resolve(document, header);
        match answer.header(&name.to_lowercase()) {
            Some(value) => assert_eq!(unlike(document, &header["schema"], &value.into()), None, "{name}: {answer:?}"),
            None => assert_ne!(header["required"], true, "{name} is missing: {answer:?}"),
        }
    }
}

/// `pub_1.sec_1:` and `write_1:`.
const KEY_PAIR: &str = "Basic cHViXzEuc2VjXzE6";
const WRITE_KEY: &str = "Basic d3JpdGVfMTo=";

struct Stage {
    _config: Config,
    relay: Relay,
    document: Value,
}

impl Stage {
    async fn start() -> Self {
        let config = Config::embedded("http://127.0.0.1:1/v2", &[]);
        config.edit("name = \"acme\"\n", "name = \"acme\"\nwebhook_secret = \"shared\"\n");
        let relay = Relay::start("ingest", &config).await;
        let answer = relay.request("GET", "/openapi.json", &[], "").await;
        let document = serde_json::from_str(&answer.body).expect("JSON");
        check(&document, &document["paths"]["/openapi.json"]["get"]["responses"]["200"], &answer);
        Self { _config: config, relay, document }
    }

    /// The described paths, each with its item.
    fn paths(&self) -> Vec<(&str, &Value)> {
        let paths = self.document["paths"].as_object().expect("paths").iter();
        paths
            .filter(|(path, _)| path.starts_with('/'))
            .map(|(path, item)| (path.as_str(), resolve(&self.document, item)))
            .collect()
    }
}

const METHODS: [&str; 7] = ["get", "head", "post", "put", "patch", "delete", "options"];

#[tokio::test]
async fn every_example_is_answered_as_the_document_says() {
    let stage = Stage::start().await;
    let mut sent = 0;
    for (path, item) in stage.paths() {
        for method in METHODS {
            let operation = &item[method];
            let body = resolve(&stage.document, &operation["requestBody"]);
            let json = &body["content"]["application/json"];
            for (name, example) in json["examples"].as_object().into_iter().flatten() {
                let (value, status) = (&example["value"], example["x-status"].as_u64().expect("a status"));
                // Of an array only the first element is signed.
                let signature = signature("shared", value.get(0).unwrap_or(value).to_string().as_bytes());
                let key = if path.starts_with("/v1/destination") { KEY_PAIR } else { WRITE_KEY };
                let headers =
                    [("content-type", "application/json"), ("authorization", key), ("x-signature", &*signature)];
                let url = path.replace("{account}", "acme");
                let answer = stage.relay.request(&method.to_uppercase(), &url, &headers, value.to_string()).await;

                assert_eq!(u64::from(answer.status), status, "{method} {path} {name}: {answer:?}");
                check(&stage.document, &operation["responses"][answer.status.to_string()], &answer);
                let is_described = unlike(&stage.document, &json["schema"], value);
                assert!(is_described.is_none() || status == 400, "{name}: {is_described:?}");
                sent += 1;
            }
        }
    }
    assert!(60 < sent, "{sent}");
}

#[tokio::test]
async fn what_strangers_and_wrong_methods_hear_is_described() {
    let stage = Stage::start().await;
    for (path, item) in stage.paths() {
        let url = path.replace("{account}", "acme").replace("{call}", "identify");
        for method in METHODS {
            let answer = stage.relay.request(&method.to_uppercase(), &url, &[], "{}").await;

            let Some(operation) = item.get(method) else {
                assert_eq!(answer.status, 405, "{method} {path}");
                let check = if method == "head" { check_head } else { check };
                check(&stage.document, &item["x-any-other-method"], &answer);
                continue;
            };
            check(&stage.document, &operation["responses"][answer.status.to_string()], &answer);
            let is_open = ["/openapi.json", "/health"].contains(&path) || method == "options";
            assert_eq!([400, 401].contains(&answer.status), !is_open, "{method} {path}: {answer:?}");
        }
    }
    for path in ["/", "/v1", "/v1/nothing", "/v2/batch", "/v1/webhook", "/v1/pixel", "/v1/batch/x"] {
        let answer = stage.relay.request("POST", path, &[], "{}").await;
        assert_eq!(answer.status, 404, "{path}");
        check(&stage.document, &stage.document["paths"]["x-any-other-path"], &answer);
    }
}

#[tokio::test]
async fn the_pixels_example_is_a_picture() {
    let stage = Stage::start().await;
    let item = &stage.document["paths"]["/v1/pixel/{call}"];
    let parameters = item["parameters"].as_array().expect("parameters");
    let data = parameters.iter().find(|parameter| parameter["name"] == "data").expect("data");
    let path = format!("/v1/pixel/identify?data={}", data["example"].as_str().expect("an example"));
    for method in ["get", "head"] {
        let answer = stage.relay.request(&method.to_uppercase(), &path, &[], "").await;

        assert_eq!(answer.status, 200, "{answer:?}");
        check(&stage.document, &item[method]["responses"]["200"], &answer);
    }
}
