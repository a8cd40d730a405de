//! The port on RabbitMQ. Each file avoids the traps that its comments name; `ARCHITECTURE.md` lists them with their tests.

mod arrival;
mod broker;
mod connection;
mod consumer;
mod in_hand;
mod management;
mod management_url;
mod names;
mod policies;
pub(crate) mod properties;
mod publisher;
mod reader;
mod sweep;
mod topology;
mod url;

pub use broker::{RabbitMq, RabbitMqSettings};
pub use management::{ManagementError, PolicyReport};
pub use management_url::{InvalidManagementUrl, ManagementUrl};
pub use policies::{Gravity, PolicyHarm};
pub use topology::TopologyReport;
pub use url::{BrokerUrl, InvalidBrokerUrl};
