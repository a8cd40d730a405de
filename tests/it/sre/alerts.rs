//! Something breaks, and a real Prometheus that watches real processes has the right alert, and no other.

use refersion_relay_faulty_disk::{Fault, FaultyDisk};
use refersion_relay_tests::{
    Config, Network, Prometheus, Proxy, Refersion, Relay, eventually, identify, program, shared_broker,
};
use tokio::process::Command;

/// Some events come and are delivered.
async fn is_at_work(refersion: &Refersion, relay: &Relay) {
    for n in 0..5 {
        assert_eq!(relay.post(1, identify(&format!("well{n}@example.com"))).await.status, 202);
    }
    eventually("they are delivered", || async { refersion.simulator.affiliates().len() == 5 }).await;
}

async fn expect_alone(prometheus: &Prometheus, alert: &str) {
    prometheus.until_firing(alert).await;
    assert_eq!(prometheus.fired().await, [alert]);
}

#[tokio::test]
async fn a_relay_that_is_well_fires_nothing() {
    let refersion = Refersion::start().await;
    let config = Config::embedded(refersion.url(), &[]);
    let relay = Relay::start("run", &config).await;
    let prometheus = Prometheus::watching(&[&relay]).await;
    is_at_work(&refersion, &relay).await;
    prometheus.until_evaluated(30).await;
    assert_eq!(prometheus.fired().await, Vec::<String>::new());
}

#[tokio::test]
async fn keys_that_are_refused() {
    let refersion = Refersion::start().await;
    let config = Config::embedded(refersion.url(), &[]);
    let relay = Relay::start("run", &config).await;
    let prometheus = Prometheus::watching(&[&relay]).await;
    is_at_work(&refersion, &relay).await;

    refersion.simulator.set_keys_valid("pub_1", false);
    assert_eq!(relay.post(1, identify("held@example.com")).await.status, 202);

    expect_alone(&prometheus, "AccountHeld").await;
}

#[tokio::test]
async fn a_refersion_that_is_out() {
    let mut refersion = Refersion::start().await;
    let config = Config::embedded(refersion.url(), &[]);
    let relay = Relay::start("run", &config).await;
    let prometheus = Prometheus::watching(&[&relay]).await;
    is_at_work(&refersion, &relay).await;

    refersion.kill().await;
    assert_eq!(relay.post(1, identify("waits@example.com")).await.status, 202);

    expect_alone(&prometheus, "RefersionOut").await;
}

#[tokio::test]
async fn a_broker_that_is_away() {
    let refersion = Refersion::start().await;
    let broker = shared_broker();
    let address = broker.rsplit('@').next().and_then(|rest| rest.split('/').next()).expect("a host");
    let proxy = Proxy::before(address.parse().expect("an address")).await;
    let config = Config::new(&broker.replace(address, &proxy.address().to_string()), refersion.url(), &[]);
    let relay = Relay::start("run", &config).await;
    let prometheus = Prometheus::watching(&[&relay]).await;
    is_at_work(&refersion, &relay).await;

    proxy.set(Network::Refusing);
    for _ in 0..20 {
        assert_eq!(relay.post(1, identify("later@example.com")).await.status, 503);
    }

    expect_alone(&prometheus, "QueueAway").await;
}

#[tokio::test]
async fn a_disk_that_is_full() {
    let refersion = Refersion::start().await;
    let config = Config::new("sqlite:disk/relay.db", refersion.url(), &[]);
    let folder = config.folder().join("disk");
    std::fs::create_dir(&folder).expect("the folder is ours");
    let disk = FaultyDisk::at(&folder);
    let mut command = Command::new(program());
    command.envs(disk.variables()).arg("--config").arg(config.path()).arg("run");
    let relay = Relay::launch_as(command);
    relay.until_ready().await;
    let prometheus = Prometheus::watching(&[&relay]).await;
    is_at_work(&refersion, &relay).await;

    disk.fails(Fault::Full);
    eventually("it is refused", || async { relay.post(1, identify("later@example.com")).await.status == 503 }).await;

    expect_alone(&prometheus, "QueueBlocked").await;
}

#[tokio::test]
async fn a_queue_that_was_deleted() {
    let refersion = Refersion::start().await;
    let config = Config::new(&shared_broker(), refersion.url(), &[]);
    let relay = Relay::start("run", &config).await;
    let prometheus = Prometheus::watching(&[&relay]).await;
    is_at_work(&refersion, &relay).await;

    let connection = lapin::Connection::connect(&shared_broker(), lapin::ConnectionProperties::default()).await;
    let channel = connection.expect("the broker is there").create_channel().await.expect("a channel");
    let queue = format!("{}.events.acme", config.prefix);
    channel.queue_delete(queue.into(), lapin::options::QueueDeleteOptions::default()).await.expect("it is there");

    expect_alone(&prometheus, "QueuesDeleted").await;
}

#[tokio::test]
async fn a_worker_that_is_dead() {
    let refersion = Refersion::start().await;
    let config = Config::embedded(refersion.url(), &[]);
    let (doors, worker) = (Relay::start("ingest", &config).await, Relay::start("worker", &config).await);
    let prometheus = Prometheus::watching(&[&doors, &worker]).await;
    is_at_work(&refersion, &doors).await;

    worker.kill().await;
    assert_eq!(doors.post(1, identify("waits@example.com")).await.status, 202);

    expect_alone(&prometheus, "ProcessGone").await;
}
