use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

const ANSWER: &str = r#"{"id":"a1","message":"Affiliate created"}"#;
const CREATE: &str = "POST /v2/affiliate/new ";

/// Something that accepts everything at once: as fast as a Refersion can be, and not a bit like it otherwise.
pub(crate) struct StandIn {
    url: String,
    created: Arc<AtomicU32>,
    /// Moves with the first and the last of the awaited ones only, so that watching costs nothing.
    seen: Arc<watch::Sender<u32>>,
    awaited: Arc<AtomicU32>,
    accepting: JoinHandle<()>,
}

impl StandIn {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/v2", listener.local_addr()?);
        let (created, awaited) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let seen = Arc::new(watch::Sender::new(0));
        let accepting = tokio::spawn({
            let (created, awaited, seen) = (created.clone(), awaited.clone(), seen.clone());
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let (created, awaited, seen) = (created.clone(), awaited.clone(), seen.clone());
                    let create = move || {
                        let count = created.fetch_add(1, Ordering::Relaxed) + 1;
                        if count == 1 || count == awaited.load(Ordering::Relaxed) {
                            seen.send_replace(count);
                        }
                    };
                    // A connection that breaks is the relay's to mend.
                    tokio::spawn(async move { serve(stream, create).await.ok() });
                }
            }
        });
        Ok(Self { url, created, seen, awaited, accepting })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Begins to count from zero towards `events`.
    pub(crate) fn expect(&self, events: u32) {
        self.awaited.store(events, Ordering::Relaxed);
        self.created.store(0, Ordering::Relaxed);
        self.seen.send_replace(0);
    }

    /// Resolves when the first, or as many as were expected, have been created.
    pub(crate) async fn until(&self, events: u32) -> anyhow::Result<()> {
        self.seen.subscribe().wait_for(|seen| events <= *seen).await.context("it holds the sender").map(drop)
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Answers one request after the other until the connection ends.
async fn serve(mut stream: TcpStream, create: impl Fn()) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json";
    let answer = format!("{head}\r\ncontent-length: {}\r\n\r\n{ANSWER}", ANSWER.len());
    let mut received = Vec::with_capacity(4096);
    loop {
        while let Some((length, creates)) = request(&received)? {
            received.drain(..length);
            if creates {
                create();
            }
            stream.write_all(answer.as_bytes()).await?;
        }
        if stream.read_buf(&mut received).await? == 0 {
            return Ok(());
        }
    }
}

/// The length of the first request, if it is there as a whole, and whether it creates an affiliate.
fn request(received: &[u8]) -> anyhow::Result<Option<(usize, bool)>> {
    let Some(head) = received.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
    let text = std::str::from_utf8(&received[..head])?;
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("content-length").then(|| value.parse::<usize>())
    });
    let length = head + 4 + length.transpose()?.unwrap_or(0);
    Ok((length <= received.len()).then_some((length, text.starts_with(CREATE))))
}
