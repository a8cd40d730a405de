use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};

use crate::directory::Remembered;
use crate::store::{DirectoryError, Rows, Store, day};

/// Tasks in one transaction.
const TOGETHER: usize = 1_000;
/// How often it looks whether somebody else has written to the file, and how much it holds.
const LOOK: Duration = Duration::from_secs(1);
/// Rows up to which they are counted at each look; more are counted once in so many looks.
const QUICKLY_COUNTED: u64 = 10_000;
const SLOWLY: u32 = 60;

/// What reads and writes the file of a [`Directory`](crate::Directory).
pub struct Writer {
    pub(crate) store: Store,
    pub(crate) requests: mpsc::Receiver<Task>,
    pub(crate) remembered: Arc<Remembered>,
    pub(crate) counted: watch::Sender<Rows>,
    pub(crate) keep: Duration,
}

/// Work to do within a transaction, and who waits for it. Of a transaction that could not begin it hears why.
pub(crate) struct Task(Box<Work>);

type Work = dyn FnOnce(Result<&Store, DirectoryError>) -> Done + Send;

/// To be called when the transaction has ended.
type Done = Box<dyn FnOnce(Result<(), DirectoryError>) + Send>;

impl Task {
    /// `then` is called once it is on the disk, before the answer is given.
    pub(crate) fn new<T: Send + 'static>(
        work: impl FnOnce(&Store) -> Result<T, DirectoryError> + Send + 'static,
        then: impl FnOnce(&T) + Send + 'static,
        answer: oneshot::Sender<Result<T, DirectoryError>>,
    ) -> Self {
        Self(Box::new(move |store| {
            let done = store.and_then(|store| store.one_of_several(work));
            Box::new(move |committed| {
                let done = committed.and(done);
                if let Ok(done) = &done {
                    then(done);
                }
                // Who asked may have gone.
                let _ = answer.send(done);
            })
        }))
    }
}

impl Writer {
    /// Does what is asked for until nobody can ask any more. Blocks; has to be within the context of a runtime.
    pub fn run(mut self, runtime: &Handle) {
        let (mut version, mut today) = (self.store.data_version().ok(), day(SystemTime::now()));
        let (mut looked, mut looks) = (Instant::now(), 0_u32);
        let mut together = Vec::with_capacity(TOGETHER);
        loop {
            let received = runtime
                .block_on(async { tokio::time::timeout(LOOK, self.requests.recv_many(&mut together, TOGETHER)).await });
            match received {
                Ok(0) => return,
                Ok(_) => self.work(&mut together),
                Err(_) => {}
            }
            let now = self.store.data_version().ok();
            if now != version {
                // Somebody else may have forgotten people.
                self.remembered.clear();
                if let Ok(erased) = self.store.erased() {
                    self.remembered.set_erased(erased);
                    version = now;
                }
            }
            if LOOK <= looked.elapsed() {
                (looked, looks) = (Instant::now(), looks.wrapping_add(1));
                self.count(looks);
                if self.remembered.has_erased() && self.store.clear_log().is_ok() {
                    self.remembered.log_is_clear();
                }
                let day = day(SystemTime::now());
                if day != today && self.store.expire(self.keep, SystemTime::now()).is_ok() {
                    today = day;
                    // To be read again.
                    version = None;
                }
            }
        }
    }

    fn count(&self, looks: u32) {
        let is_quick = self.counted.borrow().addresses < QUICKLY_COUNTED;
        if (is_quick || looks.is_multiple_of(SLOWLY))
            && let Ok(rows) = self.store.rows()
        {
            self.counted.send_replace(rows);
        }
    }

    /// What cannot be stored, nobody's answer says to be.
    fn work(&mut self, together: &mut Vec<Task>) {
        let mut done = Vec::with_capacity(together.len());
        let committed = self.store.whole(|store| {
            done.extend(together.drain(..).map(|Task(work)| work(Ok(store))));
            Ok(())
        });
        for done in done {
            done(committed.clone());
        }
        if let Err(error) = committed {
            // It could not begin.
            together.drain(..).for_each(|Task(work)| work(Err(error.clone()))(Ok(())));
        }
    }
}
