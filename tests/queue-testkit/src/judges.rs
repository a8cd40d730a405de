//! Who decides about dead letters in the tests.

use async_trait::async_trait;
use refersion_relay_model::Class;
use refersion_relay_queue::{Action, Fate, InFlight, Letter, LetterVisitor, Queue, QueueError, Swept};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::events::{body, work};
use crate::instance::Instance;
use crate::waiting::PATIENCE;

/// Decides by a letter's body and writes down what it heard.
pub struct By<F> {
    decide: F,
    pub total: u64,
    pub seen: Vec<String>,
    pub fates: Vec<Fate>,
}

pub fn by<F: FnMut(&Letter) -> Action + Send>(decide: F) -> By<F> {
    By { decide, total: 0, seen: Vec::new(), fates: Vec::new() }
}

#[async_trait]
impl<F: FnMut(&Letter) -> Action + Send> LetterVisitor for By<F> {
    fn begin(&mut self, letters: u64) {
        self.total = letters;
    }

    async fn judge(&mut self, letter: &Letter) -> Action {
        self.seen.push(body(&letter.message));
        (self.decide)(letter)
    }

    fn settled(&mut self, fate: Fate) {
        self.fates.push(fate);
    }
}

/// Reports each letter, and decides when it is let on.
pub struct Gated {
    reached: mpsc::UnboundedSender<String>,
    go_on: mpsc::UnboundedReceiver<Action>,
}

#[async_trait]
impl LetterVisitor for Gated {
    fn begin(&mut self, _: u64) {}

    async fn judge(&mut self, letter: &Letter) -> Action {
        self.reached.send(body(&letter.message)).unwrap();
        self.go_on.recv().await.unwrap()
    }

    fn settled(&mut self, _: Fate) {}
}

pub fn gated() -> (Gated, mpsc::UnboundedReceiver<String>, mpsc::UnboundedSender<Action>) {
    let ((reached, seen), (sender, go_on)) = (mpsc::unbounded_channel(), mpsc::unbounded_channel());
    (Gated { reached, go_on }, seen, sender)
}

pub fn number(letter: &Letter) -> usize {
    body(&letter.message).parse().unwrap()
}

pub fn replay(letter: &Letter, subject: usize) -> Action {
    let (headers, subject) = (Box::new(letter.message.headers.replayed()), subject.try_into().unwrap());
    Action::Move { place: work(), headers, subject }
}

pub fn in_flight(letters: u16) -> InFlight {
    letters.try_into().unwrap()
}

/// Sweeps the class `invalid` to its end.
pub async fn sweep<Q: Queue + ?Sized>(relay: &Instance<Q>, letters: u16, judge: &mut dyn LetterVisitor) -> Swept {
    let stop = CancellationToken::new();
    let swept = relay.queue.sweep(Class::Invalid, in_flight(letters), judge, &stop);
    timeout(PATIENCE, swept).await.expect("it ends").unwrap()
}

/// Sweeps the class `invalid` beside the test.
pub fn spawn_sweep<Q: Queue + ?Sized + 'static>(
    relay: &Instance<Q>,
    letters: u16,
    mut judge: impl LetterVisitor + 'static,
) -> JoinHandle<Result<Swept, QueueError>> {
    let queue = relay.queue.clone();
    tokio::spawn(
        async move { queue.sweep(Class::Invalid, in_flight(letters), &mut judge, &CancellationToken::new()).await },
    )
}
