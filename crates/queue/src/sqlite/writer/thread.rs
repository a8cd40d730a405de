use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use refersion_relay_model::AccountName;
use rusqlite::Connection;

use super::lease::{Held, RENEW_EVERY};
use super::status::Status;
use super::task::{Haste, Task};
use crate::sqlite::file::fault::{Cause, Fault};
use crate::sqlite::file::file::{BUSY_PATIENCE, File, Mode};
use crate::sqlite::file::path::SqlitePath;
use crate::sqlite::file::rights::Rights;
use crate::sqlite::owner::Owners;
use crate::sqlite::store::due;
use crate::sqlite::store::places::Places;
use crate::sqlite::store::work::Work;
use crate::sqlite::writer::group_commit::{self, GroupCommit};
use crate::sqlite::writer::heartbeat::Heartbeat;
use crate::sqlite::writer::write_queue::{Lock, WriteQueue};
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

/// The thread that writes: transaction after transaction, and in between whatever nobody asks for.
pub(super) struct Thread {
    path: SqlitePath,
    tasks: Receiver<Box<dyn Task>>,
    owners: Arc<Owners>,
    status: Arc<Status>,
    heartbeat: Arc<Heartbeat>,
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
    group_commit: GroupCommit,
}

/// The file, and the queue before it.
struct Open {
    file: File,
    write_queue: WriteQueue,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lease {
    None,
    Ours { term: i64, renewed_at: Instant },
}

impl Thread {
    pub(super) fn new(
        path: SqlitePath,
        tasks: Receiver<Box<dyn Task>>,
        owners: Arc<Owners>,
        status: Arc<Status>,
        heartbeat: Arc<Heartbeat>,
        accounts: Arc<Mutex<Vec<AccountName>>>,
    ) -> Self {
        Self {
            path,
            tasks,
            owners,
            status,
            heartbeat,
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
            group_commit: GroupCommit::new(),
        }
    }

    pub(super) fn run(mut self) {
        // What may be wrong is found out before anybody asks.
        self.look();
        self.heartbeat.rests();
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
            self.heartbeat.rests();
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
            group_commit::ENOUGH <= tasks.len() || tasks.iter().any(|task| task.haste() == Haste::Now)
        };
        if is_enough(tasks) {
            return;
        }
        let Some(wait) = self.group_commit.wait() else { return };
        let (before, until) = (tasks.len(), Instant::now() + wait);
        while !is_enough(tasks)
            && let Ok(task) = self.tasks.recv_timeout(until.saturating_duration_since(Instant::now()))
        {
            tasks.push(task);
        }
        self.group_commit.came(tasks.len() - before);
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
            BrokerState::Connecting => Some(Fault::new(Cause::Busy, "not opened yet")),
            BrokerState::Away { why } => Some(Fault::new(Cause::Busy, why)),
            BrokerState::Mismatch { why } => Some(Fault::new(Cause::Unusable, why)),
            BrokerState::Blocked { why } => Some(Fault::new(Cause::Full, why)),
        }
    }

    /// Does something in a transaction of its own, and says what became of the file.
    fn commit(&mut self, work: impl FnOnce(&mut Work<'_>) -> rusqlite::Result<()>) -> Result<(), Fault> {
        self.heartbeat.begins();
        let committed = catch_unwind(AssertUnwindSafe(|| self.attempt(work)));
        let panicked = |_| Err(Fault::new(Cause::Broken, "the relay panicked while it wrote; its log has the place"));
        match committed.unwrap_or_else(panicked) {
            Ok(touched) => {
                self.retry.reset();
                self.heartbeat.begins();
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
                self.heartbeat.begins();
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
        let Open { file, write_queue } = self.open.insert(open);
        file.is_in_place()?;
        begin(&file.connection, write_queue)?;
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
        self.heartbeat.begins();
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
        Ok(Self { file, write_queue: WriteQueue::new(lock(path, "turn")?) })
    }
}

fn lock(path: &SqlitePath, suffix: &str) -> Result<Lock, Fault> {
    let beside = path.beside(suffix);
    Lock::open(&beside, path.as_path())
        .map_err(|error| Fault::new(Cause::Broken, format!("{} cannot be made: {error}", beside.display())))
}

/// Begins a transaction that writes, when it is our turn.
fn begin(connection: &Connection, write_queue: &WriteQueue) -> Result<(), Fault> {
    let entered = write_queue.enter(BUSY_PATIENCE);
    let failed = |error| Fault::new(Cause::Broken, format!("the lock beside the file cannot be taken: {error}"));
    if !entered.map_err(failed)? {
        return Err(Fault::new(Cause::Busy, "another process keeps the file locked"));
    }
    let begun = execute(connection, "BEGIN IMMEDIATE");
    write_queue.leave();
    begun
}

fn execute(connection: &Connection, sql: &str) -> Result<(), Fault> {
    connection.prepare_cached(sql).and_then(|mut statement| statement.execute([])).map(drop).map_err(Fault::from)
}

#[cfg(test)]
mod instruction_counts;
#[cfg(test)]
mod tests;
