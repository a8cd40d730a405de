use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::{Body, Frame};
use tokio::time::{Instant, timeout_at};

/// How long a body may take, and each further part of it.
pub(crate) const PART_TIMEOUT: Duration = Duration::from_secs(10);
/// How much of a body has to come in that time, if so much is missing: 16 KiB in a second, which is less than any line that carries
/// large bodies, and more than it is worth to hold a place with.
const PART_BYTES: usize = 160 * 1024;
/// How long all of a stranger's body may take: what it is read into is the memory of all strangers.
pub(crate) const STRANGER_TIMEOUT: Duration = Duration::from_secs(30);

/// Watches that a body comes at the least rate. However large it is, whoever sends that fast gets through, unless there is an
/// end to it, and whoever dribbles, or stops in the middle, does not.
#[derive(Debug)]
pub(crate) struct LeastRate {
    deadline: Instant,
    missing: usize,
    end: Option<Instant>,
}

/// It did not.
#[derive(Debug)]
pub(crate) struct TooSlow;

impl LeastRate {
    /// Begins now, for a body that may take as long as it comes at that rate.
    pub(crate) fn begin() -> Self {
        Self::until(None)
    }

    /// Begins now, for a body that has to be there after [`STRANGER_TIMEOUT`] at that.
    pub(crate) fn begin_for_a_stranger() -> Self {
        Self::until(Some(Instant::now() + STRANGER_TIMEOUT))
    }

    fn until(end: Option<Instant>) -> Self {
        Self { deadline: Instant::now() + PART_TIMEOUT, missing: PART_BYTES, end }
    }

    /// The next frame of a body, if it comes in time.
    pub(crate) async fn frame<B>(&mut self, body: &mut B) -> Result<Option<Result<Frame<B::Data>, B::Error>>, TooSlow>
    where
        B: Body<Data = bytes::Bytes> + Unpin,
    {
        // A body that always has a next frame never lets the timeout look at the clock.
        if self.end.is_some_and(|end| end <= Instant::now()) {
            return Err(TooSlow);
        }
        let deadline = self.end.map_or(self.deadline, |end| end.min(self.deadline));
        let frame = timeout_at(deadline, body.frame()).await.map_err(|_| TooSlow)?;
        if let Some(Ok(frame)) = &frame {
            self.received(frame.data_ref().map_or(0, bytes::Bytes::len));
        }
        Ok(frame)
    }

    fn received(&mut self, bytes: usize) {
        if bytes < self.missing {
            self.missing -= bytes;
        } else {
            *self = Self::until(self.end);
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body as HttpBody;
    use futures_util::stream;

    use super::*;

    /// Sends a body of so many pieces, one each second, and says how many came.
    async fn sent(pieces: usize, bytes: usize) -> Result<usize, TooSlow> {
        let piece = move |n| async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            (n < pieces).then(|| (Ok::<_, std::io::Error>(vec![b'x'; bytes]), n + 1))
        };
        let mut body = HttpBody::from_stream(Box::pin(stream::unfold(0, piece)));
        let (mut rate, mut count) = (LeastRate::begin(), 0);
        while let Some(frame) = rate.frame(&mut body).await? {
            count += usize::from(frame.is_ok());
        }
        Ok(count)
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_sender_of_a_large_body_gets_through_and_a_dribbler_does_not() {
        // 4 MiB within four minutes.
        assert_eq!(sent(227, 18 * 1024 + 512).await.unwrap(), 227);
        let began = Instant::now();
        for dribble in [1, 1024, 15 * 1024] {
            assert!(sent(1_000, dribble).await.is_err(), "{dribble}");
        }
        assert_eq!(began.elapsed(), 3 * PART_TIMEOUT, "each in the time of its first part");
        assert_eq!(sent(9, 1).await.unwrap(), 9, "a small body has that time as well");
    }

    #[tokio::test(start_paused = true)]
    async fn a_fast_beginning_buys_no_time() {
        let first = stream::iter([Ok::<_, std::io::Error>(vec![b'x'; 4 * 1024 * 1024])]);
        let mut body = HttpBody::from_stream(futures_util::StreamExt::chain(first, stream::pending()));
        let (mut rate, began) = (LeastRate::begin(), Instant::now());
        assert!(rate.frame(&mut body).await.unwrap().is_some());
        assert!(rate.frame(&mut body).await.is_err());
        assert_eq!(began.elapsed(), PART_TIMEOUT);
    }
}
