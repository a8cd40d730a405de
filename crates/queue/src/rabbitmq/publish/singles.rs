use std::mem;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::task::yield_now;
use tokio::time::timeout;

use super::publisher::{Publisher, not_finished};
use crate::{Group, Message, Place, PublishError};

/// Messages that are handed over at a time.
const AT_MOST: usize = 100;
/// From so many on it is worth it to collect what comes: fewer are soon answered, and callers who wait for that would only wait longer.
const CROWD: usize = 20;
/// How long what comes is collected while the broker has answered nothing of what was handed over last.
const COLLECTING: Duration = Duration::from_millis(1);

/// Messages that are published one by one, by many callers at a time. Those that come together share a lock, a timer, and often a
/// packet each way.
///
/// Nothing waits that comes alone, or with few others. While the broker works on many, what comes is collected, until it has answered
/// one of them, or for a millisecond.
#[derive(Default)]
pub(crate) struct Singles(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    singles: Vec<Single>,
    /// Whether a task takes care of them.
    is_collected: bool,
}

struct Single {
    place: Place,
    message: Message,
    answer: oneshot::Sender<Result<(), PublishError>>,
}

impl Singles {
    /// Publishes one message, also if the caller goes away meanwhile.
    pub(crate) async fn publish(
        self: &Arc<Self>,
        publisher: &Arc<Publisher>,
        (place, message): (Place, Message),
    ) -> Result<(), PublishError> {
        let (answer, answered) = oneshot::channel();
        let is_collected = {
            let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.singles.push(Single { place, message, answer });
            mem::replace(&mut waiting.is_collected, true)
        };
        if !is_collected {
            tokio::spawn(collect(self.clone(), publisher.clone()));
        }
        answered.await.unwrap_or_else(|_| Err(not_finished()))
    }

    /// What is waiting, in its order. If that is nothing, the next one starts a task again.
    fn take(&self) -> Vec<Single> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let rest = waiting.singles.len().min(AT_MOST);
        let rest = waiting.singles.split_off(rest);
        let taken = mem::replace(&mut waiting.singles, rest);
        waiting.is_collected = !taken.is_empty();
        taken
    }
}

async fn collect(singles: Arc<Singles>, publisher: Arc<Publisher>) {
    loop {
        // Whoever can run now adds what it has.
        yield_now().await;
        let taken = singles.take();
        if taken.is_empty() {
            return;
        }
        // What is full has company enough.
        let waits = (CROWD..AT_MOST).contains(&taken.len());
        let answered = Arc::new(Notify::new());
        tokio::spawn(publish(publisher.clone(), taken, answered.clone()));
        if waits {
            let _ = timeout(COLLECTING, answered.notified()).await;
        }
    }
}

async fn publish(publisher: Arc<Publisher>, singles: Vec<Single>, answered: Arc<Notify>) {
    let mut answers = Vec::with_capacity(singles.len());
    let mut messages = Vec::with_capacity(singles.len());
    for Single { place, message, answer } in singles {
        answers.push(Some(answer));
        messages.push((place, message));
    }
    let wave: Vec<_> = messages.iter().map(|(place, message)| (place, message)).collect();
    let ended = |position: usize, result: Result<(), PublishError>| {
        if let (Ok(()), Some(group)) = (&result, Group::of(&messages[position].0)) {
            publisher.tally.accepted(group);
        }
        if let Some(answer) = answers[position].take() {
            // Nobody waits for it if the caller has gone away.
            let _ = answer.send(result);
        }
        answered.notify_one();
    };
    publisher.publish_each(&wave, ended).await;
}
