use std::num::NonZeroU32;
use std::time::Duration;

use refersion_relay_telemetry::LogFormat;
use serde_json::{Value, json};

use crate::config::{AccountSettings, Examined, QueueUrl};

/// The values in force: every key of the configuration, secrets without what they are.
pub(crate) fn effective(examined: &Examined) -> Value {
    let settings = &examined.settings;
    let span = |duration: Duration| humantime::format_duration(duration).to_string();
    let url = match &settings.queue_url {
        QueueUrl::RabbitMq(url) => url.to_string(),
        QueueUrl::Sqlite(path) => path.to_string(),
    };
    let accounts: Vec<_> = settings.accounts.iter().map(|settings| account(examined, settings)).collect();
    json!({
        "queue": {
            "url": examined.knows_queue().then_some(url),
            "url_file": examined.file_of("queue.url"),
            "management_url": settings.management_url.as_ref().map(ToString::to_string),
            "management_url_file": examined.file_of("queue.management_url"),
            "prefix": settings.prefix, "confirm_timeout": span(settings.confirm_timeout),
        },
        "ingest": {
            "listen": settings.ingest_listen, "behind_tls_proxy": settings.behind_tls_proxy,
            "tls_certificate_file": settings.tls.as_ref().map(|tls| &tls.certificate),
            "tls_key_file": settings.tls.as_ref().map(|tls| &tls.key),
            "max_requests_per_second": settings.bounds.max_requests_per_second,
            "max_body_memory": size(settings.bounds.max_body_memory),
            "max_connections": settings.bounds.max_connections,
            "max_connections_per_client": settings.bounds.max_connections_per_client,
            "trusted_proxies": settings.bounds.trusted_proxies.iter().map(ToString::to_string).collect::<Vec<_>>(),
        },
        "worker": {
            "concurrency": settings.concurrency, "prefetch": settings.prefetch,
            "shutdown_grace": span(settings.shutdown_grace), "skip_unchanged": settings.skip_unchanged.map(span),
        },
        "ops": {"listen": settings.ops_listen},
        "refersion": {
            "base_url": settings.base_url, "timeout_ms": settings.timeout.as_millis(),
            "proxy_url": settings.proxy.as_ref().filter(|_| examined.knows_way()).map(ToString::to_string),
            "proxy_url_file": examined.file_of("refersion.proxy_url"),
        },
        "retry": {
            "in_hand": span(settings.retry.in_hand),
            "tiers": settings.retry.tiers.iter().map(|tier| span(*tier)).collect::<Vec<_>>(),
            "max_attempts": settings.retry.max_attempts, "max_age": span(settings.retry.max_age),
        },
        "directory": {
            "enabled": settings.directory.enabled, "path": settings.directory.path, "key_file": settings.directory.key_file,
            "wait": span(settings.directory.wait), "keep": span(settings.directory.keep),
        },
        "log": {
            "format": match settings.log_format {
                LogFormat::Text => "text",
                LogFormat::Json => "json",
            },
            "filter": settings.log_filter,
        },
        "telemetry": {
            "otlp_endpoint": settings.traces.as_ref().map(|traces| traces.endpoint.to_string()),
            "trace_ratio": settings.trace_ratio,
        },
        "account": accounts,
    })
}

/// As it can be written in the configuration.
fn size(bytes: usize) -> String {
    if bytes.is_multiple_of(1 << 20) { format!("{} MiB", bytes >> 20) } else { format!("{} KiB", bytes >> 10) }
}

fn account(examined: &Examined, account: &AccountSettings) -> Value {
    let key = |key: &str| format!("account {}: {key}", account.name);
    json!({
        "name": account.name, "public_key": "***",
        "secret_key": examined.knows(&key("secret_key")).then_some("***"), "secret_key_file": examined.file_of(&key("secret_key")),
        "write_key": examined.knows(&key("write_key")).then_some("***"), "write_key_file": examined.file_of(&key("write_key")),
        "write_keys": hidden(examined, &key("write_keys")), "write_key_files": files(examined, &key("write_key_files")),
        "write_key_may_delete": account.trust.write_key.delete, "write_key_may_update": account.trust.write_key.update,
        "write_key_may_teach": account.trust.write_key.teach,
        "webhook_secret": examined.knows(&key("webhook_secret")).then_some("***"),
        "webhook_secret_file": examined.file_of(&key("webhook_secret")),
        "webhook_secrets": hidden(examined, &key("webhook_secrets")),
        "webhook_secret_files": files(examined, &key("webhook_secret_files")),
        "webhook_unsigned": account.webhook_unsigned, "webhook_trust_batches": account.trust.unsigned,
        "former_keys": examined.listed(&key("former_keys")).map(|keys| json!({
            "public_key": "***", "secret_key": (!keys.is_lost()).then_some("***"), "secret_key_file": keys.file,
        })).collect::<Vec<_>>(),
        "max_requests_per_second": account.max_requests_per_second,
        "status": account.defaults.status.as_str(), "send_welcome": account.defaults.send_welcome,
        "on_existing": account.existing.as_str(), "missing_last_name": account.missing_last_name.as_str(),
        "max_calls_per_second": account.max_calls_per_second.map_or(0, NonZeroU32::get),
    })
}

/// How many there are in a list of secrets.
fn hidden(examined: &Examined, key: &str) -> Vec<Value> {
    examined.listed(key).map(|secret| if secret.is_lost() { Value::Null } else { "***".into() }).collect()
}

fn files(examined: &Examined, key: &str) -> Vec<Value> {
    examined.listed(key).map(|secret| json!(secret.file)).collect()
}
