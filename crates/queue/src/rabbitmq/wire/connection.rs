use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{Connection, ConnectionProperties, Event};
use rand::seq::SliceRandom;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::cause::Cause;
use super::url::BrokerUrl;

/// How long reaching one host may take: TCP, TLS and the AMQP handshake. lapin has no bound of its own here, and a peer
/// that accepts and never answers would hold it for ever.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an orderly close may take before the connection is simply dropped.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

/// Why there is no connection: what is the matter with the host that was tried last. Says nothing else of the URL.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}", cause.with(host))]
pub(crate) struct ConnectError {
    host: String,
    cause: Cause,
}

/// The largest frame of a connection that nothing is delivered over. lapin keeps two buffers for 32 frames, and has written to all of
/// both at once: 8 MiB of memory with a broker's own 128 KiB. The headers of a message are one frame, and ours are far smaller; its body may
/// be several.
///
/// Where messages are delivered the broker's own is needed, since strangers publish some: the broker sends headers in one frame however
/// large they are, and one that is larger than was agreed on ends the connection, each time it is delivered.
pub(crate) const OUR_FRAME_BYTES: u32 = 32 * 1024;

/// Opens a connection without lapin's own recovery, which can leave consumers and confirms waiting for ever.
/// Tries each host once, in random order, so that many clients spread over a cluster.
pub(crate) async fn connect(url: &BrokerUrl, purpose: &str) -> Result<Connection, ConnectError> {
    connect_with(url, purpose, None).await
}

/// Opens one that nothing is delivered over.
pub(crate) async fn connect_to_publish(url: &BrokerUrl, purpose: &str) -> Result<Connection, ConnectError> {
    connect_with(url, purpose, Some(OUR_FRAME_BYTES)).await
}

async fn connect_with(url: &BrokerUrl, purpose: &str, frame_bytes: Option<u32>) -> Result<Connection, ConnectError> {
    let mut hosts = url.hosts().to_vec();
    hosts.shuffle(&mut rand::rng());
    let mut failure = ConnectError { host: "the broker".to_owned(), cause: Cause::Silent };
    for mut uri in hosts {
        uri.query.frame_max = uri.query.frame_max.or(frame_bytes);
        let host = format!("{}:{}", uri.authority.host, uri.authority.port);
        let properties =
            ConnectionProperties::default().with_connection_name(format!("refersion-relay {purpose}").into());
        let within = CONNECT_TIMEOUT.as_secs();
        let silent = Cause::Said(format!("{host} did not answer within {within} s"));
        if was_silent(&host) && !timeout(CONNECT_TIMEOUT, answers(&uri)).await.unwrap_or(false) {
            failure = ConnectError { host, cause: silent };
            continue;
        }
        let connecting = timeout(CONNECT_TIMEOUT, Connection::connect_uri(uri, properties)).await;
        remember(&host, connecting.is_err());
        match connecting {
            Ok(Ok(connection)) => return Ok(connection),
            Ok(Err(error)) => failure = ConnectError { host, cause: Cause::of(&error) },
            Err(_) => failure = ConnectError { host, cause: silent },
        }
    }
    Err(failure)
}

/// Hosts that accepted a connection and then said nothing. lapin keeps a thread for each attempt that is abandoned for as
/// long as the peer keeps it open, so such a host is asked by plain TCP before it gets another.
static SILENT: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

fn was_silent(host: &str) -> bool {
    SILENT.lock().unwrap_or_else(PoisonError::into_inner).contains(host)
}

fn remember(host: &str, silent: bool) {
    let mut hosts = SILENT.lock().unwrap_or_else(PoisonError::into_inner);
    if silent {
        hosts.insert(host.to_owned());
    } else {
        hosts.remove(host);
    }
}

/// Whether a broker answers the protocol header. With TLS only the TCP connection can be asked for.
async fn answers(uri: &AMQPUri) -> bool {
    let address = (uri.authority.host.as_str(), uri.authority.port);
    let Ok(mut stream) = TcpStream::connect(address).await else { return false };
    match uri.scheme {
        AMQPScheme::AMQPS => true,
        AMQPScheme::AMQP => stream.write_all(b"AMQP\0\0\x09\x01").await.is_ok() && stream.read_u8().await.is_ok(),
    }
}

/// Closes a connection, channels and consumers included, waiting only so long for the broker's answer.
///
/// lapin (4.12) closes a channel that is dropped by itself, later; and it breaks a connection off, without a word to the broker,
/// when that is answered after the connection began to close. So one more channel is opened and closed before: what was asked for
/// earlier is answered by then.
pub(crate) async fn close(connection: &Connection) {
    let closing = async {
        if !connection.status().blocked()
            && let Ok(channel) = connection.create_channel().await
        {
            let _ = channel.close(200, "done".into()).await;
        }
        connection.close(200, "done".into()).await
    };
    if connection.status().connected() {
        let _ = timeout(CLOSE_TIMEOUT, closing).await;
    }
}

/// What a connection reports about itself.
pub(crate) enum Notice {
    Blocked(String),
    Unblocked,
    Broken(String),
}

/// Passes a connection's notices to `tell` until it breaks or `stop` is cancelled. Each of them is told once, so only one watches.
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
            Some(Event::Error(error)) if !connection.status().connected() => {
                tell(Notice::Broken(Cause::of(&error).to_string()));
                return;
            }
            Some(_) => {} // of a channel that was closed, whoever has it hears
            None => {
                tell(Notice::Broken("closed".to_owned()));
                return;
            }
        }
    }
}
