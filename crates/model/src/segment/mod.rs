pub(crate) mod event;
pub(crate) mod envelope;
pub(crate) mod traits;
pub(crate) mod fields;
pub(crate) mod text;
pub(crate) mod surrogates;
