//! The configuration: one TOML file, environment variables over it, secrets from files.

mod load;
mod raw;
mod settings;

pub(crate) use load::{from_toml, load};
pub(crate) use settings::{AccountSettings, QueueUrl, Settings};
