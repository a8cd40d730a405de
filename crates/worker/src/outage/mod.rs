pub(crate) mod breaker;
pub(crate) mod monitor;
pub(crate) mod history;
