/// One key. A new one goes in here, into docs/configuration.md and into what `check --json` calls `effective`.
pub(super) struct Key {
    /// `section.key`, as docs/configuration.md has it.
    pub(super) name: &'static str,
    /// A value in TOML that is not the default. `BROKER`, `REFERSION`, `PREFIX` and `FOLDER` are replaced.
    pub(super) value: &'static str,
    /// What `effective` has for it.
    pub(super) shown: &'static str,
    /// Values in TOML that are refused.
    pub(super) bad: &'static [&'static str],
}

const fn key(name: &'static str, value: &'static str, shown: &'static str, bad: &'static [&'static str]) -> Key {
    Key { name, value, shown, bad }
}

/// Besides these, a secret comes from its own key or from its `…_file`, so these two tables exclude each other.
pub(super) const INLINE: &[Key] = &[
    key("queue.url", "BROKER", "SHOWN_BROKER", &[r#""http://u:pw_hidden@h""#, r#""""#, "5"]),
    key(
        "queue.management_url",
        r#""http://user:pw_hidden@127.0.0.1:1""#,
        r#""http://***@127.0.0.1:1""#,
        &[r#""amqp://u:pw_hidden@h""#, r#""""#, "[]"],
    ),
    key(
        "refersion.proxy_url",
        r#""http://user:pw_hidden@127.0.0.1:1""#,
        r#""http://***@127.0.0.1:1""#,
        &[r#""socks5://u:pw_hidden@h""#, r#""""#, "8"],
    ),
    key("account.secret_key", r#""sec_hidden""#, r#""***""#, &[r#""""#, "7"]),
    key("account.write_key", r#""write_hidden""#, r#""***""#, &[r#"" ""#, "true"]),
    key("account.webhook_secret", r#""webhook_hidden""#, r#""***""#, &[r#""""#, "3"]),
];

pub(super) const FROM_FILES: &[Key] = &[
    key("queue.url_file", r#""FOLDER/queue-url""#, r#""FOLDER/queue-url""#, &["1"]),
    key("queue.management_url_file", r#""FOLDER/management-url""#, r#""FOLDER/management-url""#, &["1"]),
    key("refersion.proxy_url_file", r#""FOLDER/proxy-url""#, r#""FOLDER/proxy-url""#, &["1"]),
    key("account.secret_key_file", r#""FOLDER/secret-key""#, r#""FOLDER/secret-key""#, &["1"]),
    key("account.write_key_file", r#""FOLDER/write-key""#, r#""FOLDER/write-key""#, &["1"]),
    key("account.webhook_secret_file", r#""FOLDER/webhook-secret""#, r#""FOLDER/webhook-secret""#, &["1"]),
];

pub(super) const PLAIN: &[Key] = &[
    key("queue.prefix", r#""PREFIX""#, r#""PREFIX""#, &[r#""""#, r#""a b""#, "3"]),
    key("queue.confirm_timeout", r#""2s""#, r#""2s""#, &[r#""0s""#, r#""soon""#, "4"]),
    key("ingest.listen", r#""0.0.0.0:8081""#, r#""0.0.0.0:8081""#, &[r#""localhost""#, "8080"]),
    key("ingest.behind_tls_proxy", "true", "true", &[r#""yes""#]),
    key("ingest.tls_certificate_file", r#""FOLDER/tls.pem""#, r#""FOLDER/tls.pem""#, &["1"]),
    key("ingest.tls_key_file", r#""FOLDER/tls.key""#, r#""FOLDER/tls.key""#, &["1"]),
    key("ingest.max_requests_per_second", "500", "500", &["-1", "1000001", r#""many""#]),
    key(
        "ingest.max_body_memory",
        r#""1 GiB""#,
        r#""1024 MiB""#,
        &["268435456", r#""63 MiB""#, r#""1 GB""#, r#""MiB""#],
    ),
    key("ingest.max_connections", "300", "300", &["0", "100001"]),
    key("ingest.max_connections_per_client", "30", "30", &["0", "100001"]),
    key(
        "ingest.trusted_proxies",
        r#"["10.0.0.0/8", "::1"]"#,
        r#"["10.0.0.0/8", "::1/128"]"#,
        &[r#"["proxy"]"#, r#"["10.0.0.1/8"]"#, r#""10.0.0.0/8""#],
    ),
    key("worker.concurrency", "7", "7", &["0", "10001"]),
    key("worker.prefetch", "9", "9", &["0", "2001", "-1", r#""many""#]),
    key("worker.shutdown_grace", r#""3s""#, r#""3s""#, &[r#""now""#]),
    key("worker.skip_unchanged", r#""1day""#, r#""1day""#, &[r#""0s""#, r#""always""#]),
    key("ops.listen", r#""127.0.0.1:9191""#, r#""127.0.0.1:9191""#, &[r#""9090""#]),
    key("refersion.base_url", "REFERSION", "REFERSION", &[r#""ftp://h""#, r#""/v2""#, r#""http://u:pw_hidden@h""#]),
    key("refersion.timeout_ms", "2500", "2500", &["0", "120001", r#""10s""#]),
    key("retry.in_hand", r#""7s""#, r#""7s""#, &[r#""6m""#, r#""soon""#]),
    key("retry.tiers", r#"["90s", "5m"]"#, r#"["1m 30s", "5m"]"#, &["[]", r#"["0"]"#, r#"["25h"]"#, r#""1m""#]),
    key("retry.max_attempts", "4", "4", &["0"]),
    key("retry.max_age", r#""2h""#, r#""2h""#, &["24"]),
    key("directory.enabled", "true", "true", &[r#""yes""#]),
    key("directory.path", r#""FOLDER/people.db""#, r#""FOLDER/people.db""#, &["1", r#""""#]),
    key("directory.key_file", r#""FOLDER/people.key""#, r#""FOLDER/people.key""#, &["1", r#""..""#]),
    key("directory.wait", r#""2h""#, r#""2h""#, &[r#""8days""#, "3600"]),
    key("directory.keep", r#""30days""#, r#""30days""#, &[r#""1h""#, "400"]),
    key("log.format", r#""json""#, r#""json""#, &[r#""xml""#]),
    key("log.filter", r#""warn""#, r#""warn""#, &[r#""relay=loud""#]),
    key(
        "telemetry.otlp_endpoint",
        r#""http://127.0.0.1:9/""#,
        r#""http://127.0.0.1:9/""#,
        &[r#""127.0.0.1:4318""#, r#""http://u:pw_hidden@h""#, "1"],
    ),
    key("telemetry.trace_ratio", "0.5", "0.5", &["1.5", "-1", r#""all""#]),
    key("account.name", r#""umbrella""#, r#""umbrella""#, &[r#""A B""#, r#""""#]),
    key("account.public_key", r#""pub_hidden""#, r#""***""#, &[r#""""#, "1"]),
    key(
        "account.write_keys",
        r#"["second_hidden", "third_hidden"]"#,
        r#"["***", "***"]"#,
        &[r#"[""]"#, r#""x""#, "[1]"],
    ),
    key("account.write_key_files", r#"["FOLDER/write-key-4"]"#, r#"["FOLDER/write-key-4"]"#, &["[1]", r#""x""#]),
    key("account.write_key_may_delete", "true", "true", &[r#""yes""#]),
    key("account.write_key_may_update", "true", "true", &["1"]),
    key("account.write_key_may_teach", "true", "true", &["1"]),
    key("account.webhook_secrets", r#"["webhook_2_hidden"]"#, r#"["***"]"#, &[r#"[" "]"#, "3"]),
    key("account.webhook_secret_files", r#"["FOLDER/webhook-3"]"#, r#"["FOLDER/webhook-3"]"#, &["[true]"]),
    key(
        "account.former_keys",
        r#"[{ public_key = "pub_0_hidden", secret_key = "sec_0_hidden" }]"#,
        r#"[{ "public_key": "***", "secret_key": "***", "secret_key_file": null }]"#,
        &[r#"[{ public_key = "pub_0_hidden" }]"#, r#"[{ public_key = "", secret_key = "x" }]"#, "7"],
    ),
    key("account.webhook_unsigned", "true", "true", &[r#""yes""#]),
    key("account.webhook_trust_batches", "true", "true", &["1"]),
    key("account.max_requests_per_second", "50", "50", &["-1", "1000001"]),
    key("account.status", r#""ACTIVE""#, r#""ACTIVE""#, &[r#""DENIED""#]),
    key("account.send_welcome", "true", "true", &[r#""true""#]),
    key("account.max_calls_per_second", "25", "25", &["-1", "100001", "0.5", r#""many""#]),
    key("account.missing_last_name", r#""repeat""#, r#""repeat""#, &[r#""--""#, "1"]),
    key("account.on_existing", r#""update""#, r#""update""#, &[r#""merge""#]),
];

pub(super) const SECTIONS: [&str; 10] =
    ["queue", "ingest", "worker", "ops", "refersion", "retry", "directory", "log", "telemetry", "account"];
