pub(crate) mod account;
pub(crate) mod accounts;
pub(crate) mod owner;
pub(crate) mod gate;
pub(crate) mod hold;
pub(crate) mod pauses;
pub(crate) mod refusals;
pub(crate) mod readiness;
