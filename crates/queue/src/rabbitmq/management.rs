use std::fmt;
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::redirect::Policy;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use tokio::time::{Instant, sleep};
use url::Url;

use super::policies::{PolicyHarm, gather, judge};
use super::topology::Topology;
use super::url::BrokerUrl;

/// Where RabbitMQ's management API is: `http(s)://[user:password@]host:port`. A secret, and shown without the user and
/// password. Without them, those of the broker's URL are used.
#[derive(Clone)]
pub struct ManagementUrl(Url);

/// The URL cannot be used. Never quotes it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the management API's URL is not of the form http(s)://[user:password@]host[:port]")]
pub struct InvalidManagementUrl;

/// The policies in force on our queues.
#[derive(Clone, Debug, Default)]
pub struct PolicyReport {
    /// How many queues were looked at.
    pub queues: usize,
    /// Queues that should be there and that the API does not show.
    pub not_shown: Vec<String>,
    /// Queues that the API shows without their policies.
    pub not_told: Vec<String>,
    /// What would do harm.
    pub harms: Vec<PolicyHarm>,
}

/// Why the policies could not be seen. Never has the URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManagementError {
    /// No answer.
    #[error("the management API did not answer: {0}")]
    Away(&'static str),
    /// It wants another user.
    #[error("the management API refused the user (status {status}): it needs the tag monitoring")]
    Refused {
        /// 401 or 403.
        status: u16,
    },
    /// Something else answers there.
    #[error("what answers is not the management API of this broker (status {status})")]
    Unexpected {
        /// As answered.
        status: u16,
    },
}

/// For one request, answer included.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How long the API may take to know the policies of a queue that is new: it gathers them with the statistics, which the queue
/// gives every five seconds and it collects every five seconds.
const NEWS: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(500);
/// As many as the API gives at once.
const PAGE_SIZE: &str = "500";

/// A part of the list of queues.
#[derive(Deserialize)]
struct Page {
    items: Vec<Listed>,
    page_count: u32,
}

#[derive(Deserialize)]
struct Listed {
    name: String,
    #[serde(default)]
    arguments: Value,
    #[serde(default)]
    policy: Option<String>,
    #[serde(default)]
    operator_policy: Option<String>,
    /// `None` only if it is not there at all: no policy may be shown as an empty object, an empty list, or null.
    #[serde(default, deserialize_with = "present")]
    effective_policy_definition: Option<Value>,
}

impl ManagementUrl {
    /// Reads a URL.
    pub fn parse(text: &str) -> Result<Self, InvalidManagementUrl> {
        let url = Url::parse(text.trim()).map_err(|_| InvalidManagementUrl)?;
        let usable = matches!(url.scheme(), "http" | "https") && url.host().is_some();
        let plain = url.query().is_none() && url.fragment().is_none();
        if usable && plain { Ok(Self(url)) } else { Err(InvalidManagementUrl) }
    }

    /// Looks at the policies in force on every queue that begins with the topology's prefix.
    pub(super) async fn policies(
        &self,
        broker: &BrokerUrl,
        topology: &Topology,
    ) -> Result<PolicyReport, ManagementError> {
        // Only the first call in a process has an effect; a provider somebody else installed is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().redirect(Policy::none()).timeout(TIMEOUT).build();
        let client = client.map_err(|_| ManagementError::Away("TLS could not be set up"))?;
        let deadline = Instant::now() + NEWS;
        let listed = loop {
            let listed = self.list(&client, broker, topology.names.prefix()).await?;
            if deadline <= Instant::now() || listed.iter().all(|queue| queue.effective_policy_definition.is_some()) {
                break listed;
            }
            sleep(POLL).await;
        };
        let shown = |name: &String| listed.iter().any(|queue| queue.name == *name);
        let not_shown = topology.queue_names().filter(|name| !shown(name)).collect();
        let judged = listed.iter().flat_map(|queue| {
            let definition = queue.effective_policy_definition.as_ref().map(object).unwrap_or_default();
            let arguments = object(&queue.arguments);
            judge(&arguments, &definition).into_iter().map(|judged| (queue.name.clone(), queue.policies(), judged))
        });
        let untold = listed.iter().filter(|queue| queue.effective_policy_definition.is_none());
        let not_told = untold.map(|queue| queue.name.clone()).collect();
        Ok(PolicyReport { queues: listed.len(), not_shown, not_told, harms: gather(judged) })
    }

    async fn list(
        &self,
        client: &reqwest::Client,
        broker: &BrokerUrl,
        prefix: &str,
    ) -> Result<Vec<Listed>, ManagementError> {
        let mut listed = Vec::new();
        for number in 1.. {
            let Page { items, page_count } = page(client, self.queues(broker, prefix, number)).await?;
            listed.extend(items);
            if page_count <= number {
                break;
            }
        }
        Ok(listed)
    }

    /// The list of queues, one page of it.
    fn queues(&self, broker: &BrokerUrl, prefix: &str, page: u32) -> Url {
        let mut url = self.0.clone();
        let (vhost, user, password) = broker.virtual_host_and_user();
        if url.username().is_empty() {
            // Refused only for URLs without a host.
            let _ = url.set_username(user);
            let _ = url.set_password(Some(password));
        }
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(["api", "queues", vhost]);
        }
        let name = format!("^{}\\.", prefix.replace('.', "\\."));
        url.query_pairs_mut()
            .append_pair("page", &page.to_string())
            .append_pair("page_size", PAGE_SIZE)
            .append_pair("name", &name)
            .append_pair("use_regex", "true")
            .append_pair("columns", "name,arguments,policy,operator_policy,effective_policy_definition");
        url
    }
}

async fn page(client: &reqwest::Client, url: Url) -> Result<Page, ManagementError> {
    let response = client.get(url).send().await.map_err(|error| away(&error))?;
    let status = response.status();
    match status {
        StatusCode::OK => {
            let body = response.bytes().await.map_err(|error| away(&error))?;
            serde_json::from_slice(&body).map_err(|_| ManagementError::Unexpected { status: status.as_u16() })
        }
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(ManagementError::Refused { status: status.as_u16() }),
        _ => Err(ManagementError::Unexpected { status: status.as_u16() }),
    }
}

/// In words of ours: the error's own text has the URL.
fn away(error: &reqwest::Error) -> ManagementError {
    ManagementError::Away(if error.is_timeout() {
        "it took too long"
    } else if error.is_connect() {
        "could not connect"
    } else {
        "the connection broke"
    })
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

fn object(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

impl Listed {
    /// Which policies are in force; the broker shows what they have merged to, and not which key is whose.
    fn policies(&self) -> String {
        match (&self.policy, &self.operator_policy) {
            (Some(policy), Some(operator)) => format!("policy {policy} with operator policy {operator}"),
            (None, Some(operator)) => format!("operator policy {operator}"),
            (Some(policy), None) => format!("policy {policy}"),
            (None, None) => "a policy".to_owned(),
        }
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
    fn the_user_is_the_brokers_unless_the_url_has_one() {
        let url = ManagementUrl::parse("http://a:15672").unwrap().queues(&broker(), "re.lay", 2);
        assert_eq!((url.username(), url.password()), ("relay", Some("s%2Fcret")));
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
