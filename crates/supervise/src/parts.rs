use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use futures_util::FutureExt;
use tokio_util::sync::CancellationToken;

use crate::{Failure, How};

/// The parts of something that works as a whole or not at all. When the first one ends unasked, the whole is told to stop.
///
/// A part may return once it was asked to end. It never may panic.
#[derive(Clone, Debug, Default)]
pub struct Parts(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// Of a whole process: what tells all of it to stop.
    stop: Option<CancellationToken>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    failure: Option<Failure>,
    /// What these belong to.
    whole: Option<Parts>,
}

impl Parts {
    /// Those of a whole process. A failure is said in the log, and `stop` is cancelled.
    #[must_use]
    pub fn new(stop: CancellationToken) -> Self {
        Self(Arc::new(Shared { stop: Some(stop), state: Mutex::default() }))
    }

    /// From now on these are parts of `whole`, and so is what has failed among them before.
    pub fn belong_to(&self, whole: &Self) {
        let failure = {
            let mut state = self.lock();
            state.whole = Some(whole.clone());
            state.failure.clone()
        };
        if let Some(failure) = failure {
            whole.fail(failure);
        }
    }

    /// The first failure, if there was one.
    #[must_use]
    pub fn failure(&self) -> Option<Failure> {
        self.lock().failure.clone()
    }

    /// Runs a part that goes on until it is `asked` to end. Dropping this is asking too.
    pub fn supervise<F: Future<Output = ()>>(
        &self,
        name: &str,
        asked: &CancellationToken,
        part: F,
    ) -> impl Future<Output = ()> + use<F> {
        let (parts, name, asked) = (self.clone(), name.to_owned(), asked.clone());
        async move {
            let ended = AssertUnwindSafe(run(&name, part)).catch_unwind().await;
            parts.ended(name, asked.is_cancelled(), ended);
        }
    }

    /// Runs something that may end by itself.
    pub fn errand<F: Future<Output = ()>>(&self, name: &str, errand: F) -> impl Future<Output = ()> + use<F> {
        let (parts, name) = (self.clone(), name.to_owned());
        async move {
            let ended = AssertUnwindSafe(run(&name, errand)).catch_unwind().await;
            parts.ended(name, true, ended);
        }
    }

    /// The same as [`Parts::supervise`] on a thread of its own, which has the part's name. `None`: there is no thread, which
    /// is a failure too.
    pub fn thread(
        &self,
        name: &'static str,
        asked: &CancellationToken,
        part: impl FnOnce() + Send + 'static,
    ) -> Option<JoinHandle<()>> {
        let (parts, asked) = (self.clone(), asked.clone());
        let begun = thread::Builder::new().name(name.to_owned()).spawn(move || {
            let ended = catch_unwind(AssertUnwindSafe(|| run_thread(name, part)));
            parts.ended(name.to_owned(), asked.is_cancelled(), ended);
        });
        let failure = |error: &std::io::Error| Failure { part: name.to_owned(), how: How::NotBegun(error.to_string()) };
        begun.inspect_err(|error| self.fail(failure(error))).ok()
    }

    fn ended(&self, part: String, may_return: bool, ended: Result<(), Box<dyn Any + Send>>) {
        match ended {
            Ok(()) if may_return => {}
            Ok(()) => self.fail(Failure { part, how: How::Returned }),
            Err(payload) => self.fail(Failure { part, how: How::panicked(payload.as_ref()) }),
        }
    }

    fn fail(&self, failure: Failure) {
        let whole = {
            let mut state = self.lock();
            if state.failure.is_some() {
                return; // others that end now end because of the first one
            }
            state.failure = Some(failure.clone());
            state.whole.clone()
        };
        if let Some(stop) = &self.0.stop {
            tracing::error!(part = failure.part, "{failure}; this process ends, with exit code 1");
            stop.cancel();
        }
        if let Some(whole) = whole {
            whole.fail(failure);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(debug_assertions)]
async fn run(name: &str, part: impl Future<Output = ()>) {
    tokio::select! {
        biased;
        () = crate::fault::end(name) => {}
        () = part => {}
    }
}

#[cfg(not(debug_assertions))]
async fn run(_: &str, part: impl Future<Output = ()>) {
    part.await;
}

#[cfg(debug_assertions)]
fn run_thread(name: &str, part: impl FnOnce()) {
    if !crate::fault::ends_thread(name) {
        part();
    }
}

#[cfg(not(debug_assertions))]
fn run_thread(_: &str, part: impl FnOnce()) {
    part();
}

#[cfg(test)]
mod tests;
