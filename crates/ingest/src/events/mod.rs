pub(crate) mod classify;
pub(crate) mod batch;
pub(crate) mod json_array;
pub(crate) mod batch_items;
pub(crate) mod segment_settings;
