//! A `RabbitMQ` node of one's own, for tests: no container, no root, nothing shared with the machine's broker.
//!
//! Every listener is on loopback, on ports that no other private node has; the data, the logs, the cookie and the
//! epmd are the node's own. The node goes when its [`PrivateBroker`] is dropped, and also when the process that
//! holds it is killed. This crate knows how to run a broker and nothing of AMQP beyond the first byte of an answer.
//! It needs Linux: processes are watched through process groups, ports are claimed through abstract sockets.

mod broker;
mod error;
mod folder;
mod guardian;
mod installation;
mod membership;
mod ports;
mod process;

pub use broker::{Options, PrivateBroker};
pub use error::StartError;
pub use installation::installed;
pub use membership::Membership;
