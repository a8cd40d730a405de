use std::time::{Duration, SystemTime};

use refersion_relay_model::{AccountName, Shard};
use rusqlite::{Connection, OptionalExtension, params};

use super::places::{self, find};
use super::row::millis;
use crate::{Gate, Place, Shards};

/// How long new events wait at a time while the last ones of a set of shards are worked.
pub(crate) const CLOSING: Duration = Duration::from_secs(2);

/// Beside the other tables, since a file of an earlier release has none: what is not in it is open. `closing_until` is a
/// time, so that nobody has to live to take it back.
const TABLE: &str = "
    CREATE TABLE IF NOT EXISTS gate (
        shards INTEGER PRIMARY KEY,
        closed INTEGER NOT NULL,
        closing_until INTEGER NOT NULL
    ) STRICT;
";

/// Makes the table, and closes older sets that nothing was ever on.
pub(crate) fn prepare(connection: &Connection, configured: &Shards) -> rusqlite::Result<()> {
    connection.execute_batch(TABLE)?;
    for set in configured.sets().iter().filter(|set| set.count != configured.last().count) {
        let was_used = Shard::all(set.count).map(|shard| find(connection, &places::name(&Place::Shard(shard))));
        let was_used = was_used.collect::<rusqlite::Result<Vec<_>>>()?.iter().any(Option::is_some);
        if !was_used && row(connection, set.count)?.is_none() {
            write(connection, set.count, true, 0)?;
        }
    }
    Ok(())
}

/// The sets as the file has them.
pub(crate) fn read(connection: &Connection, configured: &Shards, now: SystemTime) -> rusqlite::Result<Shards> {
    let gates = configured.sets().iter().map(|set| Ok(gate(row(connection, set.count)?, millis(now))));
    Ok(configured.with(gates.collect::<rusqlite::Result<Vec<_>>>()?))
}

/// New events of a set wait for some time.
pub(crate) fn begin_closing(connection: &Connection, shards: u16, now: SystemTime) -> rusqlite::Result<()> {
    write(connection, shards, false, millis(now + CLOSING))
}

/// Closes a set if nothing is left of what has come to it. In one transaction, in which nothing can come.
pub(crate) fn close_if_done(
    connection: &Connection,
    configured: &Shards,
    shards: u16,
    accounts: &[AccountName],
) -> rusqlite::Result<bool> {
    let Left { waiting: 0, on_shards: 0 } = left(connection, shards, accounts)? else { return Ok(false) };
    write(connection, shards, true, 0)?;
    let last = configured.last().count;
    let others = configured.sets().iter().filter(|set| set.count != last).map(|set| row(connection, set.count));
    if others.collect::<rusqlite::Result<Vec<_>>>()?.iter().all(|row| matches!(row, Some((true, _)))) {
        // It is in use from now on, also if it was given up before.
        write(connection, last, false, 0)?;
    }
    Ok(true)
}

/// What is left of a set, in hand or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Left {
    /// In tiers and behind held accounts.
    pub(crate) waiting: u64,
    pub(crate) on_shards: u64,
}

/// Counts rows, not counters: those are written at the end of a transaction.
pub(crate) fn left(connection: &Connection, shards: u16, accounts: &[AccountName]) -> rusqlite::Result<Left> {
    let held: Vec<_> = accounts.iter().map(|account| places::name(&Place::Held(account.clone()))).collect();
    let on_shards: Vec<_> = Shard::all(shards).map(|shard| places::name(&Place::Shard(shard))).collect();
    let mut left = Left { waiting: 0, on_shards: 0 };
    let mut places = connection.prepare_cached("SELECT id, name FROM place")?;
    let mut rows = places.query([])?;
    while let Some(row) = rows.next()? {
        let (id, name): (i64, String) = (row.get(0)?, row.get(1)?);
        let count = || {
            let sql = "SELECT count(*) FROM event WHERE place = ?1";
            connection.prepare_cached(sql)?.query_row([id], |row| row.get::<_, i64>(0)).map(i64::unsigned_abs)
        };
        if name.starts_with("retry.") || held.contains(&name) {
            left.waiting += count()?;
        } else if on_shards.contains(&name) {
            left.on_shards += count()?;
        }
    }
    Ok(left)
}

/// Whether a set is closed, and until when it is closing.
type Row = (bool, i64);

fn row(connection: &Connection, shards: u16) -> rusqlite::Result<Option<Row>> {
    let sql = "SELECT closed, closing_until FROM gate WHERE shards = ?1";
    connection.prepare_cached(sql)?.query_row([shards], |row| Ok((row.get(0)?, row.get(1)?))).optional()
}

fn write(connection: &Connection, shards: u16, closed: bool, closing_until: i64) -> rusqlite::Result<()> {
    let sql = "INSERT INTO gate VALUES (?1, ?2, ?3) ON CONFLICT (shards) DO UPDATE SET closed = ?2, closing_until = ?3";
    connection.prepare_cached(sql)?.execute(params![shards, closed, closing_until]).map(drop)
}

/// A clock that was set back does not make a time in the future a longer one.
fn gate(row: Option<Row>, now: i64) -> Gate {
    let longest = i64::try_from(CLOSING.as_millis()).unwrap_or(i64::MAX);
    match row {
        Some((true, _)) => Gate::Closed,
        Some((false, until)) if now < until && until <= now.saturating_add(longest) => Gate::Closing,
        Some((false, _)) | None => Gate::Open,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_ends_by_itself() {
        let longest = i64::try_from(CLOSING.as_millis()).unwrap();
        assert_eq!(gate(None, 5), Gate::Open);
        assert_eq!(gate(Some((false, 1_000)), 999), Gate::Closing);
        assert_eq!(gate(Some((false, 1_000)), 1_000), Gate::Open);
        assert_eq!(gate(Some((false, 1_000 + longest)), 999), Gate::Open, "a time that nobody wrote by this clock");
        assert_eq!(gate(Some((true, 0)), 0), Gate::Closed);
    }
}
