pub(crate) mod call_limiter;
pub(crate) mod limit;
