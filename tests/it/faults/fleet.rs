use refersion_relay_tests::{Config, Refersion, Relay, delete, eventually, identify, shared_broker};

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
async fn a_worker_that_stands_by_is_ready_and_goes_on_when_the_owner_stops() {
    let refersion = Refersion::start().await;
    let config = Config::new(&shared_broker(), refersion.url(), &[]);
    let (door, mut first) = (Relay::start("ingest", &config).await, Relay::start("worker", &config).await);
    let second = Relay::start("worker", &config).await;
    for account in Config::ACCOUNTS {
        let owned = format!("refersion_relay_worker_owned{{account=\"{account}\"}}");
        assert_eq!((first.metric(&owned).await, second.metric(&owned).await), (1, 1), "{account}");
    }
    assert_eq!(door.post(1, identify("one@example.com")).await.status, 202);
    eventually("it is worked", || async { refersion.with_email("one@example.com").len() == 1 }).await;

    assert!(first.terminate().await.success());

    assert_eq!(door.post(1, delete("one@example.com")).await.status, 202);
    assert_eq!(door.post(2, identify("two@example.com")).await.status, 202);
    eventually("both are worked", || async { second.metric("refersion_relay_worker_ended_total").await >= 2 }).await;
    assert_eq!(refersion.statuses("one@example.com"), ["DISABLED"]);
    assert!(second.is_ready().await);
}
