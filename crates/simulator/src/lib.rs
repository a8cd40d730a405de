//! A stand-in for Refersion's REST API: it keeps its affiliates in memory and fails on demand.
//!
//! It exists for tests, for `refersion-relay demo` and for `refersion-relay simulate`. It imitates what is
//! inconvenient about the original: two kinds of id, a 204 that means failure, partial success inside a 200, and a
//! search that finds more than was asked for. It refuses to be a reference: where nobody knows how Refersion
//! behaves it picks the reading that is harder on the client, and says so next to the code.
//!
//! ```no_run
//! # async fn example() -> std::io::Result<()> {
//! use refersion_relay_simulator::{Fault, FaultRule, Settings, Simulator};
//!
//! let simulator = Simulator::new(Settings::default());
//! simulator.add_fault(FaultRule { times: Some(3), ..FaultRule::always(Fault::Reset) });
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! simulator.serve(listener, tokio_util::sync::CancellationToken::new()).await
//! # }
//! ```

// What a caller sees.
mod simulator;

mod affiliate;
mod call;
mod chance;
mod fault;
mod fault_rule;
mod operation;
mod settings;
mod stats;
mod status;

// What the operations are made of.
mod answer;
mod country;
mod directory;
mod like;
mod merchant;
mod page;
mod password;
mod refusal;
mod request;
mod row;
mod sending;

// How calls come in.
mod api;
mod control;
mod fault_rules;
mod journal;
mod outage;
mod pace;
mod server;

pub use affiliate::{Affiliate, NewAffiliate};
pub use call::Call;
pub use chance::Chance;
pub use fault::{Fault, Shape};
pub use fault_rule::FaultRule;
pub use operation::Operation;
pub use settings::{CodeStyle, IdKind, Settings};
pub use simulator::Simulator;
pub use stats::{OperationStats, Stats};
pub use status::Status;
