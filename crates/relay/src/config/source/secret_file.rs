use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize, Serializer};

/// The file of a secret, as a `…_file` key names it. What stands there may be the secret itself, by mistake, so a name is
/// shown only when there is such a file, or at least the folder it would be in.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "PathBuf")]
pub(crate) struct SecretFile {
    path: PathBuf,
    /// Whether it was configured without any folder that would show that it is a path.
    is_bare: bool,
    is_relative: bool,
}

/// Of a file whose name is not shown.
pub(crate) const NOT_THERE: &str = "there is no file of that name beside the configuration";

impl From<PathBuf> for SecretFile {
    fn from(path: PathBuf) -> Self {
        let is_bare = path.parent().is_none_or(|folder| folder.as_os_str().is_empty());
        Self { is_bare, is_relative: path.is_relative(), path }
    }
}

impl SecretFile {
    /// Puts a relative path into this folder.
    pub(crate) fn lie_in(&mut self, folder: &Path) {
        self.path = folder.join(&self.path);
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// May block.
    pub(crate) fn read(&self) -> io::Result<String> {
        fs::read_to_string(&self.path)
    }

    /// The path, unless it may be the secret itself.
    pub(crate) fn shown(&self) -> Option<String> {
        let is_there = || fs::symlink_metadata(&self.path).is_ok();
        let is_path = || !self.is_bare && self.path.parent().is_some_and(Path::is_dir);
        (!self.is_relative || is_there() || is_path()).then(|| self.path.display().to_string())
    }

    /// That it cannot be read, as it goes on after the key of the secret, which is `key`.
    pub(crate) fn unreadable(&self, key: &str, error: &io::Error) -> String {
        let from = self.shown().map(|path| format!(" from {path}")).unwrap_or_default();
        format!("cannot be read{from}: {}", self.why(key, error))
    }

    /// Why the file of the secret `key` cannot be read.
    pub(crate) fn why(&self, key: &str, error: &io::Error) -> String {
        if self.shown().is_some() {
            return why(error);
        }
        let plain = plain(key);
        format!("{NOT_THERE}; is it the secret itself? Then the key is {plain}, without _file")
    }
}

impl fmt::Debug for SecretFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretFile(…)")
    }
}

/// As [`SecretFile::shown`].
impl Serialize for SecretFile {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.shown().as_deref().unwrap_or("***"))
    }
}

/// The key that takes the secret itself, where messages name it `queue.url` or `account acme: write_key_files[0]`.
fn plain(key: &str) -> String {
    let last = key.rsplit([' ', '.']).next().unwrap_or(key);
    let name = last.split('[').next().unwrap_or(last);
    name.strip_suffix("_files").map_or_else(|| name.to_owned(), |one| format!("{one}s"))
}

/// Why a file gives no text.
pub(crate) fn why(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::InvalidData => "it is no UTF-8 text".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_the_secret_itself_is_shown_nowhere() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("secrets")).unwrap();
        fs::write(folder.path().join("there"), "sec").unwrap();
        let long = "s3cr3t".repeat(100);
        for (configured, is_shown) in [
            ("s3cr3t1", false),
            ("s3cr3t/+1==", false),
            ("amqp://relay:s3cr3t@broker/vhost", false),
            (long.as_str(), false),
            ("s3cr\0et", false),
            ("there", true),
            ("there/s3cr3t", false),
            ("secrets/acme", true),
            ("/nowhere/acme", true),
        ] {
            let mut file = SecretFile::from(PathBuf::from(configured));
            file.lie_in(folder.path());
            let error = io::Error::from(io::ErrorKind::NotFound);
            let said = file.unreadable("account acme: write_key_files[0]", &error);
            let json = serde_json::to_string(&file).unwrap();
            for text in [&said, &json] {
                assert_eq!(text.contains(configured), is_shown, "{configured}: {text}");
                assert!(is_shown || !text.contains("s3cr"), "{configured}: {text}");
            }
            assert!(is_shown || said.ends_with("Then the key is write_keys, without _file"), "{said}");
            assert!(!format!("{file:?}").contains(configured));
        }
    }

    #[test]
    fn the_key_of_the_secret_itself_is_named() {
        for (key, expected) in [
            ("queue.url", "url"),
            ("account acme: secret_key", "secret_key"),
            ("account number 1: webhook_secret_files[3]", "webhook_secrets"),
            ("account acme: former_keys[0].secret_key", "secret_key"),
        ] {
            assert_eq!(plain(key), expected, "{key}");
        }
    }
}
