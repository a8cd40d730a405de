use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Stands between a client and a server, on a free port, and takes down what the client asks. It passes on every byte
/// of either side as it is. Ends with its handle.
pub struct Tap {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    _stop: DropGuard,
}

/// A request as it was on the wire.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The method and the path.
    pub line: String,
    /// The header lines, in lower case up to the colon.
    pub headers: Vec<String>,
    /// The body, packed if it was sent so.
    pub body: Vec<u8>,
}

impl Request {
    /// A header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
    }
}

impl Tap {
    /// Starts one before `server`.
    ///
    /// # Panics
    /// When there is no free port.
    pub async fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (stop, requests) = (CancellationToken::new(), Arc::<Mutex<Vec<Request>>>::default());
        let serving = {
            let requests = requests.clone();
            async move {
                while let Ok((client, _)) = listener.accept().await {
                    let requests = requests.clone();
                    // Either side may leave whenever it likes.
                    tokio::spawn(async move { connect(client, server, &requests).await });
                }
            }
        };
        tokio::spawn(stop.clone().run_until_cancelled_owned(serving));
        Self { address, requests, _stop: stop.drop_guard() }
    }

    /// Where the client is to go.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What was asked so far, in the order of the last bytes.
    ///
    /// # Panics
    /// When a connection's task panicked.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().expect("not poisoned").clone()
    }
}

async fn connect(client: TcpStream, server: SocketAddr, requests: &Mutex<Vec<Request>>) -> io::Result<()> {
    let (from_client, mut to_client) = client.into_split();
    let (mut from_server, to_server) = TcpStream::connect(server).await?.into_split();
    let answering = async {
        tokio::io::copy(&mut from_server, &mut to_client).await?;
        to_client.shutdown().await
    };
    tokio::try_join!(forward(BufReader::new(from_client), to_server, requests), answering)?;
    Ok(())
}

async fn forward(
    mut client: impl AsyncBufReadExt + Unpin,
    mut server: impl AsyncWriteExt + Unpin,
    requests: &Mutex<Vec<Request>>,
) -> io::Result<()> {
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if client.read_line(&mut head).await? == 0 {
                return server.shutdown().await;
            }
        }
        server.write_all(head.as_bytes()).await?;
        let mut request = read(&head);
        assert!(request.header("transfer-encoding").is_none(), "no library sends one that the tap cannot take down");
        let length = request.header("content-length").map_or(0, |length| length.parse().expect("a length"));
        request.body.resize(length, 0);
        client.read_exact(&mut request.body).await?;
        // Taken down before anybody can have an answer to it.
        let body = request.body.clone();
        requests.lock().expect("not poisoned").push(request);
        server.write_all(&body).await?;
    }
}

fn read(head: &str) -> Request {
    let mut lines = head.trim_end().lines();
    let line = lines.next().unwrap_or_default().trim_end_matches(" HTTP/1.1").to_owned();
    let lower = |line: &str| line.split_once(':').map(|(name, value)| format!("{}:{value}", name.to_lowercase()));
    Request { line, headers: lines.filter_map(lower).collect(), body: Vec::new() }
}
