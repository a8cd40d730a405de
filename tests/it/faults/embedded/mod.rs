//! The program on its embedded queue: one file, and no broker anywhere.

mod crash;
mod order;
mod processes;
mod storage;

use refersion_relay_tests::{Config, DELETE, IDENTIFY, Refersion, Relay, eventually, program};
use tokio::process::Command;

#[tokio::test]
async fn two_lines_of_configuration_are_a_working_installation() {
    let refersion = Refersion::start().await;
    let folder = tempfile::TempDir::new().expect("a folder");
    let path = folder.path().join("relay.toml");
    let lines = format!(
        "refersion = {{ base_url = \"{}\" }}\naccount = [{{ name = \"acme\", public_key = \"pub_1\", secret_key = \"sec_1\" }}]\n",
        refersion.url()
    );
    std::fs::write(&path, lines).expect("the folder is ours");
    let mut command = Command::new(program());
    // Other tests have the usual ports.
    command.env("RELAY__INGEST__LISTEN", "127.0.0.1:0").env("RELAY__OPS__LISTEN", "127.0.0.1:0");
    command.arg("run").arg("--config").arg(&path).current_dir("/");
    let mut relay = Relay::launch_as(command);
    relay.until_ready().await;

    assert_eq!(relay.post(1, IDENTIFY).await.status, 202);
    assert_eq!(relay.post(1, DELETE).await.status, 202);

    eventually("both have their effect", || async { refersion.statuses("peter@example.com") == ["DISABLED"] }).await;
    assert!(relay.terminate().await.success());
    assert!(folder.path().join("relay.db").exists(), "beside the configuration, wherever it was started");
}

#[tokio::test]
async fn what_waits_is_worked_after_a_restart() {
    let refersion = Refersion::start().await;
    let config = Config::embedded(refersion.url(), &[]);
    let mut ingest = Relay::start("ingest", &config).await;
    assert_eq!(ingest.post(1, IDENTIFY).await.status, 202);
    assert_eq!(ingest.post(1, DELETE).await.status, 202);
    assert!(ingest.terminate().await.success());
    assert_eq!(config.ledger().await["waiting"], 2);

    let _worker = Relay::start("worker", &config).await;

    eventually("both have their effect", || async { refersion.statuses("peter@example.com") == ["DISABLED"] }).await;
    eventually("the ledger says so", || async { config.ledger().await["delivered"] == 2 }).await;
}
