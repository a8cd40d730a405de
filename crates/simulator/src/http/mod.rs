pub(crate) mod server;
pub(crate) mod api;
pub(crate) mod control;
pub(crate) mod request;
pub(crate) mod refusal;
pub(crate) mod answer;
pub(crate) mod sending;
pub(crate) mod journal;
