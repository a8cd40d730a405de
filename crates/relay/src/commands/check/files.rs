use refersion_relay_queue::ManagementUrl;
use refersion_relay_refersion::{ProxyUrl, is_loopback};

use super::finding::Finding;
use crate::config::{Examined, Secret, SecretState, Settings};

/// A word about the configuration's file and about each secret.
pub(super) fn findings(examined: &Examined) -> Vec<Finding> {
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
    let origin = file.as_ref().map_or_else(|| "its value".to_owned(), |file| file.display().to_string());
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
pub(super) fn management_url(settings: &Settings) -> Option<Finding> {
    let exposed = settings.management_url.as_ref().is_some_and(ManagementUrl::is_exposed);
    exposed.then(|| Finding::warning("queue.management_url", "a password travels unencrypted: use https"))
}

/// The same of a proxy's password.
pub(super) fn proxy_url(settings: &Settings) -> Option<Finding> {
    let exposed = settings.proxy.as_ref().is_some_and(ProxyUrl::is_exposed);
    exposed.then(|| Finding::warning("refersion.proxy_url", "its password travels unencrypted: use https"))
}

/// Whether the keys travel encrypted, and through whom.
pub(super) fn base_url(examined: &Examined) -> Finding {
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
