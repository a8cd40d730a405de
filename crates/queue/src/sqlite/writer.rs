use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use refersion_relay_model::AccountName;
use refersion_relay_supervise::Parts;
use refersion_relay_telemetry::Metrics;
use rusqlite::Connection;
use tokio::sync::oneshot::{self, error::RecvError};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::company::{self, Company};
use super::due;
use super::fault::{Cause, Fault};
use super::file::{BUSY_PATIENCE, File, Mode};
use super::lease::{Held, RENEW_EVERY};
use super::owner::Owners;
use super::path::SqlitePath;
use super::places::Places;
use super::pulse::Pulse;
use super::rights::Rights;
use super::status::Status;
use super::turn::{Lock, Turnstile};
use super::work::Work;
use crate::{Backoff, BrokerState};

/// What goes into one transaction, in events: more would only make those who came first wait.
const ROWS_AT_ONCE: usize = 2_000;
/// How long and how often to wait for those who share transactions: altogether about as long as a disk takes to store one.
const STRAGGLER_WAIT: Duration = Duration::from_micros(50);
const STRAGGLER_WAITS: usize = 4;
/// How often the file is looked at while somebody works it: for what other processes did, and what has become due.
const LOOK_EVERY: Duration = Duration::from_millis(25);
/// The same while nobody does.
const LOOK_IDLY_EVERY: Duration = Duration::from_millis(500);

/// How long the end waits for a disk. What was confirmed is on it.
const CLOSING: Duration = Duration::from_secs(10);

/// The one way to write into the file: everything is handed to a thread, which puts what has come in the meantime into one
/// transaction.
pub(crate) struct Writer {
    tasks: Mutex<Option<Sender<Box<dyn Task>>>>,
    state: watch::Receiver<BrokerState>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// Cancelled once the threads may end.
    stop: CancellationToken,
}

/// Something to be done within a transaction, whoever else's is in it.
trait Task: Send {
    /// How many events it is about, so that a transaction stays short.
    fn rows(&self) -> usize;
    fn haste(&self) -> Haste;
    fn run(&mut self, work: &mut Work<'_>) -> rusqlite::Result<()>;
    /// Hears whether everything in the transaction is on the disk.
    fn end(self: Box<Self>, stored: Result<(), Fault>);
}

/// How soon something has to be on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Haste {
    /// Somebody waits for it.
    Now,
    /// Under load it may wait for others, see [`company::WAIT`].
    WithOthers,
}

struct Closure<T, F> {
    rows: usize,
    haste: Haste,
    work: Option<F>,
    value: Option<T>,
    reply: oneshot::Sender<Result<T, Fault>>,
}

impl<T, F> Task for Closure<T, F>
where
    T: Send,
    F: FnOnce(&mut Work<'_>) -> rusqlite::Result<T> + Send,
{
    fn rows(&self) -> usize {
        self.rows
    }

    fn haste(&self) -> Haste {
        self.haste
    }

    fn run(&mut self, work: &mut Work<'_>) -> rusqlite::Result<()> {
        if let Some(run) = self.work.take() {
            self.value = Some(run(work)?);
        }
        Ok(())
    }

    fn end(self: Box<Self>, stored: Result<(), Fault>) {
        let Self { value, reply, .. } = *self;
        // Whoever asked may have gone away.
        let _ = reply.send(stored.and_then(|()| value.ok_or_else(lost)));
    }
}

fn lost() -> Fault {
    Fault::new(Cause::Broken, "the queue has ended")
}

impl Writer {
    /// Begins to open the file, and goes on for ever. When nothing could be written for as long as `patience`, it says so.
    pub(crate) fn start(
        path: SqlitePath,
        accounts: Arc<Mutex<Vec<AccountName>>>,
        owners: Arc<Owners>,
        metrics: Metrics,
        patience: Duration,
        parts: &Parts,
    ) -> Self {
        let (tasks, queue) = std::sync::mpsc::channel();
        let (status, state) = Status::new(path.clone(), metrics);
        let status = Arc::new(status);
        let stop = CancellationToken::new();
        let pulse = Pulse::watched_by(status.clone(), patience, parts, &stop);
        let thread = Thread::new(path, queue, owners, status, pulse, accounts);
        let thread = parts.thread("sqlite-writer", &stop, move || thread.run());
        Self { tasks: Mutex::new(Some(tasks)), state, thread: Mutex::new(thread), stop }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.state.borrow().is_up()
    }

    pub(crate) fn state(&self) -> watch::Receiver<BrokerState> {
        self.state.clone()
    }

    /// Hands something to the thread. It is done even if nobody waits for it any more.
    pub(crate) fn submit<T: Send + 'static>(
        &self,
        rows: usize,
        work: impl FnOnce(&mut Work<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> oneshot::Receiver<Result<T, Fault>> {
        self.hand_over(rows, Haste::Now, work)
    }

    fn hand_over<T: Send + 'static>(
        &self,
        rows: usize,
        haste: Haste,
        work: impl FnOnce(&mut Work<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> oneshot::Receiver<Result<T, Fault>> {
        let (reply, receiver) = oneshot::channel();
        let task = Box::new(Closure { rows, haste, work: Some(work), value: None, reply });
        if let Some(tasks) = self.tasks.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            // Without a thread the reply is dropped, and that is an answer.
            let _ = tasks.send(task);
        }
        receiver
    }

    /// Has the thread look around soon: somebody new wants something.
    pub(crate) fn nudge(&self) {
        drop(self.submit(0, |_| Ok(())));
    }

    /// Does something in a transaction, and resolves when that is on the disk.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        rows: usize,
        work: impl FnOnce(&mut Work<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Fault> {
        answer(self.submit(rows, work)).await
    }

    /// As [`Writer::run`], for one event whose settlement may wait for that of others.
    pub(crate) async fn settle<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Work<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Fault> {
        answer(self.hand_over(1, Haste::WithOthers, work)).await
    }

    /// Does what was handed over, gives the lease up and closes the file.
    pub(crate) async fn close(&self) {
        self.stop.cancel();
        drop(self.tasks.lock().unwrap_or_else(PoisonError::into_inner).take());
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let joined = tokio::task::spawn_blocking(move || thread.join());
            if tokio::time::timeout(CLOSING, joined).await.is_err() {
                tracing::warn!("the disk does not answer, so the queue is left as it is");
            }
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Waits for what was handed over.
pub(crate) async fn answer<T>(receiver: impl Future<Output = Result<Result<T, Fault>, RecvError>>) -> Result<T, Fault> {
    receiver.await.unwrap_or_else(|_| Err(lost()))
}

struct Thread {
    path: SqlitePath,
    tasks: Receiver<Box<dyn Task>>,
    owners: Arc<Owners>,
    status: Arc<Status>,
    pulse: Arc<Pulse>,
    /// Those that are configured.
    accounts: Arc<Mutex<Vec<AccountName>>>,
    /// Whether everything is there that does not come with the tables.
    is_prepared: bool,
    open: Option<Open>,
    /// What this thread does it does as the database's owner.
    rights: Option<Rights>,
    /// The lock beside the file. It outlives a file that has to be opened anew: without it the holder would look dead.
    worker: Option<Lock>,
    places: Places,
    retry: Backoff,
    retry_at: Instant,
    looked_at: Instant,
    /// Changes when another process has written.
    version: i64,
    lease: Lease,
    said_standing_by: bool,
    /// How many tasks the last transactions had, the latest above all.
    gathered: usize,
    company: Company,
}

/// The file, and the turnstile before it.
struct Open {
    file: File,
    turnstile: Turnstile,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lease {
    None,
    Ours { term: i64, renewed_at: Instant },
}

impl Thread {
    fn new(
        path: SqlitePath,
        tasks: Receiver<Box<dyn Task>>,
        owners: Arc<Owners>,
        status: Arc<Status>,
        pulse: Arc<Pulse>,
        accounts: Arc<Mutex<Vec<AccountName>>>,
    ) -> Self {
        Self {
            path,
            tasks,
            owners,
            status,
            pulse,
            accounts,
            is_prepared: false,
            open: None,
            rights: None,
            worker: None,
            places: Places::default(),
            retry: Backoff::new(Duration::from_millis(100), Duration::from_secs(2)),
            retry_at: Instant::now(),
            looked_at: Instant::now(),
            version: 0,
            lease: Lease::None,
            said_standing_by: false,
            gathered: 0,
            company: Company::default(),
        }
    }

    fn run(mut self) {
        // What may be wrong is found out before anybody asks.
        self.look();
        self.pulse.rests();
        loop {
            let every = if self.is_busy() { LOOK_EVERY } else { LOOK_IDLY_EVERY };
            match self.tasks.recv_timeout(every.saturating_sub(self.looked_at.elapsed())) {
                Ok(first) => self.transaction_of(first),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if every <= self.looked_at.elapsed() {
                self.look();
            }
            self.pulse.rests();
        }
        self.end_lease();
    }

    /// Whether somebody waits for what this thread has to find out.
    fn is_busy(&self) -> bool {
        self.owners.are_there() || self.lease != Lease::None || !self.status.is_up()
    }

    fn transaction_of(&mut self, first: Box<dyn Task>) {
        let mut tasks = vec![first];
        self.gather(&mut tasks);
        self.await_company(&mut tasks);
        self.await_stragglers(&mut tasks);
        // A file that is known to be unusable is tried at its own pace, not at that of its users.
        let stored = match self.fault_in_force() {
            Some(fault) => Err(fault),
            None => self.commit(|work| tasks.iter_mut().try_for_each(|task| task.run(work))),
        };
        for task in tasks {
            task.end(stored.clone());
        }
    }

    /// While everything there is may wait, waits for others.
    fn await_company(&mut self, tasks: &mut Vec<Box<dyn Task>>) {
        let is_enough = |tasks: &[Box<dyn Task>]| {
            company::ENOUGH <= tasks.len() || tasks.iter().any(|task| task.haste() == Haste::Now)
        };
        if is_enough(tasks) || !self.company.is_likely() {
            return;
        }
        let (before, until) = (tasks.len(), Instant::now() + company::WAIT);
        while !is_enough(tasks)
            && let Ok(task) = self.tasks.recv_timeout(until.saturating_duration_since(Instant::now()))
        {
            tasks.push(task);
        }
        self.company.came(tasks.len() - before);
    }

    /// Those who were in the last transactions have just heard of it, and most of them come again at once: waiting for
    /// them a little makes one transaction of two.
    fn await_stragglers(&mut self, tasks: &mut Vec<Box<dyn Task>>) {
        for _ in 0..STRAGGLER_WAITS {
            let before = tasks.len();
            if self.gathered <= before {
                break;
            }
            thread::sleep(STRAGGLER_WAIT);
            self.gather(tasks);
            if tasks.len() == before {
                break;
            }
        }
        self.gathered = tasks.len().max(self.gathered * 7 / 8);
    }

    /// Adds what is waiting, as far as it is not too much.
    fn gather(&self, tasks: &mut Vec<Box<dyn Task>>) {
        let mut rows: usize = tasks.iter().map(|task| task.rows()).sum();
        while rows < ROWS_AT_ONCE
            && let Ok(task) = self.tasks.try_recv()
        {
            rows += task.rows();
            tasks.push(task);
        }
    }

    fn fault_in_force(&self) -> Option<Fault> {
        match &*self.status.borrow() {
            BrokerState::Up => None,
            BrokerState::Away { why } => Some(Fault::new(Cause::Busy, why)),
            BrokerState::Mismatch { why } => Some(Fault::new(Cause::Unusable, why)),
            BrokerState::Blocked { why } => Some(Fault::new(Cause::Full, why)),
        }
    }

    /// Does something in a transaction of its own, and says what became of the file.
    fn commit(&mut self, work: impl FnOnce(&mut Work<'_>) -> rusqlite::Result<()>) -> Result<(), Fault> {
        self.pulse.begins();
        let committed = catch_unwind(AssertUnwindSafe(|| self.attempt(work)));
        let panicked = |_| Err(Fault::new(Cause::Broken, "the relay panicked while it wrote; its log has the place"));
        match committed.unwrap_or_else(panicked) {
            Ok(touched) => {
                self.retry.reset();
                self.pulse.begins();
                self.status.change(&BrokerState::Up);
                self.owners.something_at(&touched);
                Ok(())
            }
            Err(fault) => {
                self.places.clear();
                self.is_prepared = false;
                match fault.cause {
                    cause @ (Cause::Full | Cause::Busy | Cause::Gone) => self.roll_back(cause),
                    Cause::Broken | Cause::Unusable => self.open = None,
                }
                self.retry_at = Instant::now() + self.retry.next_wait();
                self.pulse.begins();
                self.status.change(&fault.state());
                Err(fault)
            }
        }
    }

    fn roll_back(&self, cause: Cause) {
        let Some(Open { file, .. }) = &self.open else { return };
        if !file.connection.is_autocommit() {
            let _ = file.connection.execute_batch("ROLLBACK");
        }
        if cause == Cause::Full {
            // What is in the log twice takes room. Where the log can be written back, deliveries can be settled, which makes more.
            let _ = file.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        }
    }

    fn attempt(&mut self, work: impl FnOnce(&mut Work<'_>) -> rusqlite::Result<()>) -> Result<BTreeSet<i64>, Fault> {
        let open = match self.open.take() {
            Some(open) => open,
            None => self.open_anew()?,
        };
        let Open { file, turnstile } = self.open.insert(open);
        file.is_in_place()?;
        begin(&file.connection, turnstile)?;
        let mut doing = Work::begin(&file.connection, &mut self.places)?;
        if !self.is_prepared {
            due::prepare(&file.connection)?;
            let accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner).clone();
            doing.admit(&accounts)?;
        }
        work(&mut doing)?;
        let touched = doing.end()?;
        execute(&file.connection, "COMMIT").map_err(Fault::while_committing)?;
        self.is_prepared = true;
        Ok(touched)
    }

    fn open_anew(&mut self) -> Result<Open, Fault> {
        // The owner may be another one by now, and only root can become that.
        self.rights = None;
        self.rights = Some(Rights::of_owner(&self.path)?);
        let open = Open::new(&self.path)?;
        if !self.worker.as_ref().is_some_and(|lock| lock.is_at(&self.path.beside("worker"))) {
            self.worker = Some(lock(&self.path, "worker")?);
        }
        Ok(open)
    }

    /// Looks after everything that nobody asks for.
    fn look(&mut self) {
        self.looked_at = Instant::now();
        self.pulse.begins();
        if !self.status.is_up() {
            if self.retry_at <= Instant::now() {
                // Only writing shows that the disk takes something.
                let _ = self.commit(|work| {
                    work.connection.prepare_cached("UPDATE state SET probes = probes + 1")?.execute([]).map(drop)
                });
            }
            if !self.status.is_up() {
                return;
            }
        }
        self.look_at_lease();
        if let Lease::Ours { .. } = self.lease {
            self.look_at_changes();
            self.look_at_due();
        }
    }

    /// Takes the lease when somebody here wants to work, keeps it while somebody does, and notices when it is lost.
    fn look_at_lease(&mut self) {
        let wanted = self.owners.are_there();
        match self.lease {
            Lease::None if wanted => self.take_lease(),
            Lease::None => {}
            Lease::Ours { .. } if !wanted => self.end_lease(),
            Lease::Ours { term, renewed_at } => {
                if RENEW_EVERY <= renewed_at.elapsed() {
                    // Asked each time: its file can have been another one when the lease was taken.
                    let locked = self.lock();
                    let mut ours = false;
                    let renewed = self.commit(|work| {
                        ours = work.renew_lease(term, locked, SystemTime::now())?;
                        Ok(())
                    });
                    if renewed.is_ok() && ours {
                        self.lease = Lease::Ours { term, renewed_at: Instant::now() };
                    } else if renewed.is_ok() {
                        self.lose_lease();
                    }
                }
            }
        }
    }

    fn take_lease(&mut self) {
        let locked = self.lock();
        let mut taken = None;
        // Looked at before, so that whoever stands by does not keep the holder from writing.
        let over = self.open.as_ref().map(|open| Held::read(&open.file.connection));
        if let Some(Ok(held)) = over
            && !held.is_over(locked, SystemTime::now())
        {
            return self.stand_by(locked);
        }
        let holder = format!("process {}", std::process::id());
        let trying = self.commit(|work| {
            taken = work.take_lease(&holder, locked, SystemTime::now())?;
            Ok(())
        });
        match (trying, taken) {
            (Ok(()), Some(term)) => {
                if std::mem::take(&mut self.said_standing_by) {
                    tracing::info!("the other process is gone: working the queue now");
                }
                self.lease = Lease::Ours { term, renewed_at: Instant::now() };
                self.owners.lease.send_replace(Some(term));
            }
            (Ok(()), None) => self.stand_by(locked),
            (Err(_), _) => self.unlock(),
        }
    }

    fn stand_by(&mut self, locked: bool) {
        if locked {
            self.unlock();
        }
        if !std::mem::replace(&mut self.said_standing_by, true) {
            tracing::info!("another process works the queue: standing by");
        }
    }

    fn end_lease(&mut self) {
        if let Lease::Ours { term, .. } = self.lease {
            let _ = self.commit(|work| work.end_lease(term));
            self.lease = Lease::None;
            self.owners.lease.send_replace(None);
            self.unlock();
        }
    }

    /// Somebody else has taken the lease, because this process was silent for too long.
    fn lose_lease(&mut self) {
        tracing::warn!("another process has taken the queue over: what is in hand here comes again there");
        self.lease = Lease::None;
        self.owners.lease.send_replace(None);
        self.owners.lease_lost();
        self.unlock();
    }

    fn lock(&self) -> bool {
        self.worker.as_ref().is_some_and(|lock| lock.take().unwrap_or(false))
    }

    fn unlock(&self) {
        if let Some(lock) = &self.worker {
            lock.give_back();
        }
    }

    fn look_at_changes(&mut self) {
        let Some(open) = &self.open else { return };
        let version = open.file.connection.pragma_query_value(None, "data_version", |row| row.get(0));
        if let Ok(version) = version
            && version != self.version
        {
            self.version = version;
            self.owners.something_somewhere();
        }
    }

    fn look_at_due(&mut self) {
        let now = SystemTime::now();
        let Some(open) = &self.open else { return };
        if due::is_anything(&open.file.connection, now).is_ok_and(|is| is) {
            let mut ahead = 0;
            let moved = self.commit(|work| {
                ahead = work.let_due(now)?;
                Ok(())
            });
            if moved.is_ok() && 0 < ahead {
                tracing::warn!(
                    events = ahead,
                    "the clock was set back: what would have waited longer than its delay is worked now"
                );
            }
        }
    }
}

impl Drop for Thread {
    /// However it ends, nothing can be taken or settled any more.
    fn drop(&mut self) {
        self.owners.lease_lost();
        self.owners.lease.send_replace(None);
    }
}

impl Open {
    fn new(path: &SqlitePath) -> Result<Self, Fault> {
        let file = File::open(path, Mode::Write)?;
        Ok(Self { file, turnstile: Turnstile::new(lock(path, "turn")?) })
    }
}

fn lock(path: &SqlitePath, suffix: &str) -> Result<Lock, Fault> {
    let beside = path.beside(suffix);
    Lock::open(&beside, path.as_path())
        .map_err(|error| Fault::new(Cause::Broken, format!("{} cannot be made: {error}", beside.display())))
}

/// Begins a transaction that writes, when it is our turn.
fn begin(connection: &Connection, turnstile: &Turnstile) -> Result<(), Fault> {
    let entered = turnstile.enter(BUSY_PATIENCE);
    let failed = |error| Fault::new(Cause::Broken, format!("the lock beside the file cannot be taken: {error}"));
    if !entered.map_err(failed)? {
        return Err(Fault::new(Cause::Busy, "another process keeps the file locked"));
    }
    let begun = execute(connection, "BEGIN IMMEDIATE");
    turnstile.leave();
    begun
}

fn execute(connection: &Connection, sql: &str) -> Result<(), Fault> {
    connection.prepare_cached(sql).and_then(|mut statement| statement.execute([])).map(drop).map_err(Fault::from)
}

#[cfg(test)]
mod instructions;
