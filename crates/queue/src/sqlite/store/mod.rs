pub(crate) mod schema;
pub(crate) mod places;
pub(crate) mod row;
pub(crate) mod work;
pub(crate) mod due;
pub(crate) mod find;
pub(crate) mod ledger;
