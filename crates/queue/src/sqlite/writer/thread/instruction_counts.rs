//! What it costs to settle an event.

use std::path::Path;

use bytes::Bytes;
use refersion_relay_instructions::{C, Operation, RUST, guard};
use tokio::runtime;

use super::*;
use crate::port::delivery::Ownership;
use crate::sqlite::owner::SqliteOwned;
use crate::sqlite::writer::writer::Writer;
use crate::{Delivery, Ending, Headers, Message, Place, Room, Settle};
use refersion_relay_telemetry::Metrics;
use tokio_util::sync::CancellationToken;

const EVENTS: u16 = 30;
/// The cache of statements is a map with a random seed, by which the cost differs a little from queue to queue.
const QUEUES: u16 = 4;

/// The queue without its threads, so that nothing depends on when one of them runs.
struct Standing {
    thread: Thread,
    writer: Arc<Writer>,
}

impl Standing {
    fn at(folder: &Path, account: AccountName) -> Self {
        let path = SqlitePath::parse("sqlite:relay.db", folder).unwrap();
        let (tasks, queue) = std::sync::mpsc::channel();
        let (status, state) = Status::new(path.clone(), Metrics::new());
        let (accounts, owners) = (Arc::new(Mutex::new(vec![account])), Arc::new(Owners::new()));
        let mut thread = Thread::new(path, queue, owners, Arc::new(status), Arc::new(Heartbeat::default()), accounts);
        thread.group_commit = GroupCommit::waiting(Duration::ZERO); // by no clock
        thread.look(); // opens the file
        let tasks = Mutex::new(Some(tasks));
        let writer = Writer { tasks, state, thread: Mutex::new(None), stop: CancellationToken::new() };
        Self { thread, writer: Arc::new(writer) }
    }

    /// Does what is asked for, one thing after the other.
    async fn serve<T>(&mut self, asking: impl Future<Output = T>) -> T {
        let serving = async {
            loop {
                while let Ok(task) = self.thread.tasks.try_recv() {
                    self.thread.transaction_of(task);
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            answer = asking => answer,
            () = serving => unreachable!("it serves for ever"),
        }
    }

    /// Stores events and takes them. What was taken is in hand as long as its owner is there.
    async fn deliveries(&mut self, account: &AccountName) -> (SqliteOwned, Vec<Delivery>) {
        let place = Place::Work(account.clone());
        let message = |number| {
            let (id, subject) = (format!("message-{number:03}"), format!("{number:016x}"));
            let headers = Headers::received(&id, "identify", account.clone(), subject, SystemTime::now());
            (Place::Work(account.clone()), Message { body: Bytes::from(vec![b'x'; 400]), headers })
        };
        let batch: Vec<_> = (0..EVENTS).map(message).collect();
        let writer = self.writer.clone();
        let stored = writer.run(batch.len(), move |work| work.publish(&batch, SystemTime::now()));
        self.serve(stored).await.unwrap();

        let (owners, room, ended) = (self.thread.owners.clone(), Room { events: EVENTS }, CancellationToken::new());
        let mut owned = SqliteOwned::new(writer, owners, place, room, ended, &Metrics::new());
        self.thread.look(); // takes the lease
        let mut deliveries = Vec::new();
        for _ in 0..EVENTS {
            deliveries.push(self.serve(owned.next()).await.unwrap());
        }
        (owned, deliveries)
    }
}

async fn settle(times: u32) {
    let (folder, account) = (tempfile::tempdir().unwrap(), AccountName::try_from("acme").unwrap());
    let mut standing = Standing::at(folder.path(), account.clone());
    let (_owned, deliveries) = standing.deliveries(&account).await;
    for delivery in deliveries.into_iter().take(times as usize) {
        standing.serve(delivery.settle(Settle::Done(Ending::Delivered))).await.unwrap();
    }
}

#[test]
fn an_event_is_settled_at_the_usual_cost() {
    let settling = Operation {
        name: "settle an event",
        repetitions: (QUEUES * EVENTS).into(),
        run: |times| {
            let runtime = runtime::Builder::new_current_thread().build().unwrap();
            (0..QUEUES).for_each(|_| runtime.block_on(settle(times / u32::from(QUEUES))));
        },
    };
    guard("sqlite::writer::thread::instruction_counts::an_event_is_settled_at_the_usual_cost", &[RUST, C], &[settling]);
}
