use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use refersion_relay_private_broker::PrivateBroker;
use refersion_relay_simulator::{Fault, Operation};
use refersion_relay_tests::{Admin, Config, Network, Proxy, Refersion, Relay, eventually, program};
use serde_json::Value;
use tokio::process::Command;
use tokio::sync::{Mutex, RwLock};

/// The processes of an installation with everything between them, each of which can fail.
pub(super) struct Installation {
    pub(super) refersion: Refersion,
    pub(super) to_refersion: Proxy,
    pub(super) broker: Option<Broker>,
    pub(super) ingest: RwLock<Role>,
    /// Two of them: one works while the other is killed, or stands by.
    pub(super) workers: [RwLock<Role>; 2],
    config: Config,
}

/// A broker, with a network for those who publish and one for each worker.
pub(super) struct Broker {
    pub(super) node: Mutex<PrivateBroker>,
    pub(super) to_ingest: Proxy,
    pub(super) to_workers: [Proxy; 2],
    url: String,
}

/// A process that is started again when it was killed.
pub(super) struct Role {
    name: &'static str,
    broker: Option<SocketAddr>,
    /// `None` only while it is replaced.
    process: Option<Relay>,
}

impl Role {
    fn new(name: &'static str, broker: Option<&Proxy>, config: &Config) -> Self {
        let mut role = Self { name, broker: broker.map(Proxy::address), process: None };
        role.start(config);
        role
    }

    pub(super) fn start(&mut self, config: &Config) {
        let mut command = Command::new(program());
        command.arg("--config").arg(config.path()).arg(self.name);
        if let Some(broker) = self.broker {
            command.env("RELAY__QUEUE__URL", format!("amqp://guest:guest@{broker}/%2f"));
        }
        self.process = Some(Relay::launch_as(command));
    }

    pub(super) fn process(&self) -> &Relay {
        self.process.as_ref().expect("it runs")
    }

    /// Waits for the end of one that was killed.
    pub(super) async fn reap(&mut self) {
        self.process.take().expect("it runs").kill().await;
    }
}

impl Installation {
    /// A broker of its own, an ingest and two workers, configured with these edits.
    pub(super) async fn on_rabbitmq(edits: &[(&str, &str)]) -> Self {
        let node = PrivateBroker::start().await.expect("a broker");
        let address = SocketAddr::from(([127, 0, 0, 1], node.port()));
        let [to_ingest, first, second] =
            [Proxy::before(address).await, Proxy::before(address).await, Proxy::before(address).await];
        let broker = Broker { url: node.url(), node: Mutex::new(node), to_ingest, to_workers: [first, second] };
        Self::with(Some(broker), edits).await
    }

    /// An ingest and two workers on one file, of which one stands by.
    pub(super) async fn embedded(edits: &[(&str, &str)]) -> Self {
        Self::with(None, edits).await
    }

    async fn with(broker: Option<Broker>, edits: &[(&str, &str)]) -> Self {
        let refersion = Refersion::start().await;
        let no = Fault::status(422, Some(r#"{"errors":["Value exceed the char limit'"]}"#));
        refersion.fail(Operation::New, "refusedforgood", None, no);
        let address = refersion.address();
        let to_refersion = Proxy::before(address).await;
        let url = format!("http://{}/v2", to_refersion.address());
        let more = [("queue", "confirm_timeout = \"1s\""), ("log", "")];
        let config = match &broker {
            Some(broker) => Config::new(&broker.url, &url, &more),
            None => Config::embedded(&url, &more[1..]),
        };
        config.edit("name = \"acme\"\n", "name = \"acme\"\non_existing = \"update\"\n");
        config.edit("filter = \"debug\"\n", "filter = \"info\"\n");
        for (part, by) in edits {
            config.edit(part, by);
        }
        let ingest = Role::new("ingest", broker.as_ref().map(|broker| &broker.to_ingest), &config);
        let workers =
            [0, 1].map(|index| Role::new("worker", broker.as_ref().map(|broker| &broker.to_workers[index]), &config));
        let workers = workers.map(RwLock::new);
        let installation = Self { refersion, to_refersion, broker, ingest: RwLock::new(ingest), workers, config };
        installation.until_ready().await;
        installation
    }

    pub(super) fn has_broker(&self) -> bool {
        self.broker.is_some()
    }

    pub(super) fn has_directory(&self) -> bool {
        self.config.folder().join("directory.db").exists()
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    /// Posts an event; `None` when the door does not answer.
    pub(super) async fn post(&self, key: &str, event: Vec<u8>) -> Option<u16> {
        let ingest = self.ingest.read().await;
        ingest.process().try_post(key, event).await.map(|answer| answer.status)
    }

    /// Waits until every process can do its work again.
    pub(super) async fn until_ready(&self) {
        self.ingest.read().await.process().until_ready().await;
        for worker in &self.workers {
            worker.read().await.process().until_ready().await;
        }
    }

    /// Waits until no event is anywhere but among the dead.
    pub(super) async fn until_nothing_waits(&self) {
        let Some(broker) = &self.broker else {
            eventually("nothing waits", || async { self.config.ledger().await["waiting"] == 0 }).await;
            return;
        };
        let admin = Admin::of(&broker.url, &self.config).await;
        eventually("nothing waits", || async {
            let mut waiting = admin.replayed().await;
            for queue in ["retry.1m", "retry.10m", "retry.1h"] {
                waiting += admin.ready(queue).await;
            }
            for worker in &self.workers {
                let in_hand = worker.read().await.process().metric("refersion_relay_worker_in_hand").await;
                waiting += usize::try_from(in_hand).expect("a count");
            }
            waiting == 0
        })
        .await;
    }

    /// The addresses of the dead letters, whatever they died of.
    pub(super) async fn dead_letters(&self) -> BTreeSet<String> {
        let output = self.config.command(&["dlq", "export", "--events"]).await;
        assert_eq!(output.code, Some(0), "{output:?}");
        let email = |line: &str| {
            let event: Value = serde_json::from_str(line).expect("JSON");
            let email = event["traits"]["email"].as_str().or(event["email"].as_str());
            email.expect("an address").to_owned()
        };
        output.stdout.lines().map(email).collect()
    }

    /// What `check --conservation` says of every event. Nothing may have moved for some seconds.
    pub(super) async fn sum(&self) -> String {
        let output = self.config.command(&["check", "--conservation", "--json"]).await;
        let document: Value = serde_json::from_str(&output.stdout).expect("JSON");
        if document["conservation"]["holds"] != true {
            println!("it does not add up:\n{}", self.describe().await);
        }
        assert_eq!(document["conservation"]["holds"], true, "{output:?}");
        let findings = document["findings"].as_array().expect("a list");
        let said = findings.iter().find(|finding| finding["what"] == "conservation").expect("it says so");
        said["says"].as_str().expect("words").to_owned()
    }

    /// Where everything is, for whoever has to find out why nothing goes on.
    pub(super) async fn describe(&self) -> String {
        let mut text = String::new();
        if let Some(broker) = &self.broker {
            let node = broker.node.lock().await;
            let queues = "list_queues name state leader online messages_ready messages_unacknowledged consumers";
            for command in [queues, "list_consumers"] {
                let arguments: Vec<_> = command.split(' ').collect();
                let said = node.ctl(&arguments).await;
                let said = said.unwrap_or_else(|error| error.to_string());
                text.extend(["rabbitmqctl ", command, "\n", &said, "\n"]);
            }
        }
        for worker in &self.workers {
            let page = worker.read().await.process().metrics().await;
            text.extend(page.lines().filter(|line| !line.starts_with('#')).map(|line| format!("{line}\n")));
        }
        text
    }

    /// How often Refersion was called.
    pub(super) fn calls(&self) -> u64 {
        self.refersion.simulator.stats().calls.values().map(|operation| operation.total).sum()
    }

    /// Nobody reaches the broker for a while.
    pub(super) async fn cut_the_broker_off(&self, wait: Duration) {
        let broker = self.broker.as_ref().expect("there is a broker");
        let [first, second] = &broker.to_workers;
        for network in [&broker.to_ingest, first, second] {
            network.set(Network::Refusing);
        }
        tokio::time::sleep(wait).await;
        for network in [&broker.to_ingest, first, second] {
            network.set(Network::Fine);
        }
    }
}
