pub(crate) mod hold;
pub(crate) mod outage;
pub(crate) mod faults;
pub(crate) mod broker;
pub(crate) mod crash;
pub(crate) mod shutdown;
#[cfg(debug_assertions)] // as the program, in which parts can be made to end
pub(crate) mod supervision;
pub(crate) mod fleet;
pub(crate) mod embedded;
pub(crate) mod storm;
