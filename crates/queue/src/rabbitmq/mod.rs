//! The port on RabbitMQ. Each file avoids the traps that its comments name; `ARCHITECTURE.md` lists them with their tests.

mod arrival;
mod broker;
mod broker_version;
mod connection;
mod consumer;
mod gates;
mod history;
mod in_hand;
mod left_behind;
mod link;
mod management;
mod management_url;
mod moves;
mod names;
mod policies;
mod priority;
pub(crate) mod properties;
mod publisher;
mod reader;
mod seed;
mod supervisor;
mod sweep;
mod switch;
mod tally;
mod topology;
mod upkeep;
mod url;

pub use broker::{RabbitMq, RabbitMqSettings};
pub use broker_version::BrokerVersion;
pub use gates::GatePace;
pub use management::{ManagementError, PolicyReport};
pub use management_url::{InvalidManagementUrl, ManagementUrl};
pub use policies::{Gravity, PolicyHarm};
pub use topology::TopologyReport;
pub use url::{BrokerUrl, InvalidBrokerUrl};
