/// What each key takes, as it goes on after "has to be". Shown where a value is of another kind.
const FORMS: &[(&str, &str)] = &[
    ("queue.url", r#"text, like "sqlite:relay.db" or "amqp://user:password@host/vhost""#),
    ("queue.url_file", r#"the path of a file, like "/run/secrets/queue-url""#),
    ("queue.management_url", r#"text, like "https://user:password@host:15671""#),
    ("queue.management_url_file", r#"the path of a file, like "/run/secrets/management-url""#),
    ("queue.prefix", r#"text, like "refersion""#),
    ("queue.confirm_timeout", r#"a duration, like "4s""#),
    ("ingest.listen", r#"an IP address and a port, like "127.0.0.1:8080""#),
    ("ingest.behind_tls_proxy", "true or false"),
    ("ingest.tls_certificate_file", r#"the path of a file, like "/etc/refersion-relay/tls.pem""#),
    ("ingest.tls_key_file", r#"the path of a file, like "/etc/refersion-relay/tls.key""#),
    ("ingest.max_requests_per_second", "a number from 0 to 1000000, like 500; 0 is any number"),
    ("ingest.max_body_memory", r#"an amount of memory, like "256 MiB""#),
    ("ingest.max_connections", "a number from 1 to 100000, like 2000"),
    ("ingest.max_connections_per_client", "a number from 1 to 100000, like 500"),
    ("ingest.trusted_proxies", r#"a list of networks, like ["10.0.0.0/8"]"#),
    ("worker.concurrency", "a number from 1 to 10000, like 32"),
    ("worker.prefetch", "a number from 1 to 2000, like 512"),
    ("worker.shutdown_grace", r#"a duration, like "10s""#),
    ("worker.skip_unchanged", r#"a duration, like "24h""#),
    ("ops.listen", r#"an IP address and a port, like "127.0.0.1:9090""#),
    ("refersion.base_url", r#"text, like "https://api.refersion.com/v2""#),
    ("refersion.timeout_ms", "a number of milliseconds from 1 to 120000, like 10000"),
    ("refersion.proxy_url", r#"text, like "http://user:password@proxy:3128""#),
    ("refersion.proxy_url_file", r#"the path of a file, like "/run/secrets/proxy-url""#),
    ("retry.in_hand", r#"a duration, like "30s""#),
    ("retry.tiers", r#"a list of durations, like ["1m", "10m", "1h"]"#),
    ("retry.max_attempts", "a number from 1 to 4294967295, like 40"),
    ("retry.max_age", r#"a duration, like "24h""#),
    ("directory.enabled", "true or false"),
    ("directory.path", r#"the path of a file, like "directory.db""#),
    ("directory.key_file", r#"the path of a file, like "directory.key""#),
    ("directory.wait", r#"a duration, like "1h""#),
    ("directory.keep", r#"a duration, like "400days""#),
    ("log.format", r#""text" or "json""#),
    ("log.filter", r#"a level or directives, like "info""#),
    ("telemetry.otlp_endpoint", r#"text, like "http://127.0.0.1:4318""#),
    ("telemetry.trace_ratio", "a number from 0 to 1, like 0.01"),
    ("account.name", r#"text, like "acme""#),
    ("account.public_key", "text: the merchant's public key at Refersion, in quotes"),
    ("account.secret_key", "text: the merchant's secret key at Refersion, in quotes"),
    ("account.secret_key_file", r#"the path of a file, like "/run/secrets/acme""#),
    ("account.write_key", "text: a key of your choice, in quotes"),
    ("account.write_key_file", r#"the path of a file, like "/run/secrets/acme-write""#),
    ("account.write_keys", r#"a list of keys of your choice, like ["new", "old"]"#),
    ("account.write_key_files", r#"a list of paths of files, like ["/run/secrets/acme-write-old"]"#),
    ("account.write_key_may_delete", "true or false"),
    ("account.write_key_may_update", "true or false"),
    ("account.write_key_may_teach", "true or false"),
    ("account.webhook_secret", "text: the shared secret of the Webhooks destination, in quotes"),
    ("account.webhook_secret_file", r#"the path of a file, like "/run/secrets/acme-webhook""#),
    ("account.webhook_secrets", r#"a list of shared secrets, like ["new", "old"]"#),
    ("account.webhook_secret_files", r#"a list of paths of files, like ["/run/secrets/acme-webhook-old"]"#),
    (
        "account.former_keys",
        r#"a list of key pairs, like [{ public_key = "pub_…", secret_key_file = "/run/secrets/acme-old" }]"#,
    ),
    ("account.webhook_unsigned", "true or false"),
    ("account.webhook_trust_batches", "true or false"),
    ("account.max_requests_per_second", "a number from 0 to 1000000, like 50; 0 is any number"),
    ("account.status", r#""PENDING" or "ACTIVE""#),
    ("account.send_welcome", "true or false"),
    ("account.on_existing", r#""keep" or "update""#),
    ("account.missing_last_name", r#""refuse", "repeat" or "-""#),
    ("account.max_calls_per_second", "a number from 0 to 100000, like 10; 0 is no bound"),
];

/// The form of a key, as `queue.prefix` or `account.name`.
pub(crate) fn form(key: &str) -> &'static str {
    let known = FORMS.iter().find(|(name, _)| *name == key).map(|(_, form)| *form);
    known.unwrap_or("as docs/configuration.md and relay.example.toml have it")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::understand::all_keys;

    #[test]
    fn every_key_has_a_form_and_no_other_has_one() {
        let mut keys = all_keys();
        let mut formed: Vec<_> = FORMS.iter().map(|(key, _)| (*key).to_owned()).collect();
        keys.sort();
        formed.sort();
        assert_eq!(keys, formed);
    }
}
