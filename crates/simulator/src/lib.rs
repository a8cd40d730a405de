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

mod simulator;
mod settings;
mod stats;
mod call;

mod operation;
/// What Refersion keeps: merchants, their affiliates, and how they are found and shown.
mod affiliates;
/// What goes wrong, when, and how often.
mod faults;
/// How calls come in and answers go out, and the routes to watch and steer it.
mod http;

pub use affiliates::affiliate::{Affiliate, NewAffiliate};
pub use affiliates::status::Status;
pub use call::Call;
pub use faults::chance::Chance;
pub use faults::fault::{Fault, Shape};
pub use faults::fault_rule::FaultRule;
pub use operation::Operation;
pub use settings::{CodeStyle, IdKind, Settings};
pub use simulator::Simulator;
pub use stats::{OperationStats, Stats};
