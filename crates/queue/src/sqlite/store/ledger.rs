use rusqlite::Connection;
use serde::Serialize;

use crate::{Conservation, Group, Stock};

/// What became of every event that was ever accepted, at one moment. Exact, since each number is a row that changes in
/// the same transaction as the events it counts.
///
/// `accepted = delivered + ignored + dropped + dead + waiting`. An embedded queue makes no copies of its own: an event
/// that a sender sends twice is accepted twice, and the second one is ignored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Ledger {
    /// Events that were stored for a sender.
    pub accepted: u64,
    /// Events whose effect has happened.
    pub delivered: u64,
    /// Events about which nothing was to be done, copies of delivered ones among them.
    pub ignored: u64,
    /// Dead letters that a person deleted.
    pub dropped: u64,
    /// Dead letters that are there.
    pub dead: u64,
    /// Events that are still to be worked, wherever they wait.
    pub waiting: u64,
}

impl Ledger {
    pub(crate) fn read(connection: &Connection) -> rusqlite::Result<Self> {
        connection
            .prepare_cached(
                "SELECT accepted, delivered, ignored, dropped,
                    (SELECT coalesce(sum(events), 0) FROM place WHERE name GLOB 'dead.*'),
                    (SELECT coalesce(sum(events), 0) FROM place WHERE name NOT GLOB 'dead.*')
                 FROM state",
            )?
            .query_row([], |row| {
                let number = |index| row.get::<_, i64>(index).map(|number| u64::try_from(number).unwrap_or(0));
                Ok(Self {
                    accepted: number(0)?,
                    delivered: number(1)?,
                    ignored: number(2)?,
                    dropped: number(3)?,
                    dead: number(4)?,
                    waiting: number(5)?,
                })
            })
    }

    /// The same, with what is where. Read at one moment, so it is exact.
    pub(crate) fn conservation(connection: &Connection) -> rusqlite::Result<Conservation> {
        let moment = connection.unchecked_transaction()?;
        let Self { accepted, delivered, ignored, dropped, .. } = Self::read(&moment)?;
        let mut events = [0_u64; Group::ALL.len()];
        let mut places = moment.prepare_cached("SELECT name, events FROM place")?;
        let mut rows = places.query([])?;
        while let Some(row) = rows.next()? {
            let (name, there) = (row.get_ref(0)?.as_str()?, row.get::<_, i64>(1)?);
            let sum = &mut events[group(name).index()];
            *sum = sum.saturating_add(u64::try_from(there).unwrap_or(0));
        }
        // In a file nothing comes anywhere that was not counted in the same transaction, so only the sum can be wrong.
        let stocks = Group::ALL.into_iter().zip(events).map(|(group, events)| Stock { group, events, difference: 0 });
        let stocks = stocks.collect();
        Ok(Conservation { accepted, delivered, ignored, dropped, stocks, ..Conservation::default() })
    }

    /// How many events are accounted for beyond those that were accepted; below zero: how many are missing.
    #[must_use]
    pub fn difference(&self) -> i128 {
        let Self { accepted, delivered, ignored, dropped, dead, waiting } = *self;
        let ended: i128 = [delivered, ignored, dropped, dead, waiting].into_iter().map(i128::from).sum();
        ended - i128::from(accepted)
    }
}

impl std::fmt::Display for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { accepted, delivered, ignored, dropped, dead, waiting } = self;
        write!(
            f,
            "{accepted} accepted = {delivered} delivered + {ignored} ignored + {dropped} dropped + {dead} dead + \
             {waiting} waiting"
        )
    }
}

/// The kind of a place, by its name in the file.
fn group(name: &str) -> Group {
    match name.split_once('.') {
        Some(("dead", class)) => class.parse().map_or(Group::Work, Group::Dead),
        _ => Group::Work,
    }
}
