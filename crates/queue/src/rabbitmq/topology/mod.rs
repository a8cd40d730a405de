pub(crate) mod names;
pub(crate) mod topology;
pub(crate) mod upkeep;
pub(crate) mod marks;
pub(crate) mod history;
pub(crate) mod left_behind;
