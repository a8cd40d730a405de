use std::time::Duration;

use anyhow::Context;
use refersion_relay_simulator::{FaultRule, Settings, Simulator};
use tokio::net::TcpListener;

use crate::cli::SimulateArgs;
use crate::exit::Exit;
use crate::output::output::say;
use crate::signals::Stop;

pub(super) async fn run(args: SimulateArgs) -> Result<(), Exit> {
    let keys =
        args.key.iter().map(|key| key.split_once('.').map(|(public, secret)| (public.to_owned(), secret.to_owned())));
    let keys = keys.collect::<Option<Vec<_>>>().context("--key has to be public.secret").map_err(Exit::Usage)?;
    let faults = args.fault.iter().map(|rule| serde_json::from_str::<FaultRule>(rule)).collect::<Result<Vec<_>, _>>();
    let faults = faults.context("--fault is not a fault rule").map_err(Exit::Usage)?;
    let latency = Duration::from_millis(args.latency_ms);
    let simulator = Simulator::new(Settings { keys, page_size: args.page_size, latency, ..Settings::default() });
    for fault in faults {
        simulator.add_fault(fault);
    }
    let listener = TcpListener::bind(args.listen).await;
    let listener = listener.with_context(|| format!("cannot listen at {}", args.listen)).map_err(Exit::Failed)?;
    let address = listener.local_addr().map_err(Exit::failed)?;
    let stop = Stop::on_signals().map_err(Exit::failed)?;
    say!("a simulated Refersion listens at http://{address}/v2")?;
    simulator.serve(listener, stop.stop.clone()).await.map_err(Exit::failed)?;
    stop.verdict()
}
