pub(crate) mod consumer;
pub(crate) mod reading;
pub(crate) mod item;
pub(crate) mod fair_share;
pub(crate) mod load;
