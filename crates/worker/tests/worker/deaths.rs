//! An event that its process dies of, really: this program runs itself as that process.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use refersion_relay_model::{Class, Command as Asked};
use refersion_relay_queue::{Place, Queue, Scan};
use refersion_relay_refersion::{Applied, Calls, Failure};
use refersion_relay_telemetry::Metrics;
use refersion_relay_worker::{Account, RefersionApi};

use crate::support::{Running, account, identify, queue_called, queue_in, store_for};

/// What tells the process that it is the one that dies: which queue it works, and where it writes what it has delivered.
const QUEUE: &str = "RELAY_TEST_DEATHS_QUEUE";
const DELIVERED: &str = "RELAY_TEST_DEATHS_DELIVERED";
/// As the documents say.
const MOST_DEATHS: usize = 12;

/// Ends the process when it is called for the culprit, and writes down all others.
struct Deadly {
    delivered: PathBuf,
    count: AtomicU64,
}

#[async_trait]
impl RefersionApi for Deadly {
    async fn apply(&self, _: &Account, command: &Asked, _: Arc<dyn Calls>) -> Result<Applied, Failure> {
        let email = command.email().expose();
        if email.starts_with("culprit") {
            std::process::abort();
        }
        // Long enough that some are in flight beside one another.
        tokio::time::sleep(Duration::from_millis(20)).await;
        let mut file = OpenOptions::new().append(true).create(true).open(&self.delivered).expect("a file");
        writeln!(file, "{email}").expect("room");
        self.count.fetch_add(1, Ordering::Relaxed);
        Ok(Applied::Created)
    }

    async fn check_keys(&self, _: &Account, _: Arc<dyn Calls>) -> Result<(), Failure> {
        Ok(())
    }
}

/// The process. As a test it does nothing.
#[tokio::test]
async fn works_until_nothing_is_left_or_dies() {
    let (Ok(name), Ok(delivered)) = (std::env::var(QUEUE), std::env::var(DELIVERED)) else { return };
    let metrics = Metrics::new();
    let destination = Arc::new(Deadly { delivered: delivered.into(), count: AtomicU64::new(0) });
    match name.strip_prefix("sqlite:") {
        Some(file) => work(&queue_in(Path::new(file), &metrics).await, destination, &metrics).await,
        None => work(&queue_called(&name, &metrics).await, destination, &metrics).await,
    }
}

async fn work<Q: Queue + 'static>(queue: &Arc<Q>, destination: Arc<Deadly>, metrics: &Metrics) {
    let running = Running::start(queue, destination, vec![account()], metrics);
    let is_left = async || {
        let depth = queue.depth(&Place::Work(account().name)).await.expect("a depth");
        let page = metrics.render();
        0 < depth.ready || !page.lines().any(|line| line == "refersion_relay_worker_in_hand 0")
    };
    // What waits was there before this process.
    let mut ticks = tokio::time::interval(Duration::from_millis(50));
    let mut quiet = 0;
    while quiet < 10 {
        ticks.tick().await;
        quiet = if is_left().await { 0 } else { quiet + 1 };
    }
    running.stop().await;
    queue.close().await;
}

/// Runs the process until one of them ends in good order. Returns how many died.
fn deaths(name: &str, delivered: &Path) -> usize {
    let run = || -> ExitStatus {
        let this = std::env::current_exe().expect("this program");
        let mut process = Command::new(this);
        process.args(["deaths::works_until_nothing_is_left_or_dies", "--exact", "--nocapture"]);
        process.env(QUEUE, name).env(DELIVERED, delivered).stdout(Stdio::null()).stderr(Stdio::null());
        process.status().expect("it runs")
    };
    (0..=MOST_DEATHS).find(|_| run().success()).unwrap_or_else(|| panic!("more than {MOST_DEATHS} processes died"))
}

/// The culprit among a hundred others.
async fn fill(queue: &dyn Queue, before: usize) {
    for number in 0..100 {
        if number == before {
            store_for(queue, &account(), &identify("culprit@example.com")).await;
        }
        store_for(queue, &account(), &identify(&format!("person{number}@example.com"))).await;
    }
}

async fn is_as_it_should_be(queue: &dyn Queue, delivered: &Path) {
    let delivered = std::fs::read_to_string(delivered).expect("what was delivered");
    let delivered: BTreeSet<_> = delivered.lines().collect();
    assert_eq!(delivered.len(), 100, "all others are delivered");
    let mut letters = Vec::new();
    for class in Class::ALL {
        queue.browse(class, Scan { letters: 10 }, &mut |letter| letters.push(letter)).await.expect("letters");
    }
    assert_eq!(letters.iter().map(|letter| letter.class).collect::<Vec<_>>(), [Class::Poison]);
    assert!(String::from_utf8_lossy(&letters[0].message.body).contains("culprit@example.com"));
    let death = letters[0].message.headers.death.as_ref().expect("a letter");
    assert!(death.error.as_ref().is_some_and(|error| error.starts_with("3 workers ended")), "{death:?}");
}

#[tokio::test]
async fn an_event_that_its_process_dies_of_is_poison_after_some_deaths_on_rabbitmq() {
    let (metrics, folder) = (Metrics::new(), tempfile::tempdir().expect("a folder"));
    for before in [0, 50] {
        let delivered = folder.path().join(format!("delivered{before}"));
        let name = format!("deaths-{before}-{}", std::process::id());
        let queue = queue_called(&name, &metrics).await;
        fill(&*queue, before).await;

        let deaths = deaths(&name, &delivered);

        eprintln!("{deaths} processes died of an event behind {before} others");
        assert!(before != 0 || deaths == 6, "{deaths} deaths of the first");
        is_as_it_should_be(&*queue, &delivered).await;
    }
}

#[tokio::test]
async fn an_event_that_its_process_dies_of_is_poison_after_some_deaths_on_the_embedded_queue() {
    let (metrics, folder) = (Metrics::new(), tempfile::tempdir().expect("a folder"));
    for before in [0, 50] {
        let delivered = folder.path().join(format!("delivered{before}"));
        let file = folder.path().join(format!("relay{before}.db"));
        let queue = queue_in(&file, &metrics).await;
        fill(&*queue, before).await;

        let deaths = deaths(&format!("sqlite:{}", file.display()), &delivered);

        eprintln!("{deaths} processes died of an event behind {before} others");
        assert!(before != 0 || deaths == 6, "{deaths} deaths of the first");
        is_as_it_should_be(&*queue, &delivered).await;
    }
}
