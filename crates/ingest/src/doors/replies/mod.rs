pub(crate) mod reply;
pub(crate) mod batch_reply;
pub(crate) mod description;
