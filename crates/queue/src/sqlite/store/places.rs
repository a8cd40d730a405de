use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use refersion_relay_model::AccountName;
use rusqlite::{Connection, OptionalExtension};

use crate::port::left_behind::{Configured, Former, Named};
use crate::{LeftBehind, Place};

/// What a place is called in the file.
pub(crate) fn name(place: &Place) -> String {
    match place {
        Place::Intake => "intake".to_owned(),
        Place::Work(account) => format!("events.{account}"),
        Place::Later(_, delay) => format!("retry.{}", humantime::format_duration(*delay).to_string().replace(' ', "")),
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
        Place::Later(..) | Place::Work(_) | Place::Dead(_) => None,
    }
}

/// What is known already of places: their numbers, and which work queues were admitted. Nothing ever removes a place, so that
/// stays right, unless the transaction that made it came to nothing.
#[derive(Debug, Default)]
pub(crate) struct Places {
    numbers: HashMap<Place, i64>,
    admitted: HashSet<i64>,
}

impl Places {
    /// Finds the number of a place, and makes the place if it is not there yet.
    pub(crate) fn number(&mut self, connection: &Connection, place: &Place) -> rusqlite::Result<i64> {
        if let Some(number) = self.numbers.get(place) {
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
        self.numbers.insert(place.clone(), number);
        Ok(number)
    }

    /// Has an account's events go to its work queue from now on, whatever becomes of the account.
    pub(crate) fn admit(&mut self, connection: &Connection, account: &AccountName) -> rusqlite::Result<()> {
        let number = self.number(connection, &Place::Work(account.clone()))?;
        if !self.is_admitted(connection, number)? {
            connection.prepare_cached("UPDATE place SET admitted = 1 WHERE id = ?1")?.execute([number])?;
            self.admitted.insert(number);
        }
        Ok(())
    }

    /// Whether an account was ever admitted, by the number of its work queue.
    pub(crate) fn is_admitted(&mut self, connection: &Connection, number: i64) -> rusqlite::Result<bool> {
        if self.admitted.contains(&number) {
            return Ok(true);
        }
        let asked = connection
            .prepare_cached("SELECT admitted FROM place WHERE id = ?1")?
            .query_row([number], |row| row.get(0))
            .optional()?;
        let is_admitted = asked.unwrap_or(false);
        if is_admitted {
            self.admitted.insert(number);
        }
        Ok(is_admitted)
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.numbers.clear();
        self.admitted.clear();
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
