use std::{
    fs,
    hash::{BuildHasher, RandomState},
    io,
    net::{Ipv4Addr, TcpListener},
    ops::RangeInclusive,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixListener},
    },
};

use crate::StartError;

/// Ports of one node: AMQP, distribution, epmd, management and the rest for `rabbitmqctl`.
const BLOCK: u16 = 16;
/// Below are the well-known ports of other servers.
const LOWEST: u16 = 10_240;

/// A block of ports that no other private node has while this value lives, in whatever process.
///
/// Asking the kernel for a free port would name one of the range it also takes outgoing connections' ports from. A
/// node that is down for a while, in a test of just that, could lose its port to any client; a client that keeps
/// trying to reach it can even connect to itself. So the block is drawn from below that range. The claim is an
/// abstract Unix socket, which belongs to the network namespace, as ports do, and ends with the process.
pub(crate) struct Ports {
    first: u16,
    _claim: UnixListener,
}

impl Ports {
    pub(crate) fn claim() -> Result<Self, StartError> {
        let end = outgoing_from().unwrap_or(32_768);
        let end = if end < LOWEST + 64 * BLOCK { 60_000 } else { end }; // no room below: the race it is
        let blocks = (end - LOWEST) / BLOCK;
        let start = RandomState::new().hash_one(std::process::id()) % u64::from(blocks);
        let start = u16::try_from(start).expect("it is the rest of a division by a u16");
        let mut last = StartError::PortTaken { port: LOWEST };
        for block in (start..blocks).chain(0..start) {
            let first = LOWEST + block * BLOCK;
            let name = SocketAddr::from_abstract_name(format!("refersion-relay-private-broker/{first}"))?;
            let claim = match UnixListener::bind_addr(&name) {
                Ok(claim) => claim,
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => continue,
                Err(error) => return Err(error.into()),
            };
            let ports = Self { first, _claim: claim };
            match ports.check_free() {
                Ok(()) => return Ok(ports),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    pub(crate) fn amqp(&self) -> u16 {
        self.first
    }

    pub(crate) fn distribution(&self) -> u16 {
        self.first + 1
    }

    pub(crate) fn epmd(&self) -> u16 {
        self.first + 2
    }

    pub(crate) fn management(&self) -> u16 {
        self.first + 3
    }

    /// Where a `rabbitmqctl` listens while it runs; its default range has room for eleven on the whole machine.
    pub(crate) fn ctl(&self) -> RangeInclusive<u16> {
        self.first + 4..=self.first + BLOCK - 1
    }

    /// Whether the node could listen now. Not to be asked of a node that runs.
    pub(crate) fn check_free(&self) -> Result<(), StartError> {
        [self.amqp(), self.distribution(), self.management()].into_iter().try_for_each(check_free)
    }

    pub(crate) fn check_epmd_free(&self) -> Result<(), StartError> {
        check_free(self.epmd())
    }
}

fn check_free(port: u16) -> Result<(), StartError> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map(drop).map_err(|_| StartError::PortTaken { port })
}

/// The first port the kernel gives to outgoing connections.
fn outgoing_from() -> Option<u16> {
    fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_claimed_side_by_side_do_not_overlap() {
        let blocks: Vec<Ports> = (0..20).map(|_| Ports::claim().unwrap()).collect();

        let mut all: Vec<u16> = blocks
            .iter()
            .flat_map(|ports| {
                [ports.amqp(), ports.distribution(), ports.epmd(), ports.management()].into_iter().chain(ports.ctl())
            })
            .collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();

        assert_eq!(all.len(), count);
    }

    #[test]
    fn a_port_in_use_is_named() {
        let ports = Ports::claim().unwrap();
        let _other = TcpListener::bind((Ipv4Addr::LOCALHOST, ports.distribution())).unwrap();

        let error = ports.check_free().unwrap_err();

        assert!(matches!(error, StartError::PortTaken { port } if port == ports.distribution()));
    }
}
