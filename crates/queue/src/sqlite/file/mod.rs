pub(crate) mod path;
pub(crate) mod file;
pub(crate) mod rights;
pub(crate) mod beside;
pub(crate) mod mounts;
pub(crate) mod fault;
