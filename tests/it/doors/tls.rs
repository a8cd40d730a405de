//! The doors with TLS of their own.

use std::path::PathBuf;

use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use refersion_relay_tests::{Config, IDENTIFY, PATIENCE, Refersion, Relay, eventually, http_client};
use reqwest::{Certificate, Client, Version};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const KEY: &str = "pub_1.sec_1";

/// A certificate for `localhost` with its key, as PEM.
pub(crate) struct Pair {
    chain: String,
    key: String,
}

impl Pair {
    pub(crate) fn until(year: i32) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(year, 1, 1));
        let chain = params.self_signed(&key).expect("a certificate").pem();
        Self { chain, key: key.serialize_pem() }
    }

    /// Where the configuration of `config` has them.
    fn paths(config: &Config) -> [PathBuf; 2] {
        ["tls.pem", "tls.key"].map(|name| config.folder().join(name))
    }

    /// The lines of the configuration that name them.
    fn lines(config: &Config) -> [String; 2] {
        let [chain, key] = Self::paths(config);
        [format!("tls_certificate_file = \"{}\"", chain.display()), format!("tls_key_file = \"{}\"", key.display())]
    }

    fn write(&self, config: &Config) {
        let [chain, key] = Self::paths(config);
        std::fs::write(chain, &self.chain).expect("written");
        std::fs::write(key, &self.key).expect("written");
    }

    /// A sender that trusts this certificate and no other.
    fn client(&self) -> Client {
        let certificate = Certificate::from_pem(self.chain.as_bytes()).expect("PEM");
        // A connection for each request, so that each sees the certificate of its time.
        let builder = http_client().tls_certs_only([certificate]).pool_max_idle_per_host(0);
        builder.build().expect("a client")
    }
}

/// A configuration whose listener has the certificate.
pub(crate) fn config(refersion_url: &str, pair: &Pair) -> Config {
    let config = Config::embedded(refersion_url, &[("ingest", "# tls")]);
    pair.write(&config);
    config.edit("# tls", &Pair::lines(&config).join("\n"));
    config
}

/// The status and the version of HTTP, or none where there was no answer.
async fn post(client: &Client, relay: &Relay) -> Option<(u16, Version)> {
    let url = format!("https://localhost:{}/v1/destination", relay.door().port());
    let response = client.post(url).basic_auth(KEY, Some("")).body(IDENTIFY).send().await.ok()?;
    Some((response.status().as_u16(), response.version()))
}

const TAKEN: Option<(u16, Version)> = Some((202, Version::HTTP_11));

#[tokio::test]
async fn an_event_comes_in_by_https_and_by_nothing_else() {
    let refersion = Refersion::start().await;
    let pair = Pair::until(2040);
    let config = config(refersion.url(), &pair);
    let relay = Relay::start("run", &config).await;

    assert_eq!(post(&pair.client(), &relay).await, TAKEN);
    eventually("peter exists", || async { refersion.with_email("peter@example.com").len() == 1 }).await;
    assert_eq!(post(&Pair::until(2040).client(), &relay).await, None, "who trusts another one sends nothing");
    assert!(relay.try_post(KEY, IDENTIFY.to_vec()).await.is_none(), "nothing is taken unencrypted");
    let failed = r#"refersion_relay_ingest_connections_refused_total{reason="handshake"}"#;
    eventually("both are counted", || async { relay.metric(failed).await == 2 }).await;
}

#[tokio::test]
async fn a_new_certificate_is_shown_without_a_restart_and_a_bad_one_changes_nothing() {
    let refersion = Refersion::start().await;
    let (old, new) = (Pair::until(2040), Pair::until(2041));
    let config = config(refersion.url(), &old);
    let relay = Relay::start("ingest", &config).await;
    assert_eq!(post(&old.client(), &relay).await, TAKEN);

    let mixed = Pair { chain: new.chain.clone(), key: old.key.clone() };
    mixed.write(&config);
    let bad = "the certificate was not read again, what was in force still is";
    eventually("it is said", || async { relay.log().contains(bad) }).await;
    assert!(relay.log().contains("the key does not belong to the certificate"), "{}", relay.log());
    assert_eq!(post(&old.client(), &relay).await, TAKEN);

    new.write(&config);
    eventually("the new one is shown", || async { post(&new.client(), &relay).await == TAKEN }).await;
    assert_eq!(post(&old.client(), &relay).await, None);
    assert!(relay.log().contains("valid until 2041-01-01T00:00:00Z"), "{}", relay.log());
    assert_eq!(relay.log().matches(bad).count(), 1, "it is said once");
}

/// What `check` says about the certificate: its level and its words.
async fn checked(config: &Config) -> (String, String) {
    let output = config.command(&["check", "--json"]).await;
    let document: Value = serde_json::from_str(&output.stdout).expect("a JSON document");
    let findings = document["findings"].as_array().expect("findings");
    let finding = findings.iter().find(|finding| finding["what"] == "ingest.tls_certificate_file").expect("a finding");
    let text = |key: &str| finding[key].as_str().expect("text").to_owned();
    (text("level"), text("says"))
}

#[tokio::test]
async fn check_looks_at_the_certificate_and_its_key() {
    let refersion = Refersion::start().await;
    let (fine, expired) = (Pair::until(2040), Pair::until(2021));
    let mixed = Pair { chain: fine.chain.clone(), key: expired.key.clone() };
    let config = config(refersion.url(), &fine);
    let cases = [
        (&fine, "ok", "valid until 2040-01-01"),
        (&expired, "failed", "expired at 2021-01-01"),
        (&mixed, "failed", "does not belong to the certificate"),
    ];
    for (pair, expected, part) in cases {
        pair.write(&config);
        let (level, says) = checked(&config).await;
        assert!(level == expected && says.contains(part), "{level} {says}");
    }
    std::fs::remove_file(&Pair::paths(&config)[1]).expect("it is there");
    let (level, says) = checked(&config).await;
    assert!(level == "failed" && says.contains("tls.key"), "{level} {says}");
}

#[tokio::test]
async fn what_cannot_be_used_ends_the_start_with_2_and_what_is_missing_is_named() {
    let refersion = Refersion::start().await;
    let config = config(refersion.url(), &Pair::until(2040));
    let [chain, key] = Pair::lines(&config);
    std::fs::write(&Pair::paths(&config)[1], "nonsense").expect("written");
    let output = config.command(&["ingest"]).await;
    assert!(output.code == Some(2) && output.stderr.contains("no private key"), "{output:?}");

    config.edit(&key, "");
    let output = config.command(&["ingest"]).await;
    assert!(output.code == Some(2) && output.stderr.contains("ingest.tls_key_file is missing"), "{output:?}");

    config.edit(&chain, "");
    config.edit("listen = \"127.0.0.1:0\"\n\n", "listen = \"0.0.0.0:0\"\n\n");
    let output = config.command(&["ingest"]).await;
    assert!(output.code == Some(2) && output.stderr.contains("must not travel unencrypted"), "{output:?}");
}

#[tokio::test]
async fn who_connects_and_agrees_on_nothing_is_let_go() {
    let (refersion, pair) = (Refersion::start().await, Pair::until(2040));
    let config = config(refersion.url(), &pair);
    let relay = Relay::start("run", &config).await;
    let mut silent = TcpStream::connect(relay.door()).await.expect("it listens");
    let mut plain = TcpStream::connect(relay.door()).await.expect("it listens");
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").await.expect("sent");

    for stream in [&mut plain, &mut silent] {
        let ended = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut Vec::new())).await;
        // An end or a reset, whichever it is.
        assert!(ended.is_ok(), "it is not kept for ever");
    }

    let refused = r#"refersion_relay_ingest_connections_refused_total{reason="handshake"}"#;
    eventually("both are counted", || async { relay.metric(refused).await == 2 }).await;
    assert_eq!(post(&pair.client(), &relay).await, TAKEN);
}
