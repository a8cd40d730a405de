use refersion_relay_broker_doctor::ManagementUrl;
use refersion_relay_refersion::{ProxyUrl, is_loopback};

use super::finding::Finding;
use crate::config::{Examined, Secret, SecretFile, SecretState, Settings};

/// A word about the configuration's file and about each secret.
pub(crate) fn findings(examined: &Examined) -> Vec<Finding> {
    let path = examined.path.display();
    let file = if examined.shows_secrets {
        Finding::warning(
            "configuration",
            format!(
                "{path} has secrets in it and every user of this machine can read it: chmod o-r, or use …_file keys"
            ),
        )
    } else {
        Finding::ok("configuration", format!("{path} is understood"))
    };
    std::iter::once(file).chain(examined.secrets.iter().map(secret)).collect()
}

fn secret(secret: &Secret) -> Finding {
    let Secret { key, file, state, is_shown } = secret;
    // A name that is not shown may be the secret itself.
    let path = file.as_ref().and_then(SecretFile::shown);
    let origin = path.unwrap_or_else(|| if file.is_some() { "its file" } else { "its value" }.to_owned());
    match state {
        SecretState::Unreadable(why) => Finding::failed(key, format!("{origin} cannot be read: {why}")),
        SecretState::Empty => Finding::failed(key, format!("{origin} is empty")),
        SecretState::HasWhitespace => {
            Finding::warning(key, format!("{origin} has spaces or line breaks within it: is that all of one secret?"))
        }
        SecretState::Fine if *is_shown => {
            Finding::warning(key, format!("every user of this machine can read {origin}: chmod o-r"))
        }
        SecretState::Fine if file.is_some() => Finding::ok(key, format!("{origin} was read")),
        SecretState::Fine => Finding::ok(key, "is in the configuration or the environment"),
    }
}

/// Said only where a password would leave this machine unencrypted.
pub(crate) fn management_url(settings: &Settings) -> Option<Finding> {
    let exposed = settings.management_url.as_ref().is_some_and(ManagementUrl::is_exposed);
    exposed.then(|| Finding::warning("queue.management_url", "a password travels unencrypted: use https"))
}

/// The same of a proxy's password.
pub(crate) fn proxy_url(settings: &Settings) -> Option<Finding> {
    let exposed = settings.proxy.as_ref().is_some_and(ProxyUrl::is_exposed);
    exposed.then(|| Finding::warning("refersion.proxy_url", "its password travels unencrypted: use https"))
}

/// Whether the keys travel encrypted, and through whom.
pub(crate) fn base_url(examined: &Examined) -> Finding {
    let what = "refersion.base_url";
    let settings = &examined.settings;
    let url = url::Url::parse(&settings.base_url).ok();
    let plain = url.as_ref().is_some_and(|url| url.scheme() == "http");
    let proxy = settings.proxy.as_ref().filter(|_| examined.knows_way());
    if url.as_ref().is_some_and(is_loopback) {
        let unused = if proxy.is_some() { ", and the proxy is not used" } else { "" };
        return Finding::ok(what, format!("the keys stay on this machine{unused}"));
    }
    let through = |which| proxy.map(|proxy| format!(", through the proxy {proxy}{which}")).unwrap_or_default();
    if plain {
        Finding::warning(what, format!("the keys travel unencrypted{}: use https", through(", which can read them")))
    } else {
        Finding::ok(what, format!("the keys travel encrypted{}", through("")))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use super::super::effective;
    use super::super::tls;
    use super::*;
    use crate::config;

    #[tokio::test]
    async fn a_secret_in_the_place_of_its_file_is_in_no_finding_and_no_value() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("relay.toml");
        let text = "[ingest]\ntls_certificate_file = \"tls.pem\"\n\
                    tls_key_file = \"-----BEGIN PRIVATE KEY-----\\ns3cr3t/s3cr3t\"\n\
                    [queue]\nmanagement_url_file = \"https://relay:s3cr3t@broker\"\n\
                    [[account]]\nname = \"acme\"\npublic_key = \"pub\"\nsecret_key_file = \"s3cr3t1\"\n\
                    write_key_files = [\"s3cr3t2\"]\n";
        fs::write(&path, text).unwrap();
        fs::write(folder.path().join("tls.pem"), "").unwrap();
        let examined = config::examine(Some(&path)).unwrap();
        let files = examined.settings.tls.as_ref().unwrap();

        let mut said: Vec<_> = findings(&examined).iter().map(ToString::to_string).collect();
        said.extend(tls::look(files, Duration::from_secs(30)).await.iter().map(ToString::to_string));
        let said = said.join("\n");

        assert!(said.contains("Then the key is secret_key, without _file"), "{said}");
        assert!(said.contains("cannot read ingest.tls_key_file: there is no file of that name"), "{said}");
        let values = effective::effective(&examined).to_string();
        assert_eq!(values.matches(r#"_file":"***""#).count(), 3, "{values}");
        assert!(!said.contains("s3cr3t") && !values.contains("s3cr3t"), "{said}\n{values}");
    }
}
