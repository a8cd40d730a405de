//! Every key of the configuration: that it is taken, that a bad value is named, and that it is documented.

mod keys;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use refersion_relay_tests::{Output, Refersion, program, shared_broker, unique_prefix};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use keys::{FROM_FILES, INLINE, Key, PLAIN, SECTIONS};

/// A folder with a configuration, and with the secrets that it may name.
struct Case {
    folder: TempDir,
    words: Vec<(&'static str, String)>,
}

impl Case {
    fn new(refersion_url: &str) -> Self {
        let folder = TempDir::new().expect("a folder");
        let broker = shared_broker();
        let host = broker.split_once('@').expect("a user").1;
        let words = vec![
            ("FOLDER", folder.path().display().to_string()),
            ("PREFIX", unique_prefix()),
            ("REFERSION", format!("{refersion_url:?}")),
            ("SHOWN_BROKER", format!("\"amqp://***@{host}\"")),
            ("BROKER", format!("{broker:?}")),
        ];
        let secrets = [
            ("queue-url", broker.as_str()),
            ("management-url", "http://user:pw_hidden@127.0.0.1:1\n"),
            ("proxy-url", "http://user:pw_hidden@127.0.0.1:1\n"),
            ("secret-key", "sec_hidden\n"),
            ("write-key", "write_hidden"),
            ("webhook-secret", "webhook_hidden\n"),
            ("write-key-4", "fourth_hidden\n"),
            ("webhook-3", "webhook_3_hidden\n"),
        ];
        for (name, secret) in secrets {
            std::fs::write(folder.path().join(name), secret).expect("written");
        }
        Self { folder, words }
    }

    fn put(&self, text: &str) -> String {
        self.words.iter().fold(text.to_owned(), |text, (word, meaning)| text.replace(word, meaning))
    }

    /// Writes a configuration with these values and runs `check --json` on it.
    async fn check(&self, values: &[(&str, &str)], environment: &[(&str, String)]) -> Output {
        let path = self.folder.path().join("relay.toml");
        let mut text = String::new();
        for section in SECTIONS {
            let brackets = if section == "account" { "[[account]]".to_owned() } else { format!("[{section}]") };
            writeln!(text, "{brackets}").expect("a String takes everything");
            for (name, value) in values {
                if let Some(key) = name.strip_prefix(section).and_then(|rest| rest.strip_prefix('.')) {
                    writeln!(text, "{key} = {}", self.put(value)).expect("a String takes everything");
                }
            }
        }
        std::fs::write(&path, text).expect("written");
        run(&path, environment).await
    }
}

async fn run(path: &Path, environment: &[(&str, String)]) -> Output {
    let mut command = Command::new(program());
    command.args(["check", "--json"]).env("RELAY_CONFIG", path).envs(environment.iter().cloned()).kill_on_drop(true);
    let output = command.output().await.expect("the program starts");
    Output {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

#[track_caller]
fn effective(output: &Output) -> Value {
    let printed: Value =
        serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("one JSON document: {output:?}"));
    assert!(!format!("{output:?}").contains("hidden"), "no secret is shown: {output:?}");
    printed["effective"].clone()
}

/// The value of a key; of the first account, if it is one of an account.
fn value<'a>(effective: &'a Value, name: &str) -> Option<&'a Value> {
    let (section, key) = name.split_once('.').expect("section.key");
    let section = &effective[section];
    section.get(0).unwrap_or(section).get(key)
}

fn values(tables: &[&'static [Key]]) -> Vec<(&'static str, &'static str)> {
    tables.iter().flat_map(|table| table.iter()).map(|key| (key.name, key.value)).collect()
}

/// The least that is a configuration.
const LEAST: &[(&str, &str)] = &[
    ("queue.url", "BROKER"),
    ("queue.prefix", r#""PREFIX""#),
    ("refersion.base_url", "REFERSION"),
    ("account.name", r#""acme""#),
    ("account.public_key", r#""pub_hidden""#),
    ("account.secret_key", r#""sec_hidden""#),
];

#[tokio::test]
async fn each_key_is_taken_from_the_file_and_shown_without_its_secret() {
    let refersion = Refersion::start().await;
    let defaults = effective(&Case::new(refersion.url()).check(LEAST, &[]).await);
    for secrets in [INLINE, FROM_FILES] {
        let case = Case::new(refersion.url());

        let shown = effective(&case.check(&values(&[secrets, PLAIN]), &[]).await);

        for key in secrets.iter().chain(PLAIN) {
            let expected: Value = serde_json::from_str(&case.put(key.shown)).expect("JSON");
            assert_eq!(value(&shown, key.name), Some(&expected), "{}", key.name);
            let always_given = LEAST.iter().any(|(name, _)| *name == key.name) || key.name == "account.on_existing";
            assert!(always_given || value(&defaults, key.name) != Some(&expected), "{} is its default", key.name);
        }
    }
    // A secret is also taken from a file where only the file is named.
    let shown = effective(&Case::new(refersion.url()).check(&values(&[FROM_FILES, PLAIN]), &[]).await);
    for name in ["account.secret_key", "account.write_key", "account.webhook_secret"] {
        assert_eq!(value(&shown, name), Some(&json!("***")), "{name}");
    }
    assert_eq!(value(&shown, "queue.management_url"), Some(&json!("http://***@127.0.0.1:1")));
    assert!(value(&shown, "queue.url").is_some_and(Value::is_string), "{shown}");
}

#[tokio::test]
async fn keys_of_every_kind_are_taken_from_the_environment_which_wins() {
    let refersion = Refersion::start().await;
    let case = Case::new(refersion.url());
    let environment = [
        ("RELAY__QUEUE__URL", shared_broker()),
        ("RELAY__WORKER__PREFETCH", "2".to_owned()),
        ("RELAY__QUEUE__MANAGEMENT_URL", "https://user:pw_hidden@127.0.0.1:1/rabbit".to_owned()),
        ("RELAY__INGEST__BEHIND_TLS_PROXY", "true".to_owned()),
        ("RELAY__RETRY__TIERS", "[\"3s\"]".to_owned()),
        ("RELAY__RETRY__IN_HAND", "9s".to_owned()),
        ("RELAY__LOG__FORMAT", "json".to_owned()),
    ];
    let mut file: Vec<_> = LEAST.iter().copied().filter(|(name, _)| *name != "queue.url").collect();
    file.extend([("worker.prefetch", "4"), ("retry.in_hand", r#""8s""#), ("log.format", r#""text""#)]);

    let shown = effective(&case.check(&file, &environment).await);

    let expected = [
        ("worker.prefetch", json!(2)),
        ("queue.management_url", json!("https://***@127.0.0.1:1/rabbit")),
        ("ingest.behind_tls_proxy", json!(true)),
        ("retry.tiers", json!(["3s"])),
        ("retry.in_hand", json!("9s")),
        ("log.format", json!("json")),
    ];
    for (name, expected) in expected {
        assert_eq!(value(&shown, name), Some(&expected), "{name}");
    }
    assert!(value(&shown, "queue.url").is_some_and(Value::is_string), "{shown}");
}

#[tokio::test]
async fn a_bad_value_of_any_key_ends_with_2_and_one_line_that_names_the_key_and_no_secret() {
    let case = Case::new("http://127.0.0.1:1/v2");
    for key in INLINE.iter().chain(FROM_FILES).chain(PLAIN) {
        // What is set by a file is not set by its key as well.
        let of_file = key.name.strip_suffix("_file").unwrap_or_default();
        let others = LEAST.iter().copied().filter(|(name, _)| *name != key.name && *name != of_file);
        for bad in key.bad {
            let values: Vec<_> = others.clone().chain([(key.name, *bad)]).collect();
            let output = case.check(&values, &[]).await;
            let what = format!("{} = {bad}: {output:?}", key.name);
            assert_eq!((output.code, output.stderr.lines().count()), (Some(2), 1), "{what}");
            let (section, last) = key.name.split_once('.').expect("section.key");
            assert!(output.stderr.contains(section) && output.stderr.contains(last), "{what}");
            assert!(output.stdout.is_empty() && !output.stderr.contains("hidden"), "{what}");
        }
        assert!(!key.bad.is_empty(), "{} has a bad value", key.name);
    }
}

#[tokio::test]
async fn a_key_of_the_doors_belongs_to_one_account_and_is_of_one_kind() {
    let case = Case::new("http://127.0.0.1:1/v2");
    let path = case.folder.path().join("relay.toml");
    let account = |name: &str, lines: &str| {
        format!(
            "[[account]]\nname = \"{name}\"\npublic_key = \"p_{name}\"\nsecret_key = \"s_{name}_hidden\"\n{lines}\n"
        )
    };
    let same = [
        (r#"write_key = "x_hidden""#, r#"write_key = "x_hidden""#, "write key"),
        (r#"write_key = "x_hidden""#, r#"write_keys = ["y", "x_hidden"]"#, "write key"),
        (r#"webhook_secret = "x_hidden""#, r#"webhook_secrets = ["x_hidden"]"#, "webhook secret"),
        (r#"webhook_secret = "x_hidden""#, r#"write_key = "x_hidden""#, "webhook secret"),
        ("", r#"former_keys = [{ public_key = "p_a", secret_key = "s_a_hidden" }]"#, "key pair"),
        ("", r#"write_key = "p_a.s_a_hidden""#, "key pair"),
        ("", r#"write_key = "s_a_hidden""#, "secret"),
        ("", r#"write_keys = ["x_hidden", "x_hidden"]"#, "write key"),
    ];
    for (of_one, of_other, what) in same {
        std::fs::write(&path, account("a", of_one) + &account("b", of_other)).expect("written");
        let output = run(&path, &[]).await;
        assert_eq!((output.code, output.stderr.lines().count()), (Some(2), 1), "{of_one} {of_other}: {output:?}");
        assert!(output.stderr.contains("account b") && output.stderr.contains(what), "{of_one} {of_other}: {output:?}");
        assert!(!format!("{output:?}").contains("hidden"), "{output:?}");
    }
}

#[tokio::test]
async fn the_keys_that_are_documented_shown_and_tested_are_the_same() {
    let case = Case::new("http://127.0.0.1:1/v2");
    let shown = effective(&case.check(LEAST, &[]).await);
    let sections = shown.as_object().expect("sections").iter();
    let shown: BTreeSet<_> = sections
        .flat_map(|(section, keys)| {
            let keys = keys.get(0).unwrap_or(keys).as_object().expect("keys");
            keys.keys().map(move |key| format!("{section}.{key}"))
        })
        .collect();
    let tested: BTreeSet<_> = INLINE.iter().chain(FROM_FILES).chain(PLAIN).map(|key| key.name.to_owned()).collect();

    assert_eq!(documented(), tested, "the tables of docs/configuration.md, and the tables here");
    assert_eq!(shown, tested, "what `check --json` calls effective, and the tables here");
}

/// The keys in the tables of docs/configuration.md whose first column is `key`.
fn documented() -> BTreeSet<String> {
    let page = include_str!("../../../docs/configuration.md");
    let mut keys = BTreeSet::new();
    for table in page.split("\n| key |").skip(1) {
        for row in table.lines().skip(2).take_while(|line| line.starts_with('|')) {
            let cell = row.split('|').nth(1).expect("a first cell");
            keys.extend(cell.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    assert!(keys.iter().all(|key| key.contains('.')), "keys have their section: {keys:?}");
    keys
}

/// The example that the project ships.
const EXAMPLE: &str = include_str!("../../../relay.example.toml");

#[tokio::test]
async fn the_example_is_taken_has_every_key_and_shows_the_defaults() {
    let refersion = Refersion::start().await;
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("relay.toml");
    // Nobody is called but the stand-in.
    let environment = [("RELAY__REFERSION__BASE_URL", refersion.url().to_owned())];
    let check = async |text: &str| {
        std::fs::write(&path, text).expect("the folder is ours");
        let output = run(&path, &environment).await;
        assert_eq!(output.code, Some(0), "{output:?}");
        effective(&output)
    };

    let example = check(EXAMPLE).await;
    let mut least = check("[[account]]\nname = \"acme\"\npublic_key = \"p\"\nsecret_key = \"s\"\n").await;

    // Where there is no default.
    least["account"][0]["write_key"] = "***".into();
    least["account"][0]["webhook_secret"] = "***".into();
    assert_eq!(example, least);
    for key in [INLINE, FROM_FILES, PLAIN].into_iter().flatten() {
        let (_, name) = key.name.split_once('.').expect("section.key");
        assert!(EXAMPLE.contains(&format!("{name} = ")), "{} is not in relay.example.toml", key.name);
    }
}

/// What the image is built by.
const CONTAINERFILE: &str = include_str!("../../../deploy/Containerfile");

#[tokio::test]
async fn the_embedded_queue_is_where_the_state_is_and_in_the_image_that_is_its_volume() {
    let line = |start: &str| {
        let line = CONTAINERFILE.lines().find_map(|line| line.trim_start().strip_prefix(start));
        line.unwrap_or_else(|| panic!("{start} is not in the Containerfile")).to_owned()
    };
    let state = line("ENV RELAY_STATE=");
    assert_eq!(line("VOLUME "), state);
    let user = line("USER ").replace(':', " -g ");
    assert_eq!(line("&& install -d "), format!("-m 0700 -o {user} {state}"));

    let refersion = Refersion::start().await;
    let (configuration, state) = (TempDir::new().expect("a folder"), TempDir::new().expect("a folder"));
    let path = configuration.path().join("relay.toml");
    std::fs::write(&path, "[[account]]\nname = \"acme\"\npublic_key = \"p\"\nsecret_key = \"s\"\n").expect("ours");
    let environment = [
        ("RELAY_STATE", state.path().display().to_string()),
        ("RELAY__REFERSION__BASE_URL", refersion.url().to_owned()),
    ];

    let output = run(&path, &environment).await;

    let database = state.path().join("relay.db");
    assert_eq!(effective(&output)["queue"]["url"], format!("sqlite:{}", database.display()));
    assert!(database.exists() && !configuration.path().join("relay.db").exists());
}
