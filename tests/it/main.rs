//! The program as its users meet it: real processes, a real broker, real HTTP, a simulated Refersion.

mod amqp_docs;
mod batch;
mod check;
mod cli;
mod config;
mod copies;
mod crash;
mod demo;
mod dlq;
mod dlq_crash;
mod dlq_filters;
mod dlq_walk;
mod doors;
mod embedded;
mod enqueue;
mod faults;
mod fleet;
mod hold;
mod intake;
mod order;
mod privacy;
mod reload;
mod seed;
mod shutdown;
mod simulate;
mod update;
