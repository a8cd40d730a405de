use tokio::sync::oneshot;

use crate::sqlite::file::fault::Fault;
use crate::sqlite::store::work::Work;
use crate::sqlite::writer::writer::lost;

/// Something to be done within a transaction, whoever else's is in it.
pub(crate) trait Task: Send {
    /// How many events it is about, so that a transaction stays short.
    fn rows(&self) -> usize;
    fn haste(&self) -> Haste;
    fn run(&mut self, work: &mut Work<'_>) -> rusqlite::Result<()>;
    /// Hears whether everything in the transaction is on the disk.
    fn end(self: Box<Self>, stored: Result<(), Fault>);
}

/// How soon something has to be on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Haste {
    /// Somebody waits for it.
    Now,
    /// Under load it may wait for others, see [`crate::sqlite::writer::group_commit`].
    WithOthers,
}

/// A task that answers with a value.
pub(crate) struct Closure<T, F> {
    pub(crate) rows: usize,
    pub(crate) haste: Haste,
    pub(crate) work: Option<F>,
    pub(crate) value: Option<T>,
    pub(crate) reply: oneshot::Sender<Result<T, Fault>>,
}

impl<T, F> Task for Closure<T, F>
where
    T: Send,
    F: FnOnce(&mut Work<'_>) -> rusqlite::Result<T> + Send,
{
    fn rows(&self) -> usize {
        self.rows
    }

    fn haste(&self) -> Haste {
        self.haste
    }

    fn run(&mut self, work: &mut Work<'_>) -> rusqlite::Result<()> {
        if let Some(run) = self.work.take() {
            self.value = Some(run(work)?);
        }
        Ok(())
    }

    fn end(self: Box<Self>, stored: Result<(), Fault>) {
        let Self { value, reply, .. } = *self;
        // Whoever asked may have gone away.
        let _ = reply.send(stored.and_then(|()| value.ok_or_else(lost)));
    }
}
