use std::net::SocketAddr;

use refersion_relay_simulator::{Affiliate, Fault, FaultRule, Operation, Settings, Simulator};
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A simulated Refersion on a free port. Ends with its handle.
pub struct Refersion {
    /// For faults, keys and what it has seen.
    pub simulator: Simulator,
    address: SocketAddr,
    url: String,
    there: There,
}

/// Whether anybody listens.
enum There {
    Serving(JoinHandle<std::io::Result<()>>),
    /// The port is kept, so that nobody else gets it, and connections are refused.
    Away(TcpSocket),
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
        let there = There::Serving(serve(&simulator, listener));
        Self { simulator, address, url: format!("http://{address}/v2"), there }
    }

    /// Ends it as a crash would: every connection is cut, and new ones are refused. What it knows it keeps.
    ///
    /// # Panics
    /// When it is away already.
    pub async fn kill(&mut self) {
        let There::Serving(serving) = &mut self.there else { panic!("it is away already") };
        serving.abort();
        let _ = serving.await;
        let socket = TcpSocket::new_v4().expect("a socket");
        // Needed for the connections that used to be here.
        socket.set_reuseaddr(true).expect("a socket");
        socket.bind(self.address).expect("the port was ours");
        self.there = There::Away(socket);
    }

    /// Starts it again, on the same port.
    ///
    /// # Panics
    /// When it is not away.
    pub fn restart(&mut self) {
        // Connections are refused until the very moment in which somebody listens.
        let there = std::mem::replace(&mut self.there, There::Serving(tokio::spawn(async { Ok(()) })));
        let There::Away(socket) = there else { panic!("it is not away") };
        let listener = socket.listen(1_024).expect("the port is ours");
        self.there = There::Serving(serve(&self.simulator, listener));
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

    /// The operations that were called for events, in order. Besides, it is asked whether keys work.
    #[must_use]
    pub fn operations(&self) -> Vec<Operation> {
        let calls = self.simulator.calls().into_iter().map(|call| call.operation);
        calls.filter(|operation| *operation != Operation::List).collect()
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

fn serve(simulator: &Simulator, listener: TcpListener) -> JoinHandle<std::io::Result<()>> {
    let simulator = simulator.clone();
    tokio::spawn(async move { simulator.serve(listener, CancellationToken::new()).await })
}

impl Drop for Refersion {
    fn drop(&mut self) {
        if let There::Serving(serving) = &self.there {
            serving.abort();
        }
    }
}
