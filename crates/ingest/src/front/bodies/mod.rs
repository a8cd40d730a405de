pub(crate) mod body;
pub(crate) mod gzip;
pub(crate) mod least_rate;
pub(crate) mod memory_budget;
pub(crate) mod unpackers;
