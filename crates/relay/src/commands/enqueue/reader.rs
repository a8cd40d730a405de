use std::io;

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

/// Reads lines on a thread of its own, a few chunks ahead. The last thing that is sent may be why there are no more.
/// `keep`: whether lines that are too long are wanted.
pub(super) fn read(
    mut lines: Lines,
    skip: u64,
    chunk_lines: usize,
    keep: bool,
) -> mpsc::Receiver<Result<Chunk, Fault>> {
    let (sender, receiver) = mpsc::channel(2);
    std::thread::spawn(move || {
        let send = |chunk: Result<Chunk, Fault>| sender.blocking_send(chunk).is_ok();
        if let Err(fault) = fill(&mut lines, skip, chunk_lines.clamp(1, CHUNK_LINES), keep, &send) {
            send(Err(fault));
        }
    });
    receiver
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
