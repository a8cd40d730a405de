use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::events::number;

const ANSWER: &str = r#"{"id":"a1","message":"Affiliate created"}"#;
const CREATE: &str = "POST /v2/affiliate/new ";

/// Something that accepts everything: as fast as a Refersion can be, or after a time, and not a bit like it otherwise.
pub(crate) struct StandIn {
    url: String,
    calls: Arc<Calls>,
    accepting: JoinHandle<()>,
}

/// What has been called.
struct Calls {
    created: AtomicU32,
    /// Moves with the first and the last of the awaited ones only, so that watching costs nothing.
    seen: watch::Sender<u32>,
    awaited: AtomicU32,
    latency_ms: AtomicU64,
    arrivals: Mutex<Option<Arc<Arrivals>>>,
}

/// When the events with this word arrived.
pub(crate) struct Arrivals {
    word: String,
    epoch: Instant,
    /// In microseconds from the epoch on, by the numbers of the events. Zero while it has not arrived.
    at: Vec<AtomicU64>,
}

impl Arrivals {
    /// When event number `n` arrived.
    pub(crate) fn of(&self, n: usize) -> Option<Instant> {
        let at = self.at.get(n)?.load(Ordering::Relaxed);
        (0 < at).then(|| self.epoch + Duration::from_micros(at))
    }

    fn note(&self, call: &[u8]) {
        let at = u64::try_from(self.epoch.elapsed().as_micros()).unwrap_or(u64::MAX);
        if let Some(place) = number(call, &self.word).and_then(|n| self.at.get(n)) {
            place.store(at, Ordering::Relaxed);
        }
    }
}

impl Calls {
    fn created(&self, call: &[u8]) {
        if let Some(arrivals) = self.arrivals.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            arrivals.note(call);
        }
        let count = self.created.fetch_add(1, Ordering::Relaxed) + 1;
        if count == 1 || count == self.awaited.load(Ordering::Relaxed) {
            self.seen.send_replace(count);
        }
    }

    async fn wait(&self) {
        let latency = self.latency_ms.load(Ordering::Relaxed);
        if 0 < latency {
            tokio::time::sleep(Duration::from_millis(latency)).await;
        }
    }
}

impl StandIn {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/v2", listener.local_addr()?);
        let calls = Arc::new(Calls {
            created: AtomicU32::new(0),
            seen: watch::Sender::new(0),
            awaited: AtomicU32::new(0),
            latency_ms: AtomicU64::new(0),
            arrivals: Mutex::default(),
        });
        let accepting = tokio::spawn({
            let calls = calls.clone();
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let calls = calls.clone();
                    // A connection that breaks is the caller's to mend.
                    tokio::spawn(async move { serve(stream, &calls).await.ok() });
                }
            }
        });
        Ok(Self { url, calls, accepting })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// How long each call takes from now on.
    pub(crate) fn take(&self, latency: Duration) {
        let latency = u64::try_from(latency.as_millis()).unwrap_or(u64::MAX);
        self.calls.latency_ms.store(latency, Ordering::Relaxed);
    }

    /// Begins to count from zero towards `events`.
    pub(crate) fn expect(&self, events: u32) {
        self.calls.awaited.store(events, Ordering::Relaxed);
        self.calls.created.store(0, Ordering::Relaxed);
        self.calls.seen.send_replace(0);
    }

    /// How many have been created since it began to count.
    pub(crate) fn created(&self) -> u32 {
        self.calls.created.load(Ordering::Relaxed)
    }

    /// Notes when the events with this word arrive, as many as there are, until the next ones.
    pub(crate) fn note(&self, word: &str, events: usize) -> Arc<Arrivals> {
        let at = (0..events).map(|_| AtomicU64::new(0)).collect();
        let arrivals = Arc::new(Arrivals { word: word.to_owned(), epoch: Instant::now(), at });
        *self.calls.arrivals.lock().unwrap_or_else(PoisonError::into_inner) = Some(arrivals.clone());
        arrivals
    }

    /// Resolves when the first, or as many as were expected, have been created.
    pub(crate) async fn until(&self, events: u32) -> anyhow::Result<()> {
        self.calls.seen.subscribe().wait_for(|seen| events <= *seen).await.context("it holds the sender").map(drop)
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Answers one request after the other until the connection ends.
async fn serve(mut stream: TcpStream, calls: &Calls) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json";
    let answer = format!("{head}\r\ncontent-length: {}\r\n\r\n{ANSWER}", ANSWER.len());
    let mut received = Vec::with_capacity(4096);
    loop {
        while let Some((length, creates)) = request(&received)? {
            if creates {
                calls.created(&received[..length]);
                calls.wait().await;
            }
            received.drain(..length);
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
