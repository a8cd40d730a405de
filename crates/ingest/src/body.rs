use std::io::Read;

use axum::extract::Request;
use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use http::HeaderMap;
use http::header::CONTENT_ENCODING;
use http_body_util::{BodyExt, LengthLimitError, Limited};

use crate::serve::BODY_TIMEOUT;

/// How much of a body that is too large is read and thrown away, so that its sender gets to read the answer.
const DRAINED_BYTES: usize = 16 * 1024 * 1024;

/// What is done with a body while it is read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    /// It may be an event.
    Yes,
    /// Nobody known sent it: only its size matters.
    No,
}

/// Why there is no body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyError {
    /// Larger than allowed, as it was sent or unpacked.
    TooLarge,
    /// It did not arrive in time, or its sender went away.
    Slow,
    /// Not in the encoding that it names, or in one that is not understood.
    Encoding,
}

/// Reads a body of at most `limit` bytes.
pub(crate) async fn read(request: Request, limit: usize, keep: Keep) -> Result<Bytes, BodyError> {
    let mut body = Limited::new(request.into_body(), limit + DRAINED_BYTES);
    let mut bytes = Vec::new();
    let (mut length, mut too_large) = (0, false);
    let reading = async {
        while let Some(frame) = body.frame().await {
            match frame {
                Ok(frame) => {
                    let Ok(data) = frame.into_data() else { continue };
                    length += data.len();
                    too_large = limit < length;
                    if keep == Keep::Yes && !too_large {
                        bytes.extend_from_slice(&data);
                    }
                }
                Err(error) if error.is::<LengthLimitError>() => return Err(BodyError::TooLarge),
                // The sender went away; nobody reads this answer.
                Err(_) => return Err(BodyError::Slow),
            }
        }
        if too_large { Err(BodyError::TooLarge) } else { Ok(()) }
    };
    match tokio::time::timeout(BODY_TIMEOUT, reading).await {
        Ok(Ok(())) => Ok(Bytes::from(bytes)),
        Ok(Err(error)) => Err(error),
        Err(_) if too_large => Err(BodyError::TooLarge),
        Err(_) => Err(BodyError::Slow),
    }
}

/// Whether a body is packed, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Plain,
    Gzip,
    Other,
}

impl Encoding {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let value = headers.get(CONTENT_ENCODING).map_or(Ok(""), |value| value.to_str());
        match value.map(|value| value.trim().to_ascii_lowercase()).as_deref() {
            Ok("" | "identity") => Self::Plain,
            Ok("gzip" | "x-gzip") => Self::Gzip,
            Ok(_) | Err(_) => Self::Other,
        }
    }

    /// Unpacks a body to at most `limit` bytes, however small it was packed.
    pub(crate) async fn unpack(self, body: Bytes, limit: usize) -> Result<Bytes, BodyError> {
        match self {
            Self::Plain => Ok(body),
            Self::Other => Err(BodyError::Encoding),
            Self::Gzip => {
                let unpacking = tokio::task::spawn_blocking(move || gunzip(&body, limit));
                unpacking.await.unwrap_or(Err(BodyError::Encoding))
            }
        }
    }
}

fn gunzip(body: &[u8], limit: usize) -> Result<Bytes, BodyError> {
    let mut unpacked = Vec::new();
    let mut bounded = MultiGzDecoder::new(body).take(limit as u64 + 1);
    bounded.read_to_end(&mut unpacked).map_err(|_| BodyError::Encoding)?;
    if limit < unpacked.len() { Err(BodyError::TooLarge) } else { Ok(Bytes::from(unpacked)) }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn a_packed_body_is_unpacked_up_to_its_limit() {
        assert_eq!(gunzip(&packed(b"hello"), 5).unwrap(), "hello");
        assert_eq!(gunzip(&packed(b"hello"), 4), Err(BodyError::TooLarge));
        assert_eq!(gunzip(&packed(&vec![b'x'; 64 * 1024 * 1024]), 1024), Err(BodyError::TooLarge));
        assert_eq!(gunzip(&packed(b"hello")[..10], 5), Err(BodyError::Encoding));
        assert_eq!(gunzip(b"hello", 5), Err(BodyError::Encoding));
    }
}
