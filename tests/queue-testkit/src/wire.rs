//! A wire between a relay and a broker, to stall, to cut, and to fail.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::tcp::ReadHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

/// Passes bytes on in both directions. Ends everything when it is dropped.
pub struct Wire {
    address: SocketAddr,
    accepted: Arc<AtomicU64>,
    open: Arc<()>,
    received: Arc<AtomicU64>,
    orders: watch::Sender<Orders>,
    /// How many pass nothing back.
    quiet: Arc<AtomicU64>,
    _accepting: AbortOnDropHandle<()>,
}

/// Connections are numbered as they come.
#[derive(Clone, Default)]
struct Orders {
    /// Those below this number pass nothing on.
    stalled: u64,
    /// Those below this number are closed.
    cut: u64,
    /// Those over which somebody consumes this queue are ended with an error.
    failing: Option<String>,
    /// One that passes this on to the broker passes nothing back from then on.
    muting: Option<&'static str>,
}

impl Wire {
    /// To the broker at `url`, which has one host.
    pub async fn to(url: &str) -> Self {
        let target = authority(url).to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepted = Arc::new(AtomicU64::new(0));
        let (orders, receiver) = watch::channel(Orders::default());
        let (counter, open) = (accepted.clone(), Arc::new(()));
        let (guard, bytes) = (open.clone(), Arc::new(AtomicU64::new(0)));
        let (sum, quiet) = (bytes.clone(), Arc::<AtomicU64>::default());
        let mutes = quiet.clone();
        let accepting = async move {
            while let Ok((near, _)) = listener.accept().await {
                let number = counter.fetch_add(1, Ordering::SeqCst);
                let (target, orders, guard) = (target.clone(), receiver.clone(), guard.clone());
                let (bytes, mutes) = (bytes.clone(), mutes.clone());
                tokio::spawn(async move {
                    connect(near, target, number, orders, bytes, mutes).await;
                    drop(guard);
                });
            }
        };
        Self {
            address,
            accepted,
            open,
            received: sum,
            orders,
            quiet,
            _accepting: AbortOnDropHandle::new(tokio::spawn(accepting)),
        }
    }

    /// The same URL by way of this wire.
    pub fn url(&self, url: &str) -> String {
        url.replace(authority(url), &self.address.to_string())
    }

    /// How many connections are open.
    pub fn connections(&self) -> usize {
        Arc::strong_count(&self.open) - 2 // ours, and that of the accepting task
    }

    /// How many bytes have come from the broker, of all connections.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::SeqCst)
    }

    /// Lets the connections of now pass nothing on; later ones work.
    pub fn stall(&self) {
        let all = self.accepted.load(Ordering::SeqCst);
        self.orders.send_modify(|orders| orders.stalled = all);
    }

    /// Lets each connection that passes this on to the broker pass nothing back: what is asked then is done, and not answered.
    pub fn mute_after(&self, words: Option<&'static str>) {
        self.orders.send_modify(|orders| orders.muting = words);
    }

    /// How often that has happened.
    pub fn muted(&self) -> u64 {
        self.quiet.load(Ordering::SeqCst)
    }

    /// Closes the connections of now without a word; later ones work.
    pub fn cut(&self) {
        let all = self.accepted.load(Ordering::SeqCst);
        self.orders.send_modify(|orders| orders.cut = all);
    }

    /// Ends each connection over which somebody begins to consume this queue, in the broker's name and with an internal error.
    pub fn fail_consuming(&self, queue: Option<&str>) {
        self.orders.send_modify(|orders| orders.failing = queue.map(str::to_owned));
    }
}

fn authority(url: &str) -> &str {
    let rest = url.rsplit_once('@').expect("a test's URL has a user").1;
    rest.split_once('/').map_or(rest, |(authority, _)| authority)
}

async fn connect(
    mut near: TcpStream,
    target: String,
    number: u64,
    mut orders: watch::Receiver<Orders>,
    received: Arc<AtomicU64>,
    mutes: Arc<AtomicU64>,
) {
    let Ok(mut far) = TcpStream::connect(target).await else { return };
    let ((near_read, mut near_write), (far_read, far_write)) = (near.split(), far.split());
    let is_mute = AtomicBool::new(false);
    let there = pump(near_read, far_write, number, orders.clone(), (&is_mute, &mutes), None);
    let back = pump(far_read, &mut near_write, number, orders.clone(), (&is_mute, &mutes), Some(received));
    let ended = tokio::select! {
        ended = there => ended.ok(),
        _ = back => None,
        _ = orders.wait_for(|orders| number < orders.cut) => None,
    };
    if let Some(End::Failed) = ended
        && near.write_all(&internal_error()).await.is_ok()
    {
        let _ = near.read_to_end(&mut Vec::new()).await; // until the other side has read it
    }
}

/// Why nothing more is passed on.
enum End {
    Closed,
    Failed,
}

async fn pump(
    mut from: ReadHalf<'_>,
    mut to: impl AsyncWrite + Unpin,
    number: u64,
    mut orders: watch::Receiver<Orders>,
    (is_mute, mutes): (&AtomicBool, &AtomicU64),
    counted: Option<Arc<AtomicU64>>,
) -> io::Result<End> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 || orders.wait_for(|orders| orders.stalled <= number).await.is_err() {
            return Ok(End::Closed);
        }
        let read = &buffer[..count];
        let fails =
            |queue: &String| consume(queue).is_some_and(|order| read.windows(order.len()).any(|at| at == order));
        if counted.is_none() && orders.borrow().failing.as_ref().is_some_and(fails) {
            return Ok(End::Failed);
        }
        if let Some(counted) = &counted {
            if is_mute.load(Ordering::SeqCst) {
                std::future::pending::<()>().await;
            }
            counted.fetch_add(count as u64, Ordering::SeqCst);
        } else if let Some(words) = orders.borrow().muting
            && read.windows(words.len()).any(|bytes| bytes == words.as_bytes())
        {
            is_mute.store(true, Ordering::SeqCst);
            mutes.fetch_add(1, Ordering::SeqCst);
        }
        to.write_all(read).await?;
    }
}

/// How an order to consume a queue begins: `basic.consume`, a field that is always 0, and the name.
fn consume(queue: &str) -> Option<Vec<u8>> {
    let length = u8::try_from(queue.len()).ok()?;
    Some([&[0, 60, 0, 20, 0, 0, length], queue.as_bytes()].concat())
}

/// `connection.close` with 541, for what was asked with `basic.consume`.
fn internal_error() -> Vec<u8> {
    const WORDS: &str = "INTERNAL_ERROR";
    let mut method = vec![0, 10, 0, 50];
    method.extend(541_u16.to_be_bytes());
    method.push(u8::try_from(WORDS.len()).unwrap());
    method.extend(WORDS.as_bytes());
    method.extend([0, 60, 0, 20]);
    let mut frame = vec![1, 0, 0];
    frame.extend(u32::try_from(method.len()).unwrap().to_be_bytes());
    frame.extend(method);
    frame.push(0xce);
    frame
}
