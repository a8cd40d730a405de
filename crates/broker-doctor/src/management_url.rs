use std::fmt;

use refersion_relay_queue::BrokerUrl;
use url::{Host, Url};

/// Where RabbitMQ's management API is: `http(s)://[user:password@]host:port`. A secret, and shown without the user and
/// password. Without them, those of the broker's URL are used where nobody else can read them.
#[derive(Clone, PartialEq, Eq)]
pub struct ManagementUrl(Url);

/// The URL cannot be used. Never quotes it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the management API's URL is not of the form http(s)://[user:password@]host[:port]")]
pub struct InvalidManagementUrl;

/// Whose rights are used at the API.
#[derive(PartialEq, Eq)]
pub(crate) enum User<'a> {
    /// They are in its URL.
    Own,
    /// As they are, not encoded.
    OfBroker { name: &'a str, password: &'a str },
    /// The broker's would be exposed.
    Missing,
}

/// As many as the API gives at once.
const PAGE_SIZE: &str = "500";
/// A prefix and a place that can have events, as an expression of the broker's.
const PLACES: &str = r"^.+\.(intake|unrouted|(events|retry|dead)\.[^.]+)$";

impl ManagementUrl {
    /// Reads a URL.
    pub fn parse(text: &str) -> Result<Self, InvalidManagementUrl> {
        let url = Url::parse(text.trim()).map_err(|_| InvalidManagementUrl)?;
        let usable = matches!(url.scheme(), "http" | "https") && url.host().is_some();
        let plain = url.query().is_none() && url.fragment().is_none();
        if usable && plain { Ok(Self(url)) } else { Err(InvalidManagementUrl) }
    }

    /// Whether a password would leave this machine unencrypted.
    #[must_use]
    pub fn is_exposed(&self) -> bool {
        let loopback = match self.0.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        };
        self.0.scheme() == "http" && !loopback
    }

    /// Whose rights are used.
    pub(crate) fn user<'a>(&self, broker: &'a BrokerUrl) -> User<'a> {
        if !self.0.username().is_empty() {
            User::Own
        } else if self.is_exposed() {
            User::Missing
        } else {
            let (_, name, password) = broker.expose();
            User::OfBroker { name, password }
        }
    }

    /// What the broker is. Has the user only if it is the URL's own.
    pub(crate) fn overview(&self) -> Url {
        let mut url = self.0.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(["api", "overview"]);
        }
        url.query_pairs_mut().append_pair("columns", "rabbitmq_version");
        url
    }

    /// What is allowed in the vhost. Has the user only if it is the URL's own.
    pub(crate) fn vhost_limits(&self, broker: &BrokerUrl) -> Url {
        self.path(&["api", "vhost-limits", broker.expose().0])
    }

    /// What the broker's user is allowed. Has the user only if it is the URL's own.
    pub(crate) fn user_limits(&self, broker: &BrokerUrl) -> Url {
        self.path(&["api", "user-limits", broker.expose().1])
    }

    fn path(&self, segments: &[&str]) -> Url {
        let mut url = self.0.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        url
    }

    /// The list of queues, one page of it. Has the user only if it is the URL's own.
    pub(crate) fn queues(&self, broker: &BrokerUrl, prefix: &str, page: u32) -> Url {
        let name = format!("^{}\\.", prefix.replace('.', "\\."));
        let columns = "name,arguments,policy,operator_policy,effective_policy_definition";
        self.page(broker, page, &name, columns)
    }

    /// The list of queues that have a name as a relay's has, one page of it.
    pub(crate) fn places(&self, broker: &BrokerUrl, page: u32) -> Url {
        self.page(broker, page, PLACES, "name,messages,consumers")
    }

    fn page(&self, broker: &BrokerUrl, page: u32, name: &str, columns: &str) -> Url {
        let mut url = self.0.clone();
        let (vhost, ..) = broker.expose();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(["api", "queues", vhost]);
        }
        url.query_pairs_mut()
            .append_pair("page", &page.to_string())
            .append_pair("page_size", PAGE_SIZE)
            .append_pair("name", name)
            .append_pair("use_regex", "true")
            .append_pair("columns", columns);
        url
    }
}

impl fmt::Display for ManagementUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (host, user) =
            (self.0.host_str().unwrap_or_default(), if self.0.username().is_empty() { "" } else { "***@" });
        let port = self.0.port().map(|port| format!(":{port}")).unwrap_or_default();
        write!(f, "{}://{user}{host}{port}{}", self.0.scheme(), self.0.path().trim_end_matches('/'))
    }
}

impl fmt::Debug for ManagementUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ManagementUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broker() -> BrokerUrl {
        BrokerUrl::parse("amqp://relay:s%2Fcret@a,b/%2f").unwrap()
    }

    #[test]
    fn the_user_is_the_brokers_unless_the_url_has_one_or_would_expose_it() {
        let broker = BrokerUrl::parse("amqp://relay:50%25%2Foff@a/%2f").unwrap();
        let of_broker = || User::OfBroker { name: "relay", password: "50%/off" };
        for (url, exposed, user) in [
            ("http://127.0.0.1:15672", false, of_broker()),
            ("http://[::1]:15672", false, of_broker()),
            ("http://localhost", false, of_broker()),
            ("https://rabbit.example", false, of_broker()),
            ("http://rabbit.example:15672", true, User::Missing),
            ("http://10.0.0.1:15672", true, User::Missing),
            ("http://me:mine@rabbit.example", true, User::Own),
            ("https://me:mine@rabbit.example", false, User::Own),
        ] {
            let api = ManagementUrl::parse(url).unwrap();
            assert_eq!(api.is_exposed(), exposed, "{url}");
            assert!(api.user(&broker) == user, "{url}");
        }
    }

    #[test]
    fn a_page_of_the_list_has_the_path_of_the_api_and_the_virtual_host() {
        let url = ManagementUrl::parse("http://a:15672").unwrap().queues(&broker(), "re.lay", 2);
        assert_eq!((url.username(), url.password()), ("", None));
        assert_eq!(url.path(), "/api/queues/%2F");
        assert!(url.query_pairs().any(|(key, value)| key == "name" && value == "^re\\.lay\\."), "{url}");
        let own = ManagementUrl::parse("https://me:mine@a/rabbit/").unwrap().queues(&broker(), "relay", 1);
        assert_eq!((own.username(), own.password(), own.path()), ("me", Some("mine"), "/rabbit/api/queues/%2F"));
    }

    #[test]
    fn neither_a_shown_url_nor_an_error_has_the_password() {
        let url = ManagementUrl::parse("https://me:s3cret@a:15671/rabbit/").unwrap();
        assert_eq!(url.to_string(), "https://***@a:15671/rabbit");
        assert!(!format!("{url:?}").contains("s3cret"));
        for bad in ["", "a:15672", "amqp://me:s3cret@a", "http://me:s3cret@", "http://me:s3cret@a/?x=1"] {
            let error = ManagementUrl::parse(bad).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("s3cret"), "{bad}");
        }
    }
}
