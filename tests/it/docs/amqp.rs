//! `docs/amqp.md`, followed to the letter: its commands and programs, with the libraries it names.

use std::path::PathBuf;
use std::process::Stdio;

use lapin::options::{BasicConsumeOptions, ExchangeDeleteOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{Connection, ConnectionProperties};
use refersion_relay_private_broker::PrivateBroker;
use refersion_relay_simulator::Operation;
use refersion_relay_tests::{Config, Output, Refersion, Relay, eventually, installed, shared_broker};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

const PAGE: &str = include_str!("../../../docs/amqp.md");

/// The code blocks of the page in a language.
fn blocks(language: &str) -> Vec<&'static str> {
    let of = format!("{language}\n");
    PAGE.split("```").skip(1).step_by(2).filter_map(|block| block.strip_prefix(of.as_str())).collect()
}

/// Its two events.
fn events() -> &'static str {
    blocks("json")[0]
}

/// Where `tests/run` puts the libraries.
fn clients() -> PathBuf {
    installed("amqp-clients")
}

/// One of the page's programs, in a folder of its own.
struct Program {
    folder: TempDir,
    interpreter: PathBuf,
    file: &'static str,
}

impl Program {
    fn python() -> Self {
        Self::new(clients().join("python/bin/python"), "python", "publish.py")
    }

    fn node() -> Self {
        let program = Self::new("node".into(), "javascript", "publish.mjs");
        let modules = program.folder.path().join("node_modules");
        std::os::unix::fs::symlink(clients().join("node_modules"), modules).expect("the folder is ours");
        program
    }

    fn new(interpreter: PathBuf, language: &str, file: &'static str) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        std::fs::write(folder.path().join(file), blocks(language)[0]).expect("the folder is ours");
        Self { folder, interpreter, file }
    }

    /// Gives it the page's events.
    async fn publish(&self, broker_url: &str, exchange: &str) -> Output {
        let mut command = Command::new(&self.interpreter);
        command.arg(self.folder.path().join(self.file)).arg(exchange).env("AMQP_URL", broker_url).kill_on_drop(true);
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = piped.expect("the interpreter is there");
        let mut stdin = child.stdin.take().expect("piped");
        stdin.write_all(events().as_bytes()).await.expect("it reads");
        drop(stdin);
        let output = child.wait_with_output().await.expect("it ends");
        Output {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Creates the affiliate of the page's events and deactivates it, or says what was not confirmed.
async fn check(program: Program) {
    let refersion = Refersion::start().await;
    let config = Config::new(&shared_broker(), refersion.url(), &[]);
    let _relay = Relay::start("run", &config).await;

    let output = program.publish(&shared_broker(), &format!("{}.intake.acme", config.prefix)).await;

    assert_eq!((output.code, output.stdout.as_str()), (Some(0), ""), "{}", output.stderr);
    eventually("peter is deactivated", || async { refersion.statuses("peter@example.com") == ["DISABLED"] }).await;
    assert_eq!(refersion.operations(), [Operation::New, Operation::Search, Operation::Get, Operation::StatusChange]);

    let output = program.publish(&shared_broker(), &format!("{}.intake.nobody", config.prefix)).await;

    assert_eq!((output.code, output.stdout.as_str()), (Some(1), events()), "{}", output.stderr);
}

#[tokio::test]
async fn the_python_program_publishes_and_hands_back_what_was_not_confirmed() {
    check(Program::python()).await;
}

#[tokio::test]
async fn the_node_program_publishes_and_hands_back_what_was_not_confirmed() {
    check(Program::node()).await;
}

#[tokio::test]
async fn own_node_the_pages_users_can_do_what_they_have_to_and_nothing_else() {
    let broker = PrivateBroker::start().await.expect("RabbitMQ is installed");
    let commands: Vec<_> = blocks("sh")[0].lines().filter_map(|line| line.strip_prefix("rabbitmqctl ")).collect();
    for command in &commands {
        // The quotes keep a shell's hands off, there are no blanks in them.
        let arguments: Vec<_> = command.split(' ').map(|argument| argument.trim_matches('\'')).collect();
        broker.ctl(&arguments).await.expect("the page's command works");
    }
    let url = |user: &str| {
        let password = commands.iter().find_map(|command| command.strip_prefix(&format!("add_user {user} '")));
        let password = password.and_then(|rest| rest.strip_suffix('\'')).expect("the page adds the user");
        format!("amqp://{user}:{password}@127.0.0.1:{}/relay", broker.port())
    };
    let refersion = Refersion::start().await;
    let mut config = Config::new(&url("relay"), refersion.url(), &[]);
    config.edit(&format!("prefix = \"{}\"", config.prefix), "prefix = \"refersion\"");
    "refersion".clone_into(&mut config.prefix);
    config.edit("name = \"other\"", "name = \"acme-2\"");
    let relay = Relay::start("run", &config).await;
    let (crm, program) = (url("crm"), Program::python());

    let own = program.publish(&crm, "refersion.intake.acme").await;

    assert_eq!(own.code, Some(0), "{}", own.stderr);
    eventually("peter is deactivated", || async { refersion.statuses("peter@example.com") == ["DISABLED"] }).await;
    for exchange in [
        "refersion.intake.acme-2",
        "refersion.events",
        "refersion.dead",
        "refersion.notes",
        "refersion.retry.1m",
        "amq.fanout",
        "",
    ] {
        let others = program.publish(&crm, exchange).await;
        assert_eq!((others.code, others.stdout.as_str()), (Some(1), events()), "{exchange}: {}", others.stderr);
        assert!(others.stderr.contains("ACCESS_REFUSED"), "{exchange}: {}", others.stderr);
    }
    assert_eq!(refused(&crm).await, [true; 3]);
    let accepted = r#"refersion_relay_events_accepted_total{door="intake"}"#;
    assert_eq!(relay.metric(accepted).await, 2);
    eventually("it can write down what it counts", || async {
        let queues = broker.ctl(&["--vhost", "relay", "list_queues", "name", "messages"]).await.expect("it lists");
        queues.lines().any(|line| line.starts_with("refersion.tally\t") && !line.ends_with("\t0"))
    })
    .await;
}

/// Whether a user may not declare, delete and consume what belongs to the relay.
async fn refused(url: &str) -> [bool; 3] {
    let connection = Connection::connect(url, ConnectionProperties::default()).await.expect("the user exists");
    let forbidden = |result: lapin::Result<()>| result.is_err_and(|error| error.to_string().contains("ACCESS_REFUSED"));
    let channel = || async { connection.create_channel().await.expect("a channel") };
    let none = FieldTable::default;
    let options = QueueDeclareOptions::durable();
    let declared = channel().await.queue_declare("refersion.mine".into(), options, none()).await.map(drop);
    let options = ExchangeDeleteOptions::default();
    let deleted = channel().await.exchange_delete("refersion.intake.acme".into(), options).await;
    let options = BasicConsumeOptions::default();
    let consumed = channel().await.basic_consume("refersion.intake".into(), "".into(), options, none()).await.map(drop);
    [declared, deleted, consumed].map(forbidden)
}
