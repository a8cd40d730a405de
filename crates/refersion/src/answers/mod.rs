pub(crate) mod answer;
pub(crate) mod known_text;
pub(crate) mod failure;
