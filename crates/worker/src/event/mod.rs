pub(crate) mod load;
pub(crate) mod in_hand;
pub(crate) mod reading;
pub(crate) mod outcome;
pub(crate) mod settle;
pub(crate) mod trail;
