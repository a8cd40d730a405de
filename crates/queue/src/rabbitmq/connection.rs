use std::time::Duration;

use futures_util::StreamExt;
use lapin::{Connection, ConnectionProperties, Event};
use rand::seq::SliceRandom;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::url::BrokerUrl;

/// How long reaching one host may take: TCP, TLS and the AMQP handshake. lapin has no bound of its own here, and a peer
/// that accepts and never answers would hold it for ever.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an orderly close may take before the connection is simply dropped.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

/// Why there is no connection. Says nothing of the URL but the host.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct ConnectError(pub(crate) String);

/// Opens a connection without lapin's own recovery, which can leave consumers and confirms waiting for ever.
/// Tries each host once, in random order, so that many clients spread over a cluster.
pub(crate) async fn connect(url: &BrokerUrl, purpose: &str) -> Result<Connection, ConnectError> {
    let mut hosts = url.hosts().to_vec();
    hosts.shuffle(&mut rand::rng());
    let mut failure = String::new();
    for uri in hosts {
        let host = format!("{}:{}", uri.authority.host, uri.authority.port);
        let properties =
            ConnectionProperties::default().with_connection_name(format!("refersion-relay {purpose}").into());
        match timeout(CONNECT_TIMEOUT, Connection::connect_uri(uri, properties)).await {
            Ok(Ok(connection)) => return Ok(connection),
            Ok(Err(error)) => failure = format!("{host}: {error}"),
            Err(_) => failure = format!("{host} did not answer within {} s", CONNECT_TIMEOUT.as_secs()),
        }
    }
    Err(ConnectError(failure))
}

/// Closes a connection, channels and consumers included, waiting only so long for the broker's answer.
pub(crate) async fn close(connection: &Connection) {
    if connection.status().connected() {
        let _ = timeout(CLOSE_TIMEOUT, connection.close(200, "done".into())).await;
    }
}

/// What a connection reports about itself.
pub(crate) enum Notice {
    Blocked(String),
    Unblocked,
    Broken(String),
}

/// Passes a connection's notices to `tell` until it breaks or `stop` is cancelled.
pub(crate) async fn watch(connection: &Connection, stop: &CancellationToken, tell: impl Fn(Notice)) {
    let mut events = std::pin::pin!(connection.events_listener());
    // What happened before the listener existed was told to nobody.
    if !connection.status().connected() {
        tell(Notice::Broken("closed at once".to_owned()));
        return;
    }
    loop {
        let event = tokio::select! {
            () = stop.cancelled() => return,
            event = events.next() => event,
        };
        match event {
            Some(Event::ConnectionBlocked(reason)) => tell(Notice::Blocked(reason)),
            Some(Event::ConnectionUnblocked) => tell(Notice::Unblocked),
            Some(Event::Error(error)) => {
                if !connection.status().connected() {
                    tell(Notice::Broken(error.to_string()));
                    return;
                }
            }
            Some(_) => {}
            None => {
                tell(Notice::Broken("closed".to_owned()));
                return;
            }
        }
    }
}
