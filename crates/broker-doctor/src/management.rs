use std::collections::BTreeMap;
use std::time::Duration;

use refersion_relay_queue::{BrokerUrl, Shown, StoredQueue};
use reqwest::redirect::Policy;
use reqwest::{RequestBuilder, StatusCode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use tokio::time::{Instant, sleep};
use url::Url;

use crate::broker_version::BrokerVersion;
use crate::management_url::{ManagementUrl, User};
use crate::policies::{PolicyHarm, gather, judge};

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

/// What a broker allows at most, as far as something is set and shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Queues in the vhost.
    pub queues: Option<u64>,
    /// Connections to the vhost, or of the user.
    pub connections: Option<u64>,
    /// Channels of the user.
    pub channels: Option<u64>,
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
    /// It was not asked.
    #[error("its URL has no user, and the broker's password is not sent unencrypted: use https, or a user of its own")]
    NoUser,
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
/// A part of the list of queues.
#[derive(Deserialize)]
struct Page<T> {
    items: Vec<T>,
    page_count: u32,
}

/// The limits of one vhost, or of one user.
#[derive(Deserialize)]
struct Limited {
    #[serde(default)]
    value: BTreeMap<String, i64>,
}

/// What is in a queue, some seconds ago.
#[derive(Deserialize)]
struct Stored {
    name: String,
    #[serde(default)]
    messages: u64,
    #[serde(default)]
    consumers: u64,
}

/// What the API says about the broker.
#[derive(Deserialize)]
struct Overview {
    rabbitmq_version: String,
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
    /// Looks at the policies in force on every queue below a prefix. `expected`: those that should be there.
    pub async fn policies(
        &self,
        broker: &BrokerUrl,
        prefix: &str,
        expected: &[String],
    ) -> Result<PolicyReport, ManagementError> {
        let client = client()?;
        let deadline = Instant::now() + NEWS;
        // Beside those that are expected there are some that live as long as a connection, of which the API hears too late.
        let is_untold = |queue: &Listed| queue.effective_policy_definition.is_none() && expected.contains(&queue.name);
        let listed = loop {
            let listed = self.list(&client, broker, prefix).await?;
            if deadline <= Instant::now() || !listed.iter().any(is_untold) {
                break listed;
            }
            sleep(POLL).await;
        };
        let shown = |name: &String| listed.iter().any(|queue| queue.name == *name);
        let not_shown = expected.iter().filter(|name| !shown(name)).cloned().collect();
        let judged = listed.iter().flat_map(|queue| {
            let definition = queue.effective_policy_definition.as_ref().map(object).unwrap_or_default();
            let arguments = object(&queue.arguments);
            judge(&arguments, &definition).into_iter().map(|judged| (queue.name.clone(), queue.policies(), judged))
        });
        let untold = listed.iter().filter(|queue| is_untold(queue));
        let not_told = untold.map(|queue| queue.name.clone()).collect();
        Ok(PolicyReport { queues: listed.len(), not_shown, not_told, harms: gather(judged) })
    }

    /// Every queue of the virtual host that could be a relay's, whatever its prefix.
    pub async fn shown(&self, broker: &BrokerUrl) -> Shown {
        match self.stored(broker).await {
            Ok(stored) => Shown::Queues(stored.into_iter().map(StoredQueue::from).collect()),
            Err(error) => Shown::Nothing { why: error.to_string() },
        }
    }

    async fn stored(&self, broker: &BrokerUrl) -> Result<Vec<Stored>, ManagementError> {
        self.pages(&client()?, broker, |number| self.places(broker, number)).await
    }

    /// Asks for the broker's version.
    pub async fn version(&self, broker: &BrokerUrl) -> Result<BrokerVersion, ManagementError> {
        let request = self.identified(client()?.get(self.overview()), broker)?;
        let Overview { rabbitmq_version } = ask(request).await?;
        Ok(BrokerVersion::new(rabbitmq_version))
    }

    /// Asks for the limits of the vhost and of the user. Who may not see those of the user is told none.
    pub async fn limits(&self, broker: &BrokerUrl) -> Result<Limits, ManagementError> {
        let client = client()?;
        let of = async |url| {
            let limited: Vec<Limited> = ask(self.identified(client.get(url), broker)?).await?;
            Ok::<_, ManagementError>(limited)
        };
        let vhost = of(self.vhost_limits(broker)).await?;
        let user = of(self.user_limits(broker)).await.unwrap_or_default();
        let least = |of: &[&Vec<Limited>], key: &str| {
            let values = of.iter().copied().flatten().filter_map(|limited| limited.value.get(key));
            values.filter_map(|value| u64::try_from(*value).ok()).min() // a negative one is none
        };
        Ok(Limits {
            queues: least(&[&vhost], "max-queues"),
            connections: least(&[&vhost, &user], "max-connections"),
            channels: least(&[&user], "max-channels"),
        })
    }

    fn identified(&self, request: RequestBuilder, broker: &BrokerUrl) -> Result<RequestBuilder, ManagementError> {
        match self.user(broker) {
            User::Own => Ok(request),
            User::OfBroker { name, password } => Ok(request.basic_auth(name, Some(password))),
            User::Missing => Err(ManagementError::NoUser),
        }
    }

    async fn list(
        &self,
        client: &reqwest::Client,
        broker: &BrokerUrl,
        prefix: &str,
    ) -> Result<Vec<Listed>, ManagementError> {
        self.pages(client, broker, |number| self.queues(broker, prefix, number)).await
    }

    async fn pages<T: DeserializeOwned>(
        &self,
        client: &reqwest::Client,
        broker: &BrokerUrl,
        page: impl Fn(u32) -> Url,
    ) -> Result<Vec<T>, ManagementError> {
        let mut listed = Vec::new();
        for number in 1.. {
            let request = self.identified(client.get(page(number)), broker)?;
            let Page { items, page_count } = ask(request).await?;
            listed.extend(items);
            if page_count <= number {
                break;
            }
        }
        Ok(listed)
    }
}

fn client() -> Result<reqwest::Client, ManagementError> {
    // Only the first call in a process has an effect; a provider somebody else installed is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    #[expect(
        clippy::disallowed_methods,
        reason = "no_proxy: whom a password goes to is not for the environment to say"
    )]
    let client = reqwest::Client::builder().no_proxy().redirect(Policy::none()).timeout(TIMEOUT).build();
    client.map_err(|_| ManagementError::Away("TLS could not be set up"))
}

async fn ask<T: DeserializeOwned>(request: RequestBuilder) -> Result<T, ManagementError> {
    let response = request.send().await.map_err(|error| away(&error))?;
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

impl From<Stored> for StoredQueue {
    fn from(Stored { name, messages, consumers }: Stored) -> Self {
        Self { name, messages, consumers }
    }
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
