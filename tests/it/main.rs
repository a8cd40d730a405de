//! The program as its users meet it: real processes, a real broker, real HTTP, a simulated Refersion.

mod cli;
mod crash;
mod dlq;
mod dlq_crash;
mod dlq_filters;
mod dlq_walk;
mod doors;
mod faults;
mod hold;
mod order;
mod privacy;
mod seed;
mod shutdown;
