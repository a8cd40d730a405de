pub(crate) mod connection;
pub(crate) mod url;
pub(crate) mod cause;
pub(crate) mod properties;
pub(crate) mod arrival;
pub(crate) mod generation;
pub(crate) mod silence;
