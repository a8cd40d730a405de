//! The simulator over real HTTP on a loopback port: every operation, its errors, and every fault.

mod connections;
mod control;
mod credentials;
mod edit;
mod faults;
mod get;
mod harness;
mod list;
mod new;
mod odd_answers;
mod page;
mod search;
mod status_change;
