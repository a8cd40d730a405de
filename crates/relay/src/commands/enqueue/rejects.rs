use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use bytes::Bytes;

use crate::output::private_file::{self, Present};

/// Where bad lines are kept. Without a file they are not.
pub(super) struct Rejects(Option<File>);

/// The bytes of a line that is no event.
pub(super) enum BadText {
    Whole(Bytes),
    /// One that is too long for memory. `None`: it was not to be kept.
    Spooled(Option<File>),
}

impl Rejects {
    /// Opens a file, and adds to it where it exists: a command that was interrupted is run again.
    pub(super) fn open(path: Option<&Path>) -> anyhow::Result<Self> {
        Ok(Self(path.map(|path| private_file::open(path, Present::Kept)).transpose()?))
    }

    /// Whether bad lines are wanted.
    pub(super) fn keeps(&self) -> bool {
        self.0.is_some()
    }

    /// Keeps a line as it is. Blocks.
    pub(super) fn keep(&mut self, text: BadText) -> io::Result<()> {
        let Some(file) = &mut self.0 else { return Ok(()) };
        match text {
            BadText::Whole(line) => file.write_all(&[&line, &b"\n"[..]].concat()),
            BadText::Spooled(None) => Ok(()),
            BadText::Spooled(Some(mut spool)) => {
                io::copy(&mut spool, file)?;
                file.write_all(b"\n")
            }
        }
    }
}
