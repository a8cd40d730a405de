use std::process::Stdio;

use refersion_relay_tests::{Config, Refersion, http_client, program, shared_broker};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// `simulate` as a process, and where it says that it listens.
async fn simulate(arguments: &[&str]) -> (Child, String) {
    let mut command = Command::new(program());
    command.args(["simulate", "--listen", "127.0.0.1:0"]).args(arguments).kill_on_drop(true);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the program starts");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let line = lines.next_line().await.expect("readable").expect("it says where it is");
    let (_, url) = line.split_once("listens at ").expect("it says where it is");
    (child, url.to_owned())
}

fn client() -> reqwest::Client {
    http_client().build().expect("a client")
}

/// A call of Refersion's API: the status and the body.
async fn call(url: &str, operation: &str, secret: &str, body: Value) -> (u16, Value) {
    let client = client().post(format!("{url}/affiliate/{operation}"));
    let request = client.header("Refersion-Public-Key", "pub_1").header("Refersion-Secret-Key", secret);
    let response = request.body(body.to_string()).send().await.expect("an answer");
    let status = response.status().as_u16();
    let text = response.text().await.expect("a body");
    (status, serde_json::from_str(&text).unwrap_or_default())
}

fn person(n: u8) -> Value {
    json!({
        "email": format!("person{n}@example.com"), "first_name": "Given", "last_name": "Family",
        "password": "Abcdefgh1!", "status": "PENDING", "send_welcome": "FALSE",
    })
}

#[tokio::test]
async fn the_simulated_refersion_serves_as_it_is_told() {
    let fault = r#"{"operation":"new","times":1,"fault":{"kind":"status","status":503}}"#;
    let arguments = ["--key", "pub_1.sec_1", "--page-size", "2", "--latency-ms", "50", "--fault", fault];
    let (_child, url) = simulate(&arguments).await;

    let begin = std::time::Instant::now();
    assert_eq!(call(&url, "new", "sec_1", person(0)).await.0, 503, "the fault");
    assert!(begin.elapsed().as_millis() >= 50, "every call takes as long as was asked");
    for n in 0..3 {
        assert_eq!(call(&url, "new", "sec_1", person(n)).await.0, 200);
    }
    assert_eq!(call(&url, "new", "sec_wrong", person(9)).await.0, 401, "only these keys");
    let (status, found) = call(&url, "search", "sec_1", json!({"keyword": "example.com", "page": "1"})).await;
    assert_eq!((status, found["results"].as_array().map(Vec::len)), (200, Some(2)), "{found}");
}

#[tokio::test]
async fn the_operations_listener_goes_where_the_option_says() {
    let refersion = Refersion::start().await;
    let config = Config::new(&shared_broker(), refersion.url(), &[]);
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("bound");
    let running = config.begin(&["worker", "--ops-listen", &free.to_string()]);
    let client = client();

    refersion_relay_tests::eventually("it answers there", || async {
        let answer = client.get(format!("http://{free}/health/live")).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    })
    .await;

    running.signal("TERM").await;
    assert_eq!(running.output().await.code, Some(0));
}
