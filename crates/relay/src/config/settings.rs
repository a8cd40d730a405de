use std::collections::{HashMap, HashSet};
use std::fs;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use refersion_relay_ingest::{Bounds, Network, Trust};
use refersion_relay_model::{AccountName, KeyPair, MissingLastName};
use refersion_relay_queue::{BrokerUrl, InvalidSqlitePath, ManagementUrl, SqlitePath};
use refersion_relay_refersion::{Existing, NewAffiliateDefaults, ProxyUrl, Status};
use refersion_relay_telemetry::{LogFormat, is_log_filter};
use refersion_relay_worker::RetryPolicy;
use secrecy::{ExposeSecret, SecretString};

use super::load::ConfigError;
use super::raw::{RawAccount, RawIngest, RawKeys, RawQueue, RawRefersion, RawRetry, RawSecret, RawSettings, RawWorker};
use super::shard_list::ShardList;

/// The configuration, with every value checked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Settings {
    pub(crate) queue_url: QueueUrl,
    pub(crate) management_url: Option<ManagementUrl>,
    pub(crate) prefix: String,
    pub(crate) shards: u16,
    /// Older numbers of shards, the oldest first.
    pub(crate) drain: Vec<u16>,
    pub(crate) confirm_timeout: Duration,
    pub(crate) ingest_listen: SocketAddr,
    pub(crate) behind_tls_proxy: bool,
    /// Of a listener that speaks TLS itself.
    pub(crate) tls: Option<TlsFiles>,
    pub(crate) bounds: Bounds,
    pub(crate) concurrency: usize,
    pub(crate) prefetch: u16,
    pub(crate) worker_shards: ShardList,
    pub(crate) shutdown_grace: Duration,
    pub(crate) ops_listen: SocketAddr,
    pub(crate) base_url: String,
    pub(crate) timeout: Duration,
    /// What calls of Refersion go through.
    pub(crate) proxy: Option<ProxyUrl>,
    pub(crate) retry: RetryPolicy,
    pub(crate) log_format: LogFormat,
    pub(crate) log_filter: String,
    pub(crate) accounts: Vec<AccountSettings>,
}

/// Where the certificate of the listener is. They are read again when they change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TlsFiles {
    /// The chain, its own certificate first.
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
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

/// How many shards there can be.
const SHARDS: RangeInclusive<u16> = 1..=1_024;
/// Numbers of shards that nobody has done with yet. Each of their shards is a connection of every worker.
const MAX_DRAIN: usize = 8;

/// The longest a wait in hand may be: deliveries that stay unacknowledged too long are taken away by the broker.
const MAX_IN_HAND: Duration = Duration::from_mins(5);

/// Far more than one process can do.
const MAX_CALLS_PER_SECOND: u32 = 100_000;

impl TryFrom<RawSettings> for Settings {
    type Error = ConfigError;

    fn try_from(raw: RawSettings) -> Result<Self, ConfigError> {
        let RawSettings { queue, ingest, worker, ops, refersion, retry, log, account, folder } = raw;
        let ingest_listen = address("ingest.listen", &ingest.listen)?;
        let tls = tls(&ingest)?;
        if !ingest_listen.ip().is_loopback() && tls.is_none() && !ingest.behind_tls_proxy {
            return Err(invalid(
                "ingest.listen",
                "events and keys must not travel unencrypted: listen on a loopback address, give the listener a \
                 certificate (ingest.tls_certificate_file), or put a TLS proxy before it and set \
                 ingest.behind_tls_proxy = true",
            ));
        }
        check("queue.prefix", valid_prefix(&queue.prefix), "1 to 100 letters, digits, dots, dashes and underscores")?;
        check("queue.shards", SHARDS.contains(&queue.shards), "a number from 1 to 1024")?;
        check_drain(&queue)?;
        check("queue.confirm_timeout", !queue.confirm_timeout.0.is_zero(), "longer than zero")?;
        check("worker.concurrency", (1..=10_000).contains(&worker.concurrency), "a number from 1 to 10000")?;
        check("worker.prefetch", (1..=2_000).contains(&worker.prefetch), "a number from 1 to 2000")?;
        check("refersion.timeout_ms", (1..=120_000).contains(&refersion.timeout_ms), "a number from 1 to 120000")?;
        let base_url = url::Url::parse(&refersion.base_url).ok();
        let usable = base_url.is_some_and(|url| {
            matches!(url.scheme(), "http" | "https")
                && url.host().is_some()
                && url.username().is_empty()
                && url.password().is_none()
        });
        check("refersion.base_url", usable, "an absolute http or https URL without a user or password")?;
        let log_format = match log.format.as_str() {
            "text" => LogFormat::Text,
            "json" => LogFormat::Json,
            _ => return Err(invalid("log.format", "has to be text or json")),
        };
        check("log.filter", is_log_filter(&log.filter), "a level or directives, as RUST_LOG has them: \"info\"")?;
        let queue_url = queue_url(&queue, &folder)?;
        Ok(Self {
            worker_shards: worker_shards(&worker, &queue, &queue_url)?,
            queue_url,
            management_url: management_url(&queue)?,
            prefix: queue.prefix,
            shards: queue.shards,
            drain: queue.drain,
            confirm_timeout: queue.confirm_timeout.0,
            ingest_listen,
            behind_tls_proxy: ingest.behind_tls_proxy,
            tls,
            bounds: bounds(&ingest)?,
            concurrency: worker.concurrency,
            prefetch: worker.prefetch,
            shutdown_grace: worker.shutdown_grace.0,
            ops_listen: address("ops.listen", &ops.listen)?,
            proxy: proxy(&refersion)?,
            base_url: refersion.base_url,
            timeout: Duration::from_millis(refersion.timeout_ms),
            retry: retry_policy(&retry)?,
            log_format,
            log_filter: log.filter,
            accounts: accounts(account)?,
        })
    }
}

/// The largest number of requests in a second that can be told from any number.
const MAX_RATE: u32 = 1_000_000;
/// A webhook of the largest size, packed and unpacked, has to fit into what strangers get of it.
const MIN_BODY_MEMORY: usize = 64 << 20;

fn bounds(ingest: &RawIngest) -> Result<Bounds, ConfigError> {
    let RawIngest { max_requests_per_second, max_body_memory, max_connections, .. } = *ingest;
    check_rate("ingest.max_requests_per_second", max_requests_per_second)?;
    check("ingest.max_body_memory", MIN_BODY_MEMORY <= max_body_memory.0, "at least 64 MiB")?;
    let numbers = 1..=100_000;
    check("ingest.max_connections", numbers.contains(&max_connections), "a number from 1 to 100000")?;
    let max_connections_per_client = ingest.max_connections_per_client.unwrap_or(max_connections.div_ceil(4));
    let key = "ingest.max_connections_per_client";
    check(key, numbers.contains(&max_connections_per_client), "a number from 1 to 100000")?;
    let network = |text: &String| {
        let key = "ingest.trusted_proxies";
        text.parse::<Network>().map_err(|error| invalid(key, &format!("{text:?} {error}")))
    };
    let trusted_proxies = ingest.trusted_proxies.iter().map(network).collect::<Result<_, _>>()?;
    let max_body_memory = max_body_memory.0;
    Ok(Bounds {
        max_requests_per_second,
        max_body_memory,
        max_connections,
        max_connections_per_client,
        trusted_proxies,
    })
}

fn tls(ingest: &RawIngest) -> Result<Option<TlsFiles>, ConfigError> {
    match (ingest.tls_certificate_file.clone(), ingest.tls_key_file.clone()) {
        (None, None) => Ok(None),
        (Some(certificate), Some(key)) => Ok(Some(TlsFiles { certificate, key })),
        (Some(_), None) => Err(invalid("ingest.tls_key_file", "is missing: the certificate needs its key")),
        (None, Some(_)) => Err(invalid("ingest.tls_certificate_file", "is missing: the key needs its certificate")),
    }
}

fn queue_url(queue: &RawQueue, folder: &Path) -> Result<QueueUrl, ConfigError> {
    let url = secret("queue.url", queue.url.as_ref(), queue.url_file.as_ref())?;
    let url = url.as_ref().map_or(EMBEDDED, |url| url.expose_secret());
    let bad = |why: String| invalid("queue.url", &why);
    match SqlitePath::parse(url, folder) {
        Ok(path) => Ok(QueueUrl::Sqlite(path)),
        Err(InvalidSqlitePath::NotSqlite) => {
            BrokerUrl::parse(url).map(QueueUrl::RabbitMq).map_err(|error| bad(error.to_string()))
        }
        Err(error) => Err(bad(error.to_string())),
    }
}

/// Each set of shards is given up for a later one, so none can be there twice.
fn check_drain(queue: &RawQueue) -> Result<(), ConfigError> {
    let key = "queue.drain";
    let (drain, mut seen) = (&queue.drain, HashSet::from([queue.shards]));
    check(key, drain.len() <= MAX_DRAIN, "a list of at most 8 numbers")?;
    check(key, drain.iter().all(|shards| SHARDS.contains(shards)), "a list of numbers from 1 to 1024")?;
    check(key, !drain.contains(&queue.shards), "without the number that queue.shards is: that is what comes after")?;
    check(key, drain.iter().all(|shards| seen.insert(*shards)), "a list of different numbers")
}

fn worker_shards(worker: &RawWorker, queue: &RawQueue, url: &QueueUrl) -> Result<ShardList, ConfigError> {
    let key = "worker.shards";
    match (&worker.shards, url) {
        (None, _) => Ok(ShardList::All),
        // One process at a time works what is in the file, so nobody would take the others.
        (Some(_), QueueUrl::Sqlite(_)) => {
            Err(invalid(key, "is for workers side by side on RabbitMQ: the embedded queue has one worker at a time"))
        }
        (Some(list), QueueUrl::RabbitMq(_)) => {
            ShardList::parse(&list.0, queue.shards).map_err(|why| invalid(key, &why))
        }
    }
}

fn management_url(queue: &RawQueue) -> Result<Option<ManagementUrl>, ConfigError> {
    let key = "queue.management_url";
    let url = secret(key, queue.management_url.as_ref(), queue.management_url_file.as_ref())?;
    let url = url.map(|url| ManagementUrl::parse(url.expose_secret()));
    url.transpose().map_err(|error| invalid(key, &error.to_string()))
}

fn proxy(refersion: &RawRefersion) -> Result<Option<ProxyUrl>, ConfigError> {
    let key = "refersion.proxy_url";
    let url = secret(key, refersion.proxy_url.as_ref(), refersion.proxy_url_file.as_ref())?;
    let url = url.map(|url| ProxyUrl::parse(url.expose_secret()));
    url.transpose().map_err(|error| invalid(key, &error.to_string()))
}

fn valid_prefix(prefix: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    (1..=100).contains(&prefix.len()) && prefix.chars().all(allowed)
}

fn retry_policy(retry: &RawRetry) -> Result<RetryPolicy, ConfigError> {
    let tiers: Vec<Duration> = retry.tiers.iter().map(|tier| tier.0).collect();
    check("retry.in_hand", retry.in_hand.0 <= MAX_IN_HAND, "at most 5 minutes")?;
    check("retry.tiers", (1..=16).contains(&tiers.len()), "a list of 1 to 16 delays")?;
    let bounds = Duration::from_millis(1)..=Duration::from_hours(24);
    check("retry.tiers", tiers.iter().all(|tier| bounds.contains(tier)), "delays from 1ms to 1day")?;
    check("retry.max_attempts", 1 <= retry.max_attempts, "at least 1")?;
    check("retry.max_held", !retry.max_held.0.is_zero(), "longer than zero")?;
    Ok(RetryPolicy {
        in_hand: retry.in_hand.0,
        tiers,
        max_attempts: retry.max_attempts,
        max_age: retry.max_age.0,
        max_held: retry.max_held.0,
    })
}

fn accounts(raw: Vec<RawAccount>) -> Result<Vec<AccountSettings>, ConfigError> {
    if raw.is_empty() {
        return Err(invalid("account", "is missing: there has to be at least one [[account]]"));
    }
    let accounts = raw.into_iter().map(account).collect::<Result<Vec<_>, _>>()?;
    let mut names = HashSet::new();
    for account in &accounts {
        check("account.name", names.insert(&account.name), "different for each account")?;
    }
    check_door_keys(&accounts)?;
    Ok(accounts)
}

fn account(raw: RawAccount) -> Result<AccountSettings, ConfigError> {
    let name = AccountName::try_from(raw.name).map_err(|error| invalid("account.name", &error.to_string()))?;
    let key = |key: &str| format!("account {name}: {key}");
    let secret_key = secret(&key("secret_key"), raw.secret_key.as_ref(), raw.secret_key_file.as_ref())?;
    let Some(secret_key) = secret_key else {
        return Err(invalid(&key("secret_key"), "is missing: give it, or secret_key_file"));
    };
    let write_key = secret(&key("write_key"), raw.write_key.as_ref(), raw.write_key_file.as_ref())?;
    let webhook_secret = secret(&key("webhook_secret"), raw.webhook_secret.as_ref(), raw.webhook_secret_file.as_ref())?;
    let (write_keys, more_write_keys) =
        (several(&key("write_keys"), &raw.write_keys)?, several(&key("write_key_files"), &raw.write_key_files)?);
    let (secrets, more_secrets) = (
        several(&key("webhook_secrets"), &raw.webhook_secrets)?,
        several(&key("webhook_secret_files"), &raw.webhook_secret_files)?,
    );
    let former_keys = former_keys(&key("former_keys"), &raw.former_keys)?;
    check_rate(&key("max_requests_per_second"), raw.max_requests_per_second)?;
    check(&key("public_key"), !raw.public_key.trim().is_empty(), "not empty")?;
    let status = match raw.status.as_str() {
        "PENDING" => Status::Pending,
        "ACTIVE" => Status::Active,
        _ => return Err(invalid(&key("status"), "has to be PENDING or ACTIVE")),
    };
    let existing = match raw.on_existing.as_str() {
        "keep" => Existing::Keep,
        "update" => Existing::Update,
        _ => return Err(invalid(&key("on_existing"), "has to be keep or update")),
    };
    let missing_last_name = raw.missing_last_name.as_deref().map_or(Ok(MissingLastName::default()), str::parse);
    let missing_last_name =
        missing_last_name.map_err(|error| invalid(&key("missing_last_name"), &error.to_string()))?;
    let fine = raw.max_calls_per_second <= MAX_CALLS_PER_SECOND;
    check(&key("max_calls_per_second"), fine, "a number from 0, for no bound, to 100000")?;
    let keys = KeyPair::new(raw.public_key.trim(), secret_key.expose_secret());
    let defaults = NewAffiliateDefaults { status, send_welcome: raw.send_welcome };
    Ok(AccountSettings {
        name,
        keys,
        former_keys,
        write_keys: write_key.into_iter().chain(write_keys).chain(more_write_keys).collect(),
        webhook_secrets: webhook_secret.into_iter().chain(secrets).chain(more_secrets).collect(),
        webhook_unsigned: raw.webhook_unsigned,
        trust: Trust {
            unsigned: raw.webhook_trust_batches,
            write_key_deletes: raw.write_key_may_delete,
            write_key_updates: raw.write_key_may_update,
        },
        max_requests_per_second: raw.max_requests_per_second,
        defaults,
        existing,
        missing_last_name,
        max_calls_per_second: NonZeroU32::new(raw.max_calls_per_second),
    })
}

/// One secret from each place of a list; none from where `check` could not read one.
fn several(key: &str, list: &[RawSecret]) -> Result<Vec<SecretString>, ConfigError> {
    check(key, list.len() <= MAX_KEYS, "a list of at most 8")?;
    let one = |(number, raw): (usize, &RawSecret)| {
        secret(&nth(key, number), raw.value.as_ref(), raw.file.as_ref()).transpose()
    };
    list.iter().enumerate().filter_map(one).collect()
}

fn former_keys(key: &str, list: &[RawKeys]) -> Result<Vec<KeyPair>, ConfigError> {
    check(key, list.len() <= MAX_KEYS, "a list of at most 8")?;
    let pair = |(number, raw): (usize, &RawKeys)| {
        let key = nth(key, number);
        check(&format!("{key}.public_key"), !raw.public_key.trim().is_empty(), "not empty")?;
        let secret = secret(&format!("{key}.secret_key"), raw.secret_key.as_ref(), raw.secret_key_file.as_ref())?;
        let secret =
            secret.ok_or_else(|| invalid(&format!("{key}.secret_key"), "is missing: give it, or secret_key_file"))?;
        Ok(KeyPair::new(raw.public_key.trim(), secret.expose_secret()))
    };
    list.iter().enumerate().map(pair).collect()
}

/// What messages call one place of a list.
pub(super) fn nth(key: &str, index: usize) -> String {
    format!("{key}[{index}]")
}

/// Nobody can tell whose events come with a key that two accounts have; and who knows a public key must not know a secret by it.
fn check_door_keys(accounts: &[AccountSettings]) -> Result<(), ConfigError> {
    let mut seen = HashMap::new();
    for account in accounts {
        let name = &account.name;
        let text = |secret: &SecretString| secret.expose_secret().to_owned();
        let pairs = [&account.keys]
            .into_iter()
            .chain(&account.former_keys)
            .map(|pair| ("key pair", text(&pair.expose_joined())));
        let write_keys = account.write_keys.iter().map(|key| ("write key", text(key)));
        let webhook_secrets = account.webhook_secrets.iter().map(|key| ("webhook secret", text(key)));
        for (kind, key) in pairs.chain(write_keys).chain(webhook_secrets) {
            if let Some((other, as_what)) = seen.insert(key, (name, kind)) {
                let why = format!(
                    "has a {kind} that is also a {as_what} of account {other}: each has to be different from all others"
                );
                return Err(invalid(&format!("account {name}"), &why));
            }
        }
        for key in &account.write_keys {
            let mut pairs = accounts.iter().flat_map(|other| [&other.keys].into_iter().chain(&other.former_keys));
            let is_secret = pairs.any(|pair| pair.expose_secret() == key.expose_secret());
            check(
                &format!("account {name}: write_key"),
                !is_secret,
                "another text than the secret of Refersion keys: write keys may be public",
            )?;
        }
    }
    Ok(())
}

/// Takes a secret from its key or from its file, but not from both.
fn secret(key: &str, value: Option<&String>, file: Option<&PathBuf>) -> Result<Option<SecretString>, ConfigError> {
    let value = match (value, file) {
        (Some(_), Some(_)) => return Err(invalid(key, "is given twice: keep it, or its …_file")),
        (Some(value), None) => value.clone(),
        (None, Some(path)) => fs::read_to_string(path).map_err(|source| ConfigError::SecretFile {
            key: key.to_owned(),
            path: path.clone(),
            source,
        })?,
        (None, None) => return Ok(None),
    };
    let value = value.trim();
    check(key, !value.is_empty(), "not empty")?;
    Ok(Some(SecretString::from(value.to_owned())))
}

fn address(key: &str, text: &str) -> Result<SocketAddr, ConfigError> {
    text.parse().map_err(|_| invalid(key, "has to be an IP address and a port, as 127.0.0.1:8080"))
}

fn check(key: &str, fine: bool, expected: &str) -> Result<(), ConfigError> {
    if fine { Ok(()) } else { Err(invalid(key, &format!("has to be {expected}"))) }
}

fn check_rate(key: &str, per_second: u32) -> Result<(), ConfigError> {
    check(key, per_second <= MAX_RATE, "a number up to 1000000, or 0 for any number")
}

fn invalid(key: &str, why: &str) -> ConfigError {
    ConfigError::Invalid { key: key.to_owned(), why: why.to_owned() }
}
