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
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use tracing::{debug, info, warn};

use crate::{api::Api, control, simulator::Simulator};

/// Accepts connections and speaks HTTP/1.1 on them.
///
/// `axum::serve` would do, were it not for calls that are to end in a TCP reset: that takes the connection itself.
pub(crate) struct Server {
    routes: Router,
    stop: CancellationToken,
}

/// How long calls under way may take once the simulator is to stop.
const DRAIN: Duration = Duration::from_secs(1);

/// How long to wait when there are no file descriptors left for another connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

impl Server {
    pub(crate) fn new(simulator: Simulator, stop: CancellationToken) -> Self {
        let routes = control::router(simulator.clone()).merge(Api::new(simulator, stop.clone()).router());
        Self { routes, stop }
    }

    pub(crate) async fn run(self, listener: TcpListener) -> io::Result<()> {
        let address = listener.local_addr()?;
        info!("simulating Refersion on http://{address}");
        let mut connections = JoinSet::new();
        while let Some(accepted) = self.stop.run_until_cancelled(listener.accept()).await {
            match accepted {
                Ok((stream, _)) => {
                    connections.spawn(converse(stream, self.routes.clone(), self.stop.clone()));
                }
                Err(error) => {
                    warn!(%error, "could not accept a connection");
                    sleep(ACCEPT_PAUSE).await;
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

/// Marks a response that is not to be sent: the connection is reset in its place.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the call is to end without an answer")]
pub(crate) struct Dropped;

impl Dropped {
    pub(crate) fn response() -> Response {
        axum::Extension(Self).into_response()
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
            match response.extensions().get::<Dropped>() {
                None => Ok(response),
                Some(dropped) => Err(*dropped),
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
    if error.source().is_some_and(<dyn Error>::is::<Dropped>) {
        let stream = connection.into_parts().io.into_inner();
        if let Err(error) = stream.set_zero_linger() {
            warn!(%error, "could not turn a close into a reset");
        }
    } else {
        debug!(%error, "a connection broke");
    }
}
