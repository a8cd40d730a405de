use std::collections::{HashSet, VecDeque};
use std::panic::resume_unwind;

use refersion_relay_queue::{Message, Place};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Events with the numbers of their lines, in order.
pub(super) type Batch = Vec<(u64, (Place, Message))>;

/// Chunks that are published at a time: while the first waits for its confirms, there is always something to send.
const CHUNKS: usize = 4;

/// Chunks that are on their way to the queue, in order. `T` is what else is known of each.
///
/// They may overtake one another, but no event may overtake an earlier one of its subject: those whose subject is in an
/// earlier chunk wait until that is durable. All events of a file are of one account, so a subject is all there is to compare.
pub(super) struct Window<T> {
    chunks: VecDeque<OnItsWay<T>>,
}

struct OnItsWay<T> {
    chunk: T,
    subjects: HashSet<Option<String>>,
    /// Once it has ended, whether all of it is durable.
    durable: watch::Receiver<Option<bool>>,
    /// Returns the lines that are not durable.
    storing: JoinHandle<Vec<u64>>,
}

impl<T> Window<T> {
    pub(super) fn new() -> Self {
        Self { chunks: VecDeque::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    pub(super) fn has_room(&self) -> bool {
        self.chunks.len() < CHUNKS
    }

    /// Begins to store a chunk. `store` returns the lines that are not durable in the end, and is called twice at most.
    pub(super) fn begin<F>(&mut self, chunk: T, batch: Batch, store: impl Fn(Batch) -> F + Send + 'static)
    where
        F: Future<Output = Vec<u64>> + Send + 'static,
    {
        let subject = |(_, (_, message)): &(u64, (Place, Message))| message.headers.subject.clone();
        let subjects: HashSet<_> = batch.iter().map(subject).collect();
        let shares = |earlier: &&OnItsWay<T>| !earlier.subjects.is_disjoint(&subjects);
        let earlier: Vec<_> = self.chunks.iter().filter(shares).collect();
        let waits = |(_, (_, message)): &(u64, (Place, Message))| {
            earlier.iter().any(|earlier| earlier.subjects.contains(&message.headers.subject))
        };
        let (later, now): (Batch, Batch) = batch.into_iter().partition(waits);
        let before: Vec<_> = earlier.iter().map(|earlier| earlier.durable.clone()).collect();
        let (tell, durable) = watch::channel(None);
        let storing = tokio::spawn(async move {
            let mut left = store(now).await;
            let mut may_go_on = left.is_empty();
            for mut chunk in before {
                // One that ends without a word has panicked.
                may_go_on &= chunk.wait_for(Option::is_some).await.is_ok_and(|durable| *durable == Some(true));
            }
            if may_go_on {
                left = store(later).await;
            } else {
                left.extend(later.into_iter().map(|(line, _)| line));
                left.sort_unstable();
            }
            tell.send_replace(Some(left.is_empty()));
            left
        });
        self.chunks.push_back(OnItsWay { chunk, subjects, durable, storing });
    }

    /// The first chunk, once it has ended, with its lines that are not durable. `None` without one. Can be dropped at any point.
    pub(super) async fn next(&mut self) -> Option<(T, Vec<u64>)> {
        let ended = (&mut self.chunks.front_mut()?.storing).await;
        let OnItsWay { chunk, .. } = self.chunks.pop_front()?;
        let left = ended.unwrap_or_else(|error| resume_unwind(error.into_panic()));
        Some((chunk, left))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::SystemTime;

    use bytes::Bytes;
    use refersion_relay_model::AccountName;
    use refersion_relay_queue::Headers;
    use tokio::sync::mpsc;
    use tokio::task::yield_now;

    use super::*;

    /// Lines with a subject each.
    fn batch(lines: &[(u64, &str)]) -> Batch {
        let account = AccountName::try_from("acme").unwrap();
        let message = |subject: &str| Message {
            body: Bytes::new(),
            headers: Headers::received("id", "identify", account.clone(), subject.to_owned(), SystemTime::now()),
        };
        lines.iter().map(|(line, subject)| (*line, (Place::Work(account.clone()), message(subject)))).collect()
    }

    fn lines(batch: &Batch) -> Vec<u64> {
        batch.iter().map(|(line, _)| *line).collect()
    }

    /// A queue that stores what it is told to.
    #[derive(Clone)]
    struct Slow {
        asked: Arc<Mutex<Vec<Vec<u64>>>>,
        may: Arc<tokio::sync::Mutex<mpsc::UnboundedReceiver<bool>>>,
    }

    impl Slow {
        fn new() -> (Self, mpsc::UnboundedSender<bool>) {
            let (allow, may) = mpsc::unbounded_channel();
            (Self { asked: Arc::default(), may: Arc::new(tokio::sync::Mutex::new(may)) }, allow)
        }

        fn store(&self) -> impl Fn(Batch) -> std::pin::Pin<Box<dyn Future<Output = Vec<u64>> + Send>> + use<> {
            let slow = self.clone();
            move |batch| {
                let slow = slow.clone();
                Box::pin(async move {
                    if batch.is_empty() {
                        return Vec::new();
                    }
                    slow.asked.lock().unwrap().push(lines(&batch));
                    let stored = slow.may.lock().await.recv().await.unwrap();
                    if stored { Vec::new() } else { lines(&batch) }
                })
            }
        }

        async fn asked(&self) -> Vec<Vec<u64>> {
            for _ in 0..20 {
                yield_now().await;
            }
            self.asked.lock().unwrap().clone()
        }
    }

    #[tokio::test]
    async fn chunks_are_stored_side_by_side_and_end_in_order() {
        let (slow, allow) = Slow::new();
        let mut window = Window::new();
        for (number, subject) in [(1, "a"), (2, "b"), (3, "c"), (4, "d")] {
            assert!(window.has_room());
            window.begin(number, batch(&[(number, subject)]), slow.store());
        }
        assert!(!window.has_room());
        assert_eq!(slow.asked().await, [[1], [2], [3], [4]]);
        (0..4).for_each(|_| allow.send(true).unwrap());
        for number in 1..=4 {
            assert_eq!(window.next().await, Some((number, vec![])));
        }
        assert!(window.is_empty() && window.next().await.is_none());
    }

    #[tokio::test]
    async fn an_event_waits_for_an_earlier_one_of_its_subject_and_nothing_else_does() {
        let (slow, allow) = Slow::new();
        let mut window = Window::new();
        window.begin(1, batch(&[(1, "a"), (2, "b")]), slow.store());
        window.begin(2, batch(&[(3, "c"), (4, "a"), (5, "d"), (6, "a")]), slow.store());
        window.begin(3, batch(&[(7, "d"), (8, "e")]), slow.store());
        assert_eq!(slow.asked().await, [vec![1, 2], vec![3, 5], vec![8]]);
        (0..3).for_each(|_| allow.send(true).unwrap());
        assert_eq!(slow.asked().await[3..], [[4, 6]], "7 waits for 5, and with it for all of its chunk");
        allow.send(true).unwrap();
        assert_eq!(slow.asked().await[4..], [[7]]);
        allow.send(true).unwrap();
        for number in 1..=3 {
            assert_eq!(window.next().await, Some((number, vec![])));
        }
    }

    #[tokio::test]
    async fn what_waits_for_something_that_is_not_stored_is_not_stored_either() {
        let (slow, allow) = Slow::new();
        let mut window = Window::new();
        window.begin(1, batch(&[(1, "a")]), slow.store());
        window.begin(2, batch(&[(2, "a"), (3, "b")]), slow.store());
        window.begin(3, batch(&[(4, "a")]), slow.store());
        assert_eq!(slow.asked().await, [[1], [3]]);
        allow.send(false).unwrap();
        allow.send(true).unwrap();
        assert_eq!(window.next().await, Some((1, vec![1])));
        assert_eq!(window.next().await, Some((2, vec![2])));
        assert_eq!(window.next().await, Some((3, vec![4])));
        assert_eq!(slow.asked().await.len(), 2);
    }
}
