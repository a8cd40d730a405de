use std::path::{Path, PathBuf};
use std::{fs, io};

use figment::Figment;
use figment::providers::{Env, Format, Toml};

use super::examine::slots;
use super::raw::RawSettings;
use super::settings::Settings;

/// Why there are no settings. Never quotes a secret.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("no configuration: give it with --config FILE or in RELAY_CONFIG")]
    None,
    #[error("cannot read the configuration {}", path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("{origin}: {why}")]
    Form { origin: String, why: String },
    #[error("cannot read {key} from {}", path.display())]
    SecretFile { key: String, path: PathBuf, source: io::Error },
    #[error("{key} {why}")]
    Invalid { key: String, why: String },
}

/// Reads the defaults, then `path`, then `RELAY__…` variables; later wins.
pub(crate) fn load(path: Option<&Path>) -> Result<Settings, ConfigError> {
    let path = path.ok_or(ConfigError::None)?;
    merge(path, &read(path)?)?.try_into()
}

/// Reads it as [`load`] does, but only files that can be read as often as one likes. May block: a file may be on a share
/// that does not answer.
pub(crate) fn load_again(path: &Path) -> Result<Settings, ConfigError> {
    regular(path).map_err(|source| ConfigError::Open { path: path.into(), source })?;
    let mut raw = merge(path, &read(path)?)?;
    for slot in slots(&mut raw) {
        if let Some(file) = slot.file.as_ref() {
            let secret = |source| ConfigError::SecretFile { key: slot.key, path: file.clone(), source };
            regular(file).map_err(secret)?;
        }
    }
    raw.try_into()
}

/// A pipe gives its content once, and makes whoever opens it wait.
fn regular(path: &Path) -> io::Result<()> {
    if fs::metadata(path)?.is_file() {
        Ok(())
    } else {
        Err(io::Error::other("it is no regular file, so it is read only at the start"))
    }
}

pub(super) fn read(path: &Path) -> Result<String, ConfigError> {
    fs::read_to_string(path).map_err(|source| ConfigError::Open { path: path.into(), source })
}

/// What the file at `path` says, which is `text`, with the environment over it.
pub(super) fn merge(path: &Path, text: &str) -> Result<RawSettings, ConfigError> {
    let figment = Figment::new().merge(Toml::string(text)).merge(Env::prefixed("RELAY__").split("__"));
    let raw = figment.extract::<RawSettings>().map_err(|error| form(path, &error))?;
    Ok(RawSettings { folder: state_folder(path), ..raw })
}

/// Where a relative path of the queue begins: in a container, say, the configuration's folder cannot be written.
fn state_folder(path: &Path) -> PathBuf {
    let named = std::env::var_os("RELAY_STATE").filter(|folder| !folder.is_empty());
    named.map_or_else(|| path.parent().unwrap_or(Path::new("")).to_owned(), PathBuf::from)
}

/// What a file says alone, if that is a configuration.
pub(super) fn alone(text: &str) -> Option<RawSettings> {
    Figment::new().merge(Toml::string(text)).extract::<RawSettings>().ok()
}

/// Reads settings from a text of our own, without the environment.
pub(crate) fn from_toml(text: &str) -> Result<Settings, ConfigError> {
    let raw = Figment::new().merge(Toml::string(text)).extract::<RawSettings>();
    raw.map_err(|error| form(Path::new("(built in)"), &error))?.try_into()
}

/// The first thing that is wrong, in one line. The libraries' own texts quote the line they stumble over, which may be
/// the one with the secret.
fn form(path: &Path, error: &figment::Error) -> ConfigError {
    use figment::error::Kind;
    let error = error.clone().into_iter().next().unwrap_or_else(|| error.clone());
    let key = error.path.join(".");
    let from_file = error.metadata.as_ref().is_none_or(|metadata| !metadata.name.contains("environment"));
    let origin = if from_file {
        path.display().to_string()
    } else {
        format!("environment RELAY__{}", key.to_uppercase().replace('.', "__"))
    };
    let why = match &error.kind {
        Kind::InvalidType(_, expected) | Kind::InvalidValue(_, expected) => format!("{key} has to be {expected}"),
        Kind::UnknownField(field, known) => {
            format!("there is no key {} (there are {})", join(&key, field), known.join(", "))
        }
        Kind::MissingField(field) => format!("{} is missing", join(&key, field)),
        Kind::DuplicateField(field) => format!("{} is given twice", join(&key, field)),
        Kind::Message(message) if message.contains("TOML parse error") => {
            message.lines().next().unwrap_or_default().to_lowercase().replace("toml parse error", "not TOML")
        }
        Kind::Message(message) if !key.is_empty() => format!("{key}: {}", message.lines().next().unwrap_or_default()),
        _ => "not a configuration".to_owned(),
    };
    ConfigError::Form { origin, why }
}

/// The error's path has the field already where it comes from the deserialiser, and has not where it comes from us.
fn join(path: &str, field: &str) -> String {
    if path.is_empty() {
        field.to_owned()
    } else if path.ends_with(field) {
        path.to_owned()
    } else {
        format!("{path}.{field}")
    }
}
