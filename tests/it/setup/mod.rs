pub(crate) mod config;
pub(crate) mod cli;
pub(crate) mod proxy;
pub(crate) mod demo;
pub(crate) mod simulate;
pub(crate) mod systemd;
