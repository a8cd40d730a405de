use std::{io, num::NonZeroU32, time::Duration};

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream::{self, Stream};
use tokio::{task::yield_now, time::sleep};

/// How a body gets to the client.
#[derive(Clone, Copy)]
pub(crate) enum Sending {
    Whole,
    /// So many bytes at a time.
    Dripping {
        bytes: NonZeroU32,
        pause: Duration,
    },
    /// With white space behind it, up to so many bytes.
    Padded {
        bytes: u64,
    },
    /// Half of it, and then the connection ends.
    CutOff,
}

/// White space that is sent over and over again, so that an answer of any size takes no memory.
const PADDING: &[u8] = &[b' '; 16 * 1024];

impl Sending {
    /// Returns the length to announce, where the body itself does not tell it.
    pub(crate) fn announces(self, body: &Bytes) -> Option<usize> {
        match self {
            // A connection that ends after nothing of nothing would be in order.
            Self::CutOff => Some(body.len().max(1)),
            Self::Whole | Self::Dripping { .. } | Self::Padded { .. } => None,
        }
    }

    pub(crate) fn send(self, body: Bytes) -> Body {
        match self {
            Self::Whole => Body::from(body),
            Self::Dripping { bytes, pause } => Body::from_stream(drip(body, bytes, pause)),
            Self::Padded { bytes } => Body::from_stream(pad(body, bytes)),
            Self::CutOff => Body::from_stream(cut_off(&body)),
        }
    }
}

/// The first piece comes at once.
fn drip(body: Bytes, bytes: NonZeroU32, pause: Duration) -> impl Stream<Item = io::Result<Bytes>> {
    let size = usize::try_from(bytes.get()).unwrap_or(usize::MAX);
    stream::unfold((body, Duration::ZERO), move |(mut rest, wait): (Bytes, _)| async move {
        if rest.is_empty() {
            return None;
        }
        sleep(wait).await;
        let piece = rest.split_to(size.min(rest.len()));
        Some((Ok(piece), (rest, pause)))
    })
}

fn pad(body: Bytes, bytes: u64) -> impl Stream<Item = io::Result<Bytes>> {
    let missing = bytes.saturating_sub(body.len() as u64);
    stream::unfold((Some(body), missing), async |(body, missing)| {
        if let Some(body) = body {
            return Some((Ok(body), (None, missing)));
        }
        let size = usize::try_from(missing).unwrap_or(usize::MAX).min(PADDING.len());
        (size > 0).then(|| (Ok(Bytes::from_static(&PADDING[..size])), (None, missing - size as u64)))
    })
}

fn cut_off(body: &Bytes) -> impl Stream<Item = io::Result<Bytes>> + use<> {
    let half = body.slice(..body.len() / 2);
    stream::unfold(Some(half), async |half| {
        if let Some(half) = half {
            return Some((Ok(half), None));
        }
        // What was written so far is sent only while more is being waited for.
        yield_now().await;
        Some((Err(io::ErrorKind::ConnectionAborted.into()), None))
    })
}
