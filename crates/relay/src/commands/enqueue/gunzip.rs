use std::io::{self, BufRead, Read};

use flate2::bufread::GzDecoder;

/// The first two bytes of everything gzip has packed (RFC 1952, section 2.3.1).
pub(super) const MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Unpacks gzip members one after another, as `gzip -d` does: zeros after a member are padding.
pub(super) struct Gunzip<R> {
    /// `None`: everything is unpacked.
    member: Option<GzDecoder<R>>,
}

impl<R: BufRead> Gunzip<R> {
    pub(super) fn new(packed: R) -> Self {
        Self { member: Some(GzDecoder::new(packed)) }
    }
}

impl<R: BufRead> Read for Gunzip<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.member {
            let read = member.read(buffer).map_err(|error| fault(&error))?;
            if 0 < read || buffer.is_empty() {
                return Ok(read);
            }
            if let Some(ended) = self.member.take() {
                let mut rest = ended.into_inner();
                self.member = is_there_more(&mut rest)?.then(|| GzDecoder::new(rest));
            }
        }
        Ok(0)
    }
}

/// Whether another member follows.
fn is_there_more(rest: &mut impl BufRead) -> io::Result<bool> {
    loop {
        let buffer = rest.fill_buf()?;
        let padding = buffer.iter().take_while(|byte| **byte == 0).count();
        match buffer.get(padding) {
            Some(byte) if *byte == MAGIC[0] => {
                rest.consume(padding);
                return Ok(true);
            }
            Some(_) => return Err(io::Error::other("what follows its gzip data is no gzip data")),
            None if buffer.is_empty() => return Ok(false),
            None => rest.consume(padding),
        }
    }
}

fn fault(error: &io::Error) -> io::Error {
    let says = match error.kind() {
        io::ErrorKind::UnexpectedEof => "its gzip data is cut off".to_owned(),
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => format!("its gzip data is damaged: {error}"),
        _ => error.to_string(),
    };
    io::Error::new(error.kind(), says)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    pub(crate) fn packed(text: &str) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    /// What could be read, and why no more.
    fn unpacked(bytes: &[u8]) -> (String, Option<String>) {
        let mut text = String::new();
        // A buffer of one byte: nothing may depend on how much of a file is there at a time.
        let ended = Gunzip::new(io::BufReader::with_capacity(1, bytes)).read_to_string(&mut text);
        (text, ended.err().map(|error| error.to_string()))
    }

    #[test]
    fn members_follow_one_another_with_zeros_between_and_behind() {
        let (one, other) = (packed("a\nb"), packed("c\n"));
        for file in [vec![&one[..], &other], vec![&one, &[0; 512], &other], vec![&one, &other, &[0; 9_000]]] {
            assert_eq!(unpacked(&file.concat()), ("a\nbc\n".to_owned(), None));
        }
    }

    #[test]
    fn what_is_no_gzip_is_said_after_everything_that_is() {
        let good = packed("a\n");
        for (bad, says) in [
            (b"plain".as_slice(), "no gzip data"),
            (&[0, 0, b'x'], "no gzip data"),
            (&[MAGIC[0], b'x', 0, 0, 0, 0, 0, 0, 0, 0], "damaged"),
            (&good[..10], "cut off"),
            (&good[..2], "cut off"),
        ] {
            let (text, why) = unpacked(&[&good, bad].concat());
            assert!(text == "a\n" && why.as_ref().is_some_and(|why| why.contains(says)), "{bad:?}: {why:?}");
        }
    }
}
