//! The port on RabbitMQ. Each file avoids the traps that its comments name; `ARCHITECTURE.md` lists them with their tests.

mod broker;
mod connection;
mod consumer;
mod dead_letters;
mod management;
mod management_url;
mod names;
mod policies;
mod properties;
mod publisher;
mod topology;
mod url;

pub use broker::{RabbitMq, RabbitMqSettings};
pub use management::{ManagementError, PolicyReport};
pub use management_url::{InvalidManagementUrl, ManagementUrl};
pub use policies::{Gravity, PolicyHarm};
pub use topology::TopologyReport;
pub use url::{BrokerUrl, InvalidBrokerUrl};
