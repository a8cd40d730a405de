use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::events::body;

/// One event in each request, over connections that are kept. As little as can be: it shares the machine with what it measures.
#[derive(Clone)]
pub(crate) struct Load {
    pub(crate) door: SocketAddr,
    /// Tells these people and message ids from others.
    pub(crate) word: String,
    pub(crate) bytes: usize,
    pub(crate) connections: u16,
}

/// When events are sent.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// Each connection sends the next one when its last one is answered, until then.
    Closed(Instant),
    /// So many, at this distance from each other, whatever the answers do.
    Open { events: u32, every: Duration },
}

/// What became of an event.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    pub(crate) number: u32,
    /// When it was sent, or was to be sent where no connection was free by then.
    pub(crate) at: Instant,
    /// How long after that it was answered.
    pub(crate) answered: Duration,
}

impl Load {
    /// Sends, and fails with the first event that is not accepted.
    pub(crate) async fn send(&self, pace: Pace) -> anyhow::Result<Vec<Sent>> {
        let (next, begun) = (Arc::new(AtomicU32::new(0)), Instant::now());
        let mut connections = JoinSet::new();
        for _ in 0..self.connections {
            let (load, next) = (self.clone(), next.clone());
            connections.spawn(async move {
                let (mut http, mut sent) = (Http::connect(load.door).await?, Vec::new());
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(at) = pace.time_of(number, begun).await else { return anyhow::Ok(sent) };
                    let status = http.post(&body(&load.word, number, load.bytes)).await?;
                    ensure!(status == 202, "an event was answered with {status}");
                    sent.push(Sent { number, at, answered: at.elapsed() });
                }
            });
        }
        let mut all = Vec::new();
        while let Some(sent) = connections.join_next().await {
            all.append(&mut sent??);
        }
        Ok(all)
    }
}

impl Pace {
    /// Waits until an event is to be sent. `None`: it is not.
    async fn time_of(self, number: u32, begun: Instant) -> Option<Instant> {
        let now = Instant::now();
        match self {
            Self::Closed(end) => (now < end).then_some(now),
            Self::Open { events, every } => {
                let due = begun + every * number;
                if events <= number {
                    return None;
                }
                if due <= now {
                    return Some(due);
                }
                // The timer is late by up to a millisecond, which is nobody's latency.
                tokio::time::sleep_until(due.into()).await;
                Some(Instant::now())
            }
        }
    }
}

/// A connection to a door.
struct Http {
    stream: TcpStream,
    head: String,
    received: Vec<u8>,
}

impl Http {
    async fn connect(door: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(door).await?;
        stream.set_nodelay(true)?;
        let key = STANDARD.encode("pub_1.sec_1:");
        let head = format!(
            "POST /v1/destination HTTP/1.1\r\nhost: {door}\r\nauthorization: Basic {key}\r\ncontent-type: application/json\r\n"
        );
        Ok(Self { stream, head, received: Vec::with_capacity(1024) })
    }

    /// Resolves to the status when the whole answer is there.
    async fn post(&mut self, body: &[u8]) -> anyhow::Result<u16> {
        let mut request = format!("{}content-length: {}\r\n\r\n", self.head, body.len()).into_bytes();
        request.extend_from_slice(body);
        self.stream.write_all(&request).await?;
        loop {
            if let Some((length, status)) = answer(&self.received)? {
                self.received.drain(..length);
                return Ok(status);
            }
            if self.stream.read_buf(&mut self.received).await? == 0 {
                bail!("the door closed a connection");
            }
        }
    }
}

/// The length of an answer, if it is there as a whole, and its status.
fn answer(received: &[u8]) -> anyhow::Result<Option<(usize, u16)>> {
    let Some(head) = received.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
    let text = std::str::from_utf8(&received[..head])?;
    let status = text.split(' ').nth(1).context("a status")?.parse()?;
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("content-length").then(|| value.parse::<usize>())
    });
    let length = head + 4 + length.context("an answer has a length")??;
    Ok((length <= received.len()).then_some((length, status)))
}

/// So many hundredths of these are no longer than that, in milliseconds.
pub(crate) fn percentile(sorted: &[Duration], hundredths: usize) -> f64 {
    let place = sorted.len().saturating_sub(1) * hundredths / 100;
    sorted.get(place).map_or(0.0, |duration| duration.as_secs_f64() * 1e3)
}
