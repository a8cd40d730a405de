//! What calls go through on their way. That the environment names no proxy is a matter of processes: `tests/it/setup/proxy.rs`.

use refersion_relay_refersion::{Failure, ProxyUrl};

use crate::support::{FakeRefersion, Reply, client_through, keys};

fn through(proxy: &FakeRefersion) -> ProxyUrl {
    let host = proxy.base_url.strip_prefix("http://").unwrap().strip_suffix("/v2").unwrap();
    ProxyUrl::parse(&format!("http://me:50%25%2Foff@{host}")).unwrap()
}

#[tokio::test]
async fn a_proxy_that_is_configured_gets_the_calls_and_its_user_and_password() {
    let proxy = FakeRefersion::always(|| Reply::text(200, r#"{"results":[],"total":0}"#)).await;
    let client = client_through(through(&proxy), "http://refersion.invalid/v2");

    assert_eq!(client.check_keys(&keys()).await, Ok(()));

    let requests = proxy.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].path, "http://refersion.invalid/v2/affiliate/list");
    // me:50%/off
    assert_eq!(requests[0].header("proxy-authorization"), Some("Basic bWU6NTAlL29mZg=="));
}

#[tokio::test]
async fn of_an_encrypted_call_a_proxy_is_told_the_host_and_no_key() {
    let proxy = FakeRefersion::always(|| Reply::text(407, "who are you?")).await;
    let client = client_through(through(&proxy), "https://refersion.invalid/v2");

    let failure = client.check_keys(&keys()).await.unwrap_err();

    assert!(matches!(failure, Failure::Transport { .. }), "{failure}");
    let requests = proxy.requests();
    assert_eq!((requests[0].method.as_str(), requests[0].path.as_str()), ("CONNECT", "refersion.invalid:443"));
    assert!(requests.iter().all(|request| request.header("refersion-secret-key").is_none()));
}

#[tokio::test]
async fn a_call_of_this_machine_goes_through_no_proxy() {
    let proxy = FakeRefersion::always(|| Reply::text(500, "")).await;
    let refersion = FakeRefersion::always(|| Reply::text(200, r#"{"results":[],"total":0}"#)).await;

    for base_url in [refersion.base_url.clone(), refersion.base_url.replace("127.0.0.1", "localhost")] {
        assert_eq!(client_through(through(&proxy), &base_url).check_keys(&keys()).await, Ok(()), "{base_url}");
    }

    assert_eq!((proxy.requests().len(), refersion.requests().len()), (0, 2));
}
