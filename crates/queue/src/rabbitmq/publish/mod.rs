pub(crate) mod supervisor;
pub(crate) mod link;
pub(crate) mod publisher;
pub(crate) mod batch;
pub(crate) mod singles;
