//! This program once more, as another process that uses the same file.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command as Tool, Stdio};

use refersion_relay_queue::Queue;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use refersion_relay_queue_testkit::events::{DELIVERED, event, moved, other_work, work};
use refersion_relay_queue_testkit::instance::{Instance, ROOM};
use refersion_relay_queue_testkit::sqlite::open;
use refersion_relay_queue_testkit::waiting::{PATIENCE, take, take_one};

const ROLE: &str = "RELAY_TEST_ROLE";
const FILE: &str = "RELAY_TEST_FILE";

/// Another process. It dies with this one's interest in it.
pub(crate) struct Process {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

/// What another process does.
#[derive(Clone, Copy)]
pub(crate) enum Role {
    /// Publishes one event after another and says the number of each that is stored.
    Publish,
    /// Takes as many deliveries and says so; then it settles them when it is told to, and says how many it could.
    Own(usize),
    /// Moves what comes to the other work queue, and says how many it has moved.
    Move,
}

impl Process {
    pub(crate) fn start(role: Role, file: &Path) -> Self {
        let role = match role {
            Role::Publish => "publish".to_owned(),
            Role::Own(count) => count.to_string(),
            Role::Move => "move".to_owned(),
        };
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "process::another_process_does_as_it_is_told", "--nocapture"])
            .env(ROLE, role)
            .env(FILE, file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { child, input, output: BufReader::new(output).lines() }
    }

    /// The next number it says; `None` when it is gone.
    pub(crate) async fn says(&mut self) -> Option<usize> {
        loop {
            let line = timeout(PATIENCE, self.output.next_line()).await.expect("it says nothing").unwrap()?;
            if let Some(number) = line.strip_prefix("> ") {
                return Some(number.parse().unwrap());
            }
        }
    }

    pub(crate) async fn tell(&mut self) {
        self.input.write_all(b"go\n").await.unwrap();
    }

    /// With SIGKILL.
    pub(crate) async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    pub(crate) fn freeze(&self) {
        self.signal("STOP");
    }

    pub(crate) fn thaw(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let id = self.child.id().expect("it is there").to_string();
        let sent = Tool::new("kill").args([&format!("-{name}"), &id]).status();
        assert!(sent.unwrap().success(), "kill cannot send {name}");
    }
}

/// Does nothing unless [`Process`] has started it.
#[tokio::test]
async fn another_process_does_as_it_is_told() {
    let (Ok(role), Some(file)) = (env::var(ROLE), env::var_os(FILE)) else { return };
    println!(); // ends the line that the test runner has begun
    let instance = open(&PathBuf::from(file)).await;
    match role.as_str() {
        "publish" => publish(&instance).await,
        "move" => pass_on(&instance).await,
        count => own(&instance, count.parse().unwrap()).await,
    }
}

async fn publish<Q: Queue + 'static>(instance: &Instance<Q>) {
    for number in 0.. {
        instance.store(&work(), [event("one", &number.to_string())]).await;
        println!("> {number}");
    }
}

async fn pass_on<Q: Queue>(instance: &Instance<Q>) {
    let mut owned = instance.queue.own(work(), ROOM).await.unwrap();
    for number in 1.. {
        let delivery = take_one(&mut owned).await;
        let settle = moved(&delivery, other_work());
        delivery.settle(settle).await.unwrap();
        println!("> {number}");
    }
}

async fn own<Q: Queue>(instance: &Instance<Q>, count: usize) {
    let mut owned = instance.queue.own(work(), ROOM).await.unwrap();
    let deliveries = take(&mut owned, count).await;
    println!("> {count}");
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    lines.next_line().await.unwrap();
    let mut settled = 0;
    for delivery in deliveries {
        settled += usize::from(delivery.settle(DELIVERED).await.is_ok());
    }
    println!("> {settled}");
    lines.next_line().await.unwrap();
}
