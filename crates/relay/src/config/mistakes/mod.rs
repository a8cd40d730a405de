pub(crate) mod mistakes;
pub(crate) mod suggest;
pub(crate) mod forms;
