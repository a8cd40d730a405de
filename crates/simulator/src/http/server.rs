use std::{convert::Infallible, error::Error, future::poll_fn, io, pin::Pin, time::Duration};

use axum::{
    Router,
    body::Body,
    http::Request,
    response::{IntoResponse, Response},
};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use tracing::{debug, info, warn};

use crate::faults::outage::{Outage, PAUSE};
use crate::http::api::Api;
use crate::http::control;
use crate::simulator::Simulator;

/// Accepts connections and speaks HTTP/1.1 on them.
///
/// `axum::serve` would do, were it not for calls that are to end in a TCP reset: that takes the connection itself.
pub(crate) struct Server {
    routes: Router,
    outages: watch::Receiver<Option<Outage>>,
    stop: CancellationToken,
}

/// How long calls under way may take once the simulator is to stop.
const DRAIN: Duration = Duration::from_secs(1);

/// What a server of something else says first.
const NO_HTTP: &[u8] = b"220 mail.example.com ESMTP\r\n";

impl Server {
    pub(crate) fn new(simulator: Simulator, stop: CancellationToken) -> Self {
        let outages = simulator.outages();
        let routes = control::router(simulator.clone()).merge(Api::new(simulator, stop.clone()).router());
        Self { routes, outages, stop }
    }

    pub(crate) async fn run(mut self, mut listener: TcpListener) -> io::Result<()> {
        let address = listener.local_addr()?;
        info!("simulating Refersion on http://{address}");
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                () = self.stop.cancelled() => break,
                Some(outage) = next(&mut self.outages) => {
                    connections.shutdown().await;
                    let sat_out = self.stop.run_until_cancelled(outage.sit_out(listener)).await;
                    let Some(again) = sat_out.transpose()? else { return Ok(()) };
                    listener = again;
                }
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        connections.spawn(converse(stream, self.routes.clone(), self.stop.clone()));
                    }
                    Err(error) => {
                        warn!(%error, "could not accept a connection");
                        sleep(PAUSE).await;
                    }
                }
            }
            // Forget those that ended.
            while connections.try_join_next().is_some() {}
        }
        drop(listener);
        let drained = timeout(DRAIN, async { while connections.join_next().await.is_some() {} }).await;
        if drained.is_err() {
            warn!(connections = connections.len(), "cutting off connections that did not end");
            connections.shutdown().await;
        }
        Ok(())
    }
}

/// Returns the next outage; `None` where there will be none.
async fn next(outages: &mut watch::Receiver<Option<Outage>>) -> Option<Outage> {
    outages.changed().await.ok()?;
    *outages.borrow_and_update()
}

/// Marks a response that is not to be sent, and says how the connection ends in its place.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the call is to end without an answer")]
pub(crate) enum Ending {
    /// A TCP reset.
    Reset,
    /// An orderly end.
    Close,
    /// Bytes that are no HTTP, and an orderly end.
    NotHttp,
}

impl IntoResponse for Ending {
    fn into_response(self) -> Response {
        axum::Extension(self).into_response()
    }
}

/// Answers the calls on one connection until either side has had enough.
async fn converse(stream: TcpStream, routes: Router, stop: CancellationToken) {
    // Small answers should not wait for more to come.
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "could not switch off Nagle's algorithm");
    }
    let service = service_fn(|request: Request<Incoming>| {
        let routes = routes.clone();
        Box::pin(async move {
            let answered: Result<Response, Infallible> = routes.oneshot(request.map(Body::new)).await;
            let Ok(response) = answered;
            match response.extensions().get::<Ending>() {
                None => Ok(response),
                Some(ending) => Err(*ending),
            }
        })
    });
    let mut connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    // The plain future of the connection would shut the stream down in an orderly way before it could be reset.
    let ended = stop.run_until_cancelled(poll_fn(|context| connection.poll_without_shutdown(context))).await;
    let ended = if let Some(ended) = ended {
        ended
    } else {
        Pin::new(&mut connection).graceful_shutdown();
        poll_fn(|context| connection.poll_without_shutdown(context)).await
    };
    let Err(error) = ended else { return };
    let Some(ending) = error.source().and_then(<dyn Error>::downcast_ref::<Ending>) else {
        debug!(%error, "a connection broke");
        return;
    };
    let mut stream = connection.into_parts().io.into_inner();
    let ended = match ending {
        Ending::Reset => stream.set_zero_linger(),
        Ending::Close => stream.shutdown().await,
        Ending::NotHttp => match stream.write_all(NO_HTTP).await {
            Ok(()) => stream.shutdown().await,
            Err(error) => Err(error),
        },
    };
    if let Err(error) = ended {
        debug!(%error, "a connection ended before it could be ended");
    }
}
