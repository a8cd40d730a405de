pub(crate) mod reader;
pub(crate) mod sweep;
pub(crate) mod in_hand;
