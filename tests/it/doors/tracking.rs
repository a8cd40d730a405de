use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use refersion_relay_tests::{Answer, Config, Refersion, Relay, eventually};
use serde_json::{Value, json};

/// Every path that takes one event, with what it makes of it.
const SINGLE: [(&str, &str); 12] = [
    ("identify", "identify"),
    ("track", "track"),
    ("page", "page"),
    ("screen", "screen"),
    ("group", "group"),
    ("alias", "alias"),
    ("i", "identify"),
    ("t", "track"),
    ("p", "page"),
    ("s", "screen"),
    ("g", "group"),
    ("a", "alias"),
];

fn basic(key: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{key}:")))
}

fn person(email: &str) -> Value {
    json!({"userId": "u", "traits": {"name": "A B", "email": email}})
}

#[track_caller]
fn taken(answer: &Answer) {
    assert_eq!((answer.status, answer.body.as_str()), (200, r#"{"success":true}"#), "{answer:?}");
}

#[tokio::test]
async fn the_type_of_an_event_is_that_of_its_path() {
    let refersion = Refersion::start().await;
    let config = Config::embedded(refersion.url(), &[]);
    let relay = Relay::start("run", &config).await;
    let key = basic("write_1");

    for (path, _) in SINGLE {
        // The event of another type, and of none.
        let mut event = person(&format!("{path}@example.com"));
        for slash in ["", "/"] {
            let path = format!("/v1/{path}{slash}");
            taken(&relay.request("POST", &path, &[("authorization", &key)], event.to_string()).await);
            event["type"] = "track".into();
        }
    }

    eventually("both paths of identify have made somebody", || async {
        let mut emails: Vec<_> = refersion.simulator.affiliates().into_iter().map(|one| one.email).collect();
        emails.sort();
        emails == ["i@example.com", "identify@example.com"]
    })
    .await;
    let ignored = r#"refersion_relay_events_ignored_total{at="tracking",reason="unsupported_type"}"#;
    assert_eq!(relay.metric(ignored).await, 20);
    assert_eq!(relay.request("POST", "/v1/checkout", &[("authorization", &key)], "{}").await.status, 404);
    eventually("nothing waits", || async { config.ledger().await["waiting"] == 0 }).await;
    assert_eq!(config.dead_letters().await, Vec::<Value>::new());
}

#[tokio::test]
async fn a_dead_letter_of_a_path_finds_its_type_again_when_it_is_replayed() {
    let refersion = Refersion::start().await;
    let config = Config::embedded(refersion.url(), &[]);
    let relay = Relay::start("run", &config).await;
    let no = refersion_relay_simulator::Fault::status(422, Some(r#"{"errors":["Value exceed the char limit'"]}"#));
    refersion.fail(refersion_relay_simulator::Operation::New, "typeless", None, no);
    let event = person("typeless@example.com").to_string();
    taken(&relay.request("POST", "/v1/i", &[("authorization", &basic("write_1"))], event).await);
    eventually("it is dead", || async { config.dead_letters().await.len() == 1 }).await;
    refersion.simulator.clear_faults();

    let replayed = config.command(&["dlq", "replay", "--class", "rejected", "--yes"]).await;

    assert_eq!(replayed.code, Some(0), "{replayed:?}");
    eventually("it is there", || async { refersion.with_email("typeless@example.com").len() == 1 }).await;
}

#[tokio::test]
async fn a_write_key_is_taken_from_wherever_a_library_puts_it() {
    let refersion = Refersion::start().await;
    let config = Config::embedded(refersion.url(), &[]);
    let relay = Relay::start("ingest", &config).await;
    let with_key = |key: &str| {
        let mut event = person("a@example.com");
        event["writeKey"] = key.into();
        event.to_string()
    };
    let (one, none) = (with_key("write_1"), person("a@example.com").to_string());
    let batch = format!(r#"{{"batch":[{one}]}}"#);
    let (right, other) = (basic("write_1"), basic("write_2"));
    let cases: [(&str, Option<&str>, &str, u16); 12] = [
        ("/v1/identify", Some(&right), &none, 200),
        ("/v1/identify", Some(&right), &one, 200),
        ("/v1/identify", None, &one, 200),
        ("/v1/identify", Some("Bearer opaque"), &one, 200),
        ("/v1/identify", Some("Bearer opaque"), &none, 401),
        ("/v1/identify", Some(&other), &one, 401),
        ("/v1/identify", None, &none, 401),
        ("/v1/identify", Some("Basic nonsense"), &none, 401),
        ("/v1/b", None, &batch, 200),
        ("/v1/import/", Some(&right), &batch, 200),
        ("/v1/batch", Some(&other), &batch, 401),
        ("/v1/batch", Some("Bearer opaque"), &batch, 200),
    ];

    for (path, authorization, body, status) in cases {
        let headers: Vec<_> = authorization.map(|value| ("authorization", value)).into_iter().collect();
        let answer = relay.request("POST", path, &headers, body).await;

        assert_eq!(answer.status, status, "{path} {authorization:?} {body}: {answer:?}");
        assert!(serde_json::from_str::<Value>(&answer.body).is_ok_and(|body| body.is_object()), "{answer:?}");
    }
    for content_type in ["text/plain", "application/json; charset=utf-8", "nonsense"] {
        let headers = [("authorization", right.as_str()), ("content-type", content_type)];
        taken(&relay.request("POST", "/v1/i", &headers, none.clone()).await);
    }
}

#[tokio::test]
async fn integrations_and_context_of_a_batch_are_those_of_its_events() {
    let refersion = Refersion::start().await;
    let config = Config::embedded(refersion.url(), &[]);
    let relay = Relay::start("run", &config).await;
    let event = |email: &str, integrations: Value| json!({"type": "identify", "integrations": integrations, "traits": {"name": "A B", "email": email}});
    let items = [
        event("silent@example.com", json!({})),
        event("named@example.com", json!({"Refersion": true})),
        event("empty@example.com", json!([])),
    ];
    let batch = json!({"writeKey": "write_1", "integrations": {"All": false}, "batch": items});
    taken(&relay.request("POST", "/v1/batch", &[], batch.to_string()).await);
    let single = event("alone@example.com", json!({"All": false, "Mixpanel": true}));
    taken(&relay.request("POST", "/v1/i", &[("authorization", &basic("write_1"))], single.to_string()).await);
    let audience = json!({"writeKey": "write_1", "context": {"personas": {"computation_key": "big_spender"}},
        "batch": [{"type": "identify", "userId": "u", "traits": {"big_spender": true, "email": "computed@example.com"}}]});
    taken(&relay.request("POST", "/v1/batch", &[], audience.to_string()).await);

    eventually("the one that is meant exists", || async { refersion.simulator.affiliates().len() == 1 }).await;
    assert_eq!(refersion.with_email("named@example.com").len(), 1);
    let ignored = |reason: &str| format!(r#"refersion_relay_events_ignored_total{{at="tracking",reason="{reason}"}}"#);
    assert_eq!(relay.metric(&ignored("opted_out")).await, 3);
    assert_eq!(relay.metric(&ignored("computed")).await, 1);
    assert_eq!(config.ledger().await["dead"], 0);
}

#[tokio::test]
async fn a_browser_may_ask_before_it_sends() {
    let refersion = Refersion::start().await;
    let config = Config::embedded(refersion.url(), &[]);
    let relay = Relay::start("ingest", &config).await;
    let origin = ("origin", "https://shop.example");
    for path in ["/v1/i", "/v1/batch", "/v1/identify/"] {
        let asked =
            [origin, ("access-control-request-method", "POST"), ("access-control-request-headers", "authorization")];

        let preflight = relay.request("OPTIONS", path, &asked, "").await;

        assert_eq!(preflight.status, 200, "{preflight:?}");
        assert_eq!(preflight.header("access-control-allow-origin"), Some("*"));
        let allowed = preflight.header("access-control-allow-headers").unwrap_or_default();
        assert!(["authorization", "content-type", "x-retry-count"].iter().all(|header| allowed.contains(header)));
        let answers =
            [relay.request("POST", path, &[origin], "{}").await, relay.request("GET", path, &[origin], "").await];
        for answer in answers {
            assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "also of an error: {answer:?}");
        }
    }
    assert_eq!(relay.request("GET", "/v1/i", &[], "").await.status, 405);
}

#[tokio::test]
async fn a_pixel_is_an_event_and_always_a_picture() {
    let refersion = Refersion::start().await;
    let config = Config::embedded(refersion.url(), &[]);
    let relay = Relay::start("run", &config).await;
    let pixel = |call: &str, event: &Value| format!("/v1/pixel/{call}?data={}", STANDARD.encode(event.to_string()));
    let mut event = person("pixel@example.com");
    event["writeKey"] = "write_1".into();

    let good = relay.request("GET", &pixel("identify", &event), &[], "").await;
    event["writeKey"] = "nobody".into();
    let stranger = relay.request("GET", &pixel("identify", &event), &[], "").await;
    let nonsense = relay.request("GET", "/v1/pixel/track?data=!!!", &[], "").await;

    let statuses = [&good, &stranger, &nonsense].map(|answer| answer.status);
    assert_eq!(statuses, [200, 401, 401], "without an event there is no key");
    for answer in [good, stranger, nonsense] {
        assert_eq!(answer.header("content-type"), Some("image/gif"), "{answer:?}");
        assert!(answer.body.starts_with("GIF89a"), "{answer:?}");
    }
    eventually("the person exists", || async { refersion.with_email("pixel@example.com").len() == 1 }).await;
    assert_eq!(relay.request("GET", "/v1/pixel/batch?data=e30=", &[], "").await.status, 404);
}
