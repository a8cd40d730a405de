pub(crate) mod writer;
pub(crate) mod task;
pub(crate) mod thread;
pub(crate) mod group_commit;
pub(crate) mod lease;
pub(crate) mod write_queue;
pub(crate) mod status;
pub(crate) mod heartbeat;
