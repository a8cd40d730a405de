use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use crate::front::protection::Ticket;

/// How long a connection to the doors is kept on which nothing happens between requests.
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_secs(75);
/// The same at a listener without doors. Whoever asks it now and then connects anew.
pub(crate) const IDLE_TIMEOUT_ASIDE: Duration = Duration::from_secs(10);
/// How long a client may take to send a request's headers; for the first ones, from when its connection is ready.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client may leave an answer unread.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// What a connection is about, which says how long it may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Not about HTTP yet: whoever makes it ready has a deadline of its own.
    Handshake,
    /// The headers of a request are on their way.
    Headers(Instant),
    /// A request is in progress: whoever works it has deadlines of its own.
    Request,
    /// Nothing is, since then.
    Idle(Instant),
}

impl Phase {
    /// `idle`: how long a connection is kept on which nothing happens between requests.
    fn deadline(self, idle: Duration) -> Option<Instant> {
        match self {
            Self::Headers(since) => Some(since + HEADER_TIMEOUT),
            Self::Handshake | Self::Request => None,
            Self::Idle(since) => Some(since + idle),
        }
    }
}

/// Follows a connection from phase to phase.
#[derive(Clone, Debug)]
pub(crate) struct Deadlines(Arc<watch::Sender<Phase>>);

impl Deadlines {
    /// Begins with a new connection, which may be idle for so long. The future ends when the connection is overdue.
    pub(crate) fn begin(idle: Duration) -> (Self, impl Future<Output = ()>) {
        let (sender, mut phase) = watch::channel(Phase::Handshake);
        let overdue = async move {
            loop {
                let deadline = phase.borrow_and_update().deadline(idle);
                let elapsed = async {
                    match deadline {
                        Some(deadline) => sleep_until(deadline).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    biased;
                    Ok(()) = phase.changed() => {}
                    () = elapsed => return,
                }
            }
        };
        (Self(Arc::new(sender)), overdue)
    }

    /// It is ready for its first request.
    pub(crate) fn ready(&self) {
        self.0.send_replace(Phase::Headers(Instant::now()));
    }

    /// Bytes have come.
    fn received(&self) {
        self.0.send_if_modified(|phase| {
            let begins = matches!(phase, Phase::Idle(_));
            if begins {
                *phase = Phase::Headers(Instant::now());
            }
            begins
        });
    }

    /// A request's headers are there. `None`: its connection is one that had to make room.
    pub(crate) fn request(&self, ticket: Option<Arc<Ticket>>) -> Option<Turn> {
        if ticket.as_ref().is_some_and(|ticket| !ticket.begin()) {
            return None;
        }
        self.0.send_replace(Phase::Request);
        Some(Turn { deadlines: self.clone(), ticket })
    }
}

/// A request in progress, until its answer is sent.
pub(crate) struct Turn {
    deadlines: Deadlines,
    ticket: Option<Arc<Ticket>>,
}

impl Turn {
    /// Goes on until this body is.
    pub(crate) fn until_sent(self, body: Body) -> Sent {
        Sent { body, _turn: self }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(ticket) = &self.ticket {
            ticket.end();
        }
        self.deadlines.0.send_replace(Phase::Idle(Instant::now()));
    }
}

/// The body of an answer.
pub(crate) struct Sent {
    body: Body,
    _turn: Turn,
}

impl HttpBody for Sent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The bytes of a connection: what comes moves its deadlines on, and what is not taken breaks it.
pub(crate) struct Timed<S> {
    stream: S,
    deadlines: Deadlines,
    /// Since the client has stopped reading.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> Timed<S> {
    pub(crate) fn new(stream: S, deadlines: Deadlines) -> Self {
        Self { stream, deadlines, stalled: None }
    }

    /// Lets what was written through, and waits only so long where nothing is.
    fn within<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        ready!(self.stalled.get_or_insert_with(|| Box::pin(sleep(WRITE_TIMEOUT))).as_mut().poll(context));
        Poll::Ready(Err(io::Error::from(io::ErrorKind::TimedOut)))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Timed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if before < buffer.filled().len() {
            self.deadlines.received();
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Timed<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.within(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.within(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.within(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(context);
        self.within(context, shut)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::time::advance;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn the_first_headers_have_ten_seconds_however_they_dribble() {
        let (deadlines, overdue) = Deadlines::begin(SECOND * 75);
        let mut overdue = std::pin::pin!(overdue);
        deadlines.ready();
        for _ in 0..9 {
            advance(SECOND).await;
            deadlines.received();
            assert!(overdue.as_mut().now_or_never().is_none());
        }
        advance(SECOND).await;
        assert!(overdue.as_mut().now_or_never().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_takes_as_long_as_it_takes_and_then_the_connection_may_be_idle() {
        let (deadlines, overdue) = Deadlines::begin(SECOND * 75);
        let mut overdue = std::pin::pin!(overdue);
        let turn = deadlines.request(None).unwrap();
        advance(SECOND * 1000).await;
        assert!(overdue.as_mut().now_or_never().is_none());
        drop(turn);
        advance(SECOND * 74).await;
        assert!(overdue.as_mut().now_or_never().is_none());
        advance(SECOND).await;
        assert!(overdue.as_mut().now_or_never().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_headers_have_ten_seconds_from_their_first_byte() {
        let (deadlines, overdue) = Deadlines::begin(SECOND * 75);
        let mut overdue = std::pin::pin!(overdue);
        drop(deadlines.request(None));
        advance(SECOND * 60).await;
        let (mut client, server) = duplex(16);
        let mut server = Timed::new(server, deadlines);
        client.write_all(b"P").await.unwrap();
        server.read_u8().await.unwrap();
        advance(SECOND * 9).await;
        assert!(overdue.as_mut().now_or_never().is_none());
        advance(SECOND).await;
        assert!(overdue.as_mut().now_or_never().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_is_given_ten_seconds_each_time() {
        let (mut client, server) = duplex(4);
        let mut server = Timed::new(server, Deadlines::begin(SECOND * 75).0);
        server.write_all(b"1234").await.unwrap();
        let mut writing = std::pin::pin!(async move { server.write_all(b"56").await.map(|()| server) });
        assert!(writing.as_mut().now_or_never().is_none());
        advance(SECOND * 9).await;
        assert!(writing.as_mut().now_or_never().is_none());
        client.read_u16().await.unwrap();
        let mut server = writing.await.unwrap();

        let began = Instant::now();
        let error = server.write_all(b"78").await.unwrap_err();
        assert_eq!((error.kind(), began.elapsed()), (io::ErrorKind::TimedOut, WRITE_TIMEOUT));
    }
}
