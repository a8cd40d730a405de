use anyhow::anyhow;
use refersion_relay_supervise::Parts;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::exit::Exit;

/// The orderly end and the hasty one.
#[derive(Clone, Debug)]
#[expect(clippy::struct_field_names, reason = "the orderly end is the stop")]
pub(crate) struct Stop {
    /// Take nothing new, finish what is in flight.
    pub(crate) stop: CancellationToken,
    /// Cut off what is in flight.
    pub(crate) abort: CancellationToken,
    /// What the process consists of. It stops when one of them ends unasked.
    pub(crate) parts: Parts,
}

impl Stop {
    /// The first SIGTERM or SIGINT stops, the second aborts.
    pub(crate) fn on_signals() -> std::io::Result<Self> {
        let (stop, abort) = (CancellationToken::new(), CancellationToken::new());
        let stop = Self { parts: Parts::new(stop.clone()), stop, abort };
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let tokens = [stop.stop.clone(), stop.abort.clone()];
        tokio::spawn(stop.supervise("signals", async move {
            for token in tokens {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                token.cancel();
            }
        }));
        Ok(stop)
    }

    /// Of something within the process that can also be stopped by itself.
    pub(crate) fn child(&self) -> Self {
        Self { stop: self.stop.child_token(), abort: self.abort.child_token(), parts: self.parts.clone() }
    }

    /// Runs a part until the stop.
    pub(crate) fn supervise<F: Future<Output = ()>>(&self, name: &str, part: F) -> impl Future<Output = ()> + use<F> {
        self.parts.supervise(name, &self.stop, part)
    }

    /// Why a command does not come to its end.
    pub(crate) fn reason(&self) -> Exit {
        self.verdict().err().unwrap_or_else(|| Exit::Failed(anyhow!("interrupted")))
    }

    /// Whether every part ended because it was asked to. What did not is in the log.
    pub(crate) fn verdict(&self) -> Result<(), Exit> {
        if self.parts.failure().is_some() { Err(Exit::Said) } else { Ok(()) }
    }
}
