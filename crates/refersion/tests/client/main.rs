//! The client against Refersion over real HTTP: the simulator wherever it can give the answer, and a few lines of TCP
//! for answers that it never gives.

mod support;
mod update;

mod create;
mod deactivate;
mod failures;
mod faults;
mod keys;
mod proxies;
