use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use refersion_relay_directory::{Directory, Done};
use refersion_relay_queue::{MailboxReader, RabbitMq};
use refersion_relay_telemetry::Metrics;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// How often it is shown how much the directory holds.
const SHOW: Duration = Duration::from_secs(1);

/// Keeps the directory for all workers: reads what they send to the mailbox.
pub struct Keeper {
    directory: Arc<Directory>,
    metrics: Metrics,
    /// Whether the file could not be used the last time.
    is_failing: AtomicBool,
}

impl Keeper {
    /// Keeps this directory.
    #[must_use]
    pub fn new(directory: Arc<Directory>, metrics: Metrics) -> Self {
        Self { directory, metrics, is_failing: AtomicBool::new(false) }
    }

    /// Does so until `stop` is cancelled. Of several processes one has the mailbox at a time.
    pub async fn run(self, queue: Arc<RabbitMq>, stop: CancellationToken) {
        let showing = async {
            loop {
                let rows = self.directory.rows();
                self.metrics.directory_holds(rows.addresses, rows.erased);
                sleep(SHOW).await;
            }
        };
        tokio::select! {
            () = queue.read_mailbox(&self, &stop) => {}
            () = showing => {}
        }
    }
}

#[async_trait]
impl MailboxReader for Keeper {
    async fn read(&self, sealed: Vec<Bytes>) -> Option<Vec<Option<Bytes>>> {
        let keys = self.directory.keys();
        let requests: Vec<_> = sealed.iter().map(|sealed| keys.open_request(sealed)).collect();
        let done = self.directory.do_all(requests.iter().flatten().cloned().collect()).await;
        if let Err(error) = &done {
            self.metrics.directory_failed();
            if !self.is_failing.swap(true, Ordering::Relaxed) {
                tracing::warn!(%error, "the directory cannot be used: events that need it wait");
            }
        }
        let mut done = done.ok()?.into_iter();
        if self.is_failing.swap(false, Ordering::Relaxed) {
            tracing::info!("the directory can be used again");
        }
        let (mut answers, mut unreadable) = (Vec::with_capacity(requests.len()), 0);
        for (request, sealed) in requests.iter().zip(&sealed) {
            if request.is_none() {
                unreadable += 1;
                answers.push(None);
                continue;
            }
            answers.push(match done.next()? {
                Done::Learnt(learnt) => {
                    self.metrics.directory_lesson(learnt.as_str());
                    None
                }
                Done::LookedUp(found) => Some(Bytes::from(keys.seal_answer(sealed, &found))),
                Done::Noted => None,
            });
        }
        if unreadable > 0 {
            self.metrics.directory_unreadable(unreadable);
            tracing::warn!(
                requests = unreadable,
                "what no relay of this release has sealed with these keys is dropped"
            );
        }
        Some(answers)
    }
}
