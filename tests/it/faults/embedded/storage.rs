//! What the disk can do to a relay.

use std::time::Duration;

use refersion_relay_faulty_disk::{Fault, FaultyDisk};
use refersion_relay_tests::{Config, Refersion, Relay, eventually, identify, program};
use tokio::process::Command;

/// A folder for a queue that can be made to fail. `more`: as [`Config::new`] has it.
fn faulty(refersion: &Refersion, more: &[(&str, &str)]) -> (Config, FaultyDisk) {
    let config = Config::new("sqlite:disk/relay.db", refersion.url(), more);
    let folder = config.folder().join("disk");
    std::fs::create_dir(&folder).expect("the folder is ours");
    (config, FaultyDisk::at(&folder))
}

fn on(disk: &FaultyDisk, role: &str, config: &Config) -> Relay {
    let mut command = Command::new(program());
    command.envs(disk.variables()).arg("--config").arg(config.path()).arg(role);
    Relay::launch_as(command)
}

/// Runs a relay whose queue is on a file system of 3 MiB, most of which a file called `filler` takes.
fn on_a_small_disk(config: &Config) -> Relay {
    let script = "mount -t tmpfs -o size=3m tmpfs \"$1\" && head -c 2400000 /dev/zero >\"$1/filler\" && \
                  exec \"$2\" --config \"$3\" run";
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"]);
    command.arg(config.folder().join("disk")).arg(program()).arg(config.path());
    Relay::launch_as(command)
}

/// Fills the disk of a relay, and makes room again. `fill`: what it takes besides events.
async fn fill_up(refersion: &Refersion, relay: &Relay, fill: impl FnOnce(), make_room: impl FnOnce()) {
    // Held, so that what is accepted stays on the disk.
    refersion.simulator.set_keys_valid("pub_1", false);
    relay.until_ready().await;

    let (mut accepted, mut fill) = (Vec::new(), Some(fill));
    let refused = loop {
        if accepted.len() == 10 {
            fill.take().into_iter().for_each(|fill| fill());
        }
        let email = format!("person{}@example.com", accepted.len());
        let padding = "x".repeat(20_000);
        let event =
            String::from_utf8(identify(&email)).expect("JSON").replacen('{', &format!("{{\"pad\":\"{padding}\","), 1);
        let answer = relay.post(1, event).await;
        if answer.status != 202 {
            break answer;
        }
        accepted.push(email);
        assert!(accepted.len() < 1_000, "the disk is never full");
    };

    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("5")), "{refused:?}");
    assert!(!accepted.is_empty() && !relay.is_ready().await);
    let (status, health) = relay.ops("/health/ready").await.expect("it answers");
    assert!(status == 503 && health.contains("the disk is full"), "{health}");
    assert!(relay.log().contains("the disk is full"), "{}", relay.log());
    make_room();
    relay.until_ready().await;
    assert_eq!(relay.post(1, identify("after@example.com")).await.status, 202);
    accepted.push("after@example.com".to_owned());

    refersion.simulator.set_keys_valid("pub_1", true);
    eventually("everybody exists", || async { accepted.iter().all(|email| refersion.with_email(email).len() == 1) })
        .await;
}

#[tokio::test]
async fn a_full_disk_is_a_503_until_there_is_room_and_loses_nothing() {
    let refersion = Refersion::start().await;
    let (config, disk) = faulty(&refersion, &[]);
    let relay = on(&disk, "run", &config);
    fill_up(&refersion, &relay, || disk.fails(Fault::Full), || disk.is_mended(Fault::Full)).await;
}

#[tokio::test]
#[ignore = "mounts a file system, which takes user namespaces"]
async fn a_mounted_disk_that_is_full_is_a_503_until_there_is_room_and_loses_nothing() {
    let refersion = Refersion::start().await;
    let config = Config::new("sqlite:disk/relay.db", refersion.url(), &[]);
    std::fs::create_dir(config.folder().join("disk")).expect("the folder is ours");
    let relay = on_a_small_disk(&config);
    let filler = format!("/proc/{}/root{}", relay.pid(), config.folder().join("disk/filler").display());
    fill_up(&refersion, &relay, || (), || std::fs::remove_file(filler).expect("it is there")).await;
}

#[tokio::test]
async fn a_disk_that_hangs_is_a_503_and_takes_no_more_memory_than_is_lent() {
    const BATCHES: usize = 100;
    let refersion = Refersion::start().await;
    let memory = ("ingest", "max_body_memory = \"64 MiB\"");
    let (config, disk) = faulty(&refersion, &[("queue", "confirm_timeout = \"1s\""), memory]);
    let mut relay = on(&disk, "ingest", &config);
    relay.until_ready().await;
    assert_eq!(relay.post(1, identify("before@example.com")).await.status, 202);
    disk.fails(Fault::Hangs);
    let before = relay.resident_mib();

    let padding = "x".repeat(30_000);
    let event = format!(r#"{{"type":"identify","traits":{{"name":"A B","email":"a@example.com"}},"pad":"{padding}"}}"#);
    let batch = format!(r#"{{"batch":[{}]}}"#, vec![event; 100].join(","));
    let posts = (0..BATCHES).map(|_| relay.post_batch("write_1", batch.clone()));
    let answers = futures_util::future::join_all(posts).await;

    assert!(answers.iter().all(|answer| answer.status == 503), "300 MB of which nothing is stored");
    eventually("it says that the disk hangs", || async {
        relay
            .ops("/health/ready")
            .await
            .is_some_and(|(status, health)| status == 503 && health.contains("the disk does not answer"))
    })
    .await;
    let answer = tokio::time::timeout(Duration::from_secs(1), relay.post(1, identify("a@example.com"))).await;
    assert_eq!(answer.expect("it is refused at once").status, 503);
    let lent = relay.metric("refersion_relay_ingest_body_bytes").await;
    assert!(lent <= 64 << 20, "{lent} bytes");
    let grown = relay.resident_mib() - before;
    assert!(grown < 200, "{grown} MiB more");

    disk.is_mended(Fault::Hangs);
    relay.until_ready().await;
    assert_eq!(relay.post(1, identify("after@example.com")).await.status, 202);
    eventually("nothing is lent any more", || async { relay.metric("refersion_relay_ingest_body_bytes").await == 0 })
        .await;
    assert!(relay.terminate().await.success());
}

#[tokio::test]
async fn a_relay_whose_disk_hangs_can_be_ended() {
    let refersion = Refersion::start().await;
    let (config, disk) = faulty(&refersion, &[("queue", "confirm_timeout = \"1s\"")]);
    let mut relay = on(&disk, "ingest", &config);
    relay.until_ready().await;
    disk.fails(Fault::Hangs);
    assert_eq!(relay.post(1, identify("a@example.com")).await.status, 503);

    relay.terminate().await;

    assert!(relay.log().contains("the disk does not answer"), "{}", relay.log());
}

#[tokio::test]
async fn what_is_no_queue_is_named_and_left_alone() {
    let refersion = Refersion::start().await;
    let config = Config::embedded(refersion.url(), &[]);
    let file = config.folder().join("relay.db");
    let garbage = "this is no database, and somebody's only copy of something\n".repeat(100);
    std::fs::write(&file, &garbage).expect("the folder is ours");

    let relay = Relay::launch("run", &config);

    eventually("it says what is wrong", || async {
        relay.ops("/health/ready").await.is_some_and(|(status, health)| status == 503 && health.contains("damaged"))
    })
    .await;
    assert_eq!(relay.post(1, identify("a@example.com")).await.status, 503);
    for arguments in [&["check"][..], &["dlq", "list"], &["enqueue", "/dev/null", "--account", "acme"]] {
        let output = config.command(arguments).await;
        assert_eq!(output.code, Some(1), "{arguments:?}: {output:?}");
        assert!(format!("{}{}", output.stdout, output.stderr).contains("damaged"), "{arguments:?}: {output:?}");
    }
    assert_eq!(std::fs::read_to_string(&file).expect("it is there"), garbage);

    std::fs::remove_file(&file).expect("the folder is ours");
    relay.until_ready().await;
    assert_eq!(relay.post(1, identify("a@example.com")).await.status, 202);
}

#[tokio::test]
async fn a_file_that_is_taken_away_is_missed() {
    let refersion = Refersion::start().await;
    let config = Config::embedded(refersion.url(), &[]);
    let relay = Relay::start("run", &config).await;
    let file = config.folder().join("relay.db");
    let aside = config.folder().join("aside");
    std::fs::rename(&file, &aside).expect("the folder is ours");

    let answer = relay.post(1, identify("a@example.com")).await;

    assert_eq!(answer.status, 503, "what is written to it now would be gone");
    assert!(relay.log().contains("was deleted or replaced"), "{}", relay.log());
    std::fs::rename(&aside, &file).expect("the folder is ours");
    relay.until_ready().await;
    assert_eq!(relay.post(1, identify("a@example.com")).await.status, 202);
    eventually("it has its effect", || async { refersion.with_email("a@example.com").len() == 1 }).await;
}
