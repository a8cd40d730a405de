//! The worker on real queues, with destinations that behave as a test wants.

mod alone;
mod bounds;
mod copies;
mod deaths;
mod outage;
mod poison;
mod accounts;
mod support;
