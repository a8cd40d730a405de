pub(crate) mod consumer;
pub(crate) mod item;
pub(crate) mod fair_share;
