use std::time::Duration;

use refersion_relay_queue::Delivery;

use crate::attempt::work::Context;

/// So many processes that died while they worked nothing but one event died of it.
pub(crate) const GIVE_UP_AFTER: u32 = 3;
/// How long everything else in the process may take to come to rest. Longer than a call takes; after a start, which is when
/// it matters, nothing else has begun.
const REST: Duration = Duration::from_mins(1);

/// What came of something that was done alone.
pub(crate) enum Alone<T> {
    /// The process is still there. The note has this number.
    Survived(T, u32),
    /// Nothing was done: so many processes died of it.
    Died(u32),
    /// Nothing was done: the delivery belongs to somebody else by now.
    Lost,
}

/// Does something that may end the process, while nothing else is worked in it, and notes that before. The note stays if the
/// process dies. Who survives erases it.
///
/// So a note is a death, whatever else the delivery came back for: a queue counts a return in good order, for a hold or an
/// outage, like a crash.
pub(crate) async fn alone<T>(context: &Context, delivery: &Delivery, work: impl Future<Output = T>) -> Alone<T> {
    let Ok(_alone) = tokio::time::timeout(REST, context.beside.write()).await else {
        // Something else is being worked for very long. It would share the blame, so there is no note.
        return Alone::Survived(work.await, GIVE_UP_AFTER);
    };
    let note = match delivery.note().await {
        Ok(note) if note < GIVE_UP_AFTER => note,
        Ok(note) => return Alone::Died(note),
        Err(_) => return Alone::Lost,
    };
    Alone::Survived(work.await, note)
}
