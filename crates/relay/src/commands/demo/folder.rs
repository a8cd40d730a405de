use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use tempfile::TempDir;

use crate::exit::Exit;
use crate::output::private_file;

/// The configuration as it is kept. The demo itself takes other ports.
pub(super) const CONFIGURATION: &str = include_str!("data/relay.toml");

/// Where the demo has its queue.
#[derive(Debug)]
pub(super) enum Folder {
    /// Removed with this value.
    Temporary(TempDir),
    /// Stays, with everything in it.
    Kept(PathBuf),
}

impl Folder {
    /// `keep`: whether it stays, and where it is to be if not in a new folder among the temporary ones.
    pub(super) fn make(keep: Option<&Option<PathBuf>>) -> Result<Self, Exit> {
        let folder = match keep {
            Some(Some(path)) => Self::Kept(named(path)?),
            Some(None) => Self::Kept(temporary()?.keep()),
            None => Self::Temporary(temporary()?),
        };
        let written = write(&folder.configuration());
        written.with_context(|| format!("cannot write {}", folder.configuration().display())).map_err(Exit::Failed)?;
        Ok(folder)
    }

    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Temporary(folder) => folder.path(),
            Self::Kept(path) => path,
        }
    }

    pub(super) fn configuration(&self) -> PathBuf {
        self.path().join("relay.toml")
    }

    /// Removes it, unless it is to stay.
    pub(super) fn end(self) -> Result<(), Exit> {
        match self {
            Self::Temporary(folder) => folder.close().context("cannot remove the demo's folder").map_err(Exit::Failed),
            Self::Kept(_) => Ok(()),
        }
    }
}

/// Only its owner can read it, as with any configuration that has secrets in it.
fn write(path: &Path) -> io::Result<()> {
    let text =
        if std::env::var_os("RELAY_STATE").is_some() { at(&std::path::absolute(path)?) } else { CONFIGURATION.into() };
    private_file::create(path)?.write_all(text.as_bytes())
}

/// The configuration with the queue beside it wherever the environment says that queues are.
fn at(path: &Path) -> String {
    let url = format!("sqlite:{}", path.with_file_name("relay.db").display());
    CONFIGURATION.replacen("\"sqlite:relay.db\"", &format!("{url:?}"), 1)
}

fn temporary() -> Result<TempDir, Exit> {
    let made = tempfile::Builder::new().prefix("refersion-relay-demo-").tempdir();
    made.context("cannot make a temporary folder").map_err(Exit::Failed)
}

/// A folder that somebody chose may have files of theirs in it.
fn named(path: &Path) -> Result<PathBuf, Exit> {
    for file in ["relay.toml", "relay.db"] {
        if path.join(file).symlink_metadata().is_ok() {
            let why = anyhow!("--keep: {} has a {file} already; name another folder", path.display());
            return Err(Exit::Usage(why));
        }
    }
    let cannot = || format!("--keep: cannot use {}", path.display());
    fs::create_dir_all(path).with_context(cannot).map_err(Exit::Usage)?;
    // The commands that are printed have to work from anywhere.
    path.canonicalize().with_context(cannot).map_err(Exit::Usage)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queue_is_beside_the_configuration_wherever_others_are() {
        let text = at(Path::new("/tmp/a \"demo\"/relay.toml"));
        assert!(text.contains(r#"url = "sqlite:/tmp/a \"demo\"/relay.db" "#), "{text}");
    }
}
