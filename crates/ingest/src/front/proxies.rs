use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use http::HeaderMap;
use ipnet::IpNet;

use super::client::Client;

/// Addresses that begin alike, as `10.0.0.0/8`; an address alone is a network of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network(IpNet);

/// The text is no network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is no network: write it like \"10.0.0.0/8\" or \"fd00::/8\", with nothing but zeros behind the prefix")]
pub struct InvalidNetwork;

impl Network {
    fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}

impl FromStr for Network {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<Self, InvalidNetwork> {
        let one = || text.parse::<IpAddr>().map(IpNet::from);
        let network = text.parse::<IpNet>().or_else(|_| one()).map_err(|_| InvalidNetwork)?;
        // A network whose address says more than its prefix is a slip of somebody's.
        if network.addr() == network.network() { Ok(Self(network)) } else { Err(InvalidNetwork) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The proxies whose `X-Forwarded-For` is believed.
#[derive(Debug)]
pub(crate) struct Proxies(pub(crate) Vec<Network>);

impl Proxies {
    pub(crate) fn trust(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }

    /// Whom a trusted proxy forwards for: the last hop that is no trusted proxy itself, since what stands before it is what
    /// somebody says of himself. `None`: the proxy does not say.
    pub(crate) fn forwarded(&self, headers: &HeaderMap) -> Option<Client> {
        let lines = headers.get_all("x-forwarded-for").iter().rev();
        let hops = lines.flat_map(|line| line.to_str().unwrap_or_default().rsplit(','));
        let mut nearest = None;
        for hop in hops {
            let address = address(hop.trim())?;
            nearest = Some(Client::from(address));
            if !self.trust(address) {
                break;
            }
        }
        nearest
    }
}

/// An address, which some proxies write with a port, and some in brackets.
fn address(hop: &str) -> Option<IpAddr> {
    let with_port = || hop.parse::<SocketAddr>().map(|address| address.ip());
    hop.trim_matches(['[', ']']).parse().or_else(|_| with_port()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(network: &str, inside: &[&str], outside: &[&str]) {
        let parsed: Network = network.parse().unwrap();
        let contains = |address: &&&str| parsed.contains(address.parse().unwrap());
        assert!(inside.iter().all(|address| contains(&address)), "{network}");
        assert!(!outside.iter().any(|address| contains(&address)), "{network}");
    }

    #[test]
    fn a_network_has_the_addresses_with_its_prefix() {
        check("10.0.0.0/8", &["10.0.0.0", "10.255.255.255", "::ffff:10.1.2.3"], &["11.0.0.0", "9.255.255.255", "::1"]);
        check("192.0.2.7", &["192.0.2.7"], &["192.0.2.6", "192.0.2.8"]);
        check("0.0.0.0/0", &["0.0.0.0", "255.255.255.255"], &["::1"]);
        check("fd00::/8", &["fd00::", "fdff::1"], &["fe00::", "10.0.0.1"]);
        check("::/0", &["::1", "ffff::"], &["10.0.0.1"]);
        check("2001:db8::1/128", &["2001:db8::1"], &["2001:db8::2"]);
        for wrong in ["", "10.0.0.0/33", "10.0.0.1/8", "::/129", "10.0.0.0/", "10.0.0.0/-1", "localhost", "fd00::1/8"] {
            assert_eq!(wrong.parse::<Network>(), Err(InvalidNetwork), "{wrong}");
        }
        for text in ["10.0.0.0/8", "fd00::/8", "192.0.2.7/32"] {
            assert_eq!(text.parse::<Network>().unwrap().to_string(), text);
        }
    }

    #[track_caller]
    fn forwarded(lines: &[&str], expected: Option<&str>) {
        let proxies = Proxies(vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()]);
        let headers = lines.iter().map(|line| ("x-forwarded-for".parse().unwrap(), line.parse().unwrap())).collect();
        let expected = expected.map(|address| Client::from(address.parse::<IpAddr>().unwrap()));
        assert_eq!(proxies.forwarded(&headers), expected, "{lines:?}");
    }

    #[test]
    fn the_last_hop_that_is_no_proxy_of_ours_is_the_client() {
        forwarded(&["192.0.2.1"], Some("192.0.2.1"));
        forwarded(&["198.51.100.1, 192.0.2.1"], Some("192.0.2.1"));
        forwarded(&["198.51.100.1,192.0.2.1 , 10.1.1.1,10.0.0.2"], Some("192.0.2.1"));
        forwarded(&["198.51.100.1", "192.0.2.1, 10.0.0.2"], Some("192.0.2.1"));
        forwarded(&["192.0.2.1:5678, 10.0.0.2:80"], Some("192.0.2.1"));
        forwarded(&["[2001:db8::1]:5678, fd00::1"], Some("2001:db8::2"));
        forwarded(&["10.3.3.3, 10.0.0.2"], Some("10.3.3.3"));
        forwarded(&["not an address, 192.0.2.1"], Some("192.0.2.1"));
    }

    #[test]
    fn who_is_not_named_is_nobody() {
        forwarded(&[], None);
        forwarded(&[""], None);
        forwarded(&["unknown"], None);
        forwarded(&["192.0.2.1, unknown, 10.0.0.2"], None);
    }
}
