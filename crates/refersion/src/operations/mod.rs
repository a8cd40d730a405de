pub(crate) mod affiliates;
pub(crate) mod lookup;
pub(crate) mod update;
pub(crate) mod request;
pub(crate) mod password;
