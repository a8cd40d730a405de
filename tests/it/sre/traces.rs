//! One event is one trace, from its request to Refersion's answer, across a retry queue, on both queues.

use refersion_relay_simulator::{Fault, FaultRule, Operation};
use refersion_relay_tests::{Collector, Config, Refersion, Relay, eventually, hex, identify, shared_broker};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const KEPT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn config_with(broker: &str, refersion: &Refersion, endpoint: &str) -> Config {
    let retry = ("retry", "in_hand = \"0s\"\ntiers = [\"1s\"]");
    let config = Config::new(broker, refersion.url(), &[retry]);
    config.edit("[log]", &format!("[telemetry]\notlp_endpoint = \"{endpoint}\"\ntrace_ratio = 0.0\n\n[log]"));
    config
}

async fn post(relay: &Relay, traceparent: &str, body: Vec<u8>) -> u16 {
    let url = format!("http://{}/v1/destination", relay.door());
    let client = refersion_relay_tests::http_client().build().expect("a client");
    let request = client.post(url).basic_auth("pub_1.sec_1", Some("")).header("traceparent", traceparent);
    request.header("content-type", "application/json").body(body).send().await.expect("an answer").status().as_u16()
}

async fn one_trace(broker: &str) {
    let (refersion, collector) = (Refersion::start().await, Collector::start().await);
    let config = config_with(broker, &refersion, &collector.url());
    let mut process = Relay::start("run", &config).await;
    let trouble = Fault::Status { status: 500, body: None, content_type: None, retry_after: None };
    let rule = FaultRule { operation: Some(Operation::New), times: Some(1), ..FaultRule::always(trouble) };
    refersion.simulator.add_fault(rule);

    assert_eq!(post(&process, KEPT, identify("traced@example.com")).await, 202);
    let unkept = "00-1bf7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
    assert_eq!(post(&process, unkept, identify("unkept@example.com")).await, 202);
    eventually("both exist", || async { refersion.simulator.affiliates().len() == 2 }).await;
    assert!(process.terminate().await.success());

    let spans = collector.spans(TRACE);
    let names: Vec<_> = spans.iter().map(|span| span.name.as_str()).collect();
    let (tries, rest) = names.split_at(names.iter().rposition(|name| *name == "process events.acme").unwrap_or(0));
    assert_eq!(tries[..3], ["POST /v1/destination", "send events.acme", "process events.acme"], "{names:?}");
    assert!(tries.contains(&"Refersion new") && tries.contains(&"settle events.acme"), "{names:?}");
    assert_eq!(rest, ["process events.acme", "Refersion new", "settle events.acme"], "{names:?}");
    // Each is a part of one that is there; the first one is a part of the sender's.
    for span in &spans {
        let parent = hex(&span.parent_span_id);
        assert!(
            parent == "b7ad6b7169203331" || spans.iter().any(|other| hex(&other.span_id) == parent),
            "{}",
            span.name
        );
    }
    let failed = spans.iter().find(|span| span.name == "Refersion new").expect("a call");
    let attributes: Vec<_> = failed.attributes.iter().map(|attribute| attribute.key.as_str()).collect();
    assert!(attributes.contains(&"error.type") && attributes.contains(&"http.response.status_code"), "{attributes:?}");
    assert_eq!(collector.all().len(), spans.len(), "nothing else is kept");
    assert!(!format!("{:?}", collector.all()).contains("example.com"), "nothing personal");
}

#[tokio::test]
async fn an_event_is_one_trace_on_the_embedded_queue() {
    one_trace("sqlite:relay.db").await;
}

#[tokio::test]
async fn an_event_is_one_trace_on_rabbitmq() {
    one_trace(&shared_broker()).await;
}

#[tokio::test]
async fn events_of_one_request_have_traces_of_their_own_that_are_linked_to_it() {
    let (refersion, collector) = (Refersion::start().await, Collector::start().await);
    let config = config_with("sqlite:relay.db", &refersion, &collector.url());
    config.edit("trace_ratio = 0.0", "trace_ratio = 1.0");
    let mut relay = Relay::start("run", &config).await;
    let event = |n: u8| String::from_utf8(identify(&format!("batch{n}@example.com"))).expect("text");

    assert_eq!(post(&relay, KEPT, format!("[{},{}]", event(1), event(2)).into_bytes()).await, 202);
    eventually("both exist", || async { refersion.simulator.affiliates().len() == 2 }).await;
    assert!(relay.terminate().await.success());

    let request: Vec<_> = collector.spans(TRACE).into_iter().map(|span| span.name).collect();
    assert_eq!(request, ["POST /v1/destination", "send events.acme"]);
    let created: Vec<_> = collector.all().into_iter().filter(|span| span.name == "create events.acme").collect();
    assert_eq!(created.len(), 2);
    for span in created {
        assert_eq!(span.links.iter().map(|link| hex(&link.trace_id)).collect::<Vec<_>>(), [TRACE]);
        let names: Vec<_> = collector.spans(&hex(&span.trace_id)).into_iter().map(|span| span.name).collect();
        assert_eq!(names, ["create events.acme", "process events.acme", "Refersion new", "settle events.acme"]);
    }
}

#[tokio::test]
async fn a_collector_that_is_away_is_said_once_and_hinders_nobody() {
    let refersion = Refersion::start().await;
    let config = config_with("sqlite:relay.db", &refersion, "http://127.0.0.1:9");
    let mut relay = Relay::start("run", &config).await;
    for n in 0..10 {
        assert_eq!(post(&relay, KEPT, identify(&format!("away{n}@example.com"))).await, 202);
    }
    eventually("all exist", || async { refersion.simulator.affiliates().len() == 10 }).await;
    eventually("it is said", || async { relay.log().contains("traces cannot be exported") }).await;
    for n in 10..20 {
        assert_eq!(post(&relay, KEPT, identify(&format!("away{n}@example.com"))).await, 202);
    }
    assert!(relay.terminate().await.success());
    assert_eq!(relay.log().matches("traces cannot be exported").count(), 1);
}
