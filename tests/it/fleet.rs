use refersion_relay_tests::{Config, Refersion, Relay, delete, eventually, identify, program, shared_broker};

/// The sum of a series over several processes.
async fn sum(relays: &[&Relay], series: &str) -> u64 {
    let mut sum = 0;
    for relay in relays {
        sum += relay.metric(series).await;
    }
    sum
}

#[tokio::test]
async fn several_of_each_role_work_together_and_one_of_each_may_die() {
    let refersion = Refersion::start().await;
    let config = Config::new(&shared_broker(), refersion.url(), &[]);
    let doors = [Relay::start("ingest", &config).await, Relay::start("ingest", &config).await];
    let workers = [Relay::start("worker", &config).await, Relay::start("worker", &config).await];
    let people = |from: usize| (from..from + 50).map(|n| format!("person{n}@example.com"));
    for (n, email) in people(0).enumerate() {
        assert_eq!(doors[n % 2].post(1, identify(&email)).await.status, 202);
        assert_eq!(doors[(n + 1) % 2].post(1, delete(&email)).await.status, 202);
    }
    let both = [&workers[0], &workers[1]];
    eventually("all are worked", || async { sum(&both, "refersion_relay_worker_ended_total").await >= 100 }).await;

    let ([first_door, door], [first_worker, worker]) = (doors, workers);
    first_door.kill().await;
    first_worker.kill().await;
    for email in people(50) {
        assert_eq!(door.post(1, identify(&email)).await.status, 202);
        assert_eq!(door.post(1, delete(&email)).await.status, 202);
    }

    let all = || people(0).chain(people(50));
    eventually("everybody came and went", || async { all().all(|email| refersion.statuses(&email) == ["DISABLED"]) })
        .await;
    assert_eq!(refersion.simulator.affiliates().len(), 100, "one affiliate each");
    assert!(door.is_ready().await && worker.is_ready().await);
    assert_eq!(config.dead_letters().await.len(), 0);
}

#[tokio::test]
async fn workers_take_the_shards_they_were_given_and_no_others() {
    let refersion = Refersion::start().await;
    let config = Config::new(&shared_broker(), refersion.url(), &[]);
    let worker = |shards: &str| {
        let mut command = tokio::process::Command::new(program());
        command.arg("--config").arg(config.path()).arg("worker").env("RELAY__WORKER__SHARDS", shards);
        Relay::launch_as(command)
    };
    let (door, first, second) = (Relay::start("ingest", &config).await, worker("0-2"), worker("3"));
    first.until_ready().await;
    second.until_ready().await;
    let shards = "refersion_relay_worker_shards";
    assert_eq!((first.metric(shards).await, second.metric(shards).await), (3, 1));

    for n in 0..60 {
        assert_eq!(door.post(1, identify(&format!("person{n}@example.com"))).await.status, 202);
    }

    let both = [&first, &second];
    eventually("all are worked", || async { sum(&both, "refersion_relay_worker_ended_total").await == 60 }).await;
    // That all of sixty people are on three shards, or all on the fourth, cannot be.
    for worker in both {
        assert!(0 < worker.metric("refersion_relay_worker_ended_total").await);
    }
}
