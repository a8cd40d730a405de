pub(crate) mod fault;
pub(crate) mod fault_rule;
pub(crate) mod fault_rules;
pub(crate) mod chance;
pub(crate) mod outage;
pub(crate) mod pace;
