pub(crate) mod subject;
pub(crate) mod person_id;
pub(crate) mod email;
pub(crate) mod name;
pub(crate) mod last_name;
pub(crate) mod address;
pub(crate) mod country;
pub(crate) mod personal;
