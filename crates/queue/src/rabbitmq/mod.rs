//! The port on RabbitMQ. Each file avoids the traps that its comments name; `docs/design/rabbitmq.md` lists them with their
//! tests.

mod acknowledged;
mod acknowledging;
mod alone;
mod arrival;
mod broker;
mod broker_version;
mod cause;
mod connection;
mod consumer;
mod consuming;
mod generation;
mod history;
mod in_hand;
mod left_behind;
mod link;
mod management;
mod management_url;
mod marks;
mod moves;
mod names;
mod policies;
mod priority;
pub(crate) mod properties;
mod publisher;
mod reader;
mod silence;
mod singles;
mod supervisor;
mod sweep;
mod tally;
mod term;
mod topology;
mod unacknowledged;
mod untaken;
mod upkeep;
mod url;

pub use broker::{RabbitMq, RabbitMqSettings};
pub use broker_version::BrokerVersion;
pub use management::{Limits, ManagementError, PolicyReport};
pub use management_url::{InvalidManagementUrl, ManagementUrl};
pub use policies::{Gravity, PolicyHarm};
pub use topology::{Needs, TopologyReport};
pub use url::{BrokerUrl, InvalidBrokerUrl};
