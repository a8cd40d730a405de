use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader};
use tokio::process::{self, Child};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::{PATIENCE, eventually, http_client, unique_prefix};

/// The program under test, next to the tests' own.
///
/// # Panics
/// When it was not built: `tests/run` builds everything.
#[must_use]
pub fn program() -> PathBuf {
    let tests = std::env::current_exe().expect("the tests' own program");
    let program = tests.parent().and_then(Path::parent).expect("target/PROFILE/deps").join("refersion-relay");
    assert!(program.exists(), "{} is missing: run the tests with tests/run", program.display());
    program
}

/// A folder that `tests/run` fills below `target/`, by its name.
///
/// # Panics
/// When it is missing.
#[must_use]
pub fn installed(folder: &str) -> PathBuf {
    let tests = std::env::current_exe().expect("the tests' own program");
    let found = tests.ancestors().map(|above| above.join(folder)).find(|folder| folder.exists());
    found.unwrap_or_else(|| panic!("target/{folder} is missing: run tests/run --prepare"))
}

/// A configuration in a folder of its own.
pub struct Config {
    folder: TempDir,
    /// The first part of every name on the broker.
    pub prefix: String,
}

impl Config {
    /// The accounts of every configuration.
    pub const ACCOUNTS: [&'static str; 2] = ["acme", "other"];

    /// Two accounts, `acme` (`pub_1.sec_1`, `write_1`) and `other` (`pub_2.sec_2`, `write_2`), free ports, short tiers,
    /// and `more`: further lines for sections, as `("retry", "in_hand = \"1s\"")`.
    ///
    /// # Panics
    /// When the file cannot be written.
    #[must_use]
    pub fn new(broker_url: &str, refersion_url: &str, more: &[(&str, &str)]) -> Self {
        let config = Self { folder: TempDir::new().expect("a temporary folder"), prefix: unique_prefix() };
        let sections = [
            ("queue", format!("url = \"{broker_url}\"\nprefix = \"{}\"\n", config.prefix)),
            ("ingest", "listen = \"127.0.0.1:0\"\n".to_owned()),
            ("worker", String::new()),
            ("ops", "listen = \"127.0.0.1:0\"\n".to_owned()),
            ("refersion", format!("base_url = \"{refersion_url}\"\ntimeout_ms = 2000\n")),
            ("retry", String::new()),
            ("log", "filter = \"debug\"\n".to_owned()),
        ];
        let mut text = String::new();
        for (section, lines) in sections {
            writeln!(text, "[{section}]\n{lines}").expect("a String takes everything");
            for (_, more) in more.iter().filter(|(of, _)| *of == section) {
                writeln!(text, "{more}").expect("a String takes everything");
            }
        }
        for (name, number) in Self::ACCOUNTS.into_iter().zip(1..) {
            text.push_str(&account(name, number));
        }
        std::fs::write(config.path(), text).expect("the folder is ours");
        config
    }

    /// The same on an embedded queue, `relay.db` beside the configuration.
    ///
    /// # Panics
    /// When the file cannot be written.
    #[must_use]
    pub fn embedded(refersion_url: &str, more: &[(&str, &str)]) -> Self {
        Self::new("sqlite:relay.db", refersion_url, more)
    }

    /// Replaces a part of the file at once, as an editor that renames does.
    ///
    /// # Panics
    /// When the part is not there, or the file cannot be written.
    pub fn edit(&self, part: &str, by: &str) {
        let text = std::fs::read_to_string(self.path()).expect("the file is ours");
        assert!(text.contains(part), "{part} is not in the configuration");
        let new = self.folder.path().join("relay.toml.new");
        std::fs::write(&new, text.replace(part, by)).expect("the folder is ours");
        std::fs::rename(new, self.path()).expect("the folder is ours");
    }

    /// Where the file is.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.folder().join("relay.toml")
    }

    /// The folder of the file, which is nobody else's.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The numbers of an embedded queue's ledger, as `check --json` prints them.
    ///
    /// # Panics
    /// When the command prints something else.
    pub async fn ledger(&self) -> Value {
        let output = self.command(&["check", "--json"]).await;
        let document: Value = serde_json::from_str(&output.stdout).expect("a JSON document");
        assert!(document["ledger"].is_object(), "{output:?}");
        document["ledger"].clone()
    }

    /// Runs a command to its end.
    ///
    /// # Panics
    /// When the program cannot be started.
    pub async fn command(&self, arguments: &[&str]) -> Output {
        let mut command = process::Command::new(program());
        command.arg("--config").arg(self.path()).args(arguments).stdin(Stdio::null()).kill_on_drop(true);
        command.output().await.expect("the program starts").into()
    }

    /// Starts a command and does not wait for its end.
    ///
    /// # Panics
    /// When the program cannot be started.
    #[must_use]
    pub fn begin(&self, arguments: &[&str]) -> Command {
        let mut command = process::Command::new(program());
        command.arg("--config").arg(self.path()).args(arguments).stdin(Stdio::null()).kill_on_drop(true);
        Command { child: command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts") }
    }

    /// Runs a command with this on its standard input.
    ///
    /// # Panics
    /// When the program cannot be started.
    pub async fn command_with_input(&self, arguments: &[&str], input: &[u8]) -> Output {
        let mut command = process::Command::new(program());
        command.arg("--config").arg(self.path()).args(arguments).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let mut stdin = child.stdin.take().expect("piped");
        // A command that refuses its arguments reads nothing.
        let _ = stdin.write_all(input).await;
        drop(stdin);
        Command { child }.output().await
    }

    /// The dead letters, as `dlq list --json` prints them.
    ///
    /// # Panics
    /// When the command fails or prints something else.
    pub async fn dead_letters(&self) -> Vec<Value> {
        let output = self.command(&["dlq", "list", "--json"]).await;
        assert_eq!(output.code, Some(0), "{}", output.stderr);
        serde_json::from_str(&output.stdout).expect("a JSON array")
    }
}

/// The lines of an account: `pub_N`, `sec_N` and `write_N`.
#[must_use]
pub fn account(name: &str, number: u8) -> String {
    let lines = "public_key = \"pub_N\"\nsecret_key = \"sec_N\"\nwrite_key = \"write_N\"\n";
    format!("[[account]]\nname = \"{name}\"\n{}", lines.replace('N', &number.to_string()))
}

/// A command that is still running. Killed with its handle.
pub struct Command {
    child: Child,
}

impl Command {
    /// Sends it a signal, such as `INT`.
    ///
    /// # Panics
    /// When it has ended.
    pub async fn signal(&self, signal: &str) {
        let pid = self.pid().to_string();
        let sent = process::Command::new("kill").args([&format!("-{signal}"), &pid]).status().await;
        assert!(sent.expect("kill is there").success());
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it cannot be waited for.
    pub async fn output(self) -> Output {
        tokio::time::timeout(PATIENCE, self.output_at_leisure()).await.expect("the command ends")
    }

    /// Waits for its end, however long it takes.
    ///
    /// # Panics
    /// When it cannot be waited for.
    pub async fn output_at_leisure(self) -> Output {
        self.child.wait_with_output().await.expect("it is ours").into()
    }

    /// The process.
    ///
    /// # Panics
    /// When it has ended.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }
}

/// What a command printed, and how it ended.
#[derive(Debug)]
pub struct Output {
    /// `None` when a signal ended it.
    pub code: Option<i32>,
    /// What was asked for.
    pub stdout: String,
    /// Everything else.
    pub stderr: String,
}

impl From<std::process::Output> for Output {
    fn from(output: std::process::Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// A running role. Killed with its handle.
pub struct Relay {
    child: Child,
    log: Arc<Mutex<String>>,
    /// Reads the log.
    following: Option<JoinHandle<()>>,
    ingest: watch::Receiver<Option<SocketAddr>>,
    ops: watch::Receiver<Option<SocketAddr>>,
    http: reqwest::Client,
}

/// What a sender heard.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The headers, in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
}

impl Answer {
    /// A header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The `message` of a JSON body.
    #[must_use]
    pub fn message(&self) -> String {
        let body: Value = serde_json::from_str(&self.body).unwrap_or_default();
        body["message"].as_str().unwrap_or_default().to_owned()
    }
}

impl Relay {
    /// Starts a role (`run`, `ingest` or `worker`) and waits until it is ready.
    pub async fn start(role: &str, config: &Config) -> Self {
        let relay = Self::launch(role, config);
        relay.until_ready().await;
        relay
    }

    /// Starts a role and does not wait.
    ///
    /// # Panics
    /// When the program cannot be started.
    #[must_use]
    pub fn launch(role: &str, config: &Config) -> Self {
        let mut command = process::Command::new(program());
        command.arg("--config").arg(config.path()).arg(role);
        Self::launch_as(command)
    }

    /// Starts a role by a command of the caller's and does not wait.
    ///
    /// # Panics
    /// When the program cannot be started.
    #[must_use]
    pub fn launch_as(mut command: process::Command) -> Self {
        command.env_remove("RUST_LOG").kill_on_drop(true);
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the program starts");
        let log = Arc::new(Mutex::new(String::new()));
        let (ingest_sender, ingest) = watch::channel(None);
        let (ops_sender, ops) = watch::channel(None);
        let stderr = child.stderr.take().expect("piped");
        let following = tokio::spawn(follow(stderr, log.clone(), ingest_sender, ops_sender));
        let http = http_client().timeout(Duration::from_secs(30)).build().expect("a client");
        Self { child, log, following: Some(following), ingest, ops, http }
    }

    /// Waits until `/health/ready` says so.
    pub async fn until_ready(&self) {
        eventually("the relay is ready", || async { self.is_ready().await }).await;
    }

    /// Whether `/health/ready` says so.
    pub async fn is_ready(&self) -> bool {
        matches!(self.ops("/health/ready").await, Some((200, _)))
    }

    /// Asks the operations listener; `None` when it does not answer.
    pub async fn ops(&self, path: &str) -> Option<(u16, String)> {
        let address = (*self.ops.borrow())?;
        let response = self.http.get(format!("http://{address}{path}")).send().await.ok()?;
        let status = response.status().as_u16();
        Some((status, response.text().await.ok()?))
    }

    /// A metric's value: `name` is the whole series, labels included. Zero when it is not there.
    pub async fn metric(&self, series: &str) -> u64 {
        let page = self.metrics().await;
        let line = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.and_then(|value| value.parse().ok()).unwrap_or(0)
    }

    /// What `/metrics` says; nothing, if it does not answer.
    pub async fn metrics(&self) -> String {
        self.ops("/metrics").await.map(|(_, page)| page).unwrap_or_default()
    }

    /// Posts an event to the Direct Destination as account number `account`.
    pub async fn post(&self, account: u8, body: impl Into<Vec<u8>>) -> Answer {
        let key = format!("pub_{account}.sec_{account}");
        let answer = self.try_post(&key, body.into()).await;
        answer.expect("the door answers")
    }

    /// Posts an event with any key; `None` when the door does not answer.
    pub async fn try_post(&self, key: &str, body: Vec<u8>) -> Option<Answer> {
        let address = (*self.ingest.borrow())?;
        let request = self.http.post(format!("http://{address}/v1/destination")).basic_auth(key, Some(""));
        send(request.header("content-type", "application/json").body(body)).await
    }

    /// Posts a batch with this write key as the user.
    pub async fn post_batch(&self, write_key: &str, body: impl Into<Vec<u8>>) -> Answer {
        let request = self.http.post(format!("http://{}/v1/batch", self.door())).basic_auth(write_key, Some(""));
        send(request.body(body.into())).await.expect("the door answers")
    }

    /// Posts a batch that is packed, and says so.
    pub async fn post_packed_batch(&self, write_key: &str, body: Vec<u8>) -> Answer {
        let request = self.http.post(format!("http://{}/v1/batch", self.door())).basic_auth(write_key, Some(""));
        send(request.header("content-encoding", "gzip").body(body)).await.expect("the door answers")
    }

    /// Sends anything to the doors.
    ///
    /// # Panics
    /// When the method is none, or the door does not answer.
    pub async fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Vec<u8>>,
    ) -> Answer {
        let method = method.parse().expect("a method");
        let request = self.http.request(method, format!("http://{}{path}", self.door())).body(body.into());
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        send(request).await.expect("the door answers")
    }

    /// The address of the doors.
    ///
    /// # Panics
    /// When they are not bound yet.
    #[must_use]
    pub fn door(&self) -> SocketAddr {
        self.ingest.borrow().expect("bound")
    }

    /// The address of metrics and health.
    ///
    /// # Panics
    /// When they are not bound yet.
    #[must_use]
    pub fn ops_door(&self) -> SocketAddr {
        self.ops.borrow().expect("bound")
    }

    /// Everything it has logged.
    ///
    /// # Panics
    /// When the reader of the log panicked.
    #[must_use]
    pub fn log(&self) -> String {
        self.log.lock().expect("not poisoned").clone()
    }

    /// The process.
    ///
    /// # Panics
    /// When it has ended.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// Ends it as a crash would.
    ///
    /// # Panics
    /// When it cannot be killed.
    pub async fn kill(mut self) {
        self.child.kill().await.expect("it is ours");
    }

    /// Its resident memory, in MiB.
    ///
    /// # Panics
    /// When the process has ended.
    #[must_use]
    pub fn resident_mib(&self) -> u64 {
        self.status_mib("VmRSS:")
    }

    /// The most that its resident memory ever was, in MiB.
    ///
    /// # Panics
    /// When the process has ended.
    #[must_use]
    pub fn peak_mib(&self) -> u64 {
        self.status_mib("VmHWM:")
    }

    fn status_mib(&self, what: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix(what)).expect("Linux says so");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") / 1024
    }

    /// Sends it a signal by its name.
    ///
    /// # Panics
    /// When it cannot be signalled.
    pub async fn signal(&self, name: &str) {
        let killed = process::Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]).status().await;
        assert!(killed.expect("kill is there").success());
    }

    /// Asks it to end, and waits until it has.
    ///
    /// # Panics
    /// When it cannot be signalled.
    pub async fn terminate(&mut self) -> ExitStatus {
        self.signal("TERM").await;
        let status = self.child.wait().await.expect("it is ours");
        self.until_log_is_read().await;
        status
    }

    /// Waits until it has ended by itself, and its log is read.
    ///
    /// # Panics
    /// When it goes on.
    pub async fn ended(&mut self) -> ExitStatus {
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await.expect("it ends").expect("it is ours");
        self.until_log_is_read().await;
        status
    }

    /// Of a process that has ended: what it said last is read after that.
    async fn until_log_is_read(&mut self) {
        if let Some(following) = self.following.take() {
            following.await.expect("it reads");
        }
    }
}

async fn send(request: reqwest::RequestBuilder) -> Option<Answer> {
    let response = request.send().await.ok()?;
    let headers = response.headers().iter();
    let headers =
        headers.map(|(key, value)| (key.to_string(), value.to_str().unwrap_or_default().to_owned())).collect();
    let status = response.status().as_u16();
    Some(Answer { status, headers, body: response.text().await.ok()? })
}

/// A test that fails shows what the program had to say.
impl Drop for Relay {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<_> = log.lines().collect();
            println!("the last lines of the program's log:\n{}", lines[lines.len().saturating_sub(80)..].join("\n"));
        }
    }
}

async fn follow(
    stderr: impl AsyncRead + Unpin,
    log: Arc<Mutex<String>>,
    ingest: watch::Sender<Option<SocketAddr>>,
    ops: watch::Sender<Option<SocketAddr>>,
) {
    let mut lines = BufReader::new(stderr).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if let Some(address) =
            address(&line, "taking events at http://").or_else(|| address(&line, "taking events at https://"))
        {
            ingest.send_replace(Some(address));
        }
        if let Some(address) = address(&line, "metrics and health at http://") {
            ops.send_replace(Some(address));
        }
        let mut log = log.lock().expect("not poisoned");
        log.push_str(&line);
        log.push('\n');
    }
}

fn address(line: &str, before: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once(before)?;
    rest.split('/').next()?.parse().ok()
}
