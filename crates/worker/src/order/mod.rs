pub(crate) mod order;
pub(crate) mod sequencer;
pub(crate) mod subject_queue;
pub(crate) mod event_key;
pub(crate) mod recently_done;
