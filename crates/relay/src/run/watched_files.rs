use std::error::Error;
use std::io;
use std::time::Duration;

use refersion_relay_telemetry::ReloadState;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::run::look::Look;

/// How often it is read. Files are read, not watched: that sees every way in which editors and orchestrators replace one.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long reading may take: a file may be on a share that does not answer.
const READING: Duration = Duration::from_secs(5);

/// Something in files that is read every second, and at once after a SIGHUP.
///
/// It counts once it was read twice alike, so that a file that is being written is left alone; after a SIGHUP once is enough.
pub(crate) struct WatchedFiles<T> {
    /// What it is called.
    what: &'static str,
    look: Look<Result<T, String>>,
    hangups: Signal,
    /// What was read last.
    seen: Option<Result<T, String>>,
    /// The last complaint, which is not repeated.
    said: Option<String>,
    /// Shows whether there is one.
    state: ReloadState,
}

/// One look at the files.
pub(crate) struct Reading<T> {
    /// What they have, or why there is nothing in them.
    pub(crate) now: Result<T, String>,
    /// Whether it counts.
    pub(crate) counts: bool,
    /// Whether a person has asked for it.
    pub(crate) asked: bool,
}

impl<T: Clone + PartialEq + Send + 'static> WatchedFiles<T> {
    pub(crate) fn new<E: Error>(
        what: &'static str,
        state: ReloadState,
        read: impl Fn() -> Result<T, E> + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let look = Look::new(move || read().map_err(|error| chain(&error)));
        Ok(Self { what, look, hangups: signal(SignalKind::hangup())?, seen: None, said: None, state })
    }

    /// Waits for the next look.
    pub(crate) async fn next(&mut self) -> Reading<T> {
        let asked = tokio::select! {
            Some(()) = self.hangups.recv() => true,
            () = tokio::time::sleep(LOOK_EVERY) => false,
        };
        let late = || Err(format!("reading {} takes longer than {} s", self.what, READING.as_secs()));
        let now = self.look.take(READING).await.unwrap_or_else(late);
        let counts = asked || self.seen.as_ref() == Some(&now);
        self.seen = Some(now.clone());
        Reading { now, counts, asked }
    }
}

impl<T> WatchedFiles<T> {
    /// Says once what is wrong, or whenever somebody asks.
    pub(crate) fn complain(&mut self, why: String, asked: bool) {
        self.state.set(false);
        if asked || self.said.as_ref() != Some(&why) {
            tracing::error!("{why}");
            self.said = Some(why);
        }
    }

    /// Forgets the last complaint. Returns whether there was one.
    pub(crate) fn is_fine(&mut self) -> bool {
        self.state.set(true);
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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use refersion_relay_telemetry::{Metrics, Reloaded};

    use super::*;

    /// Something that is what it is told to be.
    fn watched(values: &[Result<u8, &'static str>]) -> WatchedFiles<u8> {
        let values = Mutex::new(values.iter().rev().copied().collect::<Vec<_>>());
        let read = move || values.lock().unwrap().pop().unwrap().map_err(io::Error::other);
        WatchedFiles::new("a number", Metrics::new().reload_state(Reloaded::Configuration), read).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_read_twice_alike_counts() {
        let mut watched = watched(&[Ok(1), Ok(1), Ok(2), Err("gone"), Err("gone"), Ok(2), Ok(2)]);
        let mut counted = Vec::new();
        for _ in 0..7 {
            let Reading { now, counts, asked } = watched.next().await;
            assert!(!asked);
            if counts {
                counted.push(now);
            }
        }
        assert_eq!(counted, [Ok(1), Err("gone".to_owned()), Ok(2)]);
    }

    #[tokio::test]
    async fn a_complaint_is_said_once_and_whenever_somebody_asks() {
        let mut watched = watched(&[]);
        assert!(!watched.is_fine());
        watched.complain("it is gone".to_owned(), false);
        assert_eq!(watched.said(), Some("it is gone"));
        assert!(watched.is_fine() && !watched.is_fine());
    }
}
