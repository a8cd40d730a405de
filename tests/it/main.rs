//! The program as its users meet it: real processes, a real broker, real HTTP, a simulated Refersion.

mod amqp_docs;
mod batch;
mod cli;
mod copies;
mod crash;
mod dlq;
mod doors;
mod faults;
mod fleet;
mod hold;
mod intake;
mod order;
mod privacy;
mod reload;
mod seed;
mod shutdown;
