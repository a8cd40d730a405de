//! The configuration: one TOML file, environment variables over it, secrets from files.

mod environment;
mod examine;
mod file;
mod forms;
mod load;
mod mistakes;
mod node;
mod raw;
mod secret_file;
mod settings;
mod suggest;
mod understand;
mod variable;

#[cfg(test)]
mod tests;

pub(crate) use examine::{Examined, Secret, SecretState, examine, others_may_read};
pub(crate) use load::{ConfigError, from_toml, load, load_again, strays};
pub(crate) use secret_file::{NOT_THERE, SecretFile};
pub(crate) use settings::{AccountSettings, QueueUrl, Settings, TlsFiles};
