use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
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

/// Where bad lines are kept. Without a file they are not.
#[derive(Clone)]
pub(super) struct Rejects(Option<Arc<Mutex<File>>>);

impl Rejects {
    /// Opens a file, and adds to it where it exists: a command that was interrupted is run again.
    pub(super) fn open(path: Option<&Path>) -> anyhow::Result<Self> {
        let open = |path: &Path| {
            let file = OpenOptions::new().create(true).append(true).open(path);
            file.with_context(|| format!("cannot write to {}", path.display()))
        };
        Ok(Self(path.map(open).transpose()?.map(|file| Arc::new(Mutex::new(file)))))
    }

    /// Keeps a line as it is.
    pub(super) fn keep(&self, line: &[u8]) -> io::Result<()> {
        let mut file = self.clone();
        file.write_all(&[line, b"\n"].concat())
    }
}

impl Write for Rejects {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &self.0 {
            Some(file) => file.lock().unwrap_or_else(PoisonError::into_inner).write(bytes),
            None => Ok(bytes.len()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads lines on a thread of its own, a few chunks ahead. The last thing that is sent may be why there are no more.
pub(super) fn read(
    mut lines: Lines,
    skip: u64,
    chunk_lines: usize,
    rejects: Rejects,
) -> mpsc::Receiver<io::Result<Chunk>> {
    let (sender, receiver) = mpsc::channel(2);
    std::thread::spawn(move || {
        let send = |chunk: io::Result<Chunk>| sender.blocking_send(chunk).is_ok();
        if let Err(error) = fill(&mut lines, skip, chunk_lines.clamp(1, CHUNK_LINES), rejects, &send) {
            send(Err(error));
        }
    });
    receiver
}

fn fill(
    lines: &mut Lines,
    skip: u64,
    chunk_lines: usize,
    mut rejects: Rejects,
    send: &dyn Fn(io::Result<Chunk>) -> bool,
) -> io::Result<()> {
    for skipped in 0..skip {
        // It was dealt with before.
        if lines.next(&mut io::sink())?.is_none() {
            return Err(io::Error::other(format!("it has {skipped} lines, so {skip} cannot be skipped")));
        }
    }
    let (mut chunk, mut bytes) = (Chunk::default(), 0);
    while let Some(line) = lines.next(&mut rejects)? {
        bytes += if let Text::Whole(text) = &line.text { text.len() } else { 0 };
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
