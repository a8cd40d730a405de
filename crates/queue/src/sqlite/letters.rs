use std::collections::VecDeque;
use std::time::SystemTime;

use refersion_relay_model::Class;
use rusqlite::{Connection, params};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::queue::Reader;
use crate::sqlite::file::fault::Fault;
use crate::sqlite::store::places;
use crate::sqlite::store::row::{self, Stored};
use crate::sqlite::store::work::{self, Done};
use crate::sqlite::writer::writer::{Writer, answer};
use crate::{Action, Browsed, Depth, Fate, Letter, LetterVisitor, Place, PublishError, QueueError, Scan, Swept};

/// How much is read at a time: so many letters, or so many bytes and one letter more.
const PAGE_LETTERS: usize = 256;
const PAGE_BYTES: usize = 4 * 1024 * 1024;
/// Decisions that are not on the disk yet. None of them can happen twice, so there is no reason to have few.
const UNSTORED: usize = 256;

/// Shows the first letters of a class.
pub(crate) async fn browse(
    reader: &Reader,
    class: Class,
    scan: Scan,
    visit: &mut (dyn FnMut(Letter) + Send),
) -> Result<Browsed, QueueError> {
    let Letters { place, total, last } = reader.read(move |connection| letters(connection, class)).await?;
    let mut browsed = Browsed { seen: 0, total };
    let mut after = 0;
    let most = u64::try_from(scan.letters).unwrap_or(u64::MAX);
    while browsed.seen < most {
        let page = page(reader, class, place, after, last).await?;
        let Some(end) = page.last() else { break };
        after = end.number;
        for Stored { message, .. } in page {
            if browsed.seen < most {
                visit(Letter::new(class, message));
                browsed.seen += 1;
            }
        }
    }
    Ok(browsed)
}

/// Walks over the letters that are there now, once. A letter that is kept stays where it is.
pub(crate) async fn sweep(
    reader: &Reader,
    writer: &Writer,
    class: Class,
    visitor: &mut dyn LetterVisitor,
    stop: &CancellationToken,
) -> Result<Swept, QueueError> {
    let Letters { place, total, last } = reader.read(move |connection| letters(connection, class)).await?;
    visitor.begin(total);
    let mut swept = Swept { total, ..Swept::default() };
    let mut under_way = UnderWay(VecDeque::new());
    let mut after = 0;
    'pages: loop {
        let page = page(reader, class, place, after, last).await?;
        let Some(end) = page.last() else { break };
        after = end.number;
        for Stored { number, message, .. } in page {
            if stop.is_cancelled() {
                break 'pages;
            }
            let letter = Letter::new(class, message);
            let action = visitor.judge(&letter).await;
            if let Action::Move { place, .. } = &action
                && let Some(objection) = places::objection(place)
            {
                under_way.tell(visitor, &mut swept, 0).await?;
                return Err(PublishError::Refused(objection.to_owned()).into());
            }
            swept.seen += 1;
            under_way.0.push_back(match action {
                Action::Keep => Decision::Kept,
                Action::Drop => {
                    let dropping = writer.submit(1, move |work| work.drop_letter(place, number));
                    Decision::Acting(Fate::Dropped, dropping)
                }
                Action::Move { place: to, headers, .. } => Decision::Acting(
                    Fate::Moved,
                    writer.submit(1, move |work| work.relocate(place, number, &to, &headers, SystemTime::now())),
                ),
            });
            under_way.tell(visitor, &mut swept, UNSTORED).await?;
        }
    }
    under_way.tell(visitor, &mut swept, 0).await?;
    Ok(swept)
}

/// What was decided, in order, and not told to the visitor yet.
struct UnderWay(VecDeque<Decision>);

enum Decision {
    Kept,
    /// What it is to come to, and whether it did.
    Acting(Fate, oneshot::Receiver<Result<Done, Fault>>),
}

impl UnderWay {
    /// Tells the visitor what is on the disk, and waits until no more than `most` decisions are not.
    async fn tell(
        &mut self,
        visitor: &mut dyn LetterVisitor,
        swept: &mut Swept,
        most: usize,
    ) -> Result<(), QueueError> {
        while let Some(first) = self.0.pop_front() {
            let (fate, done) = match first {
                Decision::Kept => (Fate::Kept, Done::No),
                Decision::Acting(fate, mut acting) => match acting.try_recv() {
                    Ok(done) => (fate, done?),
                    Err(oneshot::error::TryRecvError::Empty) if self.0.len() < most => {
                        self.0.push_front(Decision::Acting(fate, acting));
                        return Ok(());
                    }
                    Err(_) => (fate, answer(acting).await?),
                },
            };
            // Where it is not there any more somebody else has acted on it, which is not ours to count.
            let fate = if done == Done::Yes { fate } else { Fate::Kept };
            swept.acted += u64::from(fate != Fate::Kept);
            visitor.settled(fate);
        }
        Ok(())
    }
}

/// A class at one moment.
struct Letters {
    place: i64,
    total: u64,
    /// The number of the last letter.
    last: i64,
}

fn letters(connection: &Connection, class: Class) -> rusqlite::Result<Letters> {
    let place = Place::Dead(class);
    // One moment: what comes in between is neither counted nor shown.
    let moment = connection.unchecked_transaction()?;
    let Some(number) = places::find(&moment, &places::name(&place))? else {
        return Ok(Letters { place: 0, total: 0, last: 0 });
    };
    let last: Option<i64> = moment
        .prepare_cached("SELECT max(number) FROM event WHERE place = ?1")?
        .query_row([number], |row| row.get(0))?;
    let Depth { ready, in_hand, .. } = work::depth(&moment, &place)?;
    let total = ready.saturating_add(in_hand);
    Ok(Letters { place: number, total, last: last.unwrap_or(0) })
}

async fn page(reader: &Reader, class: Class, place: i64, after: i64, last: i64) -> Result<Vec<Stored>, QueueError> {
    let sql = format!(
        "SELECT {} FROM event WHERE place = ?1 AND ?2 < number AND number <= ?3 ORDER BY number LIMIT {PAGE_LETTERS}",
        row::COLUMNS
    );
    let page = reader.read(move |connection| {
        let mut statement = connection.prepare_cached(&sql)?;
        let mut rows = statement.query(params![place, after, last])?;
        let (mut page, mut bytes) = (Vec::new(), 0);
        while bytes < PAGE_BYTES
            && let Some(row) = rows.next()?
        {
            let stored = row::read(row, Some(class))?;
            bytes += stored.message.body.len();
            page.push(stored);
        }
        Ok(page)
    });
    Ok(page.await?)
}
