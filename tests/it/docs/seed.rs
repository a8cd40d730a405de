use refersion_relay_simulator::{NewAffiliate, Operation};
use refersion_relay_tests::{Config, DELETE, IDENTIFY, Refersion, Relay, delete, eventually, identify, shared_broker};

#[tokio::test]
async fn the_documented_events_create_peter_and_then_deactivate_him() {
    let refersion = Refersion::start().await;
    let config = Config::new(&shared_broker(), refersion.url(), &[]);
    let relay = Relay::start("run", &config).await;

    assert_eq!(relay.post(1, IDENTIFY).await.status, 202);
    assert_eq!(relay.post(1, DELETE).await.status, 202);

    eventually("peter is deactivated", || async { refersion.statuses("peter@example.com") == ["DISABLED"] }).await;
    let peter = refersion.with_email("peter@example.com").remove(0);
    assert_eq!((peter.first_name.as_str(), peter.last_name.as_str()), ("Peter", "Gibbons"));
    let address = [&peter.address1, &peter.city, &peter.state, &peter.zip, &peter.country];
    let expected = ["6th St", "San Francisco", "CA", "94103", "US"];
    assert_eq!(address.map(|part| part.as_deref().unwrap_or_default()), expected);
    assert!(refersion.with_email("test@example.org").is_empty(), "the top-level address is not the affiliate's");
    assert_eq!(refersion.operations(), [Operation::New, Operation::Search, Operation::Get, Operation::StatusChange]);
}

#[tokio::test]
async fn back_to_back_they_never_happen_the_other_way_round() {
    let refersion = Refersion::start().await;
    let config = Config::new(&shared_broker(), refersion.url(), &[]);
    let (ingest, worker) = (Relay::start("ingest", &config).await, Relay::start("worker", &config).await);
    let people: Vec<String> = (0..100).map(|n| format!("peter{n}@example.com")).collect();

    let posts = people.iter().map(|email| async {
        assert_eq!(ingest.post(1, identify(email)).await.status, 202);
        assert_eq!(ingest.post(1, delete(email)).await.status, 202);
    });
    futures_util::future::join_all(posts).await;

    let ended = "refersion_relay_worker_ended_total";
    eventually("all have ended", || async { worker.metric(ended).await >= 200 }).await;
    for email in &people {
        assert_eq!(refersion.statuses(email), ["DISABLED"], "{email}");
    }
    assert_eq!(worker.metric("refersion_relay_events_delivered_total{how=\"not_found\"}").await, 0);
}

#[tokio::test]
async fn among_affiliates_with_similar_addresses_only_the_right_one_is_deactivated() {
    let refersion = Refersion::start().await;
    for n in 0..25 {
        refersion.simulator.add_affiliate("pub_1", person(&format!("x{n}jo@x.com{n}")));
    }
    refersion.simulator.add_affiliate("pub_1", person("jo@x.com"));
    let config = Config::new(&shared_broker(), refersion.url(), &[]);
    let relay = Relay::start("run", &config).await;

    assert_eq!(relay.post(1, delete("jo@x.com")).await.status, 202);

    eventually("jo is deactivated", || async { refersion.statuses("jo@x.com") == ["DISABLED"] }).await;
    let disabled = refersion.simulator.affiliates().into_iter().filter(|a| a.status.as_str() == "DISABLED").count();
    assert_eq!(disabled, 1);
    assert!(refersion.count(Operation::Search) > 1, "the right one was on a later page");
}

fn person(email: &str) -> NewAffiliate {
    let (email, first_name, last_name) = (email.to_owned(), "Test".to_owned(), "Person".to_owned());
    NewAffiliate { email, first_name, last_name, ..NewAffiliate::default() }
}
