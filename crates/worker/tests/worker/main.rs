//! The worker on a real broker, with destinations that behave as a test wants.

mod alone;
mod bounds;
mod copies;
mod outage;
mod poison;
mod roster;
mod support;
