//! Whom a settlement waits for before its transaction.

use std::sync::mpsc::Sender;

use futures_util::FutureExt;
use refersion_relay_telemetry::Metrics;
use tokio::sync::oneshot::{self, Receiver};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::sqlite::writer::task::Closure;
use crate::sqlite::writer::writer::Writer;

/// Far longer than any test takes.
const FOR_EVER: Duration = Duration::from_hours(1);

/// The thread's work, for the thread of a test. It waits for company for ever.
struct Standing {
    thread: Thread,
    tasks: Sender<Box<dyn Task>>,
    _folder: tempfile::TempDir,
}

type Stored = Receiver<Result<(), Fault>>;

impl Standing {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = SqlitePath::parse("sqlite:relay.db", folder.path()).unwrap();
        let (tasks, queue) = std::sync::mpsc::channel();
        let (status, _) = Status::new(path.clone(), Metrics::new());
        let (accounts, owners) = (Arc::default(), Arc::new(Owners::new()));
        let mut thread = Thread::new(path, queue, owners, Arc::new(status), Arc::new(Heartbeat::default()), accounts);
        thread.look(); // opens the file
        thread.group_commit = GroupCommit::waiting(FOR_EVER);
        Self { thread, tasks, _folder: folder }
    }
}

fn task(haste: Haste) -> (Box<dyn Task>, Stored) {
    let (reply, stored) = oneshot::channel();
    (Box::new(Closure { rows: 1, haste, work: Some(|_: &mut Work<'_>| Ok(())), value: None, reply }), stored)
}

fn is_stored(stored: &mut Stored) -> bool {
    matches!(stored.try_recv(), Ok(Ok(())))
}

#[test]
fn one_that_waits_goes_with_the_first_that_hurries() {
    let mut standing = Standing::new();
    let (first, mut first_stored) = task(Haste::WithOthers);
    let tasks = standing.tasks.clone();
    let others = thread::spawn(move || {
        let (second, second_stored) = task(Haste::WithOthers);
        let (third, third_stored) = task(Haste::Now);
        tasks.send(second).unwrap();
        tasks.send(third).unwrap();
        [second_stored, third_stored]
    });
    standing.thread.transaction_of(first);
    assert!(is_stored(&mut first_stored));
    assert!(others.join().unwrap().iter_mut().all(is_stored), "all in one transaction");
}

#[test]
fn one_that_hurries_waits_for_nobody_and_neither_does_a_crowd() {
    let mut standing = Standing::new();
    let (alone, mut stored) = task(Haste::Now);
    standing.thread.transaction_of(alone);
    assert!(is_stored(&mut stored));

    let mut crowd: Vec<_> = (0..group_commit::ENOUGH).map(|_| task(Haste::WithOthers)).collect();
    let (first, mut stored) = crowd.pop().unwrap();
    let mut others: Vec<_> = crowd.into_iter().map(|(task, stored)| (standing.tasks.send(task), stored)).collect();
    standing.thread.transaction_of(first);
    assert!(is_stored(&mut stored) && others.iter_mut().all(|(_, stored)| is_stored(stored)));
}

#[test]
fn what_waits_is_stored_when_the_queue_is_closed() {
    let Standing { mut thread, tasks, _folder } = Standing::new();
    let (last, mut stored) = task(Haste::WithOthers);
    drop(tasks);
    thread.transaction_of(last);
    assert!(is_stored(&mut stored));
}

#[test]
fn a_settlement_may_wait_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let (_, state) = Status::new(SqlitePath::parse("sqlite:relay.db", folder.path()).unwrap(), Metrics::new());
    let (tasks, queue) = std::sync::mpsc::channel();
    let tasks = Mutex::new(Some(tasks));
    let writer = Writer { tasks, state, thread: Mutex::new(None), stop: CancellationToken::new() };
    let hastes = || queue.try_iter().map(|task: Box<dyn Task>| task.haste()).collect::<Vec<_>>();

    assert!(writer.settle(|_| Ok(())).now_or_never().is_none());
    assert_eq!(hastes(), [Haste::WithOthers]);
    assert!(writer.run(1, |_| Ok(())).now_or_never().is_none());
    drop(writer.submit(1, |_| Ok(())));
    writer.nudge();
    assert_eq!(hastes(), [Haste::Now; 3]);
}
