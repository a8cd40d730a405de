use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

/// How much is passed on at once. Small, so that a slow network is slow for small messages too.
const CHUNK_BYTES: usize = 16 * 1024;

/// A network that goes wrong when it is told to: it stands between a client and a server, on a free port, and passes on
/// bytes as they are. Ends with its handle.
pub struct Proxy {
    address: SocketAddr,
    weather: watch::Sender<Weather>,
    _stop: DropGuard,
}

/// How the network is at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// Bytes pass.
    Fine,
    /// Bytes pass, each chunk so much later.
    Slow(Duration),
    /// So many bytes pass in a second, in each direction of each connection.
    Narrow(u32),
    /// Connections are made and stay, and nothing passes. What was sent meanwhile arrives when it is fine again, as TCP
    /// would send it again.
    Silent,
    /// Every connection is reset, and so is every new one.
    Refusing,
    /// The server has lost every connection, and the client does not notice: what it sends is swallowed. When the network is
    /// fine again, these connections are reset.
    HalfOpen,
}

#[derive(Clone, Copy, Debug)]
struct Weather {
    network: Network,
    /// How often everything was cut. A connection lives within one number.
    cuts: u64,
}

impl Proxy {
    /// Starts one before `server`, which may be away.
    ///
    /// # Panics
    /// When there is no free port.
    pub async fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (weather, watching) = watch::channel(Weather { network: Network::Fine, cuts: 0 });
        let stop = CancellationToken::new();
        let serving = async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(connect(client, server, watching.clone()));
            }
        };
        tokio::spawn(stop.clone().run_until_cancelled_owned(serving));
        Self { address, weather, _stop: stop.drop_guard() }
    }

    /// Where the client is to go.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes the network, for open connections too.
    pub fn set(&self, network: Network) {
        self.weather.send_modify(|weather| weather.network = network);
    }

    /// Resets every open connection. New ones are made as the network is.
    pub fn cut(&self) {
        self.weather.send_modify(|weather| weather.cuts += 1);
    }
}

/// What ends a connection.
enum End {
    /// Both sides had said everything, or one of them failed.
    Said,
    Cut,
    /// The server's side only.
    Lost,
}

async fn connect(mut client: TcpStream, server: SocketAddr, weather: watch::Receiver<Weather>) {
    let born = *weather.borrow();
    let connecting = async {
        // Also while it is silent: the connection is made when somebody listens to it again.
        until(&weather, |now| passes(now.network)).await;
        TcpStream::connect(server).await
    };
    let mut upstream = tokio::select! {
        () = until(&weather, |now| is_cut(now, born)) => return reset(client),
        connected = connecting => match connected {
            Ok(upstream) => upstream,
            Err(_) => return reset(client),
        },
    };
    // Small messages of both protocols are answered before more is sent.
    let _ = (client.set_nodelay(true), upstream.set_nodelay(true));
    let end = tokio::select! {
        biased;
        () = until(&weather, |now| is_cut(now, born)) => End::Cut,
        () = until(&weather, |now| now.network == Network::HalfOpen) => End::Lost,
        _ = pass(&mut client, &mut upstream, &weather) => End::Said,
    };
    match end {
        End::Said => {}
        End::Cut => {
            reset(client);
            reset(upstream);
        }
        End::Lost => {
            reset(upstream);
            let mut swallowed = [0; CHUNK_BYTES];
            let swallowing = async { while client.read(&mut swallowed).await.is_ok_and(|read| 0 < read) {} };
            tokio::select! {
                () = until(&weather, |now| now.network != Network::HalfOpen || is_cut(now, born)) => {}
                () = swallowing => {}
            }
            reset(client);
        }
    }
}

fn is_cut(now: Weather, born: Weather) -> bool {
    now.cuts != born.cuts || now.network == Network::Refusing
}

fn passes(network: Network) -> bool {
    match network {
        Network::Fine | Network::Slow(_) | Network::Narrow(_) => true,
        Network::Silent | Network::Refusing | Network::HalfOpen => false,
    }
}

async fn pass(client: &mut TcpStream, server: &mut TcpStream, weather: &watch::Receiver<Weather>) -> io::Result<()> {
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    tokio::try_join!(pump(from_client, to_server, weather), pump(from_server, to_client, weather))?;
    Ok(())
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    weather: &watch::Receiver<Weather>,
) -> io::Result<()> {
    let mut chunk = [0; CHUNK_BYTES];
    loop {
        let read = from.read(&mut chunk).await?;
        until(weather, |now| passes(now.network)).await;
        if read == 0 {
            return to.shutdown().await;
        }
        let network = weather.borrow().network;
        match network {
            Network::Slow(later) => tokio::time::sleep(later).await,
            Network::Narrow(bytes_per_second) => {
                let bytes = u32::try_from(read).expect("a chunk is small");
                tokio::time::sleep(Duration::from_secs(1) * bytes / bytes_per_second).await;
            }
            Network::Fine | Network::Silent | Network::Refusing | Network::HalfOpen => {}
        }
        to.write_all(&chunk[..read]).await?;
    }
}

/// Waits for such a weather; for ever, if the proxy is gone.
async fn until(weather: &watch::Receiver<Weather>, mut is: impl FnMut(Weather) -> bool) {
    if weather.clone().wait_for(|now| is(*now)).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Ends a connection as a crash of its machine would, once that is up again.
fn reset(stream: TcpStream) {
    let _ = stream.set_zero_linger();
    drop(stream);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that says everything again, behind a proxy.
    async fn echo() -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Proxy::before(listener.local_addr().unwrap()).await;
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    tokio::io::copy(&mut from, &mut to).await
                });
            }
        });
        proxy
    }

    async fn says(stream: &mut TcpStream, word: &[u8; 4]) -> io::Result<bool> {
        stream.write_all(word).await?;
        let mut heard = [0; 4];
        stream.read_exact(&mut heard).await?;
        Ok(&heard == word)
    }

    #[tokio::test]
    async fn what_is_cut_is_reset_and_the_next_connection_is_fine() {
        let proxy = echo().await;
        let mut first = TcpStream::connect(proxy.address()).await.unwrap();
        assert!(says(&mut first, b"one.").await.unwrap());

        proxy.cut();

        assert_eq!(first.read_u8().await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        let mut second = TcpStream::connect(proxy.address()).await.unwrap();
        assert!(says(&mut second, b"two.").await.unwrap());
        proxy.set(Network::Refusing);
        assert_eq!(second.read_u8().await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        let mut third = TcpStream::connect(proxy.address()).await.unwrap();
        assert!(says(&mut third, b"no!!").await.is_err());
    }

    #[tokio::test]
    async fn what_was_sent_into_silence_arrives_afterwards() {
        let proxy = echo().await;
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        assert!(says(&mut stream, b"one.").await.unwrap());
        proxy.set(Network::Silent);
        let mut saying = Box::pin(says(&mut stream, b"two."));
        // Long enough for a byte to come back over loopback, were it passed on.
        let waiting = tokio::time::timeout(Duration::from_millis(100), &mut saying);
        assert!(waiting.await.is_err(), "nothing passes");

        proxy.set(Network::Fine);

        assert!(saying.await.unwrap());
    }

    #[tokio::test]
    async fn a_half_open_connection_swallows_and_is_reset_in_the_end() {
        let proxy = echo().await;
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        assert!(says(&mut stream, b"one.").await.unwrap());
        proxy.set(Network::HalfOpen);
        let mut saying = Box::pin(says(&mut stream, b"two."));
        let waiting = tokio::time::timeout(Duration::from_millis(100), &mut saying);
        assert!(waiting.await.is_err(), "nobody answers");

        proxy.set(Network::Fine);

        assert_eq!(saying.await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn a_narrow_network_passes_everything_in_its_time() {
        let proxy = echo().await;
        proxy.set(Network::Narrow(40_000));
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        let started = std::time::Instant::now();

        stream.write_all(&[7; 4_000]).await.unwrap();
        let mut heard = [0; 4_000];
        stream.read_exact(&mut heard).await.unwrap();

        // A tenth of a second there, and a tenth back.
        assert!(Duration::from_millis(200) <= started.elapsed());
        assert_eq!(heard, [7; 4_000]);
    }
}
