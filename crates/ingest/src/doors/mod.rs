pub(crate) mod router;
pub(crate) mod destination;
pub(crate) mod webhook;
pub(crate) mod signature;
pub(crate) mod tracking;
pub(crate) mod pixel;
pub(crate) mod health;
pub(crate) mod programs;
pub(crate) mod patience;
/// What the doors answer, and how OpenAPI describes it.
pub(crate) mod replies;

#[cfg(test)]
mod bounds_tests;
#[cfg(test)]
pub(crate) mod fake;
