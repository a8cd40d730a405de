//! What the doors bound, so that no sender can take from the others what all of them need: requests in a second, memory,
//! and connections.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::Request;
use refersion_relay_rate_limit::RateLimit;
use refersion_relay_telemetry::Metrics;
use tokio::time::Instant;

pub(crate) use crate::front::bodies::memory_budget::{Budget, Exhausted, Lent, Loan};
pub(crate) use crate::front::bodies::unpackers::{Undone, Unpackers};
use crate::front::client::Client;
use crate::front::connections::Visits;
pub(crate) use crate::front::connections::{Connections, Ticket};
use crate::front::proxies::Proxies;
pub use crate::front::proxies::{InvalidNetwork, Network};

use crate::front::bodies::body::discard;

/// How much the doors take at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Requests in a second, of everybody together. Zero: any number.
    pub max_requests_per_second: u32,
    /// Bytes of memory for bodies and what becomes of them.
    pub max_body_memory: usize,
    /// Open connections.
    pub max_connections: usize,
    /// Open connections of one client.
    pub max_connections_per_client: usize,
    /// Proxies that are believed about whom they forward for.
    pub trusted_proxies: Vec<Network>,
}

/// Watches over all the doors of a process.
pub struct Protection {
    requests: Mutex<RateLimit>,
    pub(crate) budget: Arc<Budget>,
    pub(crate) unpackers: Unpackers,
    pub(crate) connections: Arc<Connections>,
    visits: Arc<Visits>,
    proxies: Proxies,
}

/// The address that a request's connection came from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// Why a request is not taken now. It is fine as it is, so its sender hears when to send it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TurnedAway {
    /// Too many in a second; after so many seconds there is room for it.
    OverLimit(u64),
    /// There is no memory for it, or its client has too many requests in progress.
    Busy,
}

impl Protection {
    /// The metrics show what is in use and what is refused.
    #[must_use]
    pub fn new(bounds: Bounds, metrics: Metrics) -> Arc<Self> {
        let Bounds { max_requests_per_second, max_body_memory, .. } = bounds;
        Arc::new(Self {
            requests: requests(max_requests_per_second),
            budget: Budget::new(max_body_memory, metrics.clone()),
            unpackers: Unpackers::new(),
            connections: Connections::new(bounds.max_connections, bounds.max_connections_per_client, metrics),
            visits: Visits::new(bounds.max_connections_per_client),
            proxies: Proxies(bounds.trusted_proxies),
        })
    }

    /// The client whose connections a new one counts among. `None`: it is a trusted proxy's, whose clients are told apart
    /// by each request.
    pub(crate) fn client(&self, peer: IpAddr) -> Option<Client> {
        (!self.proxies.trust(peer)).then(|| Client::from(peer))
    }

    /// Lets a request in, before anything else is done with it. One that is not is read up to `limit` bytes, so that its
    /// sender gets to read the answer, and none of it is kept.
    pub(crate) async fn enter(&self, request: Request, limit: usize) -> Result<(Request, Visit), TurnedAway> {
        let entered = admitted(&self.requests).and_then(|()| self.visit(&request));
        match entered {
            Ok(visit) => Ok((request, visit)),
            Err(away) => {
                discard(request, limit).await;
                Err(away)
            }
        }
    }

    /// Requests through a trusted proxy are bounded for each of its clients as connections are for everybody else.
    fn visit(&self, request: &Request) -> Result<Visit, TurnedAway> {
        let peer = request.extensions().get::<Peer>().filter(|peer| self.proxies.trust(peer.0));
        match peer.and_then(|_| self.proxies.forwarded(request.headers())) {
            None => Ok(Visit(None)),
            Some(client) => self.visits.begin(client).map(|visit| Visit(Some(visit))).ok_or(TurnedAway::Busy),
        }
    }
}

/// A request that was let in. It counts until this is dropped.
pub(crate) struct Visit(
    #[expect(dead_code, reason = "it is held for its end")] Option<crate::front::connections::Visit>,
);

/// A bound on requests in a second. After a pause a second's worth comes at once. Zero: there is none.
pub(crate) fn requests(per_second: u32) -> Mutex<RateLimit> {
    Mutex::new(RateLimit::with_burst(NonZeroU32::new(per_second), Duration::from_secs(1)))
}

/// Whether a bound lets one through.
pub(crate) fn admitted(requests: &Mutex<RateLimit>) -> Result<(), TurnedAway> {
    let admitted = requests.lock().unwrap_or_else(PoisonError::into_inner).admit(Instant::now().into_std());
    admitted.map_err(|wait| TurnedAway::OverLimit(whole_seconds(wait)))
}

/// As `Retry-After` has them: rounded up.
fn whole_seconds(wait: Duration) -> u64 {
    (wait.as_secs() + u64::from(wait.subsec_nanos() != 0)).max(1)
}

impl From<Exhausted> for TurnedAway {
    fn from(_: Exhausted) -> Self {
        Self::Busy
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;
    use crate::doors::fake::bounds;

    fn request(peer: &str, forwarded: &str) -> Request {
        let mut request = Request::builder().header("x-forwarded-for", forwarded).body(Body::empty()).unwrap();
        request.extensions_mut().insert(Peer(peer.parse().unwrap()));
        request
    }

    #[tokio::test]
    async fn requests_through_a_trusted_proxy_are_bounded_for_each_of_its_clients() {
        let protection = Protection::new(bounds(), Metrics::new());
        let enter =
            async |peer, forwarded| protection.enter(request(peer, forwarded), 10).await.map(|(_, visit)| visit);
        let first = enter("10.0.0.1", "192.0.2.1").await.ok().unwrap();
        let _second = enter("10.0.0.2", "192.0.2.1").await.ok().unwrap();
        assert_eq!(enter("10.0.0.1", "192.0.2.1").await.err(), Some(TurnedAway::Busy));
        assert!(enter("10.0.0.1", "192.0.2.2").await.is_ok());
        assert!(enter("192.0.2.9", "192.0.2.1").await.is_ok(), "nobody believes a stranger about it");
        drop(first);
        assert!(enter("10.0.0.1", "192.0.2.1").await.is_ok());
    }

    #[test]
    fn the_connections_of_a_trusted_proxy_are_no_client_s() {
        let protection = Protection::new(bounds(), Metrics::new());
        assert_eq!(protection.client("10.1.2.3".parse().unwrap()), None);
        assert!(protection.client("192.0.2.1".parse().unwrap()).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_of_requests_says_in_whole_seconds_when_to_come_back() {
        let protection = Protection::new(Bounds { max_requests_per_second: 2, ..bounds() }, Metrics::new());
        for _ in 0..2 {
            assert!(protection.enter(request("192.0.2.1", ""), 10).await.is_ok());
        }
        assert_eq!(protection.enter(request("192.0.2.1", ""), 10).await.err(), Some(TurnedAway::OverLimit(1)));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(protection.enter(request("192.0.2.1", ""), 10).await.is_ok());
        assert_eq!(whole_seconds(Duration::from_millis(1_001)), 2);
        assert_eq!(whole_seconds(Duration::ZERO), 1);
    }
}
