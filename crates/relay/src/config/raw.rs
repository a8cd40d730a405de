use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer, de};

use crate::config::source::secret_file::SecretFile;

/// The file as it is written. Every key but an account's name and keys has a default.
#[derive(Debug, Default)]
pub(crate) struct RawSettings {
    pub(crate) queue: RawQueue,
    pub(crate) ingest: RawIngest,
    pub(crate) worker: RawWorker,
    pub(crate) ops: RawOps,
    pub(crate) refersion: RawRefersion,
    pub(crate) retry: RawRetry,
    pub(crate) directory: RawDirectory,
    pub(crate) log: RawLog,
    pub(crate) telemetry: RawTelemetry,
    pub(crate) account: Vec<RawAccount>,
    /// Where a relative path of the queue begins.
    pub(crate) folder: PathBuf,
}

/// `[queue]`
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawQueue {
    /// Where the queue is. A secret.
    pub(crate) url: Option<String>,
    /// A file that has the URL.
    pub(crate) url_file: Option<SecretFile>,
    /// Where the management API is, for `check`. A secret.
    pub(crate) management_url: Option<String>,
    /// A file that has that URL.
    pub(crate) management_url_file: Option<SecretFile>,
    /// The first part of every name on the broker.
    pub(crate) prefix: String,
    /// How long a publish may wait for its confirm.
    pub(crate) confirm_timeout: Span,
}

/// `[ingest]`
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawIngest {
    /// Where the doors are.
    pub(crate) listen: String,
    /// Whether a proxy before the listener speaks TLS.
    pub(crate) behind_tls_proxy: bool,
    /// The certificate of the listener, with those it is issued by. PEM.
    pub(crate) tls_certificate_file: Option<PathBuf>,
    /// Its private key. PEM.
    pub(crate) tls_key_file: Option<SecretFile>,
    /// Requests in a second at most, of everybody together. Zero: any number.
    pub(crate) max_requests_per_second: u32,
    /// Memory for bodies and what becomes of them.
    pub(crate) max_body_memory: Size,
    /// Open connections at most.
    pub(crate) max_connections: usize,
    /// Open connections of one client at most.
    pub(crate) max_connections_per_client: Option<usize>,
    /// Networks whose `X-Forwarded-For` is believed.
    pub(crate) trusted_proxies: Vec<String>,
}

/// `[worker]`
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawWorker {
    /// Calls in flight at most, for each account.
    pub(crate) concurrency: usize,
    /// Events in hand at most, for each account.
    pub(crate) prefetch: u16,
    /// How long a stop may take.
    pub(crate) shutdown_grace: Span,
    /// For how long an identify that says what Refersion was told costs no call.
    pub(crate) skip_unchanged: Option<Span>,
}

/// `[ops]`
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawOps {
    /// Where metrics and health are.
    pub(crate) listen: String,
}

/// `[refersion]`
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawRefersion {
    /// Without the operation.
    pub(crate) base_url: String,
    /// For one call, in milliseconds.
    pub(crate) timeout_ms: u64,
    /// A proxy on the way there. A secret.
    pub(crate) proxy_url: Option<String>,
    /// A file that has that URL.
    pub(crate) proxy_url_file: Option<SecretFile>,
}

/// `[retry]`
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawRetry {
    /// How long an event keeps its place while it waits.
    pub(crate) in_hand: Span,
    /// The delays after that.
    pub(crate) tiers: Vec<Span>,
    /// Charged attempts before an event becomes a dead letter.
    pub(crate) max_attempts: u32,
    /// Time since the first failure before an event becomes a dead letter.
    pub(crate) max_age: Span,
}

/// `[directory]`
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawDirectory {
    /// Whether it is remembered which addresses belong to whom.
    pub(crate) enabled: bool,
    /// Its file. Beside the embedded queue there always is one.
    pub(crate) path: Option<PathBuf>,
    /// The file of its keys.
    pub(crate) key_file: PathBuf,
    /// How long a delete waits for its person to become known.
    pub(crate) wait: Span,
    /// How long people are remembered after the last identify about them.
    pub(crate) keep: Span,
}

/// `[log]`
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawLog {
    /// `text` or `json`.
    pub(crate) format: String,
    /// As `RUST_LOG`, which wins over it.
    pub(crate) filter: String,
}

/// `[telemetry]`
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawTelemetry {
    /// Where traces are exported to. Without it, nowhere.
    pub(crate) otlp_endpoint: Option<String>,
    /// The share of the traces that begin here and are kept.
    pub(crate) trace_ratio: f64,
}

/// `[[account]]`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "these are the keys as they stand in the file")]
pub(crate) struct RawAccount {
    /// What messages call it: `account acme`.
    #[serde(skip)]
    pub(crate) label: String,
    // Each key is read by itself, so what has to be there is looked for later.
    #[serde(default)]
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) public_key: String,
    pub(crate) secret_key: Option<String>,
    pub(crate) secret_key_file: Option<SecretFile>,
    pub(crate) write_key: Option<String>,
    pub(crate) write_key_file: Option<SecretFile>,
    #[serde(default)]
    pub(crate) write_keys: Vec<RawSecret>,
    #[serde(default, deserialize_with = "files")]
    pub(crate) write_key_files: Vec<RawSecret>,
    #[serde(default)]
    pub(crate) write_key_may_delete: bool,
    #[serde(default)]
    pub(crate) write_key_may_update: bool,
    #[serde(default)]
    pub(crate) write_key_may_teach: bool,
    pub(crate) webhook_secret: Option<String>,
    pub(crate) webhook_secret_file: Option<SecretFile>,
    #[serde(default)]
    pub(crate) webhook_secrets: Vec<RawSecret>,
    #[serde(default, deserialize_with = "files")]
    pub(crate) webhook_secret_files: Vec<RawSecret>,
    #[serde(default)]
    pub(crate) former_keys: Vec<RawKeys>,
    #[serde(default)]
    pub(crate) webhook_unsigned: bool,
    #[serde(default)]
    pub(crate) webhook_trust_batches: bool,
    #[serde(default)]
    pub(crate) max_requests_per_second: u32,
    #[serde(default = "pending")]
    pub(crate) status: String,
    #[serde(default)]
    pub(crate) send_welcome: bool,
    #[serde(default = "keep")]
    pub(crate) on_existing: String,
    #[serde(default)]
    pub(crate) missing_last_name: Option<String>,
    #[serde(default)]
    pub(crate) max_calls_per_second: u32,
}

/// One of several secrets: itself, or the file that has it.
#[derive(Default, Deserialize)]
#[serde(from = "String")]
pub(crate) struct RawSecret {
    pub(crate) value: Option<String>,
    pub(crate) file: Option<SecretFile>,
}

impl From<String> for RawSecret {
    fn from(value: String) -> Self {
        Self { value: Some(value), file: None }
    }
}

fn files<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<RawSecret>, D::Error> {
    let files = Vec::<SecretFile>::deserialize(deserializer)?;
    Ok(files.into_iter().map(|file| RawSecret { value: None, file: Some(file) }).collect())
}

/// Refersion keys that an account had before.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawKeys {
    #[serde(default)]
    pub(crate) public_key: String,
    pub(crate) secret_key: Option<String>,
    pub(crate) secret_key_file: Option<SecretFile>,
}

/// An amount of memory as people write it: `"256 MiB"`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size(pub(crate) usize);

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let size = || {
            let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
            let shift = match unit.trim_start() {
                "KiB" => 10,
                "MiB" => 20,
                "GiB" => 30,
                _ => return None,
            };
            number.parse::<usize>().ok()?.checked_mul(1 << shift)
        };
        size().map(Self).ok_or_else(|| de::Error::custom("no amount of memory"))
    }
}

/// A duration as people write it: `"90s"`, `"1h 30m"`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span(pub(crate) Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "0" {
            return Ok(Self(Duration::ZERO));
        }
        humantime::parse_duration(&text).map(Self).map_err(de::Error::custom)
    }
}

fn seconds(seconds: u64) -> Span {
    Span(Duration::from_secs(seconds))
}

fn pending() -> String {
    "PENDING".to_owned()
}

fn keep() -> String {
    "keep".to_owned()
}

impl Default for RawQueue {
    fn default() -> Self {
        Self {
            url: None,
            url_file: None,
            management_url: None,
            management_url_file: None,
            prefix: "refersion".to_owned(),
            confirm_timeout: seconds(4),
        }
    }
}

impl Default for RawDirectory {
    fn default() -> Self {
        Self {
            enabled: false,
            path: None,
            key_file: "directory.key".into(),
            wait: seconds(60 * 60),
            keep: seconds(400 * 24 * 60 * 60),
        }
    }
}

impl Default for RawTelemetry {
    fn default() -> Self {
        Self { otlp_endpoint: None, trace_ratio: 0.01 }
    }
}

impl Default for RawIngest {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8080".to_owned(),
            behind_tls_proxy: false,
            tls_certificate_file: None,
            tls_key_file: None,
            max_requests_per_second: 0,
            max_body_memory: Size(256 << 20),
            max_connections: 2_000,
            max_connections_per_client: None,
            trusted_proxies: Vec::new(),
        }
    }
}

impl Default for RawWorker {
    fn default() -> Self {
        Self { concurrency: 32, prefetch: 512, shutdown_grace: seconds(10), skip_unchanged: None }
    }
}

impl Default for RawOps {
    fn default() -> Self {
        Self { listen: "127.0.0.1:9090".to_owned() }
    }
}

impl Default for RawRefersion {
    fn default() -> Self {
        Self {
            base_url: "https://api.refersion.com/v2".to_owned(),
            timeout_ms: 10_000,
            proxy_url: None,
            proxy_url_file: None,
        }
    }
}

impl Default for RawRetry {
    fn default() -> Self {
        let hour = 60 * 60;
        Self {
            in_hand: seconds(30),
            tiers: vec![seconds(60), seconds(600), seconds(hour)],
            max_attempts: 40,
            max_age: seconds(24 * hour),
        }
    }
}

impl Default for RawLog {
    fn default() -> Self {
        Self { format: "text".to_owned(), filter: "info".to_owned() }
    }
}

impl std::fmt::Debug for RawQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RawQueue").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for RawRefersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RawRefersion").field("base_url", &self.base_url).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for RawAccount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RawAccount").field("name", &self.name).finish_non_exhaustive()
    }
}
