//! What a person should know of a RabbitMQ that AMQP does not tell: policies, limits, its version, and queues of nobody.
//!
//! It reads RabbitMQ's management API, judges what would do harm to a relay's queues, and changes nothing. It never speaks AMQP.

mod management_url;
mod management;
mod policies;
mod broker_version;

pub use broker_version::BrokerVersion;
pub use management::{Limits, ManagementError, PolicyReport};
pub use management_url::{InvalidManagementUrl, ManagementUrl};
pub use policies::{Gravity, PolicyHarm};
