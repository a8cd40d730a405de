//! The program as its users meet it: real processes, a real broker, real HTTP, a simulated Refersion.

mod check;
mod cli;
mod config;
mod crash;
mod dlq;
mod doors;
mod faults;
mod hold;
mod order;
mod privacy;
mod seed;
mod shutdown;
