use std::{
    io,
    time::{Duration, Instant},
};

use refersion_relay_simulator::{Fault, FaultRule};
use serde_json::json;
use tokio::{
    io::AsyncReadExt as _,
    net::{TcpListener, TcpStream},
};

use crate::harness::{Harness, PUBLIC_KEY};

fn once(fault: Fault) -> FaultRule {
    FaultRule { times: Some(1), ..FaultRule::always(fault) }
}

/// Everything that comes over a connection, until it ends in whatever way.
async fn rest(stream: &mut TcpStream) -> (Vec<u8>, io::Result<usize>) {
    let mut bytes = Vec::new();
    let ended = stream.read_to_end(&mut bytes).await;
    (bytes, ended)
}

#[tokio::test]
async fn a_close_is_an_orderly_end_without_an_answer() {
    let refersion = Harness::start().await;
    refersion.simulator.add_fault(once(Fault::Close));

    let mut stream = refersion.send("POST", "/affiliate/list", (PUBLIC_KEY, "sec_1"), "{}").await;
    let (bytes, ended) = rest(&mut stream).await;

    assert_eq!((bytes.len(), ended.ok()), (0, Some(0)));
    let call = &refersion.simulator.calls()[0];
    assert_eq!((call.status, call.fault), (None, Some("close")));
    assert_eq!(refersion.call("list", &json!({})).await.status, 200);
}

#[tokio::test]
async fn what_is_not_http_is_a_mail_server() {
    let refersion = Harness::start().await;
    refersion.simulator.add_fault(once(Fault::NotHttp));

    let mut stream = refersion.send("POST", "/affiliate/list", (PUBLIC_KEY, "sec_1"), "{}").await;
    let (bytes, ended) = rest(&mut stream).await;

    assert_eq!(bytes, b"220 mail.example.com ESMTP\r\n");
    assert!(ended.is_ok());
}

#[tokio::test]
async fn connections_are_refused_for_a_while_and_then_taken_again_at_the_same_address() {
    let refersion = Harness::start().await;
    refersion.simulator.add_fault(once(Fault::RefuseConnections { ms: 1_500 }));
    let mut idle = refersion.connect().await.unwrap();
    let started = Instant::now();

    refersion.try_call("list", "{}").await.unwrap_err();
    // The call may end a moment before nobody listens any more.
    let (_, _) = rest(&mut idle).await;
    let mut refused = 0;
    while refused < 20 {
        match refersion.connect().await {
            Ok(_) => assert_eq!(refused, 0, "once refused, refused to the end"),
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
                refused += 1;
            }
        }
        tokio::task::yield_now().await;
    }
    assert!(TcpListener::bind(refersion.address()).await.is_err(), "nobody else gets the port meanwhile");
    while refersion.connect().await.is_err() {
        tokio::task::yield_now().await;
    }

    assert!(Duration::from_millis(1_500) <= started.elapsed());
    assert_eq!(refersion.call("list", &json!({})).await.status, 200);
}

#[tokio::test]
async fn connections_are_accepted_and_closed_for_a_while() {
    let refersion = Harness::start().await;
    refersion.simulator.add_fault(once(Fault::CloseConnections { ms: 1_500 }));
    let mut idle = refersion.connect().await.unwrap();
    let started = Instant::now();

    refersion.try_call("list", "{}").await.unwrap_err();
    let (bytes, _) = rest(&mut idle).await;
    assert!(bytes.is_empty(), "open connections are cut");
    for _ in 0..20 {
        let mut stream = refersion.connect().await.expect("it is accepted");
        let (bytes, _) = rest(&mut stream).await;
        assert!(bytes.is_empty());
    }

    while refersion.try_call("list", "{}").await.is_err() {
        tokio::task::yield_now().await;
    }
    assert!(Duration::from_millis(1_500) <= started.elapsed());
}

#[tokio::test]
async fn a_stop_ends_an_outage() {
    for fault in [Fault::RefuseConnections { ms: 3_600_000 }, Fault::CloseConnections { ms: 3_600_000 }] {
        let mut refersion = Harness::start().await;
        refersion.simulator.add_fault(once(fault));
        refersion.try_call("list", "{}").await.unwrap_err();

        refersion.stop.cancel();

        (&mut refersion.serving).await.unwrap().unwrap();
    }
}
