pub(crate) mod order;
pub(crate) mod copies;
pub(crate) mod update;
pub(crate) mod pacing;
