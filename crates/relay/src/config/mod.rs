//! The configuration: one TOML file, environment variables over it, secrets from files.

/// Where settings come from: the file, the environment, files with secrets.
mod source;
/// What can be wrong with a setting, and how it is said.
mod mistakes;
mod examine;
mod load;
mod raw;
mod settings;
mod understand;

#[cfg(test)]
mod tests;

pub(crate) use examine::{Examined, Secret, SecretState, examine, others_may_read};
pub(crate) use load::{ConfigError, from_toml, load, load_again, strays};
pub(crate) use settings::{AccountSettings, DirectoryKeys, QueueUrl, Settings, TlsFiles};
pub(crate) use source::secret_file::{NOT_THERE, SecretFile};
