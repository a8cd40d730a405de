use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The bytes of a connection as hyper reads and writes them. What cannot be read as a request never gets to the doors: hyper
/// answers it by itself, with a status and an empty body. Senders parse a body before they look at the status, so such an
/// answer gets one here, in JSON like every other.
pub(crate) struct Spoken<S> {
    stream: S,
    instead: Option<Instead>,
}

/// An answer that goes out in the place of another one.
struct Instead {
    bytes: Vec<u8>,
    written: usize,
    /// How many bytes of hyper's it stands for.
    stands_for: usize,
}

impl<S> Spoken<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, instead: None }
    }
}

/// The answer that goes out where hyper wrote an empty one. No answer of the doors has an empty body.
fn instead_of(written: &[u8]) -> Option<Instead> {
    let text = std::str::from_utf8(written).ok()?.strip_suffix("\r\n\r\n")?;
    let (first, headers) = text.split_once("\r\n")?;
    let status: u16 = first.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    let is_length = |line: &&str| line.to_ascii_lowercase().starts_with("content-length:");
    let is_empty = headers.split("\r\n").any(|line| is_length(&line) && line.ends_with(": 0"));
    if status < 400 || !is_empty || text.contains("\r\n\r\n") {
        return None;
    }
    let (code, message) = match status {
        414 => ("too_large", "the address of the request is longer than 64 KiB"),
        431 => ("too_large", "the request has more than 100 headers, or more than 128 KiB of them"),
        _ => ("malformed", "the request cannot be read as HTTP/1.1: see its first line and its headers"),
    };
    let body = json!({ "success": false, "code": code, "message": message, "error": message }).to_string();
    let mut head = vec![first.to_owned()];
    head.extend(headers.split("\r\n").filter(|line| !is_length(line)).map(ToOwned::to_owned));
    head.push("content-type: application/json".to_owned());
    head.push(format!("content-length: {}\r\n\r\n{body}", body.len()));
    Some(Instead { bytes: head.join("\r\n").into_bytes(), written: 0, stands_for: written.len() })
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Spoken<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Self { stream, instead } = self.get_mut();
        if instead.is_none() {
            *instead = instead_of(bytes);
        }
        let Some(answer) = instead else { return Pin::new(stream).poll_write(context, bytes) };
        while let Some(rest) = answer.bytes.get(answer.written..).filter(|rest| !rest.is_empty()) {
            match ready!(Pin::new(&mut *stream).poll_write(context, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => answer.written += written,
            }
        }
        let stands_for = answer.stands_for;
        *instead = None;
        Poll::Ready(Ok(stands_for))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut some = parts.iter().filter(|part| !part.is_empty());
        match (some.next(), some.next()) {
            (Some(only), None) => self.poll_write(context, only),
            _ => Pin::new(&mut self.stream).poll_write_vectored(context, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Spoken<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::Value;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio_util::sync::CancellationToken;

    use crate::doors::fake;
    use crate::serve;
    use crate::{Access, HttpSettings, router};

    /// What comes back for these bytes: the status, the headers and the body.
    async fn answer(request: &str) -> (u16, String, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        let (ingest, _) = fake::ingest(Access::default());
        let http = HttpSettings { grace: Duration::from_secs(1), protection: None, certificate: None };
        let serving = tokio::spawn(serve(listener, router(ingest), http, stop.clone()));
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        stop.cancel();
        serving.await.unwrap();
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
        (head[9..12].parse().unwrap(), head.to_ascii_lowercase(), body.to_owned())
    }

    #[tokio::test]
    async fn every_answer_is_json_also_to_what_cannot_be_read() {
        let end = "host: relay\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        let long = "x".repeat(70_000);
        let many = (0..200).fold(String::new(), |all, n| format!("{all}x-{n}: 1\r\n"));
        let cases = [
            (format!("POST /v1/webhook/%ff HTTP/1.1\r\n{end}"), 401),
            (format!("POST /v1/webhook/%ff/ HTTP/1.1\r\n{end}"), 401),
            (format!("POST /v1/%ff HTTP/1.1\r\n{end}"), 404),
            (format!("OPTIONS /v1/%ff HTTP/1.1\r\n{end}"), 404),
            (format!("GET /v1/pixel/%ff HTTP/1.1\r\n{end}"), 404),
            (format!("GET /%ff HTTP/1.1\r\n{end}"), 404),
            (format!("OPTIONS * HTTP/1.1\r\n{end}"), 404),
            (format!("CONNECT relay:443 HTTP/1.1\r\n{end}"), 404),
            (format!("BREW /v1/destination HTTP/1.1\r\n{end}"), 405),
            (format!("POST /v1/destination/ HTTP/1.1\r\n{end}"), 401),
            (format!("POST /v1/destination HTTP/1.0\r\n{end}"), 401),
            (format!("POST http://relay/v1/destination HTTP/1.1\r\n{end}"), 401),
            (format!("GET /v1/pixel/i?data={long} HTTP/1.1\r\n{end}"), 414),
            (format!("GET /health HTTP/1.1\r\n{many}{end}"), 431),
            (format!("GET /a b HTTP/1.1\r\n{end}"), 400),
            (format!("GET /health HTTP/3.0\r\n{end}"), 400),
            (format!("GET /health HTTP/1.1\r\nno header\r\n{end}"), 400),
            (format!("GET /health HTTP/1.1\r\ncontent-length: many\r\n{end}"), 400),
            (format!("POST /v1/b HTTP/1.1\r\ntransfer-encoding: strange\r\n{end}"), 400),
            ("nonsense\r\n\r\n".to_owned(), 400),
        ];
        for (request, expected) in cases {
            let shown: String = request.chars().take(60).collect();
            let (status, head, body) = answer(&request).await;
            assert_eq!(status, expected, "{shown:?}: {head}");
            assert!(head.contains("content-type: application/json"), "{shown:?}: {head}");
            assert!(head.contains(&format!("content-length: {}", body.len())), "{shown:?}: {head}");
            let body: Value = serde_json::from_str(&body).unwrap_or_else(|_| panic!("{shown:?}: {body}"));
            assert!(body["message"].as_str().is_some_and(|message| !message.is_empty()), "{shown:?}: {body}");
        }
    }

    #[tokio::test]
    async fn an_answer_to_head_has_the_headers_of_json_and_no_body() {
        for (path, expected) in [("/v1/destination", 405), ("/nowhere", 404), ("/v1/batch", 405), ("/health", 200)] {
            let (status, head, body) = answer(&format!("HEAD {path} HTTP/1.1\r\nconnection: close\r\n\r\n")).await;
            assert_eq!((status, body.as_str()), (expected, ""), "{path}");
            assert!(head.contains("content-type: application/json"), "{path}: {head}");
        }
    }
}
