//! The ways from nothing to the first event, of README.md and docs/configuration.md, followed to the letter; and `init` in its
//! other ways.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;

use refersion_relay_tests::{Output, Refersion, Relay, eventually, program};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

/// A section of a page that a machine can follow.
struct Section(&'static str);

/// Writes a configuration by hand.
const RUN_IT: (&str, &str) = (include_str!("../../../README.md"), "Run it");

/// Has `init` write it.
const MAKE_ONE: (&str, &str) = (include_str!("../../../docs/configuration.md"), "How do I make one?");

impl Section {
    fn of((page, heading): (&'static str, &str)) -> Self {
        let (_, section) = page.split_once(&format!("\n## {heading}\n")).expect("the section");
        let (section, _) = section.split_once("\n## ").expect("a section after it");
        Self(section)
    }

    /// Its blocks of code, each with its language in the first line.
    fn blocks(&self) -> impl Iterator<Item = &'static str> {
        self.0.split("```").skip(1).step_by(2)
    }

    /// Its only block in a language.
    fn block(&self, language: &str) -> &'static str {
        let mut blocks = self.blocks().filter_map(|block| block.strip_prefix(language)?.strip_prefix('\n'));
        let block = blocks.next().unwrap_or_else(|| panic!("a block in {language}"));
        assert_eq!(blocks.next(), None, "one block in {language}");
        block
    }

    /// Its command that has this in it, with the lines that go on with it.
    fn command(&self, part: &str) -> String {
        let lines: Vec<_> = self.blocks().flat_map(str::lines).collect();
        let first = lines.iter().position(|line| line.contains(part)).unwrap_or_else(|| panic!("{part} is documented"));
        let more = lines[first..].iter().take_while(|line| line.ends_with('\\')).count();
        lines[first..=first + more].join("\n")
    }
}

/// A machine that has nothing but the program.
struct Machine {
    folder: TempDir,
    refersion: Refersion,
}

impl Machine {
    async fn new() -> Self {
        Self { folder: TempDir::new().expect("a folder"), refersion: Refersion::start().await }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A command line as it is documented: in the folder, with the program beside the others.
    fn shell(&self, line: &str) -> Command {
        let folder = program().parent().expect("it is in a folder").display().to_string();
        let path = std::env::var("PATH").expect("a path");
        let mut shell = Command::new("bash");
        shell.args(["-euo", "pipefail", "-c", line]).current_dir(self.path()).kill_on_drop(true).stdin(Stdio::null());
        shell.env("PATH", format!("{folder}:{path}")).env_remove("RELAY_CONFIG");
        // Other tests have the usual ports, and nobody calls the real Refersion.
        shell.env("RELAY__REFERSION__BASE_URL", self.refersion.url());
        shell.env("RELAY__INGEST__LISTEN", "127.0.0.1:0").env("RELAY__OPS__LISTEN", "127.0.0.1:0");
        shell
    }

    async fn run(&self, line: &str) -> Output {
        self.shell(line).output().await.expect("bash is there").into()
    }

    /// Checks and starts it as a section says, and sends the first event as it says. Returns what the sender was answered.
    async fn follow(&self, section: &Section) -> (Relay, String) {
        let settings = section.blocks().flat_map(str::lines).find(|line| line.starts_with("export ")).unwrap_or(":");
        let check = self.run(&format!("{settings}\n{}", section.command("refersion-relay check"))).await;
        assert_eq!(check.code, Some(0), "{check:?}");
        let last = check.stdout.lines().last().expect("a line");
        assert!(last.starts_with("0 failed, 0 warnings, "), "{check:?}");

        let run = section.command("refersion-relay run");
        let relay = Relay::launch_as(self.shell(&format!("{settings}\nexec {run}")));
        relay.until_ready().await;
        let curl = section.command("curl ");
        assert!(curl.contains("http://127.0.0.1:8080"), "{curl}");
        let answer = self.run(&curl.replace("127.0.0.1:8080", &relay.door().to_string())).await;
        assert_eq!(answer.code, Some(0), "{answer:?}");
        eventually("it is there", || async { self.refersion.statuses("peter@example.com") == ["PENDING"] }).await;
        (relay, answer.stdout)
    }

    fn mode(&self, path: &str) -> u32 {
        fs::metadata(self.path().join(path)).expect("it is there").permissions().mode() & 0o777
    }
}

#[tokio::test]
async fn the_way_from_nothing_to_the_first_event_works_as_it_is_written() {
    let (machine, section) = (Machine::new().await, Section::of(RUN_IT));
    fs::write(machine.path().join("relay.toml"), section.block("toml")).expect("written");
    fs::write(machine.path().join("acme-secret-key"), "sec_1\n").expect("written");
    assert!(section.0.contains("`chmod 600 acme-secret-key`"));
    assert_eq!(machine.run("chmod 600 acme-secret-key").await.code, Some(0));

    let (_relay, answer) = machine.follow(&section).await;

    assert_eq!(answer, section.block("text"));
}

#[tokio::test]
async fn the_way_by_init_works_as_it_is_written() {
    let (machine, section) = (Machine::new().await, Section::of(MAKE_ONE));
    fs::write(machine.path().join("the-secret-key"), "sec_1\n").expect("written");

    let init = machine.run(&section.command("init --account")).await;
    assert_eq!(init.code, Some(0), "{init:?}");
    assert_eq!(
        ["relay.toml", "secrets", "secrets/acme-secret-key"].map(|path| machine.mode(path)),
        [0o600, 0o700, 0o600]
    );
    assert!(!format!("{init:?}").contains("sec_1"), "{init:?}");
    let made = fs::read_to_string(machine.path().join("relay.toml")).expect("it is there");
    let key = fs::read_to_string(machine.path().join("secrets/acme-write-key")).expect("it is there");
    assert!(!made.contains("sec_1") && !made.contains(key.trim()) && key.trim().len() == 32, "{made}");
    assert!(init.stdout.contains("/v1/identify"), "{init:?}");

    let (_relay, answer) = machine.follow(&section).await;

    let printed = section.0.contains(answer.trim());
    assert!(answer.contains("true") && printed, "{answer}");
}

#[tokio::test]
async fn nothing_is_overwritten() {
    let machine = Machine::new().await;
    fs::write(machine.path().join("the-secret-key"), "sec_1").expect("written");
    let command = Section::of(MAKE_ONE).command("init --account");
    assert_eq!(machine.run(&command).await.code, Some(0));
    let files = ["relay.toml", "secrets/acme-secret-key", "secrets/acme-write-key"];
    let before = files.map(|file| fs::read(machine.path().join(file)).expect("it is there"));

    let again = machine.run(&command).await;
    assert!(again.code == Some(2) && again.stderr.contains("relay.toml is there already"), "{again:?}");
    let elsewhere = machine.run(&format!("{command} --config other.toml")).await;
    assert!(
        elsewhere.code == Some(2) && elsewhere.stderr.contains("acme-secret-key is there already"),
        "{elsewhere:?}"
    );

    assert_eq!(files.map(|file| fs::read(machine.path().join(file)).expect("it is there")), before);
    assert!(!machine.path().join("other.toml").exists());
}

#[tokio::test]
async fn what_is_missing_where_there_is_no_terminal_is_named_and_nothing_is_made() {
    let machine = Machine::new().await;
    for (arguments, says) in [
        ("", "--account, --public-key, --secret-key-file"),
        ("--account acme --public-key p", "--secret-key-file"),
        ("--account acme --public-key p --secret-key-file -", "standard input"),
        ("--account acme --public-key p --secret-key-file /nowhere", "/nowhere"),
        ("--account 'A b' --public-key p --secret-key-file -", "--account"),
        ("--account acme --public-key 'two words' --secret-key-file -", "--public-key"),
    ] {
        let output = machine.run(&format!("refersion-relay init {arguments}")).await;
        assert_eq!((output.code, output.stderr.lines().count()), (Some(2), 1), "{arguments}: {output:?}");
        assert!(output.stderr.contains(says) && !output.stderr.contains("two words"), "{arguments}: {output:?}");
        assert_eq!(fs::read_dir(machine.path()).expect("it is ours").count(), 0);
    }
}

#[tokio::test]
async fn a_secret_in_a_file_of_its_own_stays_there() {
    let machine = Machine::new().await;
    fs::write(machine.path().join("mine"), "sec_1").expect("written");
    let output = machine.run("refersion-relay init --account acme --public-key p --secret-key-file mine").await;
    assert_eq!(output.code, Some(0), "{output:?}");
    let made = fs::read_to_string(machine.path().join("relay.toml")).expect("it is there");
    let file = machine.path().join("mine");
    assert!(made.contains(&format!("secret_key_file = {file:?}")), "{made}");
    assert!(!machine.path().join("secrets/acme-secret-key").exists());
}

#[tokio::test]
async fn at_a_terminal_it_asks_again_where_an_answer_is_none_and_does_not_show_the_secret() {
    let machine = Machine::new().await;
    let mut command = machine.shell("script -qec 'refersion-relay init' /dev/null");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("script is there");
    let (mut stdin, mut stdout) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
    let mut shown = String::new();
    for (question, answer) in [
        ("to be called here", "A b\n"),
        ("to be called here", "acme\n"),
        ("public key", "pub_1\n"),
        ("secret key", "sec_hidden\n"),
    ] {
        let asked = shown.len();
        while !shown[asked..].contains(question) || !shown.ends_with("? ") {
            let mut bytes = [0; 1024];
            let read = stdout.read(&mut bytes).await.expect("it is ours");
            assert!(read > 0, "it goes on asking: {shown}");
            shown.push_str(&String::from_utf8_lossy(&bytes[..read]));
        }
        stdin.write_all(answer.as_bytes()).await.expect("it reads");
    }
    let rest = async { stdout.read_to_string(&mut shown).await };
    let (read, status) = tokio::join!(rest, child.wait());
    assert!(read.is_ok() && status.expect("it is ours").success(), "{shown}");
    assert!(!shown.contains("sec_hidden") && shown.contains("refersion-relay check"), "{shown}");
    let secret = fs::read_to_string(machine.path().join("secrets/acme-secret-key")).expect("it is there");
    assert_eq!(secret, "sec_hidden\n");
}
