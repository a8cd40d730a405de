//! Limits of requests and of connections, and whom a proxy forwards for.

use refersion_relay_tests::{Answer, Config, Refersion, Relay, eventually, identify};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Sends until one is refused for the limit. With one a second, only a sender that takes a second for each never is.
async fn until_over_limit(relay: &Relay, account: u8) -> Answer {
    for n in 0..1_000 {
        let answer = relay.post(account, identify(&format!("limited{n}@example.com"))).await;
        match answer.status {
            202 => {}
            429 => return answer,
            _ => panic!("{answer:?}"),
        }
    }
    panic!("a thousand requests were taken");
}

async fn all_are_taken(relay: &Relay, account: u8) {
    for n in 0..50 {
        let answer = relay.post(account, identify(&format!("free{n}@example.com"))).await;
        assert_eq!(answer.status, 202, "{answer:?}");
    }
}

#[tokio::test]
async fn the_limit_of_an_account_is_its_own_and_changes_without_a_restart() {
    let refersion = Refersion::start().await;
    let config = Config::embedded(refersion.url(), &[]);
    config.edit("name = \"acme\"\n", "name = \"acme\"\nmax_requests_per_second = 1\n");
    let relay = Relay::start("ingest", &config).await;

    let refused = until_over_limit(&relay, 1).await;
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert!(refused.message().contains("limit"), "{refused:?}");
    all_are_taken(&relay, 2).await;
    let counted = r#"refersion_relay_events_refused_total{door="destination",reason="over_limit"}"#;
    assert_eq!(relay.metric(counted).await, 1);

    config.edit("max_requests_per_second = 1", "max_requests_per_second = 0");
    eventually("it is read again", || async { relay.log().contains("the account has changed") }).await;
    all_are_taken(&relay, 1).await;

    config.edit("max_requests_per_second = 0", "max_requests_per_second = 1");
    eventually("it is read again", || async { relay.log().matches("the account has changed").count() == 2 }).await;
    until_over_limit(&relay, 1).await;
}

#[tokio::test]
async fn the_limit_of_all_is_everybody_s() {
    let refersion = Refersion::start().await;
    let config = Config::embedded(refersion.url(), &[("ingest", "max_requests_per_second = 1")]);
    let relay = Relay::start("ingest", &config).await;
    for account in [1, 2] {
        until_over_limit(&relay, account).await;
    }
}

/// A connection on which nothing was said yet.
async fn connect(relay: &Relay) -> TcpStream {
    TcpStream::connect(relay.door()).await.expect("the door is open")
}

/// Whether the other side closes it, having said nothing.
async fn is_closed(stream: &mut TcpStream) -> bool {
    matches!(stream.read(&mut [0; 64]).await, Ok(0) | Err(_))
}

/// Half of a request, which is in progress and stays so.
async fn half_a_request(relay: &Relay, forwarded_for: &str) -> TcpStream {
    let mut stream = connect(relay).await;
    let head = format!(
        "POST /v1/batch HTTP/1.1\r\nhost: relay\r\nx-forwarded-for: {forwarded_for}\r\ncontent-length: 100\r\n\r\n{{"
    );
    stream.write_all(head.as_bytes()).await.expect("sent");
    let reading = "refersion_relay_ingest_body_bytes";
    eventually("it is in progress", || async { 0 < relay.metric(reading).await }).await;
    stream
}

#[tokio::test]
async fn one_client_gets_so_many_connections_and_the_longest_idle_one_makes_room() {
    let refersion = Refersion::start().await;
    let config = Config::embedded(refersion.url(), &[("ingest", "max_connections_per_client = 2")]);
    let relay = Relay::start("ingest", &config).await;
    let open = "refersion_relay_ingest_connections";
    let mut all = Vec::new();
    for count in 1..=2 {
        all.push(connect(&relay).await);
        eventually("it is open", || async { relay.metric(open).await == count }).await;
    }

    let _third = connect(&relay).await;
    assert!(is_closed(&mut all[0]).await);
    let displaced = r#"refersion_relay_ingest_connections_refused_total{reason="displaced"}"#;
    assert_eq!(relay.metric(displaced).await, 1);
    drop(all);
    eventually("two are left", || async { relay.metric(open).await <= 2 }).await;
}

#[tokio::test]
async fn where_all_connections_are_at_work_a_new_one_is_closed() {
    let refersion = Refersion::start().await;
    let config =
        Config::embedded(refersion.url(), &[("ingest", "max_connections = 1\nmax_connections_per_client = 5")]);
    let relay = Relay::start("ingest", &config).await;
    let _first = half_a_request(&relay, "").await;
    let full = r#"refersion_relay_ingest_connections_refused_total{reason="full"}"#;
    let mut second = connect(&relay).await;
    assert!(is_closed(&mut second).await);
    assert_eq!(relay.metric(full).await, 1);
}

#[tokio::test]
async fn behind_a_trusted_proxy_each_client_has_so_many_requests_in_progress() {
    let refersion = Refersion::start().await;
    let lines = "max_connections_per_client = 1\ntrusted_proxies = [\"127.0.0.1\"]";
    let config = Config::embedded(refersion.url(), &[("ingest", lines)]);
    let relay = Relay::start("ingest", &config).await;
    let as_client = async |client| {
        let headers = [("x-forwarded-for", client), ("authorization", "Basic d3JpdGVfMTo=")];
        relay.request("POST", "/v1/batch", &headers, r#"{"batch":[]}"#).await
    };

    let _first = half_a_request(&relay, "198.51.100.7, 192.0.2.1").await;
    assert_eq!(as_client("192.0.2.1").await.status, 503, "the same client has one too many");
    assert_eq!(as_client("192.0.2.2").await.status, 200);
    assert_eq!(as_client("192.0.2.1, 192.0.2.3").await.status, 200, "what a client says of itself is not believed");
}
