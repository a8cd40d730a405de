use std::os::unix::fs::PermissionsExt;

use refersion_relay_tests::{Config, Output, Refersion, Relay, program, shared_broker};
use tokio::process::Command;

async fn bare(arguments: &[&str]) -> Output {
    let mut command = Command::new(program());
    let output = command.args(arguments).env_remove("RELAY_CONFIG").output().await.expect("the program starts");
    Output {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

#[tokio::test]
async fn wrong_usage_ends_with_2_and_says_what_is_wrong() {
    for (arguments, says) in [
        (&["frobnicate"][..], "'frobnicate'"),
        (&["chek"], "'check'"),
        (&["dlq", "drop", "--yes"], "which letters to drop"),
        (&["dlq", "replay"], "refersion-relay dlq replay --help"),
        (&["run", "--nonsense"], "Usage: refersion-relay run"),
        (&["dlq", "list", "--class", "x"], "poison"),
        (&["run", "--ops-listen", "here"], "'here'"),
        (&["simulate", "--key", "sec"], "public.secret"),
        (&["simulate", "--fault", "{}"], "--fault"),
        (&["dlq", "show", "x"], "'x'"),
    ] {
        let output = bare(arguments).await;
        let is_one_line = output.stderr.lines().count() == 1 || output.stderr.starts_with("error: "); // clap says more
        assert!(output.code == Some(2) && is_one_line, "{arguments:?}: {output:?}");
        assert!(
            output.stdout.is_empty() && output.stderr.contains(says),
            "{arguments:?} should say {says}: {output:?}"
        );
    }
    let steering = bare(&["two\n\u{1b}[2Jlines"]).await;
    assert!(steering.code == Some(2) && !steering.stderr.contains('\u{1b}'), "{steering:?}");
    let none = bare(&["run"]).await;
    assert_eq!((none.code, none.stderr.lines().count()), (Some(2), 1), "{none:?}");
    assert!(none.stderr.contains("--config"), "{none:?}");
}

#[tokio::test]
async fn a_mistake_in_the_configuration_is_named_in_one_line_without_its_secrets() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let path = folder.path().join("relay.toml");
    let account = "[[account]]\nname = \"acme\"\npublic_key = \"pub_x\"\nsecret_key = \"sec_hidden\"\n";
    let url = "[queue]\nurl = \"amqp://user:pw_hidden@localhost\"\n";
    let cases = [
        (format!("{url}[ingest]\nlisten = \"0.0.0.0:8080\"\n{account}"), "behind_tls_proxy"),
        (format!("{url}[quue]\n{account}"), "quue"),
        (format!("{url}[worker]\nconcurrency = \"many\"\n{account}"), "worker.concurrency"),
        (format!("{url}[retry]\nin_hand = \"soon\"\n{account}"), "retry.in_hand"),
        (format!("{url}[retry]\ntiers = []\n{account}"), "retry.tiers"),
        (format!("{url}{account}{}", account.replace("pub_x", "pub_y")), "account number 2: name"),
        (format!("{url}{account}on_existing = \"merge\"\n"), "on_existing has to be keep or update"),
        (format!("{url}{account}secret_key_file = \"/nowhere\"\n"), "given twice"),
        (url.to_owned(), "account"),
        (format!("[queue]\nurl = \"sqlite::memory:\"\n{account}"), "queue.url"),
        (format!("[queue]\nurl = \"http://user:pw_hidden@localhost\"\n{account}"), "queue.url"),
        (format!("{url}{account}secret_key = \"sec_hidden\n"), "not TOML"),
    ];
    for (text, part) in cases {
        std::fs::write(&path, &text).expect("written");
        let output = bare(&["check", "--config", path.to_str().expect("UTF-8")]).await;
        assert_eq!(output.code, Some(2), "{text}\n{output:?}");
        assert_eq!(output.stderr.lines().count(), 1, "{output:?}");
        assert!(output.stderr.contains(part) && !output.stderr.contains("hidden"), "{part}: {output:?}");
    }
}

#[tokio::test]
async fn the_environment_wins_over_the_file_and_secrets_come_from_files() {
    let refersion = Refersion::start().await;
    let config = Config::new(&shared_broker(), refersion.url(), &[]);
    let secret = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(secret.path(), "sec_from_file\n").expect("written");
    let text = std::fs::read_to_string(config.path()).expect("read");
    let from_file = format!("secret_key_file = \"{}\"", secret.path().display());
    std::fs::write(config.path(), text.replace("secret_key = \"sec_1\"", &from_file)).expect("written");

    let mut command = Command::new(program());
    command.args(["check", "--json"]).env("RELAY_CONFIG", config.path()).env("RELAY__WORKER__PREFETCH", "3");
    let output = command.output().await.expect("the program starts");

    let printed: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one JSON document");
    assert_eq!(printed["effective"]["worker"]["prefetch"], 3, "{printed}");
    assert_eq!(printed["fine"], true, "{printed}");
    assert_eq!(refersion.simulator.calls().len(), 2, "both accounts' keys were checked");
    assert!(!String::from_utf8_lossy(&output.stdout).contains("sec_from_file"));
}

#[tokio::test]
async fn check_names_what_is_wrong_and_fails() {
    let refersion = Refersion::start().await;
    let config = Config::new(&shared_broker(), refersion.url(), &[]);
    refersion.simulator.set_keys_valid("pub_2", false);

    let keys = config.command(&["check"]).await;
    assert_eq!(keys.code, Some(1), "{keys:?}");
    assert!(keys.stdout.contains("ok   account acme") && keys.stdout.contains("FAIL account other"), "{keys:?}");

    let text = std::fs::read_to_string(config.path()).expect("read");
    let away = text.replace(&shared_broker(), "amqp://guest:guest@127.0.0.1:1/%2f");
    std::fs::write(config.path(), away).expect("written");
    let broker = config.command(&["check"]).await;
    assert_eq!(broker.code, Some(1), "{broker:?}");
    assert!(broker.stdout.contains("FAIL queue"), "{broker:?}");
}

#[tokio::test]
async fn each_command_explains_itself() {
    for command in ["demo", "run", "ingest", "worker", "dlq", "check", "init", "simulate"] {
        for arguments in [[command, "--help"], ["help", command]] {
            let output = bare(&arguments).await;
            assert_eq!(output.code, Some(0), "{output:?}");
            let usage = format!("Usage: refersion-relay {command}");
            assert!(output.stdout.contains(&usage) && output.stderr.is_empty(), "{output:?}");
        }
    }
    for arguments in ["--version", "version"] {
        let version = bare(&[arguments]).await;
        assert_eq!((version.code, version.stdout.as_str()), (Some(0), "refersion-relay 0.1.0\n"), "{version:?}");
    }
}

#[tokio::test]
async fn without_a_command_the_help_is_printed_and_that_is_no_success() {
    let help = bare(&["--help"]).await;
    assert_eq!((help.code, bare(&["help"]).await.stdout), (Some(0), help.stdout.clone()));
    for (arguments, says) in [(&[][..], "Usage: refersion-relay"), (&["dlq"], "Usage: refersion-relay dlq")] {
        let output = bare(arguments).await;
        assert_eq!(output.code, Some(2), "{output:?}");
        assert!(output.stderr.contains(says) && output.stdout.is_empty(), "{output:?}");
    }
}

#[tokio::test]
async fn every_mistake_in_the_configuration_is_said_at_once_with_its_line() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let path = folder.path().join("relay.toml");
    let text = "[queue]\nprefx = \"a\"\nconfirm_timeout = 8\n[[account]]\nname = \"acme\"\npublic_key = \"pub_hidden\"\n\
                secret_key_file = \"/nowhere/secret\"\nstatus = \"ACTVE\"\n";
    std::fs::write(&path, text).expect("written");
    let mut command = Command::new(program());
    command.args(["dlq", "list", "--config"]).arg(&path).env("RELAY_QUEUE__URL", "amqp://u:hidden@h");
    let output: Output = command.output().await.expect("the program starts").into();

    let file = path.display();
    let expected = format!(
        "\
refersion-relay: warning: the environment's RELAY_QUEUE__URL is not read: did you mean RELAY__QUEUE__URL, with two underscores?
refersion-relay: 4 mistakes in the configuration
  {file}:2: there is no key queue.prefx: did you mean queue.prefix?
  {file}:3: queue.confirm_timeout has to be a duration, like \"4s\"
  {file}:7: account acme: secret_key cannot be read from /nowhere/secret: No such file or directory (os error 2)
  {file}:8: account acme: status has to be PENDING or ACTIVE: did you mean \"ACTIVE\"?
"
    );
    assert_eq!((output.code, output.stderr), (Some(2), expected));
    for (arguments, why) in [(&["check"][..], "no configuration"), (&["check", "--config", "/nowhere"], "No such file")]
    {
        let output = bare(arguments).await;
        assert!(output.stderr.contains(why) && output.stderr.contains("`refersion-relay init`"), "{output:?}");
    }
}

#[tokio::test]
async fn check_prints_what_has_failed_first_counts_and_leaves_out_what_only_follows() {
    let refersion = Refersion::start().await;
    let config = Config::embedded(refersion.url(), &[]);
    config.edit("secret_key = \"sec_1\"", "secret_key_file = \"/nowhere/secret\"");
    std::fs::set_permissions(config.path(), std::fs::Permissions::from_mode(0o600)).expect("it is ours");

    let mut command = Command::new(program());
    command.args(["check", "--config"]).arg(config.path()).env("RELAY_INGEST_LISTEN", "127.0.0.1:1");
    let output: Output = command.output().await.expect("the program starts").into();

    let lines: Vec<_> = output.stdout.lines().collect();
    assert!(lines[0].starts_with("FAIL account acme: secret_key: /nowhere/secret"), "{output:?}");
    assert!(lines[1].starts_with("WARN environment: RELAY_INGEST_LISTEN is not read"), "{output:?}");
    assert!(lines[2..lines.len() - 1].iter().all(|line| line.starts_with("ok   ")), "{output:?}");
    let fine = lines.len() - 3;
    assert_eq!(lines[lines.len() - 1], format!("1 failed, 1 warning, {fine} fine"), "{output:?}");
    assert!(!output.stdout.contains("not tried"), "that follows from the secret: {output:?}");

    let values = config.command(&["check", "--values"]).await;
    assert!(values.stdout.starts_with("{\n") && values.stdout.contains("\"prefetch\": 512"), "{values:?}");
}

#[tokio::test]
async fn the_operations_listener_can_be_moved() {
    let refersion = Refersion::start().await;
    let config = Config::new(&shared_broker(), refersion.url(), &[("ops", "")]);
    let relay = Relay::start("worker", &config).await;
    assert!(relay.metric("refersion_relay_build_info{role=\"worker\",version=\"0.1.0\"}").await > 0);
    let (status, page) = relay.ops("/health/ready").await.expect("an answer");
    assert_eq!(status, 200, "{page}");
    assert_eq!(relay.ops("/nowhere").await.map(|(status, _)| status), Some(404));
}
