use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use refersion_relay_model::KeyPair;
use reqwest::header::{ACCEPT, CONTENT_TYPE, DATE, HeaderValue, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{RequestBuilder, Response, Url};
use serde_json::Value;

use crate::answers::classify::{Answer, RawAnswer, classify, retry_after};
use crate::answers::failure::Unreadable;
use crate::{CallResult, Calls, ClockReading, Failure, ProxyUrl, is_loopback};

/// The largest answer that is read, in bytes. Refersion's largest documented one is a page of 100 affiliates.
const MAX_ANSWER_BYTES: usize = 1024 * 1024;

/// Refersion's operations, each a POST to its own path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Create an affiliate.
    New,
    /// Change an affiliate.
    Edit,
    /// Find affiliates by a part of their e-mail address.
    Search,
    /// Read one affiliate.
    Get,
    /// Activate, deny or disable affiliates.
    StatusChange,
    /// Page through all affiliates; here only to ask whether the keys work.
    List,
}

impl Operation {
    /// Every operation, in the order of this enum.
    pub const ALL: [Self; 6] = [Self::New, Self::Edit, Self::Search, Self::Get, Self::StatusChange, Self::List];

    /// The last part of the path, and the word in labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Edit => "edit",
            Self::Search => "search",
            Self::Get => "get",
            Self::StatusChange => "status_change",
            Self::List => "list",
        }
    }

    /// A 2xx of this operation counts only if its object has at least one of these.
    pub(crate) fn success_keys(self) -> &'static [&'static str] {
        match self {
            Self::New | Self::Get => &["id"],
            Self::Search | Self::List => &["results", "total"],
            Self::Edit | Self::StatusChange => &["ids_changed", "ids_not_changed"],
        }
    }
}

/// Told about every call: the operation, `"ok"` or what went wrong in a word, and how long it took.
pub type Observer = Arc<dyn Fn(Operation, &'static str, Duration) + Send + Sync>;

/// How to reach Refersion.
#[derive(Clone)]
pub struct ClientSettings {
    /// Without the operation, for example `https://api.refersion.com/v2`.
    pub base_url: String,
    /// For one call, from connecting to the last byte of the answer.
    pub timeout: Duration,
    /// What calls go through, unless Refersion's URL is one of this machine. The environment names none.
    pub proxy: Option<ProxyUrl>,
    /// Told about every call.
    pub observer: Observer,
}

/// What an account's keys and Refersion's clock are like.
#[derive(Clone, Debug)]
pub struct KeyCheck {
    /// Whether the keys work.
    pub keys: Result<(), Failure>,
    /// Refersion's time, if there was an answer and it had a date.
    pub clock: Option<ClockReading>,
}

/// The base URL cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the base URL has to be an absolute http or https URL")]
pub struct InvalidBaseUrl;

/// Calls Refersion. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    observer: Observer,
    calls: Option<Arc<dyn Calls>>,
}

impl Client {
    /// Prepares a client; connects to nothing yet.
    ///
    /// # Panics
    /// When the system's TLS roots cannot be loaded at all.
    pub fn new(settings: ClientSettings) -> Result<Self, InvalidBaseUrl> {
        // Only the first call in a process has an effect; a provider somebody else installed is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut base = Url::parse(&settings.base_url).map_err(|_| InvalidBaseUrl)?;
        if !matches!(base.scheme(), "http" | "https") || base.cannot_be_a_base() || base.host().is_none() {
            return Err(InvalidBaseUrl);
        }
        let path = format!("{}/", base.path().trim_end_matches('/'));
        base.set_path(&path);
        #[expect(
            clippy::disallowed_methods,
            reason = "no_proxy below: whom the keys go to is not for the environment to say"
        )]
        let http = reqwest::Client::builder();
        let http = match settings.proxy {
            Some(proxy) if !is_loopback(&base) => http.no_proxy().proxy(proxy.to_proxy()),
            Some(_) | None => http.no_proxy(),
        };
        let http = http
            // A redirect would carry the keys to wherever it points.
            .redirect(Policy::none())
            .timeout(settings.timeout)
            .connect_timeout(settings.timeout.min(Duration::from_secs(5)))
            .user_agent(concat!("refersion-relay/", env!("CARGO_PKG_VERSION")))
            .build()
            .expect("the builder has nothing to refuse but the TLS set-up");
        Ok(Self { http, base, observer: settings.observer, calls: None })
    }

    /// The same client, whose calls wait until `calls` lets them begin, and are reported to it.
    #[must_use]
    pub fn governed_by(&self, calls: Arc<dyn Calls>) -> Self {
        Self { calls: Some(calls), ..self.clone() }
    }

    /// Asks whether the keys work, with the cheapest call there is.
    pub async fn check_keys(&self, keys: &KeyPair) -> Result<(), Failure> {
        self.check_keys_and_clock(keys).await.keys
    }

    /// The same, and what time it is at Refersion, which an answer that refuses the keys says as well.
    pub async fn check_keys_and_clock(&self, keys: &KeyPair) -> KeyCheck {
        let mut clock = None;
        let answer = self.call_timed(keys, Operation::List, &crate::operations::request::list_one(), &mut clock).await;
        let keys = match answer {
            Answer::Success(_) | Answer::NotFound | Answer::Taken => Ok(()),
            Answer::Failed(failure) => Err(failure),
        };
        KeyCheck { keys, clock }
    }

    pub(crate) async fn call(&self, keys: &KeyPair, operation: Operation, body: &Value) -> Answer {
        self.call_timed(keys, operation, body, &mut None).await
    }

    /// Fills `clock` as soon as there is an answer with a date, whatever becomes of the rest of the answer.
    async fn call_timed(
        &self,
        keys: &KeyPair,
        operation: Operation,
        body: &Value,
        clock: &mut Option<ClockReading>,
    ) -> Answer {
        let request = match self.request(keys, operation, body) {
            Ok(request) => request,
            // Nothing is sent, so there is nothing to wait for or to report either.
            Err(failure) => return Answer::Failed(failure),
        };
        if let Some(calls) = &self.calls {
            calls.begin().await;
        }
        let started = Instant::now();
        let (answer, proper) = match send(request, clock).await {
            Ok(raw) => {
                let json = raw.object();
                let proper = raw.status < 500 && json.is_some();
                (classify(&raw, json, operation.success_keys()), proper)
            }
            Err(failure) => (Answer::Failed(failure), false),
        };
        let took = started.elapsed();
        if let Some(calls) = &self.calls {
            let failure = match &answer {
                Answer::Success(_) | Answer::Taken | Answer::NotFound => None,
                Answer::Failed(failure) => Some(failure),
            };
            calls.ended(CallResult { operation, took, proper, failure });
        }
        let outcome = match &answer {
            Answer::Success(_) => "ok",
            Answer::Taken => "taken",
            Answer::NotFound => "not_found",
            Answer::Failed(failure) => failure.as_str(),
        };
        (self.observer)(operation, outcome, took);
        tracing::debug!(refersion.operation = operation.as_str(), refersion.outcome = outcome, "called Refersion");
        answer
    }

    fn request(&self, keys: &KeyPair, operation: Operation, body: &Value) -> Result<RequestBuilder, Failure> {
        let url = self.base.join(&format!("affiliate/{}", operation.as_str())).expect("the base ends with a slash");
        let request = self
            .http
            .post(url)
            .header("Refersion-Public-Key", header(keys.expose_public())?)
            .header("Refersion-Secret-Key", header(keys.expose_secret())?)
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json")
            .body(body.to_string());
        Ok(request)
    }
}

async fn send(request: RequestBuilder, clock: &mut Option<ClockReading>) -> Result<RawAnswer, Failure> {
    let asked_at = SystemTime::now();
    let response = request.send().await.map_err(|error| transport(&error))?;
    *clock = date(&response).map(|date| ClockReading { asked_at, answered_at: SystemTime::now(), date });
    read(response).await
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("host", &self.base.host_str()).finish_non_exhaustive()
    }
}

/// A key with characters that no header can have is as good as a wrong key.
fn header(key: &str) -> Result<HeaderValue, Failure> {
    let mut value = HeaderValue::from_str(key).map_err(|_| Failure::Unauthorized { status: 401 })?;
    value.set_sensitive(true);
    Ok(value)
}

fn date(response: &Response) -> Option<SystemTime> {
    httpdate::parse_http_date(response.headers().get(DATE)?.to_str().ok()?).ok()
}

async fn read(mut response: Response) -> Result<RawAnswer, Failure> {
    let status = response.status().as_u16();
    let header = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let retry_after = header.and_then(|value| retry_after(value, SystemTime::now()));
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| transport(&error))? {
        body.extend_from_slice(&chunk);
        if MAX_ANSWER_BYTES < body.len() {
            return Err(Failure::Unclear { status, bytes: body.len(), why: Unreadable::TooLarge });
        }
    }
    Ok(RawAnswer { status, retry_after, body })
}

/// Says what broke in words of ours: the error's own text has the URL.
fn transport(error: &reqwest::Error) -> Failure {
    let what = if error.is_timeout() {
        "it took too long"
    } else if error.is_connect() {
        "could not connect"
    } else {
        "the connection broke"
    };
    Failure::Transport { what }
}
