use refersion_relay_tests::{Config, Refersion, Relay, eventually, identify};

#[tokio::test]
async fn a_backup_of_the_embedded_queue_has_every_event_and_works_when_it_is_put_back() {
    let refersion = Refersion::start().await;
    let config = Config::embedded(refersion.url(), &[]);
    refersion.simulator.set_keys_valid("pub_1", false);
    let mut relay = Relay::start("run", &config).await;
    for n in 0..20 {
        assert_eq!(relay.post(1, identify(&format!("held{n}@example.com"))).await.status, 202);
    }
    assert!(relay.terminate().await.success());
    let files = ["relay.db", "relay.db-wal"].map(|name| config.folder().join(name));
    let backup = tempfile::tempdir().expect("a temporary folder");
    for file in files.iter().filter(|file| file.exists()) {
        std::fs::copy(file, backup.path().join(file.file_name().expect("a name"))).expect("it is copied");
    }

    // The original goes on, and is lost one day.
    refersion.simulator.set_keys_valid("pub_1", true);
    let mut relay = Relay::start("run", &config).await;
    eventually("all exist", || async { refersion.simulator.affiliates().len() == 20 }).await;
    assert!(relay.terminate().await.success());
    for name in ["relay.db", "relay.db-wal", "relay.db-shm"] {
        let _ = std::fs::remove_file(config.folder().join(name)); // not all of them are there
    }
    for file in std::fs::read_dir(backup.path()).expect("a folder").flatten() {
        std::fs::copy(file.path(), config.folder().join(file.file_name())).expect("it is copied");
    }

    let relay = Relay::start("run", &config).await;
    eventually("all are worked once more", || async {
        relay.metric("refersion_relay_events_delivered_total{how=\"existing\"}").await == 20
    })
    .await;
    assert_eq!(refersion.simulator.affiliates().len(), 20, "which changes nothing");
    drop(relay);
    let checked = config.command(&["check", "--conservation"]).await;
    assert_eq!(checked.code, Some(0), "{checked:?}");
    let ledger = config.ledger().await;
    assert_eq!((ledger["accepted"].as_u64(), ledger["delivered"].as_u64()), (Some(20), Some(20)), "{ledger}");
}
