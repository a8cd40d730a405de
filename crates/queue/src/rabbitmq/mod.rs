//! The port on RabbitMQ. Each file avoids the traps that its comments name; `docs/design/rabbitmq.md` lists them with their
//! tests.

mod broker;
/// Connections, and messages as AMQP has them.
pub(crate) mod wire;
/// Queues, exchanges and bindings: their names, their declaration, and what is left of earlier ones.
mod topology;
/// A publishing connection that is kept up, and publishes with confirms over it.
mod publish;
/// Places that are consumed, a channel for each, and deliveries that are settled.
mod consume;
/// Dead letters, read and swept.
mod letters;
/// Requests to one process among all.
pub(crate) mod mailbox;
/// What every process counts, and keeps on the broker for all of them together.
mod tally;

pub use broker::{RabbitMq, RabbitMqSettings};
pub use mailbox::client::{Mailbox, MailboxError};
pub use mailbox::server::{MailboxDepth, Reader as MailboxReader};
pub use topology::topology::{Needs, TopologyReport};
pub use wire::url::{BrokerUrl, InvalidBrokerUrl};
