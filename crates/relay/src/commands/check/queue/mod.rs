pub(crate) mod queue;
pub(crate) mod broker;
pub(crate) mod embedded;
pub(crate) mod conservation;
pub(crate) mod waiting;
pub(crate) mod left_behind;
