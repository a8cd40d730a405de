use axum::extract::Request;
use bytes::Bytes;
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, EXPECT};
use http_body_util::{LengthLimitError, Limited};
use hyper::body::Body as _;
use refersion_relay_model::without_byte_order_mark;

use crate::front::bodies::gzip::gunzip;
use crate::front::bodies::least_rate::{LeastRate, TooSlow};
use crate::front::protection::{Lent, Loan, Protection, Undone};

/// How much of a body that is too large is read and thrown away, so that its sender gets to read the answer.
const DRAINED_BYTES: usize = 16 * 1024 * 1024;
/// What is borrowed at first for a body whose size is not known, or whose sender is not.
const FIRST_BYTES: usize = 4 * 1024;

/// What begins every body in gzip, and no text.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Who sends a body, as far as its headers tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sender {
    /// An account.
    Known,
    /// Perhaps an account: that turns out only when the body is there.
    Unverified,
    /// Nobody: only the size of what he sends matters.
    Unknown,
}

/// Why there is no body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyError {
    /// Larger than allowed as it was sent, which is refused whoever sends it.
    TooLarge,
    /// Larger than allowed when it was unpacked.
    UnpackedTooLarge,
    /// It did not arrive in time, or its sender went away.
    Slow,
    /// Not in the encoding that it names, or in one that is not understood.
    Encoding,
    /// In gzip, which its headers do not say.
    Packed,
    /// There is no memory for it now.
    Busy,
}

/// A body in memory that is borrowed for it.
#[derive(Debug)]
pub(crate) struct Body {
    /// They hold what was lent, and so does every part of them.
    pub(crate) bytes: Bytes,
    pub(crate) lent: Lent,
}

/// A body as it comes in, for which more may have to be borrowed.
#[derive(Debug)]
struct Incoming {
    bytes: Bytes,
    loan: Loan,
}

impl Body {
    /// The same without a byte order mark before it, which is no part of what it says.
    pub(crate) fn unmarked(self) -> Self {
        Self { bytes: unmarked(&self.bytes), ..self }
    }
}

/// The bytes behind a byte order mark, if there is one. They are not copied.
pub(crate) fn unmarked(bytes: &Bytes) -> Bytes {
    bytes.slice_ref(without_byte_order_mark(bytes))
}

/// Reads a body of at most `limit` bytes, and unpacks it to at most as many. That of nobody comes out empty.
pub(crate) async fn read(
    protection: &Protection,
    request: Request,
    limit: usize,
    sender: Sender,
) -> Result<Body, BodyError> {
    let encoding = Encoding::of(request.headers());
    let mut body = receive(protection, request, limit, sender).await?;
    match sender {
        Sender::Unknown => {}
        Sender::Known | Sender::Unverified => body = encoding.unpack(protection, body, limit, sender).await?,
    }
    let (bytes, lent) = body.loan.hold(body.bytes);
    Ok(Body { bytes, lent })
}

/// Reads a body of at most `limit` bytes to its end and keeps nothing of it. Whoever waits for a word before he sends it is
/// spared the trouble.
pub(crate) async fn discard(request: Request, limit: usize) {
    if request.headers().contains_key(EXPECT) {
        return;
    }
    let (mut body, mut rate) = (Limited::new(request.into_body(), limit), LeastRate::begin());
    // However it ends, there is an answer.
    while let Ok(Some(Ok(_))) = rate.frame(&mut body).await {}
}

async fn receive(
    protection: &Protection,
    request: Request,
    limit: usize,
    sender: Sender,
) -> Result<Incoming, BodyError> {
    let mut loan = protection.budget.borrow(sender == Sender::Unverified);
    let announced = request.body().size_hint().exact().and_then(|size| usize::try_from(size).ok());
    let announced = announced.filter(|size| *size <= limit);
    let mut bytes = Vec::new();
    if sender == Sender::Known
        && let Some(size) = announced
    {
        // All of it or nothing: many that have a part of theirs would wait for each other.
        if grow(&mut bytes, &mut loan, size).is_err() {
            discard(request, limit).await;
            return Err(BodyError::Busy);
        }
    }
    let mut body = Limited::new(request.into_body(), limit + DRAINED_BYTES);
    let mut rate = match sender {
        Sender::Known => LeastRate::begin(),
        Sender::Unverified | Sender::Unknown => LeastRate::begin_for_a_stranger(),
    };
    let (mut length, mut refused) = (0, None);
    let reading = async {
        while let Some(frame) = rate.frame(&mut body).await? {
            match frame {
                Ok(frame) => {
                    let Ok(data) = frame.into_data() else { continue };
                    length += data.len();
                    if limit < length {
                        refused = Some(BodyError::TooLarge);
                    }
                    if sender == Sender::Unknown || refused.is_some() {
                        continue;
                    }
                    if bytes.capacity() < length {
                        let room = (bytes.capacity() * 2).max(FIRST_BYTES).min(announced.unwrap_or(limit)).max(length);
                        if grow(&mut bytes, &mut loan, room).is_err() {
                            refused = Some(BodyError::Busy);
                            // What was lent to it serves others while the rest is read.
                            bytes = Vec::new();
                            let _ = loan.resize(0);
                            continue;
                        }
                    }
                    bytes.extend_from_slice(&data);
                }
                Err(error) if error.is::<LengthLimitError>() => return Ok(Err(BodyError::TooLarge)),
                // The sender went away; nobody reads this answer.
                Err(_) => return Ok(Err(BodyError::Slow)),
            }
        }
        Ok(Ok(()))
    };
    let read: Result<Result<(), BodyError>, TooSlow> = reading.await;
    match (read, refused) {
        (Ok(Err(error)), _) | (Ok(Ok(())) | Err(_), Some(error)) => Err(error),
        (Ok(Ok(())), None) => Ok(Incoming { bytes: Bytes::from(bytes), loan }),
        (Err(_), None) => Err(BodyError::Slow),
    }
}

/// Makes room for so many bytes in all, once they are borrowed.
fn grow(bytes: &mut Vec<u8>, loan: &mut Loan, size: usize) -> Result<(), BodyError> {
    loan.resize(size).map_err(|_| BodyError::Busy)?;
    bytes.reserve_exact(size - bytes.len());
    Ok(())
}

/// Whether a body is packed, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Plain,
    Gzip,
    Other,
}

impl Encoding {
    fn of(headers: &HeaderMap) -> Self {
        let value = headers.get(CONTENT_ENCODING).map_or(Ok(""), |value| value.to_str());
        match value.map(|value| value.trim().to_ascii_lowercase()).as_deref() {
            Ok("" | "identity") => Self::Plain,
            Ok("gzip" | "x-gzip") => Self::Gzip,
            Ok(_) | Err(_) => Self::Other,
        }
    }

    async fn unpack(
        self,
        protection: &Protection,
        body: Incoming,
        limit: usize,
        sender: Sender,
    ) -> Result<Incoming, BodyError> {
        match self {
            Self::Plain if body.bytes.starts_with(&GZIP) => Err(BodyError::Packed),
            Self::Plain => Ok(body),
            Self::Other => Err(BodyError::Encoding),
            Self::Gzip => {
                let unpack = move || {
                    let Incoming { bytes, mut loan } = body;
                    gunzip(&bytes, limit, &mut loan).map(|bytes| Incoming { bytes, loan })
                };
                let unpacked = protection.unpackers.run(sender == Sender::Unverified, unpack).await;
                unpacked.unwrap_or_else(|undone| match undone {
                    Undone::Busy => Err(BodyError::Busy),
                    Undone::Panicked => Err(BodyError::Encoding),
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use axum::body::Body as HttpBody;
    use futures_util::stream;
    use refersion_relay_telemetry::Metrics;

    use super::*;
    use crate::doors::fake::bounds;
    use crate::front::bodies::least_rate::STRANGER_TIMEOUT;

    const MIB: usize = 1024 * 1024;

    fn protection() -> Arc<Protection> {
        Protection::new(bounds(), Metrics::new())
    }

    fn announced(size: usize) -> Request {
        Request::new(HttpBody::from(vec![b'x'; size]))
    }

    /// Comes in pieces, without a word about how much it will be.
    fn streamed(size: usize) -> Request {
        let pieces =
            (0..size.div_ceil(1000)).map(move |n| Ok::<_, std::io::Error>(vec![b'x'; 1000.min(size - n * 1000)]));
        Request::new(HttpBody::from_stream(stream::iter(pieces)))
    }

    #[tokio::test]
    async fn a_body_is_read_up_to_its_limit_and_borrowed_for() {
        let protection = protection();
        for sender in [Sender::Known, Sender::Unverified] {
            for size in [0, 1, 5_000, 100_000] {
                for request in [announced(size), streamed(size)] {
                    let body = read(&protection, request, 100_000, sender).await.unwrap();
                    assert_eq!(body.bytes.len(), size);
                    assert!((size..=size.max(FIRST_BYTES) * 2).contains(&body.lent.size()), "{body:?}");
                }
            }
            for request in [announced(100_001), streamed(100_001)] {
                assert_eq!(read(&protection, request, 100_000, sender).await.unwrap_err(), BodyError::TooLarge);
            }
        }
        let nobody = read(&protection, announced(5_000), 100_000, Sender::Unknown).await.unwrap();
        assert_eq!((nobody.bytes.len(), nobody.lent.size()), (0, 0));
    }

    #[tokio::test]
    async fn where_the_memory_is_lent_out_large_bodies_are_refused_and_small_ones_taken() {
        let protection = protection();
        let mut all = protection.budget.borrow(false);
        all.resize(56 * MIB).unwrap();
        for sender in [Sender::Known, Sender::Unverified] {
            for request in [announced(MIB), streamed(MIB)] {
                assert_eq!(read(&protection, request, MIB, sender).await.unwrap_err(), BodyError::Busy);
            }
            assert!(read(&protection, announced(8_000), MIB, sender).await.is_ok());
        }
        drop(all);
        assert!(read(&protection, announced(MIB), MIB, Sender::Known).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_end_is_slow() {
        let never = stream::pending::<Result<Vec<u8>, std::io::Error>>();
        let request = Request::new(HttpBody::from_stream(never));
        assert_eq!(read(&protection(), request, MIB, Sender::Known).await.unwrap_err(), BodyError::Slow);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stranger_s_body_takes_half_a_minute_at_most_however_much_of_it_comes() {
        let protection = protection();
        // 4 MiB within 41 s, several times faster than the least rate.
        let steady = || {
            let piece = |n| async move {
                tokio::time::sleep(Duration::from_secs(1)).await;
                (n < 40).then(|| (Ok::<_, std::io::Error>(vec![b'x'; 100 * 1024]), n + 1))
            };
            Request::new(HttpBody::from_stream(Box::pin(stream::unfold(0, piece))))
        };
        let body = read(&protection, steady(), 4 * MIB, Sender::Known).await.unwrap();
        assert_eq!(body.bytes.len(), 40 * 100 * 1024);
        for sender in [Sender::Unverified, Sender::Unknown] {
            let began = tokio::time::Instant::now();
            assert_eq!(read(&protection, steady(), 4 * MIB, sender).await.unwrap_err(), BodyError::Slow);
            assert_eq!(began.elapsed(), STRANGER_TIMEOUT, "{sender:?}");
        }
    }

    #[tokio::test]
    async fn who_waits_for_a_word_before_sending_is_not_asked_for_it() {
        let never = stream::pending::<Result<Vec<u8>, std::io::Error>>();
        let request = Request::builder().header(EXPECT, "100-continue").body(HttpBody::from_stream(never)).unwrap();
        discard(request, MIB).await;
    }
}
