use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension};

use crate::left_behind::{Configured, Former, Named};
use crate::{LeftBehind, Place};

/// What the names of held places begin with.
pub(crate) const HELD: &str = "held.";

/// What a place is called in the file.
pub(crate) fn name(place: &Place) -> String {
    match place {
        Place::Intake => "intake".to_owned(),
        // Which shard that is is known only at the moment of publishing.
        Place::Subject(_) => "events".to_owned(),
        Place::Shard(shard) => format!("events.{shard}"),
        Place::Later(_, delay) => format!("retry.{}", humantime::format_duration(*delay).to_string().replace(' ', "")),
        Place::Held(account) => format!("{HELD}{account}"),
        Place::Dead(class) => format!("dead.{class}"),
    }
}

/// The delay of a tier, by what it is called in the file.
pub(crate) fn delay(name: &str) -> Option<Duration> {
    humantime::parse_duration(name.strip_prefix("retry.")?).ok()
}

/// Why nothing can be put there, wherever it comes from.
pub(crate) fn objection(place: &Place) -> Option<&'static str> {
    match place {
        Place::Intake => Some("nothing is published to the intake"),
        Place::Subject(_) | Place::Later(..) | Place::Shard(_) | Place::Held(_) | Place::Dead(_) => None,
    }
}

/// The numbers of places that are known already. Nothing ever removes a place, so a number stays right, unless the
/// transaction that made it came to nothing.
#[derive(Debug, Default)]
pub(crate) struct Places(HashMap<Place, i64>);

impl Places {
    /// Finds the number of a place, and makes the place if it is not there yet.
    pub(crate) fn number(&mut self, connection: &Connection, place: &Place) -> rusqlite::Result<i64> {
        if let Some(number) = self.0.get(place) {
            return Ok(*number);
        }
        let name = name(place);
        let number = match find(connection, &name)? {
            Some(number) => number,
            None => connection.query_row(
                "INSERT INTO place (name, events, in_hand, delivered_up_to) VALUES (?1, 0, 0, 0) RETURNING id",
                [&name],
                |row| row.get(0),
            )?,
        };
        self.0.insert(place.clone(), number);
        Ok(number)
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

/// The number of a place, if it is there.
pub(crate) fn find(connection: &Connection, name: &str) -> rusqlite::Result<Option<i64>> {
    connection.prepare_cached("SELECT id FROM place WHERE name = ?1")?.query_row([name], |row| row.get(0)).optional()
}

/// What is at places that no configuration names.
pub(crate) fn left_behind(connection: &Connection, configured: &Configured) -> rusqlite::Result<LeftBehind> {
    let mut counted = BTreeMap::<Former, u64>::new();
    let mut places = connection.prepare_cached("SELECT name, events FROM place WHERE 0 < events")?;
    let mut rows = places.query([])?;
    while let Some(row) = rows.next()? {
        let (name, events): (String, i64) = (row.get(0)?, row.get(1)?);
        let former = match Former::named(&name) {
            Named::Fixed => continue,
            Named::For(former) if configured.names(&former) => continue,
            Named::For(former) => former,
            Named::Unknown => Former::place(&name),
        };
        let count = counted.entry(former).or_default();
        *count = count.saturating_add(events.unsigned_abs());
    }
    Ok(LeftBehind::new(counted, Vec::new()))
}
