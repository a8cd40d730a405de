use std::error::Error;
use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::run::look::Look;

/// How often it is read. Files are read, not watched: that sees every way in which editors and orchestrators replace one.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long reading may take: a file may be on a share that does not answer.
const READING: Duration = Duration::from_secs(5);

/// Something in files that is read every second, and at once after a SIGHUP.
///
/// It counts once it was read twice alike, so that a file that is being written is left alone; after a SIGHUP once is enough.
pub(crate) struct Watched<T> {
    /// What it is called.
    what: &'static str,
    look: Look<Result<T, String>>,
    hangups: Signal,
    /// What was read last.
    seen: Option<Result<T, String>>,
    /// The last complaint, which is not repeated.
    said: Option<String>,
}

/// What counts now.
pub(crate) struct Reading<T> {
    /// What the files have, or why there is nothing in them.
    pub(crate) now: Result<T, String>,
    /// Whether a person has asked for it.
    pub(crate) asked: bool,
}

impl<T: Clone + PartialEq + Send + 'static> Watched<T> {
    pub(crate) fn new<E: Error>(
        what: &'static str,
        read: impl Fn() -> Result<T, E> + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let look = Look::new(move || read().map_err(|error| chain(&error)));
        Ok(Self { what, look, hangups: signal(SignalKind::hangup())?, seen: None, said: None })
    }

    /// Waits for the next time that something counts: every second, while nothing changes.
    pub(crate) async fn next(&mut self) -> Reading<T> {
        loop {
            let asked = tokio::select! {
                Some(()) = self.hangups.recv() => true,
                () = tokio::time::sleep(LOOK_EVERY) => false,
            };
            let late = || Err(format!("reading {} takes longer than {} s", self.what, READING.as_secs()));
            let now = self.look.take(READING).await.unwrap_or_else(late);
            let counts = asked || self.seen.as_ref() == Some(&now);
            self.seen = Some(now.clone());
            if counts {
                return Reading { now, asked };
            }
        }
    }
}

impl<T> Watched<T> {
    /// Says once what is wrong, or whenever somebody asks.
    pub(crate) fn complain(&mut self, why: String, asked: bool) {
        if asked || self.said.as_ref() != Some(&why) {
            tracing::error!("{why}");
            self.said = Some(why);
        }
    }

    /// Forgets the last complaint. Returns whether there was one.
    pub(crate) fn is_fine(&mut self) -> bool {
        self.said.take().is_some()
    }

    #[cfg(test)]
    pub(crate) fn said(&self) -> Option<&str> {
        self.said.as_deref()
    }
}

/// The whole chain of an error in one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    // Several mistakes in the configuration have lines of their own.
    text.replace("\n  ", "; ")
}
