use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The orderly end and the hasty one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stop {
    /// Take nothing new, finish what is in flight.
    pub(crate) stop: CancellationToken,
    /// Cut off what is in flight.
    pub(crate) abort: CancellationToken,
}

impl Stop {
    /// The first SIGTERM or SIGINT stops, the second aborts.
    pub(crate) fn on_signals() -> std::io::Result<Self> {
        let stop = Self::default();
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        tokio::spawn({
            let stop = stop.clone();
            async move {
                for token in [&stop.stop, &stop.abort] {
                    tokio::select! {
                        _ = terminate.recv() => {}
                        _ = interrupt.recv() => {}
                    }
                    token.cancel();
                }
            }
        });
        Ok(stop)
    }
}
