//! The configuration: one TOML file, environment variables over it, secrets from files.

mod examine;
mod load;
mod raw;
mod settings;
mod shard_list;

pub(crate) use examine::{Examined, Secret, SecretState, examine, others_may_read};
pub(crate) use load::{ConfigError, from_toml, load, load_again};
pub(crate) use settings::{AccountSettings, QueueUrl, Settings, TlsFiles};
pub(crate) use shard_list::ShardList;
