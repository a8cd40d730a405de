pub(crate) mod work;
pub(crate) mod attempt;
pub(crate) mod people;
pub(crate) mod unchanged;
pub(crate) mod isolated;
pub(crate) mod decide;
pub(crate) mod past_time;
