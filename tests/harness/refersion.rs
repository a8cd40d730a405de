use std::net::SocketAddr;

use refersion_relay_simulator::{Affiliate, Fault, FaultRule, Operation, Settings, Simulator};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

/// A simulated Refersion on a free port. Ends with its handle.
pub struct Refersion {
    /// For faults, keys and what it has seen.
    pub simulator: Simulator,
    address: SocketAddr,
    url: String,
    _stop: DropGuard,
}

impl Refersion {
    /// Starts one that lets every key pair in.
    pub async fn start() -> Self {
        Self::start_with(Settings::default()).await
    }

    /// Starts one.
    ///
    /// # Panics
    /// When there is no free port.
    pub async fn start_with(settings: Settings) -> Self {
        let simulator = Simulator::new(settings);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let url = format!("http://{address}/v2");
        let stop = CancellationToken::new();
        tokio::spawn({
            let (simulator, stop) = (simulator.clone(), stop.clone());
            async move { simulator.serve(listener, stop).await }
        });
        Self { simulator, address, url, _stop: stop.drop_guard() }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// For the configuration.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The affiliates with this address.
    #[must_use]
    pub fn with_email(&self, email: &str) -> Vec<Affiliate> {
        self.simulator.affiliates().into_iter().filter(|affiliate| affiliate.email == email).collect()
    }

    /// The statuses of the affiliates with this address.
    #[must_use]
    pub fn statuses(&self, email: &str) -> Vec<&'static str> {
        self.with_email(email).iter().map(|affiliate| affiliate.status.as_str()).collect()
    }

    /// How many calls of an operation have arrived.
    #[must_use]
    pub fn count(&self, operation: Operation) -> usize {
        self.simulator.calls().iter().filter(|call| call.operation == operation).count()
    }

    /// Makes the next calls of an operation that mention `email` go wrong.
    pub fn fail(&self, operation: Operation, email: &str, times: Option<u64>, fault: Fault) {
        self.simulator.add_fault(FaultRule {
            operation: Some(operation),
            email_contains: Some(email.to_owned()),
            times,
            ..FaultRule::always(fault)
        });
    }
}
