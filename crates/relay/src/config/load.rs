use std::path::{Path, PathBuf};
use std::{env, fmt, fs, io};

use super::examine::slots;
use super::raw::{RawIngest, RawSettings};
use super::settings::Settings;
use super::understand::{all_keys, understand};
use crate::config::mistakes::mistakes::{Mistake, Mistakes};
use crate::config::source::environment;
use crate::config::source::secret_file::{SecretFile, why};

/// Why there are no settings. Never quotes a secret.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("no configuration: give it with --config FILE or in RELAY_CONFIG; `refersion-relay init` makes one")]
    None,
    #[error("cannot read the configuration {}: {}{}", path.display(), why(error), hint(error))]
    Open { path: PathBuf, error: io::Error },
    /// One line for one mistake; for several, a line that counts them, and one for each.
    #[error("{}", shown(path, mistakes))]
    Wrong { path: PathBuf, mistakes: Vec<Mistake> },
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "; `refersion-relay init` makes one",
        io::ErrorKind::InvalidData => ": save it as UTF-8",
        _ => "",
    }
}

fn shown<'a>(path: &'a Path, mistakes: &'a [Mistake]) -> impl fmt::Display + 'a {
    fmt::from_fn(move |f| match mistakes {
        [mistake] => write!(f, "{}", mistake.shown(path)),
        mistakes => {
            write!(f, "{} mistakes in the configuration", mistakes.len())?;
            mistakes.iter().try_for_each(|mistake| write!(f, "\n  {}", mistake.shown(path)))
        }
    })
}

/// Reads the defaults, then `path`, then `RELAY__…` variables; later wins.
pub(crate) fn load(path: Option<&Path>) -> Result<Settings, ConfigError> {
    let path = path.ok_or(ConfigError::None)?;
    let (raw, found) = merge(path, &read(path)?);
    settle(path, raw, found)
}

/// Reads it as [`load`] does, but only files that can be read as often as one likes. May block: a file may be on a share
/// that does not answer.
pub(crate) fn load_again(path: &Path) -> Result<Settings, ConfigError> {
    regular(path).map_err(|error| ConfigError::Open { path: path.into(), error })?;
    let (mut raw, mut found) = merge(path, &read(path)?);
    for slot in slots(&mut raw) {
        if let Some(file) = slot.file.as_ref()
            && let Err(error) = regular(file.path())
        {
            found.of(&slot.key, &file.unreadable(&slot.key, &error));
            *slot.file = None;
        }
    }
    settle(path, raw, found)
}

/// Variables of the environment that are meant for this program and are not read, each with a word about it.
pub(crate) fn strays() -> Vec<(String, String)> {
    environment::strays(&variables(), &all_keys())
}

/// A pipe gives its content once, and makes whoever opens it wait.
fn regular(path: &Path) -> io::Result<()> {
    if fs::metadata(path)?.is_file() {
        Ok(())
    } else {
        Err(io::Error::other("it is no regular file, so it is read only at the start"))
    }
}

pub(crate) fn read(path: &Path) -> Result<String, ConfigError> {
    fs::read_to_string(path).map_err(|error| ConfigError::Open { path: path.into(), error })
}

/// What the file at `path` says, which is `text`, with the environment over it. Files with relative paths lie beside it, wherever the
/// program is started.
pub(crate) fn merge(path: &Path, text: &str) -> (RawSettings, Mistakes) {
    let (mut raw, found) = understand(text, &variables());
    let folder = path.parent().unwrap_or(Path::new(""));
    let beside = |file: &mut SecretFile| file.lie_in(folder);
    slots(&mut raw).into_iter().filter_map(|slot| slot.file.as_mut()).for_each(beside);
    let RawIngest { tls_certificate_file, tls_key_file, .. } = &mut raw.ingest;
    tls_key_file.iter_mut().for_each(beside);
    if let Some(file) = tls_certificate_file {
        *file = folder.join(&*file);
    }
    (RawSettings { folder: state_folder(path), ..raw }, found)
}

/// Where a relative path of the queue begins: in a container, say, the folder of the configuration cannot be written.
fn state_folder(path: &Path) -> PathBuf {
    let named = env::var_os("RELAY_STATE").filter(|folder| !folder.is_empty());
    named.map_or_else(|| path.parent().unwrap_or(Path::new("")).to_owned(), PathBuf::from)
}

pub(crate) fn settle(path: &Path, raw: RawSettings, mut found: Mistakes) -> Result<Settings, ConfigError> {
    match Settings::settle(raw, &mut found) {
        Some(settings) if found.is_empty() => Ok(settings),
        _ => Err(ConfigError::Wrong { path: path.to_owned(), mistakes: found.into_vec() }),
    }
}

/// Reads settings from a text of our own, without the environment.
pub(crate) fn from_toml(text: &str) -> Result<Settings, ConfigError> {
    let (raw, found) = understand(text, &[]);
    settle(Path::new("(built in)"), raw, found)
}

fn variables() -> Vec<(String, String)> {
    let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    env::vars_os().map(|(name, value)| (text(name), text(value))).collect()
}
