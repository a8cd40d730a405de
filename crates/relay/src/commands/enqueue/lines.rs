use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read, Seek, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use refersion_relay_model::{MAX_EVENT_BYTES, without_byte_order_mark};
use serde::de::IgnoredAny;

use super::format::{self, Format, Look};
use super::gunzip::{self, Gunzip};

/// The longest line that is kept in memory: longer ones are no events, whatever they say.
const MAX_LINE_BYTES: usize = MAX_EVENT_BYTES + 1;
const BUFFER_BYTES: usize = 256 * 1024;

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

/// Why there are no lines.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unusable {
    /// It cannot be opened or read.
    #[error("cannot be read")]
    Unreadable(#[from] io::Error),
    /// It has no events on lines.
    #[error("looks like {}{}", .0.says(), if *.1 { ", once `gzip -d` has unpacked it" } else { "" })]
    Other(Format, Packed),
}

/// Whether it was found in what gzip has packed.
type Packed = bool;

impl Lines {
    /// Opens a file, or standard input for `-`. `begins`: whether its first line is to be looked at, and not left out.
    pub(super) fn open(path: &Path, begins: bool) -> Result<Self, Unusable> {
        let (raw, size): (Box<dyn Read + Send>, _) = if path.as_os_str() == "-" {
            (Box::new(io::stdin()), None)
        } else {
            let file = File::open(path)?;
            let metadata = file.metadata()?;
            if metadata.is_dir() {
                return Err(Unusable::Unreadable(io::ErrorKind::IsADirectory.into()));
            }
            // A pipe has no size.
            (Box::new(file), Some(metadata.len()).filter(|_| metadata.is_file()))
        };
        Self::over(raw, size, begins)
    }

    pub(super) fn over(raw: Box<dyn Read + Send>, size: Option<u64>, begins: bool) -> Result<Self, Unusable> {
        let read = Arc::new(AtomicU64::new(0));
        let raw = BufReader::with_capacity(BUFFER_BYTES, Counted { raw, read: read.clone() });
        let raw = Headed::new(raw, |head, whole| gunzip::MAGIC.len() <= head.len() || whole);
        let packed = raw.head().starts_with(&gunzip::MAGIC);
        let input: Box<dyn BufRead + Send> =
            if packed { Box::new(BufReader::with_capacity(BUFFER_BYTES, Gunzip::new(raw))) } else { Box::new(raw) };
        let mut found = None;
        let input = Headed::new(input, |head, whole| {
            let look = match format::magic(head) {
                Some(format) => Look::Other(format),
                None if begins => format::shape(head, whole),
                // Enough for any magic but that of a tar archive, which has no line in its first bytes.
                None if 8 <= head.len() || whole => Look::Lines,
                None => Look::Unclear,
            };
            match look {
                Look::Other(format) => found = Some(format),
                Look::Lines => {}
                Look::Unclear => return whole,
            }
            true
        });
        match found {
            Some(format) => Err(Unusable::Other(format, packed)),
            None => Ok(Self { input: Box::new(input), read, size, number: 0 }),
        }
    }

    /// The size of the file as it is on disk.
    pub(super) fn size(&self) -> Option<u64> {
        self.size
    }

    /// How much of the file, as it is on disk, was read.
    pub(super) fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// How many lines were read whole.
    pub(super) fn whole(&self) -> u64 {
        self.number
    }

    /// The next line. One that is too long is kept on disk, or not at all. What a file that is cut off ends with is no line.
    pub(super) fn next(&mut self, keep: bool) -> io::Result<Option<Line>> {
        let mut line = Vec::new();
        let (mut begun, mut ended, mut too_long) = (false, false, None);
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
                ended = true;
                break;
            }
        }
        if !begun {
            return Ok(None);
        }
        if !ended && too_long.is_none() && is_cut_off(&line) {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it ends in the middle of an event"));
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

/// Whether a text is the beginning of JSON, and no more.
fn is_cut_off(text: &[u8]) -> bool {
    let text = without_byte_order_mark(text).trim_ascii();
    !text.is_empty() && serde_json::from_slice::<IgnoredAny>(text).is_err_and(|error| error.is_eof())
}

/// Bytes of which the first ones were looked at already.
struct Headed<R> {
    head: Cursor<Vec<u8>>,
    /// Why no more than the head could be read.
    fault: Option<io::Error>,
    rest: R,
}

impl<R: BufRead> Headed<R> {
    /// Reads until `enough` says so of the first bytes; its second argument says whether there are no more.
    fn new(mut rest: R, mut enough: impl FnMut(&[u8], bool) -> bool) -> Self {
        let (mut head, mut fault) = (Vec::new(), None);
        loop {
            let more = match rest.fill_buf() {
                Ok(more) => more,
                Err(error) => {
                    fault = Some(error);
                    &[]
                }
            };
            let (read, whole) = (more.len(), more.is_empty());
            head.extend_from_slice(more);
            rest.consume(read);
            if enough(&head, whole) || whole {
                return Self { head: Cursor::new(head), fault, rest };
            }
        }
    }

    fn head(&self) -> &[u8] {
        self.head.get_ref()
    }
}

impl<R: BufRead> Read for Headed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(buffer)?;
        self.consume(read);
        Ok(read)
    }
}

impl<R: BufRead> BufRead for Headed<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if (self.head.get_ref().len() as u64) == self.head.position() {
            return match self.fault.take() {
                Some(fault) => Err(fault),
                None => self.rest.fill_buf(),
            };
        }
        self.head.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        if (self.head.get_ref().len() as u64) == self.head.position() {
            self.rest.consume(amount);
        } else {
            self.head.consume(amount);
        }
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
        let read = loop {
            match self.raw.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
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
        let mut lines = Lines::over(Box::new(io::Cursor::new(bytes.to_vec())), None, true).unwrap();
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
        assert_eq!(all(b"{}\n\xef\xbb\xbf{}").0, whole(&["{}", "{}"]), "two files that were put together");
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

    /// How many lines are whole, and why there are no more.
    fn until_fault(bytes: &[u8]) -> (u64, Option<String>) {
        let mut lines = Lines::over(Box::new(io::Cursor::new(bytes.to_vec())), None, true).unwrap();
        loop {
            match lines.next(false) {
                Ok(Some(line)) => assert_eq!(line.number, lines.whole()),
                Ok(None) => return (lines.whole(), None),
                Err(error) => return (lines.whole(), Some(error.to_string())),
            }
        }
    }

    #[test]
    fn a_file_that_is_cut_off_is_not_simply_shorter_and_keeps_what_is_whole() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::none());
        encoder.write_all(&b"line\n".repeat(10_000)).unwrap();
        let mut packed = encoder.finish().unwrap();
        packed.truncate(packed.len() / 2);
        let (whole, why) = until_fault(&packed);
        assert!((4_000..10_000).contains(&whole) && why.as_ref().is_some_and(|why| why.contains("cut off")), "{why:?}");
        packed.truncate(20);
        assert!(until_fault(&packed).1.is_some(), "cut off before its first line has ended");

        let (whole, why) = until_fault(b"{}\n{}\n{\"type\":\"ident");
        assert!(whole == 2 && why.as_ref().is_some_and(|why| why.contains("middle")), "{why:?}");
        for ends in [b"{}\n{}".as_slice(), b"{}\n{\"type\"\n", b"{}\noops"] {
            let (whole, why) = until_fault(ends);
            assert!((1..=2).contains(&whole) && why.is_none(), "{why:?}");
        }
    }

    #[test]
    fn what_has_no_events_on_lines_is_said_before_anything_is_read() {
        let array = b"[{},\n{}]\n";
        let look = |bytes: &[u8], begins| Lines::over(Box::new(io::Cursor::new(bytes.to_vec())), None, begins).err();
        assert!(matches!(look(array, true), Some(Unusable::Other(Format::Array, false))));
        assert!(look(array, false).is_none(), "its first line is left out, so that can be told to");
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(array).unwrap();
        let packed = encoder.finish().unwrap();
        assert!(matches!(look(&packed, true), Some(Unusable::Other(Format::Array, true))), "packed or not");
        let mut again = GzEncoder::new(Vec::new(), Compression::fast());
        again.write_all(&packed).unwrap();
        assert!(matches!(look(&again.finish().unwrap(), false), Some(Unusable::Other(Format::Gzip, true))));
    }
}
