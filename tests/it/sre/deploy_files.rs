//! What is generated below `deploy/` is what the repository would generate now, and each query finds data.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use refersion_relay_simulator::{Fault, FaultRule, Operation};
use refersion_relay_tests::{Config, Prometheus, Refersion, Relay, delete, eventually, identify};

use super::dashboards::DASHBOARDS;

/// Set to `write`, the test writes the files instead of comparing them.
const WRITE: &str = "RELAY_TEST_DEPLOY";

#[test]
fn what_is_generated_below_deploy_is_not_stale() {
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy");
    let rules = std::fs::read_to_string(deploy.join("prometheus/rules.yml")).expect("the file is in the repository");
    let rule = deploy.join("kubernetes/prometheus-operator/prometheus-rule.yaml");
    let mut files: Vec<(PathBuf, String)> = vec![(rule, prometheus_rule(&rules))];
    files.extend(DASHBOARDS.iter().map(|board| (deploy.join("grafana/dashboards").join(board.file), board.json())));
    for (path, text) in files {
        if std::env::var(WRITE).as_deref() == Ok("write") {
            std::fs::write(&path, text).expect("the folder is there");
            continue;
        }
        let there = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(there == text, "{} is stale: run {WRITE}=write tests/run deploy_is_not_stale", path.display());
    }
}

#[test]
fn the_configuration_of_prometheus_is_valid() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/prometheus/prometheus.yml");
    let checked = Command::new("promtool").args(["check", "config"]).arg(file).output();
    let checked = checked.expect("tests/run installs promtool");
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}

#[test]
fn the_secrets_of_compose_are_made_once() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/compose/make-secrets");
    std::fs::copy(script, folder.path().join("make-secrets")).expect("it is in the repository");
    let made = || {
        let made = Command::new("bash").arg(folder.path().join("make-secrets")).output().expect("bash is there");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let files = std::fs::read_dir(folder.path().join("secrets")).expect("they are made").flatten();
        let read = |file: std::fs::DirEntry| (file.file_name(), std::fs::read_to_string(file.path()).expect("text"));
        files.map(read).collect::<BTreeMap<_, _>>()
    };
    let first = made();
    assert!(4 <= first.len() && first.values().all(|secret| !secret.trim().is_empty()), "{first:?}");
    assert_eq!(first, made(), "none is made again");
}

/// The same rules as an object of Prometheus' operator for Kubernetes.
fn prometheus_rule(rules: &str) -> String {
    let (_, groups) = rules.split_once("\ngroups:\n").expect("groups");
    let mut object = "\
# Generated from ../../prometheus/rules.yml, which says what is in it; edit that file.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: refersion-relay
  labels:
    app.kubernetes.io/name: refersion-relay
spec:
  groups:
"
    .to_owned();
    for line in groups.lines() {
        object.push_str(if line.is_empty() { "" } else { "  " });
        object.push_str(line);
        object.push('\n');
    }
    object
}

#[tokio::test]
async fn every_query_of_the_dashboards_and_the_rules_finds_data_after_a_loaded_run() {
    let refersion = Refersion::start().await;
    let config = Config::embedded(refersion.url(), &[("retry", "in_hand = \"1s\"")]);
    let relay = Relay::start("run", &config).await;
    let prometheus = Prometheus::watching(&[&relay]).await;
    // Something of everything: calls that fail, people who are refused, deletes.
    refersion.simulator.add_fault(FaultRule {
        operation: Some(Operation::New),
        times: Some(3),
        ..FaultRule::always(Fault::Reset)
    });
    for n in 0..40 {
        let email = format!("person{n}@example.com");
        assert_eq!(relay.post(1, identify(&email)).await.status, 202);
        assert_eq!(relay.post(1, delete(&email)).await.status, 202);
        assert_eq!(relay.post(2, identify(&email)).await.status, 202);
    }
    assert_eq!(relay.post(1, "{").await.status, 400);
    assert_eq!(
        relay.post_batch("write_1", r#"{"batch":[{"type":"track"},{"type":"identify","email":"x"}]}"#).await.status,
        200
    );
    eventually("everything has ended", || async { relay.metric("refersion_relay_worker_ended_total").await >= 120 })
        .await;
    // A rate takes two samples of what appears with the first event.
    for late in ["refersion_relay_events_delivered_total", "refersion_relay_attempts_failed_total"] {
        let scraped = format!("count_over_time({late}[1m]) >= 3");
        eventually("it is scraped", || async { !prometheus.query(&scraped).await.is_empty() }).await;
    }

    let mut empty = Vec::new();
    for dashboard in &DASHBOARDS {
        for (panel, query) in dashboard.queries() {
            if prometheus.query(&query).await.is_empty() {
                empty.push(format!("{panel}: {query}"));
            }
        }
    }
    let rules = include_str!("../../../deploy/prometheus/rules.yml");
    for selector in selectors(rules) {
        // A bug, a role of its own, and TLS are not part of this run.
        let is_elsewhere = ["status=\"500\"", "role=~\"run|ingest\"", "certificate_expiry"];
        if prometheus.query(&selector).await.is_empty() && !is_elsewhere.iter().any(|part| selector.contains(part)) {
            empty.push(selector);
        }
    }
    assert_eq!(empty, Vec::<String>::new(), "queries without data");
}

/// Every selector in the rules: a metric of the relay or a process, with its matchers.
fn selectors(rules: &str) -> Vec<String> {
    let mut selectors = Vec::new();
    let lines = rules.lines().map(str::trim).filter(|line| !line.starts_with('#') && !line.starts_with("- record"));
    for line in lines.filter(|line| !line.starts_with("summary") && !line.starts_with("runbook_url")) {
        for start in ["refersion_relay_", "process_"] {
            for (at, _) in line
                .match_indices(start)
                .filter(|(at, _)| !line[..*at].ends_with(|c: char| c == '_' || c.is_alphanumeric()))
            {
                let rest = &line[at..];
                let name = &rest[..rest.find(|c: char| c != '_' && !c.is_ascii_alphanumeric()).unwrap_or(rest.len())];
                let matchers = rest[name.len()..].strip_prefix('{').and_then(|rest| rest.split_once('}'));
                selectors.push(matchers.map_or(name.to_owned(), |(matchers, _)| format!("{name}{{{matchers}}}")));
            }
        }
    }
    selectors.sort();
    selectors.dedup();
    selectors
}
