pub(crate) mod classify;
pub(crate) mod known_text;
pub(crate) mod failure;
