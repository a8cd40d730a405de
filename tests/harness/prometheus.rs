use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Instant;

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::{PATIENCE, Relay, eventually, http_client};

const RULES: &str = include_str!("../../deploy/prometheus/rules.yml");

/// A Prometheus that watches processes of a test, with the rules of this repository. It asks once a second, evaluates once a second,
/// and a minute in which an alert has to last is two seconds. Ends with its handle.
pub struct Prometheus {
    _child: Child,
    _folder: TempDir,
    address: SocketAddr,
    http: reqwest::Client,
    /// When it had seen every process. What it thought before does not count.
    began: Instant,
}

impl Prometheus {
    /// Starts one, and waits until it has evaluated all rules over what it was told.
    ///
    /// # Panics
    /// When it cannot be started: `tests/run` installs it.
    pub async fn watching(relays: &[&Relay]) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let targets: Vec<_> = relays.iter().map(|relay| format!("'{}'", relay.ops_door())).collect();
        let config = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: [rules.yml]\nscrape_configs:\n  - job_name: \
             refersion-relay\n    static_configs: [{{targets: [{}]}}]\n",
            targets.join(", ")
        );
        std::fs::write(folder.path().join("rules.yml"), hasty(RULES)).expect("the folder is ours");
        std::fs::write(folder.path().join("prometheus.yml"), config).expect("the folder is ours");
        let mut command = Command::new("prometheus");
        command.current_dir(folder.path()).args(["--config.file=prometheus.yml", "--storage.tsdb.path=data"]);
        command.arg("--web.listen-address=127.0.0.1:0").stdin(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().expect("prometheus is missing: run tests/run --prepare");
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let address = async {
            while let Ok(Some(line)) = lines.next_line().await {
                if let Some((_, address)) = line.split_once("msg=\"Listening on\" address=") {
                    return address.trim().parse().ok();
                }
            }
            None
        };
        let address = tokio::time::timeout(PATIENCE, address).await.ok().flatten().expect("it says where it listens");
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let http = http_client().build().expect("a client");
        let mut prometheus = Self { _child: child, _folder: folder, address, http, began: Instant::now() };
        let ready = "unless on () ALERTS and on () refersion_relay:accepted:objective";
        let all = format!("count(up == 1) == {} {ready}", relays.len());
        eventually("Prometheus sees every process", || async { !prometheus.query(&all).await.is_empty() }).await;
        prometheus.began = Instant::now();
        prometheus
    }

    /// What a query has for a result now: the labels and the value of each sample.
    ///
    /// # Panics
    /// When it is no query.
    pub async fn query(&self, query: &str) -> Vec<(Value, f64)> {
        let mut url = reqwest::Url::parse(&format!("http://{}/api/v1/query", self.address)).expect("an address");
        url.query_pairs_mut().append_pair("query", query);
        let Ok(response) = self.http.get(url).send().await else { return Vec::new() };
        let status = response.status();
        let body: Value = serde_json::from_slice(&response.bytes().await.unwrap_or_default()).unwrap_or_default();
        assert!(status.is_success() || status == 503, "{query}: {body}");
        let result = &body["data"]["result"];
        let samples = if body["data"]["resultType"] == "scalar" {
            vec![(Value::Null, result[1].clone())]
        } else {
            let samples = result.as_array().cloned().unwrap_or_default();
            samples.into_iter().map(|sample| (sample["metric"].clone(), sample["value"][1].clone())).collect()
        };
        samples
            .into_iter()
            .map(|(labels, value)| (labels, value.as_str().unwrap_or_default().parse().unwrap_or(f64::NAN)))
            .collect()
    }

    /// Every alert that has fired since it had seen every process, without `RefersionRelay`, in the order of their names.
    pub async fn fired(&self) -> Vec<String> {
        let seconds = self.began.elapsed().as_secs().max(1);
        let firing = r#"count_over_time(ALERTS{alertstate="firing"}"#;
        let fired = self.query(&format!("count by (alertname) ({firing}[{seconds}s]))")).await;
        let names = fired.iter().filter_map(|(labels, _)| labels["alertname"].as_str()?.strip_prefix("RefersionRelay"));
        let mut names: Vec<_> = names.map(str::to_owned).collect();
        names.sort();
        names
    }

    /// Waits until an alert has fired for ten evaluations.
    pub async fn until_firing(&self, alert: &str) {
        let query =
            format!(r#"count_over_time(ALERTS{{alertname="RefersionRelay{alert}",alertstate="firing"}}[1h]) >= 10"#);
        eventually(&format!("{alert} fires"), || async { !self.query(&query).await.is_empty() }).await;
    }

    /// Waits until so many evaluations have passed in all.
    pub async fn until_evaluated(&self, times: u32) {
        let query = format!("count_over_time(refersion_relay:accepted:objective[1h]) >= {times}");
        eventually("rules are evaluated", || async { !self.query(&query).await.is_empty() }).await;
    }
}

/// The same rules, where a minute that an alert has to last is two seconds. Windows are what they are.
fn hasty(rules: &str) -> String {
    let lines = rules.lines().map(|line| {
        let (indent, key) = line.split_at(line.len() - line.trim_start().len());
        let minutes = |value: &str| {
            let (number, unit) = value.split_at(value.len() - 1);
            let number: u32 = number.parse().expect("a duration");
            number * if unit == "h" { 60 } else { 1 }
        };
        match key.split_once(": ") {
            Some(("interval", _)) => format!("{indent}interval: 1s"),
            Some(("for", value)) => format!("{indent}for: {}s", 2 * minutes(value)),
            _ => line.to_owned(),
        }
    });
    lines.collect::<Vec<_>>().join("\n") + "\n"
}
