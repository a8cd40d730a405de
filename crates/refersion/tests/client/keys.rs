use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use refersion_relay_model::KeyPair;
use refersion_relay_refersion::{Applied, Client, ClientSettings, Existing, Failure, Operation};
use refersion_relay_simulator as simulator;
use refersion_relay_simulator::{Settings, Status};
use serde_json::json;

use crate::support::{
    ACTIVE, FakeRefersion, PUBLIC_KEY, Reply, SECRET_KEY, Simulated, client, client_with, create, deactivate, keys,
    person,
};

fn empty_list() -> Reply {
    Reply::ok(&json!({ "total": 0, "page": "1/1", "results": [] }))
}

#[tokio::test]
async fn every_operation_sends_each_key_in_its_own_header_and_nowhere_else() {
    let refersion = FakeRefersion::answering(|request| match request.operation() {
        "new" => Reply::ok(&json!({ "id": "a3y7" })),
        "search" => Reply::ok(&json!({ "total": 1, "results": [{ "id": "a3y7", "email": "jo@x.co" }] })),
        "get" => Reply::ok(&json!({ "id": 7, "status": "ACTIVE", "email": "jo@x.co" })),
        "status_change" => Reply::ok(&json!({ "ids_changed": [7], "ids_not_changed": [] })),
        "list" => empty_list(),
        other => panic!("{other}"),
    })
    .await;

    refersion.client.check_keys(&keys()).await.unwrap();
    create(&refersion.client, "jo@x.co").await.unwrap();
    deactivate(&refersion.client, "jo@x.co").await.unwrap();

    let requests = refersion.requests();
    let paths: Vec<_> = requests.iter().map(|request| request.path.as_str()).collect();
    assert_eq!(paths, ["list", "new", "search", "get", "status_change"].map(|last| format!("/v2/affiliate/{last}")));
    for request in requests {
        assert_eq!(request.method, "POST");
        assert_eq!(request.header("refersion-public-key"), Some(PUBLIC_KEY));
        assert_eq!(request.header("refersion-secret-key"), Some(SECRET_KEY));
        assert_eq!(request.header("content-type"), Some("application/json"));
        assert_eq!(request.header("accept"), Some("application/json"));
        assert_eq!(request.header("authorization"), None);
        assert!(!request.body.contains("_visible") && !request.path.contains("_visible"), "{request:?}");
    }
}

#[tokio::test]
async fn the_keys_are_checked_with_a_list_of_one() {
    let refersion = FakeRefersion::always(empty_list).await;

    let checked = refersion.client.check_keys(&keys()).await;

    assert_eq!(checked, Ok(()));
    assert_eq!(refersion.bodies("list"), [json!({ "limit": "1", "page": "1" })]);
    assert_eq!(refersion.requests().len(), 1);
}

#[tokio::test]
async fn only_the_right_pair_of_keys_is_good() {
    let pairs = vec![(PUBLIC_KEY.to_owned(), SECRET_KEY.to_owned()), ("pub_2".to_owned(), "sec_2".to_owned())];
    let refersion = Simulated::with(Settings { keys: pairs, ..Settings::default() }).await;

    for (public, secret, good) in [
        (PUBLIC_KEY, SECRET_KEY, true),
        ("pub_2", "sec_2", true),
        (SECRET_KEY, PUBLIC_KEY, false),
        (PUBLIC_KEY, "sec_2", false),
        (PUBLIC_KEY, "", false),
        ("", SECRET_KEY, false),
    ] {
        let checked = refersion.client.check_keys(&KeyPair::new(public, secret)).await;

        let expected = if good { Ok(()) } else { Err(Failure::Unauthorized { status: 401 }) };
        assert_eq!(checked, expected, "{public} {secret}");
    }
}

#[tokio::test]
async fn revoked_keys_stop_every_operation_until_they_are_good_again() {
    let refersion = Simulated::start().await;
    refersion.seed("jo@x.co", Status::Active);
    refersion.simulator.set_keys_valid(PUBLIC_KEY, false);
    let unauthorized = Failure::Unauthorized { status: 401 };

    assert_eq!(refersion.client.check_keys(&keys()).await, Err(unauthorized.clone()));
    assert_eq!(create(&refersion.client, "new@x.co").await, Err(unauthorized.clone()));
    assert_eq!(deactivate(&refersion.client, "jo@x.co").await, Err(unauthorized));
    assert_eq!((refersion.simulator.affiliates().len(), refersion.disabled()), (1, vec![]));

    refersion.simulator.set_keys_valid(PUBLIC_KEY, true);
    assert_eq!(deactivate(&refersion.client, "jo@x.co").await, Ok(Applied::Deactivated));
}

#[tokio::test]
async fn a_merchants_keys_reach_no_other_merchants_affiliates() {
    let refersion = Simulated::start().await;
    refersion.seed("jo@x.co", Status::Active);
    let other = KeyPair::new("pub_2", "sec_2");

    let deactivated = refersion.client.deactivate(&other, &person("jo@x.co").email).await;
    let created = refersion.client.create(&other, &person("jo@x.co"), ACTIVE, Existing::Keep).await;

    assert_eq!((deactivated, created), (Ok(Applied::NotFound), Ok(Applied::Created)));
    let owners: Vec<_> = refersion.simulator.affiliates().into_iter().map(|a| (a.public_key, a.status)).collect();
    assert_eq!(owners, [(PUBLIC_KEY.to_owned(), Status::Active), ("pub_2".to_owned(), Status::Active)]);
}

#[tokio::test]
async fn a_key_that_no_header_can_have_is_a_wrong_key_and_is_not_sent() {
    let refersion = FakeRefersion::always(empty_list).await;

    for keys in [KeyPair::new("pub\n1", "sec"), KeyPair::new("pub", "sec\r\nX: y")] {
        assert_eq!(refersion.client.check_keys(&keys).await, Err(Failure::Unauthorized { status: 401 }));
    }

    assert!(refersion.requests().is_empty());
}

#[tokio::test]
async fn the_base_url_may_end_with_slashes_or_without_and_have_any_path() {
    let refersion = FakeRefersion::always(empty_list).await;
    let host = refersion.base_url.strip_suffix("/v2").unwrap();

    for base in ["", "/", "/v2", "/v2/", "/v2//", "/behind/a/proxy", "/behind/a/proxy/", "/v2?x=y", "/v2/#top"] {
        client(&format!("{host}{base}")).check_keys(&keys()).await.unwrap();
    }

    let paths: Vec<_> = refersion.requests().into_iter().map(|request| request.path).collect();
    assert_eq!(
        paths,
        [
            "/affiliate/list",
            "/affiliate/list",
            "/v2/affiliate/list",
            "/v2/affiliate/list",
            "/v2/affiliate/list",
            "/behind/a/proxy/affiliate/list",
            "/behind/a/proxy/affiliate/list",
            "/v2/affiliate/list",
            "/v2/affiliate/list",
        ]
    );
}

#[tokio::test]
async fn the_simulator_is_reached_at_its_root_and_under_v2() {
    let refersion = Simulated::start().await;
    let root = refersion.base_url.strip_suffix("v2").unwrap();

    for base_url in [root, refersion.base_url.as_str()] {
        assert_eq!(client(base_url).check_keys(&keys()).await, Ok(()), "{base_url}");
    }

    assert_eq!(refersion.called(), [simulator::Operation::List; 2]);
}

#[test]
fn a_base_url_that_cannot_be_called_is_refused() {
    for base_url in ["", "api.refersion.com/v2", "/v2", "ftp://api.refersion.com", "mailto:jo@x.co", "https://"] {
        let settings = ClientSettings {
            base_url: base_url.to_owned(),
            timeout: Duration::from_secs(1),
            proxy: None,
            observer: Arc::new(|_, _, _| ()),
        };

        assert!(Client::new(settings).is_err(), "{base_url}");
    }
}

#[test]
fn debugging_a_client_shows_its_host_and_nothing_else_of_the_url() {
    let client = client("https://user:hush@api.example.com/hush?hush=hush");

    let shown = format!("{client:?}");

    assert!(shown.contains("api.example.com"), "{shown}");
    assert!(!shown.contains("hush"), "{shown}");
}

#[tokio::test]
async fn the_observer_hears_of_every_call_and_how_it_went() {
    let refersion = Simulated::start().await;
    let heard = Arc::new(Mutex::new(Vec::new()));
    let observed = client_with(&refersion.base_url, Duration::from_secs(30), {
        let heard = heard.clone();
        move |operation: Operation, outcome| heard.lock().unwrap().push((operation, outcome))
    });

    create(&observed, "jo@x.co").await.unwrap();
    create(&observed, "jo@x.co").await.unwrap();
    deactivate(&observed, "jo@x.co").await.unwrap();
    deactivate(&observed, "nobody@x.co").await.unwrap();
    refersion.simulator.set_keys_valid(PUBLIC_KEY, false);
    observed.check_keys(&keys()).await.unwrap_err();

    assert_eq!(
        *heard.lock().unwrap(),
        [
            (Operation::New, "ok"),
            (Operation::New, "taken"),
            (Operation::Search, "ok"),
            (Operation::Get, "ok"),
            (Operation::StatusChange, "ok"),
            (Operation::Search, "not_found"),
            (Operation::List, "unauthorized"),
        ]
    );
}

#[tokio::test]
async fn the_check_of_keys_says_what_time_it_is_at_refersion_even_when_it_refuses_them() {
    let dates = [None, Some("Sun, 06 Nov 1994 08:49:37 GMT"), Some("a while ago")];
    for (status, date) in [200, 401, 500].into_iter().flat_map(|status| dates.map(|date| (status, date))) {
        let reply = move || Reply::json(status, &json!({ "total": 0, "results": [] }));
        let answer = move || date.map_or_else(reply, |date| reply().header("Date", date));
        let refersion = FakeRefersion::always(answer).await;

        let checked = refersion.client.check_keys_and_clock(&keys()).await;

        assert_eq!(checked.keys.is_ok(), status == 200, "{checked:?}");
        let expected = (date == dates[1]).then(|| SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777));
        assert_eq!(checked.clock.map(|clock| clock.date), expected, "{status} {date:?}");
        assert!(checked.clock.is_none_or(|clock| clock.asked_at <= clock.answered_at));
    }
}
