pub(crate) mod supervisor;
pub(crate) mod link;
pub(crate) mod publisher;
pub(crate) mod singles;
pub(crate) mod moves;
