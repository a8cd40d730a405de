pub(crate) mod file;
pub(crate) mod environment;
pub(crate) mod variable;
pub(crate) mod secret_file;
pub(crate) mod node;
