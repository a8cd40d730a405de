use std::fmt;

use reqwest::{Proxy, Url};
use url::Host;

/// A proxy on the way to Refersion: `http(s)://[user:password@]host[:port]`. A secret, and shown without the user and password.
#[derive(Clone, PartialEq, Eq)]
pub struct ProxyUrl(Url);

/// The URL cannot be used. Never quotes it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the proxy's URL is not of the form http(s)://[user:password@]host[:port]")]
pub struct InvalidProxyUrl;

impl ProxyUrl {
    /// Reads a URL.
    pub fn parse(text: &str) -> Result<Self, InvalidProxyUrl> {
        let url = Url::parse(text.trim()).map_err(|_| InvalidProxyUrl)?;
        let usable = matches!(url.scheme(), "http" | "https") && url.host().is_some();
        let plain = matches!(url.path(), "" | "/") && url.query().is_none() && url.fragment().is_none();
        if usable && plain { Ok(Self(url)) } else { Err(InvalidProxyUrl) }
    }

    /// Whether its password would leave this machine unencrypted.
    #[must_use]
    pub fn is_exposed(&self) -> bool {
        let has_user = !self.0.username().is_empty() || self.0.password().is_some();
        has_user && self.0.scheme() == "http" && !is_loopback(&self.0)
    }

    /// What the client of Refersion is built with.
    pub(crate) fn to_proxy(&self) -> Proxy {
        Proxy::all(self.0.clone()).expect("a URL with a host is one of a proxy")
    }
}

impl fmt::Display for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let has_user = !self.0.username().is_empty() || self.0.password().is_some();
        let (user, host) = (if has_user { "***@" } else { "" }, self.0.host_str().unwrap_or_default());
        let port = self.0.port().map(|port| format!(":{port}")).unwrap_or_default();
        write!(f, "{}://{user}{host}{port}", self.0.scheme())
    }
}

impl fmt::Debug for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProxyUrl({self})")
    }
}

/// Whether what is sent to this URL stays on this machine. No proxy is ever asked for such a URL.
#[must_use]
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name.trim_end_matches('.') == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.to_canonical().is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_a_shown_url_nor_an_error_has_the_password() {
        let url = ProxyUrl::parse(" http://me:s3cret@proxy:3128/\n").unwrap();
        assert_eq!(url.to_string(), "http://***@proxy:3128");
        assert_eq!(ProxyUrl::parse("https://[fd00::1]:3128").unwrap().to_string(), "https://[fd00::1]:3128");
        assert!(!format!("{url:?}").contains("s3cret"));
        for bad in ["", "proxy:3128", "socks5://me:s3cret@proxy", "http://me:s3cret@", "http://me:s3cret@proxy/x"] {
            let error = ProxyUrl::parse(bad).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("s3cret"), "{bad}");
        }
    }

    #[test]
    fn a_password_is_exposed_where_it_leaves_this_machine_unencrypted() {
        for (url, exposed) in [
            ("http://me:mine@proxy:3128", true),
            ("https://me:mine@proxy:3128", false),
            ("http://me:mine@127.0.0.1:3128", false),
            ("http://proxy:3128", false),
        ] {
            assert_eq!(ProxyUrl::parse(url).unwrap().is_exposed(), exposed, "{url}");
        }
    }

    #[test]
    fn loopback_is_every_address_and_name_of_this_machine_alone() {
        for (url, expected) in [
            ("http://127.0.0.1:8090/v2", true),
            ("http://127.9.9.9", true),
            ("http://[::1]:8090", true),
            ("http://[::ffff:127.0.0.1]", true),
            ("http://LOCALHOST:8090", true),
            ("http://localhost.", true),
            ("http://localhost.example.com", false),
            ("http://127.0.0.1.example.com", false),
            ("http://10.0.0.1", false),
            ("https://api.refersion.com/v2", false),
        ] {
            assert_eq!(is_loopback(&Url::parse(url).unwrap()), expected, "{url}");
        }
    }
}
