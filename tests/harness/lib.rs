//! What the end-to-end tests stand on: the real program as a process, a real broker, a simulated Refersion, real HTTP.

mod broker;
mod canned;
mod collector;
mod events;
mod http;
mod letters;
mod prometheus;
mod proxy;
mod refersion;
mod relay;
mod tap;
mod wait;

pub use broker::{shared_broker, unique_prefix};
pub use canned::Canned;
pub use collector::{Collector, hex};
pub use events::{DELETE, IDENTIFY, delete, gzip, identify, signature, with_id};
pub use http::http_client;
pub use letters::{Admin, DeadLetter};
pub use prometheus::Prometheus;
pub use proxy::{Network, Proxy};
pub use refersion::Refersion;
pub use relay::{Answer, Command, Config, Output, Relay, account, installed, program};
pub use tap::{Request, Tap};
pub use wait::{PATIENCE, eventually};
