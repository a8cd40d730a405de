pub(crate) mod access;
pub(crate) mod credential;
pub(crate) mod basic;
