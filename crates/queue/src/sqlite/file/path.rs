use std::fmt;
use std::path::{Path, PathBuf};

/// Where an embedded queue is: a file on a disk of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqlitePath(PathBuf);

/// The text is no path of an embedded queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSqlitePath {
    /// Not for us.
    #[error("has to begin with sqlite:")]
    NotSqlite,
    /// Nothing behind the scheme, or a folder.
    #[error("has to name a file, as sqlite:relay.db")]
    NoFile,
    /// SQLite keeps such a database nowhere.
    #[error("cannot be a database in memory: what was accepted has to be there after a crash")]
    InMemory,
    /// There are none.
    #[error("takes no parameters behind a question mark")]
    Parameters,
}

impl SqlitePath {
    /// Reads `sqlite:PATH`; a relative path is below `folder`.
    pub fn parse(url: &str, folder: &Path) -> Result<Self, InvalidSqlitePath> {
        let rest = url.strip_prefix("sqlite:").ok_or(InvalidSqlitePath::NotSqlite)?;
        let path = rest.strip_prefix("//").unwrap_or(rest);
        if path.contains(":memory:") {
            return Err(InvalidSqlitePath::InMemory);
        }
        if path.contains('?') {
            return Err(InvalidSqlitePath::Parameters);
        }
        let is_file = !path.is_empty() && !path.ends_with('/') && Path::new(path).file_name().is_some();
        if is_file { Ok(Self(folder.join(path))) } else { Err(InvalidSqlitePath::NoFile) }
    }

    /// The file.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        &self.0
    }

    /// The folder the file is in.
    pub(crate) fn folder(&self) -> &Path {
        match self.0.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        }
    }

    /// A file that lies beside it: `relay.db-worker`.
    pub(crate) fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = self.0.clone().into_os_string();
        name.push("-");
        name.push(suffix);
        name.into()
    }
}

impl fmt::Display for SqlitePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sqlite:{}", self.0.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(url: &str, expected: Result<&str, InvalidSqlitePath>) {
        let parsed = SqlitePath::parse(url, Path::new("/etc/relay"));
        assert_eq!(parsed, expected.map(|path| SqlitePath(path.into())), "{url}");
    }

    #[test]
    fn a_relative_path_is_below_the_folder() {
        check("sqlite:relay.db", Ok("/etc/relay/relay.db"));
        check("sqlite://relay.db", Ok("/etc/relay/relay.db"));
        check("sqlite:/var/lib/relay.db", Ok("/var/lib/relay.db"));
        check("sqlite:///var/lib/relay.db", Ok("/var/lib/relay.db"));
    }

    #[test]
    fn what_keeps_nothing_is_refused() {
        check("sqlite::memory:", Err(InvalidSqlitePath::InMemory));
        check("sqlite:file.db?mode=memory", Err(InvalidSqlitePath::Parameters));
        for url in ["sqlite:", "sqlite:///", "sqlite:/var/lib/", "sqlite:.."] {
            check(url, Err(InvalidSqlitePath::NoFile));
        }
        check("amqp://localhost", Err(InvalidSqlitePath::NotSqlite));
    }
}
