use std::{
    fs,
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::Duration,
};

use refersion_relay_private_broker::{Options, PrivateBroker, StartError};

use crate::processes::{assert_nothing_left, folder_of, listeners_of, mentioning, state_of};

const DECLARE: &str =
    r#"rabbit_amqqueue:declare(rabbit_misc:r(<<"/">>, queue, <<"kept">>), true, false, [], none, <<"test">>)."#;

/// Asks for a connection and returns the type of the first frame.
fn greet(port: u16, patience: Duration) -> std::io::Result<u8> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(patience))?;
    stream.write_all(b"AMQP\0\0\x09\x01")?;
    let mut kind = [0];
    stream.read_exact(&mut kind)?;
    Ok(kind[0])
}

const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(300);

#[tokio::test]
async fn a_started_node_answers() {
    let broker = PrivateBroker::start().await.unwrap();

    assert_eq!(greet(broker.port(), LONG).unwrap(), 1);
    assert_eq!(broker.url(), format!("amqp://guest:guest@127.0.0.1:{}/%2f", broker.port()));
    assert_eq!(fs::read_to_string(format!("/proc/{}/comm", broker.pid())).unwrap(), "beam.smp\n");
}

#[tokio::test]
async fn a_started_node_listens_on_loopback_only() {
    let broker = PrivateBroker::start().await.unwrap();

    let listeners = listeners_of(&folder_of(broker.pid()));

    assert!(listeners.contains(&SocketAddr::from((Ipv4Addr::LOCALHOST, broker.port()))), "{listeners:?}");
    assert!(listeners.iter().all(|listener| listener.ip().is_loopback()), "{listeners:?}");
}

#[tokio::test]
async fn two_nodes_run_side_by_side() {
    let (one, other) = tokio::try_join!(PrivateBroker::start(), PrivateBroker::start()).unwrap();

    one.ctl(&["eval", DECLARE]).await.unwrap();

    assert!(one.ctl(&["list_queues"]).await.unwrap().contains("kept"));
    assert!(!other.ctl(&["list_queues"]).await.unwrap().contains("kept"));
}

#[tokio::test]
async fn a_durable_queue_survives_a_kill_and_a_restart() {
    let mut broker = PrivateBroker::start().await.unwrap();
    let (port, first) = (broker.port(), broker.pid());
    broker.ctl(&["eval", DECLARE]).await.unwrap();
    // The node keeps what was declared in memory for a moment, and a kill may be faster.
    broker.ctl(&["eval", "mnesia:sync_log()."]).await.unwrap();

    broker.kill().await;
    let down = greet(port, LONG).unwrap_err();
    broker.restart().await.unwrap();

    assert_eq!(down.kind(), ErrorKind::ConnectionRefused);
    assert_eq!(broker.port(), port);
    assert_ne!(broker.pid(), first);
    assert!(broker.ctl(&["list_queues"]).await.unwrap().contains("kept"));
}

#[tokio::test]
async fn a_folder_of_the_caller_is_kept_and_taken_up_by_the_next_node() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { folder: Some(folder.path().into()), ..Options::default() };
    let mut first = PrivateBroker::start_with(options.clone()).await.unwrap();
    first.ctl(&["eval", DECLARE]).await.unwrap();
    first.stop().await;
    drop(first);

    let second = PrivateBroker::start_with(options).await.unwrap();

    assert!(second.ctl(&["list_queues"]).await.unwrap().contains("kept"));
}

#[tokio::test]
async fn a_frozen_node_answers_nobody_until_it_is_thawed() {
    let broker = PrivateBroker::start().await.unwrap();

    broker.freeze();
    let state = state_of(broker.pid());
    let frozen = greet(broker.port(), SHORT).unwrap_err();
    broker.thaw();

    assert_eq!(state, Some('T'));
    assert_eq!(frozen.kind(), ErrorKind::WouldBlock);
    assert_eq!(greet(broker.port(), LONG).unwrap(), 1);
}

#[tokio::test]
async fn a_frozen_node_can_be_stopped_and_started_again() {
    let mut broker = PrivateBroker::start().await.unwrap();
    broker.freeze();
    broker.freeze();

    broker.restart().await.unwrap();

    assert_eq!(greet(broker.port(), LONG).unwrap(), 1);
}

#[tokio::test]
async fn a_dropped_node_leaves_nothing_behind() {
    let broker = PrivateBroker::start().await.unwrap();
    let folder = folder_of(broker.pid());
    let processes = mentioning(folder.to_str().unwrap());
    broker.freeze();

    drop(broker);

    assert!(2 <= processes.len(), "the VM and epmd at least, but there was {processes:?}");
    assert!(!folder.exists());
    assert_nothing_left(&folder);
}

#[tokio::test]
async fn plugins_and_configuration_are_taken_over() {
    let options = Options {
        extra_conf: "heartbeat = 7".into(),
        plugins: vec!["rabbitmq_consistent_hash_exchange".into()],
        ..Options::default()
    };

    let broker = PrivateBroker::start_with(options).await.unwrap();
    let plugins = broker.ctl(&["eval", "rabbit_plugins:active()."]).await.unwrap();
    let heartbeat = broker.ctl(&["eval", "application:get_env(rabbit, heartbeat)."]).await.unwrap();

    assert!(plugins.contains("rabbitmq_consistent_hash_exchange"), "{plugins}");
    assert_eq!(heartbeat.trim(), "{ok,7}");
}

#[tokio::test]
async fn a_managed_node_has_its_api_where_it_says_and_on_loopback_only() {
    let plain = Options::default();
    let broker = PrivateBroker::start_with(Options { management: true, ..plain }).await.unwrap();

    let url = broker.management_url().unwrap();
    let port: u16 = url.strip_prefix("http://guest:guest@127.0.0.1:").unwrap().parse().unwrap();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream.write_all(b"GET /api/overview HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let listeners = listeners_of(&folder_of(broker.pid()));

    assert!(answer.starts_with("HTTP/1.1 401"), "it asks for the password: {answer}");
    assert!(listeners.contains(&SocketAddr::from((Ipv4Addr::LOCALHOST, port))), "{listeners:?}");
    assert!(listeners.iter().all(|listener| listener.ip().is_loopback()), "{listeners:?}");
}

#[tokio::test]
async fn a_node_that_cannot_start_shows_why() {
    let options = Options { extra_conf: "no.such.key = 1".into(), ..Options::default() };

    let Err(StartError::DiedDuringStart { log_tail }) = PrivateBroker::start_with(options).await else {
        panic!("it should have died");
    };

    assert!(log_tail.contains("no.such.key"), "{log_tail}");
}

#[tokio::test]
async fn a_failing_command_of_rabbitmqctl_says_why() {
    let broker = PrivateBroker::start().await.unwrap();

    let error = broker.ctl(&["delete_queue", "never-declared"]).await.unwrap_err();

    assert!(format!("{error:#}").contains("not found"), "{error:#}");
}
