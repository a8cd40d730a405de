pub(crate) mod output;
pub(crate) mod words;
pub(crate) mod progress;
pub(crate) mod private_file;
