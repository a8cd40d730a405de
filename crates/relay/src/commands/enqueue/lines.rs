use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use flate2::bufread::MultiGzDecoder;
use refersion_relay_model::{MAX_EVENT_BYTES, without_byte_order_mark};

/// The longest line that is kept in memory: longer ones are no events, whatever they say.
const MAX_LINE_BYTES: usize = MAX_EVENT_BYTES + 1;
/// The first two bytes of everything gzip has packed (RFC 1952, section 2.3.1).
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// The lines of a file or of standard input, unpacked if they are packed. Memory is bounded whatever is in them.
pub(super) struct Lines {
    input: Box<dyn BufRead + Send>,
    read: Arc<AtomicU64>,
    size: Option<u64>,
    number: u64,
}

/// One line, without its end.
#[derive(Debug)]
pub(super) struct Line {
    /// From 1.
    pub(super) number: u64,
    pub(super) text: Text,
}

#[derive(Debug)]
pub(super) enum Text {
    /// As it is in the file.
    Whole(Bytes),
    /// Longer than an event can be. In a file without a name, from its beginning, if it was to be kept.
    TooLong(Option<File>),
}

impl Lines {
    /// Opens a file, or standard input for `-`.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let (raw, size): (Box<dyn Read + Send>, _) = if path.as_os_str() == "-" {
            (Box::new(io::stdin()), None)
        } else {
            let file = File::open(path)?;
            let metadata = file.metadata()?;
            if metadata.is_dir() {
                return Err(io::ErrorKind::IsADirectory.into());
            }
            // A pipe has no size.
            (Box::new(file), Some(metadata.len()).filter(|_| metadata.is_file()))
        };
        Self::over(raw, size)
    }

    fn over(raw: Box<dyn Read + Send>, size: Option<u64>) -> io::Result<Self> {
        let read = Arc::new(AtomicU64::new(0));
        let mut raw = BufReader::with_capacity(256 * 1024, Counted { raw, read: read.clone() });
        let packed = raw.fill_buf()?.starts_with(&GZIP_MAGIC);
        let input: Box<dyn BufRead + Send> = if packed {
            Box::new(BufReader::with_capacity(256 * 1024, MultiGzDecoder::new(raw)))
        } else {
            Box::new(raw)
        };
        Ok(Self { input, read, size, number: 0 })
    }

    /// The size of the file as it is on disk.
    pub(super) fn size(&self) -> Option<u64> {
        self.size
    }

    /// How much of the file, as it is on disk, was read.
    pub(super) fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// The next line. One that is too long is kept on disk, or not at all.
    pub(super) fn next(&mut self, keep: bool) -> io::Result<Option<Line>> {
        let mut line = Vec::new();
        let (mut begun, mut too_long) = (false, None);
        loop {
            let buffer = self.input.fill_buf()?;
            if buffer.is_empty() {
                break;
            }
            begun = true;
            let end = buffer.iter().position(|byte| *byte == b'\n');
            let part = &buffer[..end.unwrap_or(buffer.len())];
            if too_long.is_none() && MAX_LINE_BYTES < line.len() + part.len() {
                let mut spool = Spool::new(keep)?;
                spool.add(&std::mem::take(&mut line))?;
                too_long = Some(spool);
            }
            match &mut too_long {
                Some(spool) => spool.add(part)?,
                None => line.extend_from_slice(part),
            }
            let used = part.len() + usize::from(end.is_some());
            self.input.consume(used);
            if end.is_some() {
                break;
            }
        }
        if !begun {
            return Ok(None);
        }
        self.number += 1;
        if let Some(spool) = too_long {
            return Ok(Some(Line { number: self.number, text: Text::TooLong(spool.end()?) }));
        }
        let mut text = Bytes::from(line);
        if text.ends_with(b"\r") {
            text.truncate(text.len() - 1);
        }
        // One stands before every part of what was put together from files that begin with one.
        text = text.slice_ref(without_byte_order_mark(&text));
        Ok(Some(Line { number: self.number, text: Text::Whole(text) }))
    }
}

/// A line that is too long for memory.
struct Spool(Option<File>);

impl Spool {
    fn new(keep: bool) -> io::Result<Self> {
        Ok(Self(keep.then(tempfile::tempfile).transpose().map_err(|error| unkept(&error))?))
    }

    fn add(&mut self, part: &[u8]) -> io::Result<()> {
        self.0.as_mut().map_or(Ok(()), |file| file.write_all(part)).map_err(|error| unkept(&error))
    }

    fn end(mut self) -> io::Result<Option<File>> {
        self.0.as_mut().map_or(Ok(()), Seek::rewind).map_err(|error| unkept(&error))?;
        Ok(self.0)
    }
}

fn unkept(error: &io::Error) -> io::Error {
    let folder = std::env::temp_dir();
    io::Error::new(error.kind(), format!("a line that is too long cannot be kept in {}: {error}", folder.display()))
}

/// Counts what passes.
struct Counted {
    raw: Box<dyn Read + Send>,
    read: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.raw.read(buffer)?;
        self.read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn all(bytes: &[u8]) -> (Vec<(u64, Option<String>)>, Vec<u8>) {
        let mut lines = Lines::over(Box::new(io::Cursor::new(bytes.to_vec())), None).unwrap();
        let (mut found, mut spooled) = (Vec::new(), Vec::new());
        while let Some(line) = lines.next(true).unwrap() {
            found.push(match line.text {
                Text::Whole(text) => (line.number, Some(String::from_utf8(text.to_vec()).unwrap())),
                Text::TooLong(file) => {
                    file.unwrap().read_to_end(&mut spooled).unwrap();
                    (line.number, None)
                }
            });
        }
        (found, spooled)
    }

    fn whole(texts: &[&str]) -> Vec<(u64, Option<String>)> {
        (1..).zip(texts).map(|(number, text)| (number, Some((*text).to_owned()))).collect()
    }

    #[test]
    fn lines_are_numbered_and_keep_their_bytes() {
        assert_eq!(all(b"").0, []);
        assert_eq!(all(b"a").0, whole(&["a"]));
        assert_eq!(all(b"a\n").0, whole(&["a"]));
        assert_eq!(all(b"\xef\xbb\xbfa \r\n\n{\"b\": 1}\nc").0, whole(&["a ", "", "{\"b\": 1}", "c"]));
        assert_eq!(all(b"\xef\xbb\xbfa\n\xef\xbb\xbfb\n\xef\xbb\xbf\n").0, whole(&["a", "b", ""]));
    }

    #[test]
    fn packed_lines_are_unpacked_also_in_several_parts() {
        let mut packed = Vec::new();
        for part in ["a\nb", "c\nd\n"] {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(part.as_bytes()).unwrap();
            packed.extend(encoder.finish().unwrap());
        }
        assert_eq!(all(&packed).0, whole(&["a", "bc", "d"]));
    }

    #[test]
    fn a_line_that_is_too_long_is_kept_on_disk() {
        let long = "x".repeat(3 * MAX_LINE_BYTES);
        let (lines, spooled) = all(format!("a\n{long}\nb\n").as_bytes());
        assert_eq!(lines, [(1, Some("a".to_owned())), (2, None), (3, Some("b".to_owned()))]);
        assert!(spooled == long.as_bytes());
    }

    #[test]
    fn a_broken_archive_is_an_error() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&b"line\n".repeat(10_000)).unwrap();
        let mut packed = encoder.finish().unwrap();
        packed.truncate(packed.len() / 2);
        let mut lines = Lines::over(Box::new(io::Cursor::new(packed)), None).unwrap();
        let failed = loop {
            match lines.next(false) {
                Ok(Some(_)) => {}
                other => break other.is_err(),
            }
        };
        assert!(failed, "an archive that is cut off is not simply shorter");
    }
}
