use std::{io, net::SocketAddr};

use tokio::{
    net::{TcpListener, TcpSocket},
    time::{Duration, Instant, sleep, sleep_until},
};
use tracing::warn;

/// A time during which no call gets through.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outage {
    kind: OutageKind,
    until: Instant,
}

/// What connections meet during an outage.
#[derive(Clone, Copy, Debug)]
pub(crate) enum OutageKind {
    /// Nobody listens.
    Refuse,
    /// They are accepted and closed.
    Close,
}

/// How many connections may wait to be accepted, as with any listener of tokio's.
const BACKLOG: u32 = 1024;

/// How long to wait when the system has no means left for what it was asked.
pub(crate) const PAUSE: Duration = Duration::from_millis(50);

impl Outage {
    pub(crate) fn new(kind: OutageKind, duration: Duration) -> Self {
        Self { kind, until: Instant::now() + duration }
    }

    /// Keeps everybody away from `listener` until the outage is over, and returns one for the same address.
    pub(crate) async fn sit_out(self, listener: TcpListener) -> io::Result<TcpListener> {
        match self.kind {
            OutageKind::Refuse => {
                let address = listener.local_addr()?;
                drop(listener);
                let socket = occupy(address).await?;
                sleep_until(self.until).await;
                socket.set_reuseaddr(true)?;
                socket.listen(BACKLOG)
            }
            OutageKind::Close => {
                let closing = async {
                    loop {
                        if listener.accept().await.is_err() {
                            sleep(PAUSE).await;
                        }
                    }
                };
                tokio::select! {
                    () = sleep_until(self.until) => {}
                    () = closing => {}
                }
                Ok(listener)
            }
        }
    }
}

/// Takes an address without listening at it: connections are refused, and nobody else gets the port.
async fn occupy(address: SocketAddr) -> io::Result<TcpSocket> {
    loop {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        match socket.bind(address) {
            Ok(()) => {
                // It was needed for the connections that used to be here, and would let others in beside us.
                socket.set_reuseaddr(false)?;
                return Ok(socket);
            }
            Err(error) => {
                warn!(%error, "could not keep the address");
                sleep(PAUSE).await;
            }
        }
    }
}
