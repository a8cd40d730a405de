use std::cell::Cell;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use tokio::sync::mpsc;

use super::lines::{Line, Lines, Text};

/// Lines that are published together, at most.
const CHUNK_LINES: usize = 1_000;
/// Bytes that are published together, about.
const CHUNK_BYTES: usize = 4 * 1024 * 1024;

/// Some lines that follow one another.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    pub(super) lines: Vec<Line>,
    /// How much of the file, as it is on disk, was read for it and those before it.
    pub(super) read: u64,
}

/// Why not all of a file was read.
#[derive(Debug)]
pub(super) enum Fault {
    /// It has fewer lines than were to be skipped.
    Short { lines: u64 },
    /// What follows this many lines cannot be read.
    Unread { after: u64, why: io::Error },
}

/// Reads lines on a thread of its own, a chunk or two ahead. The last thing that is sent may be why there are no more.
/// `keep`: whether lines that are too long are wanted.
pub(super) fn read(
    mut lines: Lines,
    skip: u64,
    chunk_lines: usize,
    keep: bool,
) -> mpsc::Receiver<Result<Chunk, Fault>> {
    let (sender, receiver) = mpsc::channel(1);
    std::thread::spawn(move || {
        let handed_on = Cell::new(0);
        let send = |chunk: Result<Chunk, Fault>| {
            let last = chunk.as_ref().ok().and_then(|chunk| chunk.lines.last()).map(|line| line.number);
            handed_on.set(last.unwrap_or(handed_on.get()));
            sender.blocking_send(chunk).is_ok()
        };
        let filling = AssertUnwindSafe(|| fill(&mut lines, skip, chunk_lines.clamp(1, CHUNK_LINES), keep, &send));
        // Silence would look like the end of the file.
        let filled = catch_unwind(filling).unwrap_or_else(|_| Err(panicked(handed_on.get())));
        if let Err(fault) = filled {
            send(Err(fault));
        }
    });
    receiver
}

fn panicked(after: u64) -> Fault {
    Fault::Unread { after, why: io::Error::other("the relay panicked on it; its log has the place") }
}

fn fill(
    lines: &mut Lines,
    skip: u64,
    chunk_lines: usize,
    keep: bool,
    send: &dyn Fn(Result<Chunk, Fault>) -> bool,
) -> Result<(), Fault> {
    let unread = |after| move |why| Fault::Unread { after, why };
    for skipped in 0..skip {
        // It was dealt with before.
        if lines.next(false).map_err(unread(skipped))?.is_none() {
            return Err(Fault::Short { lines: skipped });
        }
    }
    let (mut chunk, mut bytes) = (Chunk::default(), 0);
    loop {
        let line = match lines.next(keep) {
            Ok(Some(line)) => line,
            Ok(None) => break,
            Err(why) => {
                // What was read before is as good as it would be without what follows.
                let after = lines.whole();
                chunk.read = lines.read();
                return if send(Ok(chunk)) { Err(Fault::Unread { after, why }) } else { Ok(()) };
            }
        };
        bytes += match &line.text {
            Text::Whole(text) => text.len(),
            // One that is too long ends its chunk: each has a file open.
            Text::TooLong(_) => CHUNK_BYTES,
        };
        chunk.lines.push(line);
        if chunk_lines <= chunk.lines.len() || CHUNK_BYTES <= bytes {
            chunk.read = lines.read();
            if !send(Ok(std::mem::take(&mut chunk))) {
                return Ok(());
            }
            bytes = 0;
        }
    }
    chunk.read = lines.read();
    send(Ok(chunk));
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    /// Has some lines, and no end.
    struct Breaks(Option<&'static [u8]>);

    impl Read for Breaks {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let bytes = self.0.take().expect("broken");
            buffer[..bytes.len()].copy_from_slice(bytes);
            Ok(bytes.len())
        }
    }

    #[test]
    fn a_panic_is_not_the_end_of_the_file() {
        let lines = Lines::over(Box::new(Breaks(Some(b"one line\ntwo\nthree\nfour"))), None, false).unwrap();
        let mut chunks = read(lines, 0, 2, false);
        let mut next = || chunks.blocking_recv().unwrap();
        assert!(matches!(next(), Ok(Chunk { lines, .. }) if lines.len() == 2));
        assert!(matches!(next(), Err(Fault::Unread { after: 2, .. })), "the third line went with its chunk");
    }
}
