use std::time::{Duration, SystemTime};

use rusqlite::{Connection, params};

use super::places;
use super::row::millis;

/// Beside the other tables, since a file of an earlier release has it not.
const INDEX: &str = "CREATE INDEX IF NOT EXISTS event_by_tier ON event (place, due_at) WHERE due_at IS NOT NULL";
/// So far a clock is set back in passing, by whoever keeps it right. What is due then waits so much longer.
const SLACK: Duration = Duration::from_secs(1);

/// An event that has waited long enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Due {
    at: i64,
    pub(crate) number: i64,
    /// The tier.
    pub(crate) from: i64,
    /// The work queue. `None`: whose event it is is not known.
    pub(crate) to: Option<i64>,
    /// It would have waited for longer than its delay: the clock was set back since.
    pub(crate) is_ahead: bool,
}

/// Events that wait in a tier for a time that nobody wrote by this clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ahead {
    /// What the place is called.
    pub place: String,
    /// How many events.
    pub events: u64,
}

pub(crate) fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(INDEX)
}

/// Whether anything is due.
pub(crate) fn is_anything(connection: &Connection, now: SystemTime) -> rusqlite::Result<bool> {
    Ok(!find(connection, now, 1)?.is_empty())
}

/// What is due first: its time has come, or lies further ahead than the delay of its tier, which no time does that was
/// written by the clock as it is now.
pub(crate) fn find(connection: &Connection, now: SystemTime, most: i64) -> rusqlite::Result<Vec<Due>> {
    let sql = "SELECT due_at, number, due_place FROM event WHERE place = ?1 AND ?2 <= due_at AND due_at <= ?3 \
               ORDER BY due_at, number LIMIT ?4";
    let mut statement = connection.prepare_cached(sql)?;
    let mut due = Vec::new();
    for (from, name) in tiers(connection)? {
        let come = (i64::MIN, millis(now), false);
        let ahead = furthest(&name, now).checked_add(1).map(|begin| (begin, i64::MAX, true));
        for (begin, end, is_ahead) in [come].into_iter().chain(ahead) {
            let rows = statement.query_map(params![from, begin, end, most], |row| {
                Ok(Due { at: row.get(0)?, number: row.get(1)?, from, to: row.get(2)?, is_ahead })
            })?;
            for row in rows {
                due.push(row?);
            }
        }
    }
    due.sort_unstable();
    due.truncate(usize::try_from(most).unwrap_or(usize::MAX));
    Ok(due)
}

/// The events whose times lie ahead, by place.
pub(crate) fn ahead(connection: &Connection, now: SystemTime) -> rusqlite::Result<Vec<Ahead>> {
    let mut found = Vec::new();
    let mut statement = connection.prepare_cached("SELECT count(*) FROM event WHERE place = ?1 AND ?2 < due_at")?;
    for (id, place) in tiers(connection)? {
        let events: i64 = statement.query_row(params![id, furthest(&place, now)], |row| row.get(0))?;
        if 0 < events {
            found.push(Ahead { place, events: events.unsigned_abs() });
        }
    }
    Ok(found)
}

/// The last time that an event in a tier can have, if it was written by this clock.
fn furthest(tier: &str, now: SystemTime) -> i64 {
    // Somebody else may have named it.
    let Some(delay) = places::delay(tier) else { return i64::MAX };
    // A time is rounded up, see `Work::address`.
    now.checked_add(delay + SLACK).map_or(i64::MAX, |at| millis(at).saturating_add(1))
}

fn tiers(connection: &Connection) -> rusqlite::Result<Vec<(i64, String)>> {
    let mut statement = connection.prepare_cached("SELECT id, name FROM place WHERE name GLOB 'retry.*'")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::store::schema;

    const NOW: SystemTime = SystemTime::UNIX_EPOCH;
    const MINUTE: Duration = Duration::from_mins(1);

    /// The numbers of what is due an hour after the beginning, of events of these times in seconds.
    #[track_caller]
    fn check(tier: &str, times: &[u64], expected: &[(i64, bool)]) {
        let connection = Connection::open_in_memory().unwrap();
        schema::create(&connection).unwrap();
        prepare(&connection).unwrap();
        connection.execute("INSERT INTO place VALUES (7, ?1, 0, 0, 0, 0)", [tier]).unwrap();
        for (number, time) in (0_i64..).zip(times) {
            let insert = "INSERT INTO event (number, place, due_at, due_place, deliveries, message_id, type, received_at, \
                          attempts, generation, body) VALUES (?1, 7, ?2, 8, 0, '', '', 0, 0, 0, x'')";
            connection.execute(insert, params![number, millis(NOW + Duration::from_secs(*time))]).unwrap();
        }
        let due = find(&connection, NOW + MINUTE * 60, 100).unwrap();
        assert_eq!(due.iter().map(|due| (due.number, due.is_ahead)).collect::<Vec<_>>(), expected);
        assert_eq!(is_anything(&connection, NOW + MINUTE * 60).unwrap(), !expected.is_empty());
        let far = expected.iter().filter(|(_, is_ahead)| *is_ahead).count() as u64;
        let ahead = ahead(&connection, NOW + MINUTE * 60).unwrap();
        assert_eq!(ahead.iter().map(|ahead| ahead.events).sum::<u64>(), far);
    }

    #[test]
    fn an_event_is_due_when_its_time_has_come_or_lies_further_ahead_than_its_delay() {
        check(
            "retry.1m",
            &[3_600, 3_601, 3_660, 3_661, 3_662, 1_000_000, 3_599],
            &[(6, false), (0, false), (4, true), (5, true)],
        );
        check("retry.1m30s", &[3_690, 3_691, 3_692], &[(2, true)]);
        check("retry.12h", &[3_600 + 43_200, 3_600 + 50_000], &[(1, true)]);
    }

    #[test]
    fn a_tier_with_a_name_that_nobody_understands_has_times_all_the_same() {
        check("retry.soon", &[1_000_000, 3_600], &[(1, false)]);
    }
}
