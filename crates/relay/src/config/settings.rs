use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use refersion_relay_broker_doctor::ManagementUrl;
use refersion_relay_ingest::{Bounds, Network, Rights, Trust};
use refersion_relay_model::{AccountName, KeyPair, MissingLastName};
use refersion_relay_queue::{BrokerUrl, InvalidSqlitePath, SqlitePath};
use refersion_relay_refersion::{Existing, NewAffiliateDefaults, ProxyUrl, Status};
use refersion_relay_telemetry::{LogFormat, is_log_filter};
use refersion_relay_traces::{OtlpEndpoint, TraceSettings};
use refersion_relay_worker::RetryPolicy;
use secrecy::{ExposeSecret, SecretString};

use super::raw::{
    RawAccount, RawDirectory, RawIngest, RawKeys, RawQueue, RawRefersion, RawRetry, RawSecret, RawSettings,
    RawTelemetry,
};
use crate::config::mistakes::mistakes::{Invalid, Mistakes};
use crate::config::mistakes::suggest::nearest;
use crate::config::source::secret_file::SecretFile;

/// The configuration, with every value checked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Settings {
    pub(crate) queue_url: QueueUrl,
    pub(crate) management_url: Option<ManagementUrl>,
    pub(crate) prefix: String,
    pub(crate) confirm_timeout: Duration,
    pub(crate) ingest_listen: SocketAddr,
    pub(crate) behind_tls_proxy: bool,
    /// Of a listener that speaks TLS itself.
    pub(crate) tls: Option<TlsFiles>,
    pub(crate) bounds: Bounds,
    pub(crate) concurrency: usize,
    pub(crate) prefetch: u16,
    pub(crate) shutdown_grace: Duration,
    /// `None`: every identify costs a call.
    pub(crate) skip_unchanged: Option<Duration>,
    pub(crate) ops_listen: SocketAddr,
    pub(crate) base_url: String,
    pub(crate) timeout: Duration,
    /// What calls of Refersion go through.
    pub(crate) proxy: Option<ProxyUrl>,
    pub(crate) retry: RetryPolicy,
    pub(crate) directory: DirectoryKeys,
    pub(crate) log_format: LogFormat,
    pub(crate) log_filter: String,
    /// `None`: traces are off.
    pub(crate) traces: Option<TraceSettings>,
    pub(crate) trace_ratio: f64,
    pub(crate) accounts: Vec<AccountSettings>,
}

/// Which addresses belong to whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DirectoryKeys {
    /// Whether that is remembered.
    pub(crate) enabled: bool,
    /// `None`: another process keeps it.
    pub(crate) path: Option<PathBuf>,
    pub(crate) key_file: PathBuf,
    /// How long a delete waits for its person to become known.
    pub(crate) wait: Duration,
    /// How long people are remembered.
    pub(crate) keep: Duration,
}

/// Where the certificate of the listener is. They are read again when they change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TlsFiles {
    /// The chain, its own certificate first.
    pub(crate) certificate: PathBuf,
    pub(crate) key: SecretFile,
}

/// Where the queue is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum QueueUrl {
    /// On RabbitMQ.
    RabbitMq(BrokerUrl),
    /// In a file of this machine.
    Sqlite(SqlitePath),
}

/// The queue that needs nothing beside this program.
const EMBEDDED: &str = "sqlite:relay.db";

/// One account.
#[derive(Clone, Debug)]
pub(crate) struct AccountSettings {
    pub(crate) name: AccountName,
    pub(crate) keys: KeyPair,
    /// Those it had before, which only its door still takes.
    pub(crate) former_keys: Vec<KeyPair>,
    /// For the doors that do not take the Refersion keys. Kept as secrets from the moment they are read.
    pub(crate) write_keys: Vec<SecretString>,
    /// What Segment's Webhooks destination signs with.
    pub(crate) webhook_secrets: Vec<SecretString>,
    /// Whether a webhook needs no signature.
    pub(crate) webhook_unsigned: bool,
    /// What is trusted beyond what is safe.
    pub(crate) trust: Trust,
    /// At the doors; zero: any number.
    pub(crate) max_requests_per_second: u32,
    pub(crate) defaults: NewAffiliateDefaults,
    pub(crate) existing: Existing,
    /// Of people without a last name.
    pub(crate) missing_last_name: MissingLastName,
    /// Calls in a second, if they are bounded.
    pub(crate) max_calls_per_second: Option<NonZeroU32>,
}

impl PartialEq for AccountSettings {
    fn eq(&self, other: &Self) -> bool {
        let Self {
            name,
            keys,
            former_keys,
            write_keys,
            webhook_secrets,
            webhook_unsigned,
            trust,
            max_requests_per_second,
            defaults,
            existing,
            missing_last_name,
            max_calls_per_second,
        } = self;
        let pair = |keys: &KeyPair| (keys.expose_public().to_owned(), keys.expose_secret().to_owned());
        let pairs = |list: &[KeyPair]| list.iter().map(pair).collect::<Vec<_>>();
        let secrets = |list: &[SecretString]| list.iter().map(|key| key.expose_secret().to_owned()).collect::<Vec<_>>();
        *name == other.name
            && pair(keys) == pair(&other.keys)
            && pairs(former_keys) == pairs(&other.former_keys)
            && secrets(write_keys) == secrets(&other.write_keys)
            && secrets(webhook_secrets) == secrets(&other.webhook_secrets)
            && *webhook_unsigned == other.webhook_unsigned
            && *trust == other.trust
            && *max_requests_per_second == other.max_requests_per_second
            && *defaults == other.defaults
            && *existing == other.existing
            && *missing_last_name == other.missing_last_name
            && *max_calls_per_second == other.max_calls_per_second
    }
}

/// Keys of one kind that an account can have in a list: enough to change them, and few enough to try each.
const MAX_KEYS: usize = 8;

/// The longest a wait in hand may be: deliveries that stay unacknowledged too long are taken away by the broker.
const MAX_IN_HAND: Duration = Duration::from_mins(5);

/// The directory beside an embedded queue, where no other file is named.
const DIRECTORY_FILE: &str = "directory.db";

/// Segment gives a deletion 30 days.
const MAX_DIRECTORY_WAIT: Duration = Duration::from_hours(7 * 24);

/// Far more than one process can do.
const MAX_CALLS_PER_SECOND: u32 = 100_000;

impl Settings {
    /// Checks every value, and says everything that is wrong. Reads the secrets' files.
    pub(crate) fn settle(raw: RawSettings, found: &mut Mistakes) -> Option<Self> {
        let RawSettings { queue, ingest, worker, ops, refersion, retry, directory, log, telemetry, account, folder } =
            raw;
        let ingest_listen = found.take(address("ingest.listen", &ingest.listen));
        let tls = found.take(tls(&ingest));
        check_exposed(&ingest, ingest_listen, tls.as_ref(), found);
        found.check(
            "queue.prefix",
            valid_prefix(&queue.prefix),
            "1 to 100 letters, digits, dots, dashes and underscores",
        );
        found.check("queue.confirm_timeout", !queue.confirm_timeout.0.is_zero(), "longer than zero");
        found.check("worker.concurrency", (1..=10_000).contains(&worker.concurrency), "a number from 1 to 10000");
        found.check("worker.prefetch", (1..=2_000).contains(&worker.prefetch), "a number from 1 to 2000");
        let is_usable = worker.skip_unchanged.as_ref().is_none_or(|span| !span.0.is_zero());
        found.check("worker.skip_unchanged", is_usable, "longer than zero");
        found.check("refersion.timeout_ms", (1..=120_000).contains(&refersion.timeout_ms), "a number from 1 to 120000");
        let base_url = url::Url::parse(&refersion.base_url).ok();
        let usable = base_url.is_some_and(|url| {
            matches!(url.scheme(), "http" | "https")
                && url.host().is_some()
                && url.username().is_empty()
                && url.password().is_none()
        });
        found.check("refersion.base_url", usable, "an absolute http or https URL without a user or password");
        let log_format = found.take(match log.format.as_str() {
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            other => Err(none_of("log.format", other, "text", "json")),
        });
        found.check("log.filter", is_log_filter(&log.filter), "a level or directives, as RUST_LOG has them: \"info\"");
        let queue_url = found.take(queue_url(&queue, &folder));
        let management_url = found.take(management_url(&queue));
        let proxy = found.take(proxy(&refersion));
        let bounds = bounds(&ingest, found);
        let ops_listen = found.take(address("ops.listen", &ops.listen));
        let retry = retry_policy(&retry, found);
        let traces = traces(&telemetry, found);
        // Beside the embedded queue, which is where it may be written.
        let beside = match &queue_url {
            Some(QueueUrl::Sqlite(path)) => path.as_path().parent().unwrap_or(&folder),
            Some(QueueUrl::RabbitMq(_)) | None => &folder,
        };
        let keeps = matches!(queue_url, Some(QueueUrl::Sqlite(_)));
        let directory = directory_keys(directory, keeps, beside, found);
        let accounts = accounts(account, found);
        Some(Self {
            queue_url: queue_url?,
            management_url: management_url?,
            prefix: queue.prefix,
            confirm_timeout: queue.confirm_timeout.0,
            ingest_listen: ingest_listen?,
            behind_tls_proxy: ingest.behind_tls_proxy,
            tls: tls?,
            bounds: bounds?,
            concurrency: worker.concurrency,
            prefetch: worker.prefetch,
            shutdown_grace: worker.shutdown_grace.0,
            skip_unchanged: worker.skip_unchanged.map(|span| span.0),
            ops_listen: ops_listen?,
            proxy: proxy?,
            base_url: refersion.base_url,
            timeout: Duration::from_millis(refersion.timeout_ms),
            retry,
            directory,
            log_format: log_format?,
            log_filter: log.filter,
            traces: traces?,
            trace_ratio: telemetry.trace_ratio,
            accounts: accounts?,
        })
    }
}

/// `keeps`: there is one in any case, since nobody else has the queue.
fn directory_keys(raw: RawDirectory, keeps: bool, folder: &Path, found: &mut Mistakes) -> DirectoryKeys {
    let RawDirectory { enabled, path, key_file, wait, keep } = raw;
    let named = |path: &Path| path.file_name().is_some();
    let path = path.or_else(|| keeps.then(|| DIRECTORY_FILE.into()));
    found.check("directory.path", path.as_deref().is_none_or(named), "the path of a file");
    let is_other = path.as_ref() != Some(&key_file);
    found.check("directory.key_file", named(&key_file) && is_other, "the path of another file");
    found.check("directory.wait", wait.0 <= MAX_DIRECTORY_WAIT, "at most 7 days");
    found.check("directory.keep", Duration::from_hours(24) <= keep.0, "at least a day");
    let (path, key_file) = (path.map(|path| folder.join(path)), folder.join(key_file));
    DirectoryKeys { enabled, path, key_file, wait: wait.0, keep: keep.0 }
}

/// Where traces go. The inner `None`: nowhere.
#[expect(clippy::option_option, reason = "a mistake, or nothing, or something")]
fn traces(telemetry: &RawTelemetry, found: &mut Mistakes) -> Option<Option<TraceSettings>> {
    let ratio = telemetry.trace_ratio;
    found.check("telemetry.trace_ratio", (0.0..=1.0).contains(&ratio), "a number from 0 to 1");
    let Some(endpoint) = &telemetry.otlp_endpoint else { return Some(None) };
    let endpoint =
        OtlpEndpoint::parse(endpoint).map_err(|error| found.of("telemetry.otlp_endpoint", &error.to_string()));
    Some(Some(TraceSettings { endpoint: endpoint.ok()?, ratio }))
}

/// What leaves this machine has to be encrypted.
fn check_exposed(ingest: &RawIngest, listen: Option<SocketAddr>, tls: Option<&Option<TlsFiles>>, found: &mut Mistakes) {
    let is_exposed = listen.is_some_and(|listen| !listen.ip().is_loopback());
    // A mistake in one of them has to be mended first.
    let keys = ["ingest.behind_tls_proxy", "ingest.tls_certificate_file", "ingest.tls_key_file"];
    let is_known = keys.iter().all(|key| !found.is_settled(key));
    if is_exposed && is_known && tls.is_none_or(Option::is_none) && !ingest.behind_tls_proxy {
        found.of(
            "ingest.listen",
            "is no loopback address, and events and keys must not travel unencrypted: listen on one, give the \
             listener a certificate (ingest.tls_certificate_file), or put a TLS proxy before it and set \
             ingest.behind_tls_proxy = true",
        );
    }
}

/// The largest number of requests in a second that can be told from any number.
const MAX_RATE: u32 = 1_000_000;
/// A webhook of the largest size, packed and unpacked, has to fit into what strangers get of it.
const MIN_BODY_MEMORY: usize = 64 << 20;

fn bounds(ingest: &RawIngest, found: &mut Mistakes) -> Option<Bounds> {
    let RawIngest { max_requests_per_second, max_body_memory, max_connections, .. } = *ingest;
    check_rate("ingest.max_requests_per_second", max_requests_per_second, found);
    found.check("ingest.max_body_memory", MIN_BODY_MEMORY <= max_body_memory.0, "at least 64 MiB");
    let numbers = 1..=100_000;
    found.check("ingest.max_connections", numbers.contains(&max_connections), "a number from 1 to 100000");
    let max_connections_per_client = ingest.max_connections_per_client.unwrap_or(max_connections.div_ceil(4));
    let key = "ingest.max_connections_per_client";
    if ingest.max_connections_per_client.is_some() {
        found.check(key, numbers.contains(&max_connections_per_client), "a number from 1 to 100000");
    }
    let network = |(number, text): (usize, &String)| {
        let key = "ingest.trusted_proxies";
        text.parse::<Network>().map_err(|error| invalid(key, &format!("has, as number {number}, what {error}")))
    };
    let trusted_proxies = (1..).zip(&ingest.trusted_proxies).map(network).collect::<Result<_, _>>();
    let trusted_proxies = found.take(trusted_proxies)?;
    let max_body_memory = max_body_memory.0;
    Some(Bounds {
        max_requests_per_second,
        max_body_memory,
        max_connections,
        max_connections_per_client,
        trusted_proxies,
    })
}

fn tls(ingest: &RawIngest) -> Result<Option<TlsFiles>, Invalid> {
    match (ingest.tls_certificate_file.clone(), ingest.tls_key_file.clone()) {
        (None, None) => Ok(None),
        (Some(certificate), Some(key)) => Ok(Some(TlsFiles { certificate, key })),
        (Some(_), None) => Err(invalid("ingest.tls_key_file", "is missing: the certificate needs its key")),
        (None, Some(_)) => Err(invalid("ingest.tls_certificate_file", "is missing: the key needs its certificate")),
    }
}

fn queue_url(queue: &RawQueue, folder: &Path) -> Result<QueueUrl, Invalid> {
    let url = secret("queue.url", queue.url.as_ref(), queue.url_file.as_ref())?;
    let url = url.as_ref().map_or(EMBEDDED, |url| url.expose_secret());
    let bad = |why: String| invalid("queue.url", &why);
    match SqlitePath::parse(url, folder) {
        Ok(path) => Ok(QueueUrl::Sqlite(path)),
        Err(InvalidSqlitePath::NotSqlite) => {
            BrokerUrl::parse(url).map(QueueUrl::RabbitMq).map_err(|error| unusable("queue.url", &error))
        }
        Err(error) => Err(bad(error.to_string())),
    }
}

fn management_url(queue: &RawQueue) -> Result<Option<ManagementUrl>, Invalid> {
    let key = "queue.management_url";
    let url = secret(key, queue.management_url.as_ref(), queue.management_url_file.as_ref())?;
    let url = url.map(|url| ManagementUrl::parse(url.expose_secret()));
    url.transpose().map_err(|error| unusable(key, &error))
}

fn proxy(refersion: &RawRefersion) -> Result<Option<ProxyUrl>, Invalid> {
    let key = "refersion.proxy_url";
    let url = secret(key, refersion.proxy_url.as_ref(), refersion.proxy_url_file.as_ref())?;
    let url = url.map(|url| ProxyUrl::parse(url.expose_secret()));
    url.transpose().map_err(|error| unusable(key, &error))
}

fn valid_prefix(prefix: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    (1..=100).contains(&prefix.len()) && prefix.chars().all(allowed)
}

fn retry_policy(retry: &RawRetry, found: &mut Mistakes) -> RetryPolicy {
    let tiers: Vec<Duration> = retry.tiers.iter().map(|tier| tier.0).collect();
    found.check("retry.in_hand", retry.in_hand.0 <= MAX_IN_HAND, "at most 5 minutes");
    found.check("retry.tiers", (1..=16).contains(&tiers.len()), "a list of 1 to 16 delays");
    let bounds = Duration::from_millis(1)..=Duration::from_hours(24);
    found.check("retry.tiers", tiers.iter().all(|tier| bounds.contains(tier)), "delays from 1ms to 1day");
    found.check("retry.max_attempts", 1 <= retry.max_attempts, "at least 1");
    let (in_hand, max_attempts, max_age) = (retry.in_hand.0, retry.max_attempts, retry.max_age.0);
    RetryPolicy { in_hand, tiers, max_attempts, max_age }
}

fn accounts(raw: Vec<RawAccount>, found: &mut Mistakes) -> Option<Vec<AccountSettings>> {
    if raw.is_empty() {
        found.lacks("account", "is missing: there has to be at least one [[account]]");
        return None;
    }
    let read: Vec<_> = raw.into_iter().map(|raw| (raw.label.clone(), account(raw, found))).collect();
    let mut names = HashSet::new();
    for (label, account) in read.iter().filter_map(|(label, account)| Some((label, account.as_ref()?))) {
        found.check(&format!("{label}: name"), names.insert(&account.name), "different for each account");
    }
    check_door_keys(&read, found);
    read.into_iter().map(|(_, account)| account).collect()
}

fn account(raw: RawAccount, found: &mut Mistakes) -> Option<AccountSettings> {
    let label = raw.label;
    let key = |key: &str| format!("{label}: {key}");
    let name = required(&key("name"), "give it one, like \"acme\"", found)
        .then(|| AccountName::try_from(raw.name).map_err(|error| unusable(&key("name"), &error)))
        .and_then(|name| found.take(name));
    if required(&key("public_key"), "it is the merchant's public key at Refersion", found) {
        found.check(&key("public_key"), !raw.public_key.trim().is_empty(), "not empty");
    }
    let secret_key = found.take(secret(&key("secret_key"), raw.secret_key.as_ref(), raw.secret_key_file.as_ref()));
    // A mistake in the file's key has to be mended first.
    if matches!(secret_key, Some(None)) && !found.is_settled(&key("secret_key_file")) {
        found.lacks(&key("secret_key"), "is missing: give it, or secret_key_file");
    }
    let write_key = found.take(secret(&key("write_key"), raw.write_key.as_ref(), raw.write_key_file.as_ref()));
    let webhook_secret =
        found.take(secret(&key("webhook_secret"), raw.webhook_secret.as_ref(), raw.webhook_secret_file.as_ref()));
    let write_keys = several(&key("write_keys"), &raw.write_keys, found);
    let more_write_keys = several(&key("write_key_files"), &raw.write_key_files, found);
    let secrets = several(&key("webhook_secrets"), &raw.webhook_secrets, found);
    let more_secrets = several(&key("webhook_secret_files"), &raw.webhook_secret_files, found);
    found.check(
        &key("webhook_secrets"),
        usize::from(matches!(webhook_secret, Some(Some(_)))) + secrets.len() + more_secrets.len()
            <= refersion_relay_ingest::MAX_WEBHOOK_SECRETS,
        "at most 4 secrets together with webhook_secret and webhook_secret_files",
    );
    let former_keys = former_keys(&key("former_keys"), &raw.former_keys, found);
    check_rate(&key("max_requests_per_second"), raw.max_requests_per_second, found);
    let status = found.take(match raw.status.as_str() {
        "PENDING" => Ok(Status::Pending),
        "ACTIVE" => Ok(Status::Active),
        other => Err(none_of(&key("status"), other, "PENDING", "ACTIVE")),
    });
    let existing = found.take(match raw.on_existing.as_str() {
        "keep" => Ok(Existing::Keep),
        "update" => Ok(Existing::Update),
        other => Err(none_of(&key("on_existing"), other, "keep", "update")),
    });
    let missing_last_name = raw.missing_last_name.as_deref().map_or(Ok(MissingLastName::default()), str::parse);
    let missing_last_name =
        found.take(missing_last_name.map_err(|error| invalid(&key("missing_last_name"), &error.to_string())));
    let fine = raw.max_calls_per_second <= MAX_CALLS_PER_SECOND;
    found.check(&key("max_calls_per_second"), fine, "a number from 0, for no bound, to 100000");
    let keys = KeyPair::new(raw.public_key.trim(), secret_key??.expose_secret());
    let defaults = NewAffiliateDefaults { status: status?, send_welcome: raw.send_welcome };
    Some(AccountSettings {
        name: name?,
        keys,
        former_keys,
        write_keys: write_key?.into_iter().chain(write_keys).chain(more_write_keys).collect(),
        webhook_secrets: webhook_secret?.into_iter().chain(secrets).chain(more_secrets).collect(),
        webhook_unsigned: raw.webhook_unsigned,
        trust: Trust {
            unsigned: raw.webhook_trust_batches,
            write_key: Rights {
                delete: raw.write_key_may_delete,
                update: raw.write_key_may_update,
                teach: raw.write_key_may_teach,
            },
        },
        max_requests_per_second: raw.max_requests_per_second,
        defaults,
        existing: existing?,
        missing_last_name: missing_last_name?,
        max_calls_per_second: NonZeroU32::new(raw.max_calls_per_second),
    })
}

/// One secret from each place of a list; none from where `check` could not read one.
fn several(key: &str, list: &[RawSecret], found: &mut Mistakes) -> Vec<SecretString> {
    found.check(key, list.len() <= MAX_KEYS, "a list of at most 8");
    let one = |(number, raw): (usize, &RawSecret)| {
        found.take(secret(&nth(key, number), raw.value.as_ref(), raw.file.as_ref())).flatten()
    };
    list.iter().enumerate().filter_map(one).collect()
}

fn former_keys(key: &str, list: &[RawKeys], found: &mut Mistakes) -> Vec<KeyPair> {
    found.check(key, list.len() <= MAX_KEYS, "a list of at most 8");
    let pair = |(number, raw): (usize, &RawKeys)| {
        let key = nth(key, number);
        found.check(&format!("{key}.public_key"), !raw.public_key.trim().is_empty(), "there, and not empty");
        let secret_key = format!("{key}.secret_key");
        let secret = found.take(secret(&secret_key, raw.secret_key.as_ref(), raw.secret_key_file.as_ref()))?;
        if secret.is_none() {
            found.lacks(&secret_key, "is missing: give it, or secret_key_file");
        }
        Some(KeyPair::new(raw.public_key.trim(), secret?.expose_secret()))
    };
    list.iter().enumerate().filter_map(pair).collect()
}

/// What messages call one place of a list.
pub(crate) fn nth(key: &str, index: usize) -> String {
    format!("{key}[{index}]")
}

/// Nobody can tell whose events come with a key that two accounts have; and who knows a public key must not know a secret by it.
fn check_door_keys(accounts: &[(String, Option<AccountSettings>)], found: &mut Mistakes) {
    let accounts: Vec<_> = accounts.iter().filter_map(|(label, account)| Some((label, account.as_ref()?))).collect();
    let mut seen = HashMap::new();
    for (label, account) in &accounts {
        let text = |secret: &SecretString| secret.expose_secret().to_owned();
        let pairs = [&account.keys].into_iter().chain(&account.former_keys);
        let pairs = pairs.map(|pair| ("public_key", "key pair", text(&pair.expose_joined())));
        let write_keys = account.write_keys.iter().map(|key| ("write_key", "write key", text(key)));
        let webhook_secrets = account.webhook_secrets.iter().map(|key| ("webhook_secret", "webhook secret", text(key)));
        for (key, kind, secret) in pairs.chain(write_keys).chain(webhook_secrets) {
            if let Some((other, as_what)) = seen.insert(secret, (*label, kind)) {
                let why =
                    format!("is also a {as_what} of {other}: each {kind} has to be different from all other keys");
                found.of(&format!("{label}: {key}"), &why);
            }
        }
        for key in &account.write_keys {
            let mut pairs = accounts.iter().flat_map(|(_, other)| [&other.keys].into_iter().chain(&other.former_keys));
            let is_secret = pairs.any(|pair| pair.expose_secret() == key.expose_secret());
            let expected = "another text than the secret of Refersion keys: write keys may be public";
            found.check(&format!("{label}: write_key"), !is_secret, expected);
        }
    }
}

/// Whether a key is there that has no default.
fn required(key: &str, what: &str, found: &mut Mistakes) -> bool {
    let is_there = found.stands_at(key).is_some();
    if !is_there {
        found.lacks(key, &format!("is missing: {what}"));
    }
    is_there && !found.is_settled(key)
}

/// Takes a secret from its key or from its file, but not from both.
fn secret(key: &str, value: Option<&String>, file: Option<&SecretFile>) -> Result<Option<SecretString>, Invalid> {
    let value = match (value, file) {
        (Some(_), Some(_)) => return Err(invalid(key, "is given twice: keep it, or its …_file")),
        (Some(value), None) => value.clone(),
        (None, Some(file)) => file.read().map_err(|error| invalid(key, &file.unreadable(key, &error)))?,
        (None, None) => return Ok(None),
    };
    let value = value.trim();
    if value.is_empty() {
        return Err(invalid(key, "has to be not empty"));
    }
    Ok(Some(SecretString::from(value.to_owned())))
}

fn address(key: &str, text: &str) -> Result<SocketAddr, Invalid> {
    text.parse().map_err(|_| invalid(key, "has to be an IP address and a port, like \"127.0.0.1:8080\""))
}

fn check_rate(key: &str, per_second: u32, found: &mut Mistakes) {
    found.check(key, per_second <= MAX_RATE, "a number up to 1000000, or 0 for any number");
}

/// For a key that takes one of two words.
fn none_of(key: &str, text: &str, one: &str, other: &str) -> Invalid {
    let meant = nearest(text, [one, other].into_iter());
    let hint = meant.map(|meant| format!(": did you mean \"{meant}\"?")).unwrap_or_default();
    invalid(key, &format!("has to be {one} or {other}{hint}"))
}

/// What is wrong with a value, in a sentence of its own.
fn unusable(key: &str, error: &impl std::fmt::Display) -> Invalid {
    invalid(key, &format!("cannot be used: {error}"))
}

fn invalid(key: &str, why: &str) -> Invalid {
    Invalid::new(key, why)
}
