use std::fmt;

use lapin::uri::AMQPUri;

/// Where the broker is, and the password for it: a secret. Shown without the user and password.
///
/// `amqp://user:pass@host:5672/vhost` or `amqps://…`; several hosts may stand between commas, and are tried in turn.
#[derive(Clone, PartialEq, Eq)]
pub struct BrokerUrl {
    hosts: Vec<AMQPUri>,
}

/// The URL cannot be used. Never quotes it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBrokerUrl {
    /// It is none of a broker's.
    #[error("the queue's URL is not of the form amqp(s)://user:password@host[:port][,host…]/vhost")]
    Form,
    /// A character of the user or the password ends it, or begins something else.
    #[error("the user or the password in the queue's URL has a raw {0}: percent-encode it, as %{code:02X}", code = *.0 as u32)]
    Reserved(char),
}

/// Seconds between heartbeats unless the URL says otherwise. A silent peer is noticed after two of them.
const HEARTBEAT: u16 = 10;

impl BrokerUrl {
    /// Reads a URL.
    pub fn parse(text: &str) -> Result<Self, InvalidBrokerUrl> {
        let (scheme, rest) = text.trim().split_once("://").ok_or(InvalidBrokerUrl::Form)?;
        if let Some(reserved) = reserved(rest) {
            return Err(InvalidBrokerUrl::Reserved(reserved));
        }
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, tail) = rest.split_at(end);
        let (user, hosts) = authority.rsplit_once('@').map_or((None, authority), |(user, hosts)| (Some(user), hosts));
        let user = user.map(|user| format!("{user}@")).unwrap_or_default();
        let parse = |host: &str| {
            let host = host.trim();
            let mut uri: AMQPUri =
                format!("{scheme}://{user}{host}{tail}").parse().map_err(|_| InvalidBrokerUrl::Form)?;
            uri.query.heartbeat = uri.query.heartbeat.or(Some(HEARTBEAT));
            (!host.is_empty()).then_some(uri).ok_or(InvalidBrokerUrl::Form)
        };
        let hosts = hosts.split(',').map(parse).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { hosts })
    }

    pub(crate) fn hosts(&self) -> &[AMQPUri] {
        &self.hosts
    }

    /// The virtual host, the user and the password: the same for every host. Called only where a request is built.
    #[must_use]
    pub fn expose(&self) -> (&str, &str, &str) {
        let first = &self.hosts[0];
        let user = &first.authority.userinfo;
        (&first.vhost, &user.username, &user.password)
    }
}

/// A character of the user or the password that has a meaning in a URL: a second `@`, or what ends the part with the hosts before
/// there was an `@` at all.
fn reserved(rest: &str) -> Option<char> {
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    match authority.rsplit_once('@') {
        Some((user, _)) => user.chars().find(|c| matches!(c, '@' | '[' | ']' | ' ')),
        None => tail.chars().next().filter(|_| tail.contains('@')),
    }
}

impl fmt::Display for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = &self.hosts[0];
        let hosts: Vec<_> =
            self.hosts.iter().map(|uri| format!("{}:{}", uri.authority.host, uri.authority.port)).collect();
        write!(f, "{}://***@{}/{}", first.scheme, hosts.join(","), first.vhost.replace('/', "%2f"))
    }
}

impl fmt::Debug for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BrokerUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_hosts_share_the_rest_of_the_url() {
        let url = BrokerUrl::parse("amqp://relay:s3cret@a:1,b,c:3/events?heartbeat=7").unwrap();
        let hosts: Vec<_> = url.hosts().iter().map(|uri| (uri.authority.host.as_str(), uri.authority.port)).collect();
        assert_eq!(hosts, [("a", 1), ("b", 5672), ("c", 3)]);
        assert!(url.hosts().iter().all(|uri| uri.vhost == "events" && uri.query.heartbeat == Some(7)));
        assert!(url.hosts().iter().all(|uri| uri.authority.userinfo.password == "s3cret"));
    }

    #[test]
    fn neither_a_shown_url_nor_an_error_has_the_password() {
        let url = BrokerUrl::parse("amqps://relay:s3cret@broker/%2f").unwrap();
        assert_eq!(url.to_string(), "amqps://***@broker:5671/%2f");
        assert!(!format!("{url:?}").contains("s3cret"));
        let error = BrokerUrl::parse("http://relay:s3cret@broker").unwrap_err();
        assert!(!error.to_string().contains("s3cret"));
        for (raw, code) in [('@', "%40"), ('/', "%2F"), ('?', "%3F"), ('#', "%23"), (' ', "%20")] {
            let error = BrokerUrl::parse(&format!("amqp://relay:s3c{raw}ret@broker:5672/%2f")).unwrap_err();
            assert_eq!(error, InvalidBrokerUrl::Reserved(raw));
            assert!(error.to_string().contains(code) && !error.to_string().contains("s3c"), "{error}");
        }
        assert!(BrokerUrl::parse("amqp://relay:s3cret@broker/a@b").is_ok(), "a vhost may have one");
        for bad in ["", "broker", "amqp://", "amqp://a,,b", "redis://a"] {
            assert!(BrokerUrl::parse(bad).is_err(), "{bad}");
        }
    }
}
