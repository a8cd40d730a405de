//! What a person mistypes, and what is said of it.

use std::path::Path;

use super::load::settle;
use super::understand::understand;

/// The messages for a file and an environment, one a line.
fn said(text: &str, environment: &[(&str, &str)]) -> String {
    let environment: Vec<_> =
        environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let (raw, found) = understand(text, &environment);
    match settle(Path::new("relay.toml"), raw, found) {
        Ok(_) => String::new(),
        Err(error) => error.to_string(),
    }
}

const ACCOUNT: &str = "[[account]]\nname = \"acme\"\npublic_key = \"pub_hidden\"\nsecret_key = \"sec_hidden\"\n";

/// What is said of a file that has this above an account that is fine.
#[track_caller]
fn check(text: &str, expected: &str) {
    let said = said(&format!("{text}\n{ACCOUNT}"), &[]);
    assert_eq!(said, expected, "{text}");
}

/// What is said of an account with these lines, in a file that begins with it.
#[track_caller]
fn check_account(text: &str, expected: &str) {
    assert_eq!(said(text, &[]), expected, "{text}");
}

/// What is said of a variable.
#[track_caller]
fn check_variable(name: &str, value: &str, expected: &str) {
    assert_eq!(said(ACCOUNT, &[(name, value)]), expected, "{name}={value}");
}

#[test]
fn unknown_keys_and_sections_are_named_with_what_is_meant() {
    for (text, expected) in [
        ("[queue]\nprefx = \"a\"", "relay.toml:2: there is no key queue.prefx: did you mean queue.prefix?"),
        (
            "[retry]\nmaxAttempts = 3",
            "relay.toml:2: there is no key retry.maxAttempts: did you mean retry.max_attempts?",
        ),
        (
            "[queue]\nlisten = \"\"",
            "relay.toml:2: there is no key queue.listen: did you mean ingest.listen or ops.listen?",
        ),
        ("[ops]\ncolour = 1", "relay.toml:2: there is no key ops.colour (there are listen)"),
        (
            "listen = \"\"",
            "relay.toml:1: there is no key listen outside of a section: did you mean ingest.listen or ops.listen?",
        ),
        ("prefix = \"a\"", "relay.toml:1: there is no key prefix outside of a section: did you mean queue.prefix?"),
        ("queue_url = \"a\"", "relay.toml:1: there is no key queue_url outside of a section: did you mean queue.url?"),
        ("[quue]\nprefix = \"a\"", "relay.toml:1: there is no section quue: did you mean [queue]?"),
        (
            "[colours]\nred = 1",
            "relay.toml:1: there is no section colours (there are queue, ingest, worker, ops, refersion, retry, directory, log, telemetry, account)",
        ),
        ("queue.prefx = \"a\"", "relay.toml:1: there is no key queue.prefx: did you mean queue.prefix?"),
    ] {
        check(text, expected);
    }
}

#[test]
fn the_form_that_is_wanted_is_shown_and_never_a_type_or_a_value() {
    for (text, expected) in [
        (
            "[worker]\nconcurrency = \"8\"",
            "relay.toml:2: worker.concurrency has to be a number from 1 to 10000, like 32, without quotes",
        ),
        ("[worker]\nconcurrency = 8.5", "relay.toml:2: worker.concurrency has to be a number from 1 to 10000, like 32"),
        ("[worker]\nconcurrency = -1", "relay.toml:2: worker.concurrency has to be a number from 1 to 10000, like 32"),
        (
            "[worker]\nconcurrency = 99999999999999999999",
            "relay.toml:2: worker.concurrency has to be a number from 1 to 10000, like 32",
        ),
        ("[worker]\nconcurrency = 0", "relay.toml:2: worker.concurrency has to be a number from 1 to 10000"),
        (
            "[worker]\nconcurrency = 2026-01-01",
            "relay.toml:2: worker.concurrency has to be a number from 1 to 10000, like 32",
        ),
        (
            "[queue]\nurl = 5",
            "relay.toml:2: queue.url has to be text, like \"sqlite:relay.db\" or \"amqp://user:password@host/vhost\"",
        ),
        ("[queue]\nconfirm_timeout = 4", "relay.toml:2: queue.confirm_timeout has to be a duration, like \"4s\""),
        ("[retry]\nin_hand = \"soon\"", "relay.toml:2: retry.in_hand has to be a duration, like \"30s\""),
        (
            "[retry]\ntiers = [\n  \"1m\",\n  \"soon\",\n]",
            "relay.toml:4: retry.tiers has to be a list of durations, like [\"1m\", \"10m\", \"1h\"]",
        ),
        (
            "[retry]\ntiers = \"1m\"",
            "relay.toml:2: retry.tiers has to be a list of durations, like [\"1m\", \"10m\", \"1h\"]",
        ),
        (
            "[ingest]\nbehind_tls_proxy = \"true\"",
            "relay.toml:2: ingest.behind_tls_proxy has to be true or false, without quotes",
        ),
        (
            "[ingest]\nmax_body_memory = 268435456",
            "relay.toml:2: ingest.max_body_memory has to be an amount of memory, like \"256 MiB\"",
        ),
        ("[log]\nformat = \"jsn\"", "relay.toml:2: log.format has to be text or json: did you mean \"json\"?"),
        ("[[queue]]\nprefix = \"a\"", "relay.toml:1: [[queue]] has to be [queue]: there is one of it"),
        ("queue = \"amqp://u:pw_hidden@h\"", "relay.toml:1: queue is a section: write [queue], and its keys below it"),
    ] {
        check(text, expected);
    }
}

#[test]
fn what_is_wrong_with_an_account_is_said_with_its_name() {
    let keys = "public_key = \"pub_hidden\"\nsecret_key = \"sec_hidden\"\n";
    for (text, expected) in [
        (
            format!("[account]\nname = \"acme\"\n{keys}"),
            "relay.toml:1: [account] has to be [[account]], in two brackets, with its name below it: there can be several",
        ),
        (
            format!("[account.acme]\n{keys}name = \"acme\"\n"),
            "relay.toml:1: [account] has to be [[account]], in two brackets, with its name below it: there can be several",
        ),
        (
            format!("[[accounts]]\nname = \"acme\"\n{keys}"),
            "relay.toml:1: there is no section accounts: did you mean [[account]]?",
        ),
        (String::new(), "relay.toml: account is missing: there has to be at least one [[account]]"),
        (format!("[[account]]\n{keys}"), "relay.toml:1: account number 1: name is missing: give it one, like \"acme\""),
        (
            "[[account]]\nname = \"acme\"\npublic_key = \"pub_hidden\"\nsecret_kee = \"sec_hidden\"\n".to_owned(),
            "relay.toml:4: account acme: there is no key secret_kee: did you mean secret_key?",
        ),
        (
            "[[account]]\nname = \"acme\"\npublic_key = \"pub_hidden\"\n".to_owned(),
            "relay.toml:1: account acme: secret_key is missing: give it, or secret_key_file",
        ),
        (
            format!("{ACCOUNT}secret_key_file = \"/nowhere\"\n"),
            "relay.toml:4: account acme: secret_key is given twice: keep it, or its …_file",
        ),
        (
            format!("{}secret_key_file = \"/nowhere\"\n", ACCOUNT.replace("secret_key", "#")),
            "relay.toml:5: account acme: secret_key cannot be read from /nowhere: No such file or directory (os error 2)",
        ),
        (
            format!("{ACCOUNT}\n{ACCOUNT}"),
            "2 mistakes in the configuration\n  \
             relay.toml:7: account number 2: name has to be different for each account\n  \
             relay.toml:8: account number 2: public_key is also a key pair of account acme: each key pair has to be different from all other keys",
        ),
        (
            format!("{ACCOUNT}status = \"ACTVE\"\n"),
            "relay.toml:5: account acme: status has to be PENDING or ACTIVE: did you mean \"ACTIVE\"?",
        ),
        (
            format!("{ACCOUNT}webhook_secret = 5\n"),
            "relay.toml:5: account acme: webhook_secret has to be text: the shared secret of the Webhooks destination, in quotes",
        ),
    ] {
        check_account(&text, expected);
    }
}

#[test]
fn a_key_that_may_be_a_secret_is_not_quoted() {
    let long = "s3cr3t".repeat(11);
    for (text, expected) in [
        (
            "[queue]\n\"prefx=s3cr3t\" = 1".to_owned(),
            "relay.toml:2: queue: there is a key that cannot be one (there are url, url_file, management_url, \
             management_url_file, prefix, confirm_timeout)",
        ),
        ("\"url = s3cr3t\" = 1".to_owned(), "relay.toml:1: there is a key that cannot be one outside of a section"),
        (format!("{long} = 1"), "relay.toml:1: there is a key that cannot be one outside of a section"),
        ("[\"s3cr3t!\"]\nurl = 1".to_owned(), "relay.toml:1: there is a section that cannot be one"),
        ("[\"\"]\nurl = 1".to_owned(), "relay.toml:1: there is a section that cannot be one"),
    ] {
        let said = said(&format!("{text}\n{ACCOUNT}"), &[]);
        assert!(said.starts_with(expected) && !said.contains("s3cr3t"), "{text}: {said}");
    }
    check_account(
        &format!("{ACCOUNT}\"write_key=s3cr3t\" = 1\n"),
        "relay.toml:5: account acme: there is a key that cannot be one: did you mean write_key?",
    );
    // A secret without quotes ends at a comma.
    for (name, value) in [
        ("RELAY__ACCOUNT", "[{name=acme, public_key=p, secret_key=abc,s3cr3t=def}]"),
        ("RELAY__QUEUE", "{url=amqp://u:abc,s3cr3t=def@broker}"),
        ("RELAY__QUEUE__URL", "{s3cr3t=def}"),
    ] {
        let said = said(ACCOUNT, &[(name, value)]);
        assert!(said.contains(&format!("environment {name}: ")) && !said.contains("s3cr3t"), "{said}");
    }
}

#[test]
fn a_secret_in_the_place_of_its_file_is_not_quoted() {
    let account = ACCOUNT.replace("secret_key = \"sec_hidden\"", "secret_key_file = \"s3cr3t1\"");
    let more = "write_key_files = [\"s3cr3t2\"]\nwebhook_secret_file = \"s3cr/3t\"\n\
                former_keys = [{ public_key = \"old\", secret_key_file = \"s3cr3t4\" }]\n";
    let text = format!("[queue]\nurl_file = \"amqp://relay:s3cr3t5@broker\"\n{account}{more}");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("relay.toml");
    std::fs::write(&path, &text).unwrap();

    for error in [super::load(Some(&path)).unwrap_err(), super::load_again(&path).unwrap_err()] {
        let said = error.to_string();
        let is = "cannot be read: there is no file of that name beside the configuration; is it the secret itself? Then \
                  the key is";
        for (key, plain) in [
            ("queue.url", "url"),
            ("account acme: secret_key", "secret_key"),
            ("account acme: write_key_files[0]", "write_keys"),
            ("account acme: webhook_secret", "webhook_secret"),
            ("account acme: former_keys[0].secret_key", "secret_key"),
        ] {
            assert!(said.contains(&format!("{key} {is} {plain}, without _file")), "{key}: {said}");
        }
        assert!(!said.contains("s3cr"), "{said}");
    }
    let examined = super::examine(Some(&path)).unwrap();
    assert_eq!(examined.secrets.iter().filter(|secret| secret.is_lost()).count(), 5);
    let said = format!("{:?}", examined.secrets);
    assert!(!said.contains("s3cr"), "{said}");
    // What is in the same folder is named when it cannot be used.
    std::fs::write(folder.path().join("s3cr3t1"), "").unwrap();
    let examined = super::examine(Some(&path)).unwrap();
    let shown = examined.file_of("account acme: secret_key").and_then(super::SecretFile::shown);
    assert_eq!(shown, Some(folder.path().join("s3cr3t1").display().to_string()));
}

#[test]
fn variables_are_named_as_they_are_called() {
    for (name, value, expected) in [
        (
            "RELAY__WORKER__CONCURRENCY",
            "many",
            "environment RELAY__WORKER__CONCURRENCY: worker.concurrency has to be a number from 1 to 10000, like 32",
        ),
        (
            "relay__queue__prefx",
            "a",
            "environment relay__queue__prefx: there is no key queue.prefx: did you mean RELAY__QUEUE__PREFIX?",
        ),
        (
            "RELAY__QUEU__PREFIX",
            "a",
            "environment RELAY__QUEU__PREFIX: there is no section queu: did you mean RELAY__QUEUE__…?",
        ),
        (
            "RELAY__QUEUE_PREFIX",
            "a",
            "environment RELAY__QUEUE_PREFIX: there is no key queue_prefix: did you mean RELAY__QUEUE__PREFIX?",
        ),
        ("RELAY__QUEUE__URL", "amqp://u:pw_hidden@", "environment RELAY__QUEUE__URL: queue.url "),
    ] {
        let said = said(ACCOUNT, &[(name, value)]);
        assert!(said.starts_with(expected) && !said.contains("hidden"), "{name}={value}: {said}");
    }
    for name in ["RELAY__ACCOUNT__0__NAME", "RELAY__ACCOUNT__ACME__SECRET_KEY"] {
        let said = said(ACCOUNT, &[(name, "sec_hidden"), ("RELAY__ACCOUNT__0__PUBLIC_KEY", "pub_hidden")]);
        assert_eq!(said.lines().count(), 1, "{said}");
        let parts = [name, "[[account]]", "…_file", "RELAY__ACCOUNT='[{name=\"acme\""];
        assert!(parts.iter().all(|part| said.contains(part)) && !said.contains("hidden"), "{said}");
    }
}

#[test]
fn variables_win_over_the_file_and_take_every_kind_of_value() {
    for (name, value) in [
        ("RELAY__WORKER__PREFETCH", "2"),
        ("relay__worker__prefetch", "2"),
        ("RELAY__QUEUE__PREFIX", "123"),
        ("RELAY__RETRY__TIERS", "[\"3s\", 4m]"),
        ("RELAY__INGEST__TRUSTED_PROXIES", "[10.0.0.0/8, ::1]"),
        ("RELAY__WORKER", "{prefetch=2, shutdown_grace=3s}"),
        ("RELAY__WORKER__SHUTDOWN_GRACE", "1m 30s"),
        ("RELAY__ACCOUNT", "[{name=acme, public_key=p, secret_key=\"s\"}]"),
    ] {
        check_variable(name, value, "");
    }
    let environment = [("RELAY__WORKER__PREFETCH".to_owned(), "2".to_owned())];
    let (raw, _) = understand("[worker]\nprefetch = 4\nconcurrency = 5\n", &environment);
    assert_eq!((raw.worker.prefetch, raw.worker.concurrency), (2, 5));
}

#[test]
fn all_mistakes_are_said_at_once_in_the_order_of_the_file() {
    let text = "\
[queue]
prefx = \"a\"
confirm_timeout = 4

[worker]
concurrency = many
prefetch = 0
concurrency = 9

[ingest]
listen = \"0.0.0.0:8080\"
behind_tls_proxy = \"yes\"

[[account]]
name = \"acme\"
public_key = \"pub_hidden\"
secret_key = 'sec_hidden
status = \"WAITING\"
";
    let said = said(text, &[("RELAY__OPS__LISTEN", "here")]);
    let lines: Vec<_> = said.lines().collect();
    let expected = [
        "9 mistakes in the configuration",
        "  relay.toml:2: there is no key queue.prefx: did you mean queue.prefix?",
        "  relay.toml:3: queue.confirm_timeout has to be a duration, like \"4s\"",
        "  relay.toml:6: not TOML: string values must be quoted; worker.concurrency has to be a number from 1 to 10000, like 32",
        "  relay.toml:7: worker.prefetch has to be a number from 1 to 2000",
        "  relay.toml:8: not TOML: duplicate key",
        "  relay.toml:12: ingest.behind_tls_proxy has to be true or false, without quotes",
        "  relay.toml:17: not TOML: invalid literal string, expected `'`; account acme: secret_key has to be text: the merchant's secret key at Refersion, in quotes",
        "  relay.toml:18: account acme: status has to be PENDING or ACTIVE",
        "  environment RELAY__OPS__LISTEN: ops.listen has to be an IP address and a port, like \"127.0.0.1:8080\"",
    ];
    assert_eq!(lines, expected, "{said}");
}

#[test]
fn nothing_is_made_up_below_a_section_that_is_torn() {
    check("[queue\nprefix = \"a\"", "relay.toml:1: not TOML: unclosed table, expected `]`");
}

#[test]
fn a_mark_at_the_beginning_and_old_line_ends_do_no_harm() {
    assert_eq!(said(&format!("\u{feff}{}", ACCOUNT.replace('\n', "\r\n")), &[]), "");
}

#[test]
fn a_webhook_has_few_secrets_since_each_is_tried() {
    let text = format!("{ACCOUNT}webhook_secret = \"a\"\nwebhook_secrets = [\"b\", \"c\", \"d\", \"e\"]\n");
    let expected = "relay.toml:6: account acme: webhook_secrets has to be at most 4 secrets together with webhook_secret and \
                    webhook_secret_files";
    assert_eq!(said(&text, &[]), expected);
}

#[test]
fn files_with_relative_paths_lie_beside_the_configuration() {
    let text = "[ingest]\ntls_certificate_file = \"tls.pem\"\n[[account]]\nsecret_key_file = \"secrets/acme\"\n\
                write_key_files = [\"secrets/new\", \"/run/secrets/old\"]\n";
    let (raw, _) = super::load::merge(Path::new("/etc/relay/relay.toml"), text);
    let account = &raw.account[0];
    let write_keys: Vec<_> = account.write_key_files.iter().filter_map(|key| Some(key.file.as_ref()?.path())).collect();
    assert_eq!(raw.ingest.tls_certificate_file.as_deref(), Some(Path::new("/etc/relay/tls.pem")));
    assert_eq!(
        account.secret_key_file.as_ref().map(super::SecretFile::path),
        Some(Path::new("/etc/relay/secrets/acme"))
    );
    assert_eq!(write_keys, [Path::new("/etc/relay/secrets/new"), Path::new("/run/secrets/old")]);
}
