use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::front::certificate::Certificate;
use crate::front::deadlines::{Deadlines, IDLE_TIMEOUT, IDLE_TIMEOUT_ASIDE, Timed};
use crate::front::head::Spoken;
use crate::front::protection::{Connections, Peer, Protection, Ticket};

/// How long a client may take to agree on TLS.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// The pause after an accept that failed for want of something (file descriptors, say): the next one would fail too.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The most that a connection keeps of what was sent and not read yet. A pixel's address has 64 KiB at most.
const MAX_BUFFER: usize = 128 * 1024;

/// How many connections a listener without doors has at most. The one that has been idle for longest makes room for a new one.
pub const CONNECTIONS_ASIDE: usize = 64;

/// How to serve HTTP.
#[derive(Clone)]
pub struct HttpSettings {
    /// How long requests in progress may take to end after the stop.
    pub grace: Duration,
    /// What bounds the connections. `None`: there are no doors at this listener, and [`CONNECTIONS_ASIDE`] do.
    pub protection: Option<Arc<Protection>>,
    /// What TLS is spoken with; new connections get what is there then. `None`: none is spoken.
    pub certificate: Option<watch::Receiver<Arc<Certificate>>>,
}

/// Serves `router` until `stop` is cancelled; requests in progress are then answered and nothing new is taken.
pub async fn serve(listener: TcpListener, router: Router, settings: HttpSettings, stop: CancellationToken) {
    let graceful = GracefulShutdown::new();
    let (connections, idle) = match &settings.protection {
        Some(protection) => (protection.connections.clone(), IDLE_TIMEOUT),
        None => (Connections::aside(CONNECTIONS_ASIDE), IDLE_TIMEOUT_ASIDE),
    };
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok((stream, address)) => (stream, address.ip()),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let client = settings.protection.as_ref().and_then(|protection| protection.client(peer));
        // Closed at once: there is no room even for an answer.
        let Some(ticket) = connections.open(client) else { continue };
        let connection = Connection { peer, ticket: Arc::new(ticket), idle, router: router.clone() };
        let certificate = settings.certificate.as_ref().map(|certificate| certificate.borrow().clone());
        let (watcher, stop) = (graceful.watcher(), stop.clone());
        tokio::spawn(connection.run(stream, certificate, watcher, stop));
    }
    drop(listener);
    if tokio::time::timeout(settings.grace, graceful.shutdown()).await.is_err() {
        tracing::warn!("some requests were still in progress at the end");
    }
}

/// What is known of a connection beside its bytes.
struct Connection {
    peer: IpAddr,
    ticket: Arc<Ticket>,
    /// How long nothing may happen on it between requests.
    idle: Duration,
    router: Router,
}

impl Connection {
    async fn run(
        self,
        stream: TcpStream,
        certificate: Option<Arc<Certificate>>,
        watcher: Watcher,
        stop: CancellationToken,
    ) {
        // Answers are small and complete; waiting to fill a packet only adds latency.
        let _ = stream.set_nodelay(true);
        let ticket = self.ticket.clone();
        let (deadlines, overdue) = Deadlines::begin(self.idle);
        let stream = Timed::new(stream, deadlines.clone());
        let serving = async {
            let Some(certificate) = certificate else { return self.serve(stream, deadlines, watcher).await };
            let handshake = TlsAcceptor::from(certificate.config.clone()).accept(stream);
            let agreed = tokio::select! {
                agreed = timeout(HANDSHAKE_TIMEOUT, handshake) => agreed,
                // There is no request yet that would have to be answered.
                () = stop.cancelled() => return,
            };
            if let Ok(Ok(stream)) = agreed {
                return self.serve(stream, deadlines, watcher).await;
            }
            tracing::debug!("no TLS was agreed on");
            self.ticket.failed_to_agree();
        };
        tokio::select! {
            () = serving => {}
            () = overdue => tracing::debug!("a connection was too slow, or idle for too long"),
            () = ticket.dropped.cancelled() => tracing::debug!("an idle connection made room for a new one"),
        }
    }

    async fn serve(
        self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        deadlines: Deadlines,
        watcher: Watcher,
    ) {
        let Self { peer, ticket, router, .. } = self;
        deadlines.ready();
        let service = service_fn(move |mut request: Request<Incoming>| {
            let (ticket, router) = (ticket.clone(), router.clone());
            let turn = deadlines.request(Some(ticket));
            async move {
                // It had to make room in this moment: its sender sends again what got no answer.
                let turn = turn.ok_or_else(|| io::Error::from(io::ErrorKind::ConnectionAborted))?;
                request.extensions_mut().insert(Peer(peer));
                let Ok(response) = router.oneshot(request.map(Body::new)).await;
                Ok::<_, io::Error>(response.map(|body| turn.until_sent(body)))
            }
        });
        let mut builder = http1::Builder::new();
        // The deadlines are those of `Deadlines`, which tells an idle connection from one that is slow.
        builder.timer(TokioTimer::new()).header_read_timeout(None).max_buf_size(MAX_BUFFER).keep_alive(true);
        if let Err(error) = watcher.watch(builder.serve_connection(TokioIo::new(Spoken::new(stream)), service)).await {
            tracing::debug!(%error, "a connection ended early");
        }
    }
}
