use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;

/// How long a process may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// Asks a process at its ops listener, which speaks plain HTTP. Returns the status and the body, or why there is none.
pub(crate) async fn ask(ops: SocketAddr, path: &str, query: &[(&str, &str)]) -> Result<(u16, Bytes), String> {
    // Only the first call in a process has an effect; a provider somebody else installed is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut url = url::Url::parse(&format!("http://{}{path}", reachable(ops))).map_err(|error| error.to_string())?;
    if !query.is_empty() {
        url.query_pairs_mut().extend_pairs(query);
    }
    #[expect(clippy::disallowed_methods, reason = "with no_proxy()")]
    let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build();
    let response = client.map_err(|error| error.to_string())?.get(url.as_str()).send().await;
    let unanswered = |error: reqwest::Error| if error.is_timeout() { "no answer in 3 s" } else { "nobody answers" };
    let response = response.map_err(|error| unanswered(error).to_owned())?;
    let status = response.status().as_u16();
    Ok((status, response.bytes().await.map_err(|error| unanswered(error).to_owned())?))
}

/// Where a process that listens there can be reached on this machine.
pub(crate) fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}
