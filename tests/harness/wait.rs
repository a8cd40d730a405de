use std::time::Duration;

/// How long a test waits for something that has to happen. Far longer than it ever takes.
pub const PATIENCE: Duration = Duration::from_mins(2);

/// Asks until the answer is yes.
///
/// # Panics
/// When it still is not after [`PATIENCE`], naming what was waited for.
#[track_caller]
pub fn eventually<F: Future<Output = bool>>(what: &str, mut ask: impl FnMut() -> F) -> impl Future<Output = ()> {
    let (what, caller) = (what.to_owned(), std::panic::Location::caller());
    async move {
        let asking = async {
            let mut ticks = tokio::time::interval(Duration::from_millis(20));
            while !ask().await {
                ticks.tick().await;
            }
        };
        assert!(tokio::time::timeout(PATIENCE, asking).await.is_ok(), "{caller}: waited in vain for: {what}");
    }
}
