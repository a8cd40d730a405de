pub(crate) mod order;
pub(crate) mod copies;
pub(crate) mod update;
pub(crate) mod unchanged;
pub(crate) mod pacing;
