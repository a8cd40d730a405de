use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, anyhow};
use refersion_relay_model::KeyPair;
use refersion_relay_queue::{Queue as _, Sqlite, SqlitePath};
use refersion_relay_simulator::{FaultRule, Settings as SimulatorSettings, Simulator};
use refersion_relay_telemetry::Metrics;
use secrecy::ExposeSecret;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::folder::CONFIGURATION;
use crate::config::{self, AccountSettings, DirectoryKeys, QueueUrl, Settings};
use crate::exit::Exit;
use crate::parts;
use crate::run::role::{self, Roles, Running};
use crate::signals::Stop;

/// Everything of the product at once: doors, a worker, an embedded queue, and a Refersion that is simulated.
pub(super) struct Stage {
    pub(super) settings: Settings,
    pub(super) simulator: Simulator,
    /// Where events come in.
    pub(super) door: SocketAddr,
    /// Where metrics and health are.
    pub(super) ops: SocketAddr,
    /// The queue once more, as any other command has it: for its ledger and its dead letters.
    pub(super) queue: Arc<Sqlite>,
    running: Running,
    refersion: JoinHandle<()>,
    stop: Stop,
}

impl Stage {
    /// Starts everything on free ports, with the queue in `folder`.
    pub(super) async fn set(folder: &Path, faults: &[FaultRule], interrupted: &Stop) -> Result<Self, Exit> {
        let stop = interrupted.child();
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = TcpListener::bind(free).await.context("cannot listen for calls of Refersion");
        let listener = listener.map_err(Exit::Failed)?;
        let address = listener.local_addr().map_err(Exit::failed)?;
        let path = SqlitePath::parse("sqlite:relay.db", folder).map_err(Exit::failed)?;
        // Not the environment: a demo has to stay away from whatever it says.
        let settings = config::from_toml(CONFIGURATION).map_err(Exit::failed)?;
        let settings = Settings {
            queue_url: QueueUrl::Sqlite(path.clone()),
            ingest_listen: free,
            ops_listen: free,
            base_url: format!("http://{address}/v2"),
            directory: DirectoryKeys {
                path: settings.directory.path.as_ref().map(|path| folder.join(path)),
                key_file: folder.join(&settings.directory.key_file),
                ..settings.directory
            },
            ..settings
        };

        let keys = settings.accounts.iter().map(|account| pair(&account.keys)).collect();
        let simulator = Simulator::new(SimulatorSettings { keys, ..SimulatorSettings::default() });
        for fault in faults {
            simulator.add_fault(fault.clone());
        }
        let serving = {
            let (simulator, abort) = (simulator.clone(), stop.abort.clone());
            async move {
                if let Err(error) = simulator.serve(listener, abort).await {
                    tracing::error!("the simulated Refersion cannot listen: {error}");
                }
            }
        };
        let refersion = tokio::spawn(stop.parts.supervise("refersion", &stop.abort, serving));
        let running = role::start(&settings, Roles::BOTH, free, &stop).await?;
        let queue = Arc::new(parts::sqlite(&path, &settings, &Metrics::new(), &stop.parts));
        let door = running.ingest.ok_or_else(|| Exit::Failed(anyhow!("there is no door")))?;
        Ok(Self { door, ops: running.ops, settings, simulator, queue, running, refersion, stop })
    }

    pub(super) fn account(&self, name: &str) -> Option<&AccountSettings> {
        self.settings.accounts.iter().find(|account| account.name.as_str() == name)
    }

    /// Ends everything in good order: nothing new, then what is in flight, then Refersion.
    pub(super) async fn strike(self) -> Result<(), Exit> {
        self.stop.stop.cancel();
        self.queue.close().await;
        let ended = self.running.end(&self.settings, &self.stop).await;
        self.stop.abort.cancel();
        // It has nothing to say that would change anything now.
        let _ = self.refersion.await;
        ended
    }
}

fn pair(keys: &KeyPair) -> (String, String) {
    (keys.expose_public().to_owned(), keys.expose_secret().to_owned())
}

/// What senders of this account's events identify themselves with at the Direct Destination.
pub(super) fn joined(account: &AccountSettings) -> String {
    account.keys.expose_joined().expose_secret().to_owned()
}

/// The same at the door for batches.
pub(super) fn write_key(account: &AccountSettings) -> String {
    account.write_keys.first().map(|key| key.expose_secret().to_owned()).unwrap_or_default()
}
