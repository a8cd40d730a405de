use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};

/// An HTTP server on a free port that gives everybody the same answer. Ends with its handle.
pub struct Canned {
    url: String,
    _stop: DropGuard,
}

impl Canned {
    /// Answers with `status`, these header lines and `body`.
    ///
    /// # Panics
    /// When there is no free port.
    pub async fn start(status: u16, headers: &str, body: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let length = body.len();
        let answer =
            format!("HTTP/1.1 {status} Canned\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}");
        let stop = CancellationToken::new();
        let serving = async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, answer.clone()));
            }
        };
        tokio::spawn(stop.clone().run_until_cancelled_owned(serving));
        Self { url, _stop: stop.drop_guard() }
    }

    /// Without a path.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }
}

/// Reads the whole request first: closing a connection with something unread in it resets it.
async fn serve(stream: TcpStream, answer: String) {
    let mut stream = BufReader::new(stream);
    let (mut line, mut length) = (String::new(), 0);
    while stream.read_line(&mut line).await.is_ok_and(|read| 2 < read) {
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        line.clear();
    }
    let mut body = vec![0; length];
    if stream.read_exact(&mut body).await.is_ok() {
        // A client that has gone away is no matter.
        let _ = stream.write_all(answer.as_bytes()).await;
        let _ = stream.shutdown().await;
    }
}
