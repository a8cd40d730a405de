use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;

/// Something that is looked at again and again, and may block for ever. Never more than one thread waits for it.
pub(crate) struct Look<T> {
    at: Arc<dyn Fn() -> T + Send + Sync>,
    under_way: Option<JoinHandle<T>>,
}

impl<T: Send + 'static> Look<T> {
    pub(crate) fn new(at: impl Fn() -> T + Send + Sync + 'static) -> Self {
        Self { at: Arc::new(at), under_way: None }
    }

    /// Looks, or goes on with the look that is under way. `None`: nothing was seen in time.
    pub(crate) async fn take(&mut self, patience: Duration) -> Option<T> {
        let at = self.at.clone();
        let looking = self.under_way.get_or_insert_with(|| spawn_blocking(move || at()));
        let seen = timeout(patience, looking).await.ok()?;
        self.under_way = None;
        seen.ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::channel;

    use super::*;

    #[tokio::test]
    async fn a_look_that_takes_too_long_is_gone_on_with() {
        let (sender, receiver) = channel();
        let receiver = Mutex::new(receiver);
        let mut look = Look::new(move || receiver.lock().unwrap().recv().unwrap());
        for _ in 0..3 {
            assert_eq!(look.take(Duration::from_millis(1)).await, None);
        }

        // One for each look: had there been several, the first would be lost.
        for number in [1, 2] {
            sender.send(number).unwrap();
            assert_eq!(look.take(Duration::from_secs(30)).await, Some(number));
        }
    }
}
