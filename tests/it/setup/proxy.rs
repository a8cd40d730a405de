//! Whom the keys and the management API's password go to.

use futures_util::FutureExt;
use refersion_relay_tests::{Canned, Config, Output, Refersion, Tap, program, shared_broker};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::process::Command;

/// Every name under which an HTTP client looks for a proxy, and for what is exempt from it.
fn environment(proxy: &str) -> Vec<(&'static str, String)> {
    let names = ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
    let exempt = ["NO_PROXY", "no_proxy"].map(|name| (name, String::new()));
    names.map(|name| (name, proxy.to_owned())).into_iter().chain(exempt).collect()
}

async fn check(config: &Config, environment: Vec<(&str, String)>) -> Output {
    let mut command = Command::new(program());
    command.arg("--config").arg(config.path()).args(["check", "--json"]).envs(environment).kill_on_drop(true);
    command.output().await.expect("the program starts").into()
}

/// The level and the text of what `check` found about something.
#[track_caller]
fn finding(output: &Output, what: &str) -> (String, String) {
    let document: Value = serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    let findings = document["findings"].as_array().expect("an array");
    let found = findings.iter().find(|finding| finding["what"] == what);
    let found = found.unwrap_or_else(|| panic!("nothing about {what}: {output:?}"));
    let text = |key: &str| found[key].as_str().unwrap_or_default().to_owned();
    (text("level"), text("says"))
}

#[tokio::test]
async fn a_proxy_that_the_environment_names_is_never_asked() {
    let refersion = Refersion::start().await;
    let api = Canned::start(401, "", "{}").await;
    let management = format!("management_url = \"{}\"", api.url().replace("http://", "http://me:mine@"));
    let config = Config::new(&shared_broker(), refersion.url(), &[("queue", &management)]);
    let proxy = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", proxy.local_addr().expect("bound"));

    let output = check(&config, environment(&url)).await;

    assert!(proxy.accept().now_or_never().is_none(), "somebody connected: {output:?}");
    assert_eq!(finding(&output, "account acme"), ("ok".to_owned(), "its keys work".to_owned()));
    let (_, said) = finding(&output, "policies");
    assert!(said.contains("status 401"), "the management API was asked: {said}");
}

#[tokio::test]
async fn a_proxy_that_is_configured_is_used_and_shown_without_its_password() {
    let refersion = Refersion::start().await;
    let proxy = Tap::before(refersion.address()).await;
    let line = format!("proxy_url = \"http://me:pw_hidden@{}\"", proxy.address());
    let config = Config::embedded("http://refersion.invalid/v2", &[("refersion", &line)]);

    let output = check(&config, Vec::new()).await;

    assert_eq!(finding(&output, "account acme").0, "ok", "{output:?}");
    let (level, said) = finding(&output, "refersion.base_url");
    let shown = format!("http://***@{}", proxy.address());
    assert_eq!(level, "warning");
    assert!(said.contains(&format!("through the proxy {shown}, which can read them")), "{said}");
    let document: Value = serde_json::from_str(&output.stdout).expect("JSON");
    assert_eq!(document["effective"]["refersion"]["proxy_url"], *shown);
    assert!(!format!("{output:?}").contains("pw_hidden"), "{output:?}");
    let requests = proxy.requests();
    assert!(!requests.is_empty() && requests.iter().all(|request| request.header("proxy-authorization").is_some()));
}

#[tokio::test]
async fn without_the_proxy_that_is_configured_no_keys_are_sent() {
    let refersion = Refersion::start().await;
    let config = Config::embedded(refersion.url(), &[("refersion", "proxy_url_file = \"/nowhere/proxy\"")]);

    let output = check(&config, Vec::new()).await;

    assert_eq!(finding(&output, "refersion.proxy_url").0, "failed");
    assert_eq!(finding(&output, "account acme").0, "warning");
    assert!(refersion.simulator.calls().is_empty());
    assert!(!output.stdout.contains("unknown.invalid"), "{output:?}");
}
