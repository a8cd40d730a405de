use std::{io, time::Duration};

/// Why a node is not there. Every variant says what a person can do about it.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(
        "rabbitmq is not installed: run `apt-get install rabbitmq-server`, or point RABBITMQ_HOME at an installation"
    )]
    NotInstalled,
    #[error("port {port} on 127.0.0.1 is taken by another process: end that process, or start a node on new ports")]
    PortTaken { port: u16 },
    #[error("rabbitmq died during its start, see the end of its log:\n{log_tail}")]
    DiedDuringStart { log_tail: String },
    #[error("rabbitmq did not answer within {} s, is the machine overloaded? the end of its log:\n{log_tail}", after.as_secs())]
    TimedOut { after: Duration, log_tail: String },
    #[error("could not prepare the node's folder or processes, check that the temporary folder can be written")]
    Io(#[from] io::Error),
}
