use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::time::SystemTime;

use refersion_relay_model::{AccountName, Class, DeadReason};
use rusqlite::{Connection, OptionalExtension, params};

use super::due::{self, Due};
use super::places::{self, Places};
use super::row::{self, Address, Stored, millis};
use crate::port::delivery::Ending;
use crate::port::message::NO_QUEUE;
use crate::sqlite::writer::lease::Held;
use crate::{Death, Depth, Headers, Message, Place};

/// How often an event is delivered before it is given up. What is in hand is put back whenever an account is not worked for
/// some time, and that counts too, so this is far above what crashes explain.
const DELIVERY_LIMIT: i64 = 1_000_000;
/// How much of what is taken is read at a time, in bytes; one event more than fits.
const TAKE_BYTES: usize = 8 * 1024 * 1024;
/// How many events become due in one transaction.
const DUE_AT_ONCE: i64 = 1_000;

/// A transaction on the file, and everything that can be done in one. Nothing here waits or decides.
pub(crate) struct Work<'a> {
    pub(crate) connection: &'a Connection,
    places: &'a mut Places,
    last: i64,
    /// The term of the lease as it is in the file.
    pub(crate) term: i64,
    flows: Flows,
    changes: HashMap<i64, Change>,
}

/// What the ledger has to be told.
#[derive(Clone, Copy, Debug, Default)]
struct Flows {
    accepted: i64,
    delivered: i64,
    ignored: i64,
    dropped: i64,
}

/// What happened at a place.
#[derive(Clone, Copy, Debug, Default)]
struct Change {
    events: i64,
    in_hand: i64,
}

/// Whether something could be done to an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Done {
    Yes,
    /// It is not there any more, or not ours any more.
    No,
}

impl<'a> Work<'a> {
    /// Begins on a connection whose transaction is open.
    pub(crate) fn begin(connection: &'a Connection, places: &'a mut Places) -> rusqlite::Result<Self> {
        let (last, term) = connection
            .prepare_cached("SELECT last, term FROM state")?
            .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(Self { connection, places, last, term, flows: Flows::default(), changes: HashMap::new() })
    }

    /// Writes the counters down. Returns the numbers of the places where something new is.
    pub(crate) fn end(self) -> rusqlite::Result<BTreeSet<i64>> {
        let Flows { accepted, delivered, ignored, dropped } = self.flows;
        let mut touched = BTreeSet::new();
        if self.changes.is_empty() {
            return Ok(touched);
        }
        self.connection
            .prepare_cached(
                "UPDATE state SET last = ?1, accepted = accepted + ?2, delivered = delivered + ?3, \
                 ignored = ignored + ?4, dropped = dropped + ?5",
            )?
            .execute(params![self.last, accepted, delivered, ignored, dropped])?;
        let mut update = self
            .connection
            .prepare_cached("UPDATE place SET events = events + ?2, in_hand = max(0, in_hand + ?3) WHERE id = ?1")?;
        for (place, Change { events, in_hand }) in self.changes {
            update.execute(params![place, events, in_hand])?;
            touched.insert(place);
        }
        Ok(touched)
    }

    pub(crate) fn place(&mut self, place: &Place) -> rusqlite::Result<i64> {
        self.places.number(self.connection, place)
    }

    /// Has the events of these accounts go to their work queues.
    pub(crate) fn admit(&mut self, accounts: &[AccountName]) -> rusqlite::Result<()> {
        accounts.iter().try_for_each(|account| self.places.admit(self.connection, account))
    }

    /// Stores what came in.
    pub(crate) fn publish(&mut self, batch: &[(Place, Message)], now: SystemTime) -> rusqlite::Result<()> {
        let connection = self.connection;
        let mut statement = connection.prepare_cached(row::INSERT)?;
        for (place, message) in batch {
            let (address, headers) = self.route(place, &message.headers, now)?;
            let number = self.next();
            row::insert(&mut statement, number, address, &headers, &message.body)?;
            self.change(address.place).events += 1;
            self.flows.accepted += 1;
        }
        Ok(())
    }

    /// The next events of a place behind `after`, as many as there is room for. They stay where they are.
    pub(crate) fn take(&mut self, place: i64, after: i64, room: usize) -> rusqlite::Result<Vec<Stored>> {
        let sql =
            format!("SELECT {} FROM event WHERE place = ?1 AND ?2 < number ORDER BY number LIMIT ?3", row::COLUMNS);
        let mut statement = self.connection.prepare_cached(&sql)?;
        let mut rows = statement.query(params![place, after, i64::try_from(room).unwrap_or(i64::MAX)])?;
        let (mut taken, mut bytes) = (Vec::new(), 0);
        while bytes < TAKE_BYTES
            && let Some(row) = rows.next()?
        {
            let stored = row::read(row, None)?;
            bytes += stored.message.body.len();
            taken.push(stored);
        }
        if let Some(last) = taken.last() {
            self.connection
                .prepare_cached("UPDATE place SET delivered_up_to = ?2 WHERE id = ?1")?
                .execute(params![place, last.number])?;
            self.change(place).in_hand += i64::try_from(taken.len()).unwrap_or(0);
        }
        Ok(taken)
    }

    /// An event in hand has ended.
    pub(crate) fn finish(&mut self, place: i64, number: i64, ending: Ending) -> rusqlite::Result<Done> {
        let done = self.delete(place, number)?;
        if done == Done::Yes {
            self.change(place).in_hand -= 1;
            match ending {
                Ending::Delivered => self.flows.delivered += 1,
                Ending::Ignored => self.flows.ignored += 1,
            }
        }
        Ok(done)
    }

    /// An event in hand goes on elsewhere.
    pub(crate) fn pass_on(
        &mut self,
        place: i64,
        number: i64,
        to: &Place,
        headers: &Headers,
        now: SystemTime,
    ) -> rusqlite::Result<Done> {
        let done = self.relocate(place, number, to, headers, now)?;
        if done == Done::Yes {
            self.change(place).in_hand -= 1;
        }
        Ok(done)
    }

    /// A person deletes a letter.
    pub(crate) fn drop_letter(&mut self, place: i64, number: i64) -> rusqlite::Result<Done> {
        let done = self.delete(place, number)?;
        if done == Done::Yes {
            self.flows.dropped += 1;
        }
        Ok(done)
    }

    fn delete(&mut self, place: i64, number: i64) -> rusqlite::Result<Done> {
        let deleted = self
            .connection
            .prepare_cached("DELETE FROM event WHERE number = ?1 AND place = ?2")?
            .execute(params![number, place])?;
        if deleted == 0 {
            return Ok(Done::No);
        }
        self.change(place).events -= 1;
        Ok(Done::Yes)
    }

    /// Puts an event at the tail of another place, under these headers.
    pub(crate) fn relocate(
        &mut self,
        from: i64,
        number: i64,
        to: &Place,
        headers: &Headers,
        now: SystemTime,
    ) -> rusqlite::Result<Done> {
        let (address, headers) = self.route(to, headers, now)?;
        let next = self.next();
        let death = headers.death.as_ref();
        let moved = self
            .connection
            .prepare_cached(
                "UPDATE event SET number = ?3, place = ?4, due_at = ?5, due_place = ?6, deliveries = 0, message_id = ?7, \
                 type = ?8, account = ?9, subject = ?10, received_at = ?11, attempts = ?12, first_failed_at = ?13, \
                 generation = ?14, traceparent = ?15, reason = ?16, status = ?17, error = ?18, dead_at = ?19, \
                 create_only = ?20, was_due_at = ?21, vouched = ?22, alone = 0 WHERE number = ?1 AND place = ?2",
            )?
            .execute(params![
                number,
                from,
                next,
                address.place,
                address.due.map(|(at, _)| at),
                address.due.map(|(_, place)| place),
                headers.message_id,
                headers.kind,
                headers.account.as_ref().map(AccountName::as_str),
                headers.subject,
                millis(headers.received_at),
                headers.attempts,
                headers.first_failed_at.map(millis),
                headers.generation,
                headers.traceparent,
                death.map(|death| death.reason.as_str()),
                death.and_then(|death| death.status),
                death.and_then(|death| death.error.as_deref()),
                death.and_then(|death| death.dead_at).map(millis),
                headers.create_only,
                headers.due_at.map(millis),
                headers.vouched,
            ])?;
        if moved == 0 {
            return Ok(Done::No);
        }
        self.change(from).events -= 1;
        self.change(address.place).events += 1;
        Ok(Done::Yes)
    }

    /// Notes that an event is about to be worked alone. Returns how many notes there were, or `None` if the event is gone.
    pub(crate) fn note(&self, place: i64, number: i64) -> rusqlite::Result<Option<i64>> {
        self.connection
            .prepare_cached("UPDATE event SET alone = alone + 1 WHERE number = ?1 AND place = ?2 RETURNING alone - 1")?
            .query_row([number, place], |row| row.get(0))
            .optional()
    }

    /// Keeps so many notes.
    pub(crate) fn erase(&self, place: i64, number: i64, keep: i64) -> rusqlite::Result<()> {
        self.connection
            .prepare_cached("UPDATE event SET alone = min(alone, ?3) WHERE number = ?1 AND place = ?2")?
            .execute([number, place, keep])
            .map(drop)
    }

    /// Nothing of a place is in hand any more: what was delivered and not settled comes again, in order. What came too
    /// often is given up.
    pub(crate) fn put_back(&mut self, place: i64, now: SystemTime) -> rusqlite::Result<()> {
        let connection = self.connection;
        let up_to: i64 = connection
            .prepare_cached("SELECT delivered_up_to FROM place WHERE id = ?1")?
            .query_row([place], |row| row.get(0))?;
        if up_to == 0 {
            return Ok(());
        }
        connection
            .prepare_cached(
                "UPDATE event SET deliveries = min(deliveries, 1000000000) + 1 WHERE place = ?1 AND number <= ?2",
            )?
            .execute(params![place, up_to])?;
        let sql = format!(
            "SELECT {} FROM event WHERE place = ?1 AND number <= ?2 AND ?3 < deliveries ORDER BY number",
            row::COLUMNS
        );
        let mut statement = connection.prepare_cached(&sql)?;
        let given_up = statement
            .query_map(params![place, up_to, DELIVERY_LIMIT], |row| row::read(row, None))?
            .collect::<rusqlite::Result<Vec<_>>>()?;
        for Stored { number, message, .. } in given_up {
            let death = Death {
                class: Class::Poison,
                reason: DeadReason::DeliveryLimit.as_str().to_owned(),
                status: None,
                error: Some(format!("it was delivered {} times and never settled", DELIVERY_LIMIT + 1)),
                dead_at: Some(now),
            };
            let headers = Headers { death: Some(death), ..message.headers };
            self.relocate(place, number, &Place::Dead(Class::Poison), &headers, now)?;
        }
        connection
            .prepare_cached("UPDATE place SET delivered_up_to = 0, in_hand = 0 WHERE id = ?1")?
            .execute([place])?;
        // Also of what was taken or settled in this very transaction, and is not written down yet.
        self.change(place).in_hand = 0;
        Ok(())
    }

    /// Puts what has waited long enough at the tail of its work queue. Returns how many would have waited for too long.
    pub(crate) fn let_due(&mut self, now: SystemTime) -> rusqlite::Result<usize> {
        let connection = self.connection;
        let due = due::find(connection, now, DUE_AT_ONCE)?;
        let mut back = connection.prepare_cached(
            "UPDATE event SET number = ?2, place = ?3, due_at = NULL, due_place = NULL WHERE number = ?1",
        )?;
        let mut nowhere = connection.prepare_cached(
            "UPDATE event SET number = ?2, place = ?3, due_at = NULL, due_place = NULL, reason = ?4, dead_at = ?5 \
             WHERE number = ?1",
        )?;
        for Due { number, from, to, .. } in &due {
            let next = self.next();
            let admitted = match to {
                Some(to) if self.places.is_admitted(connection, *to)? => Some(*to),
                Some(_) | None => None,
            };
            let to = if let Some(to) = admitted {
                back.execute(params![number, next, to])?;
                to
            } else {
                let unrouted = self.place(&Place::Dead(Class::Unrouted))?;
                nowhere.execute(params![number, next, unrouted, NO_QUEUE, millis(now)])?;
                unrouted
            };
            self.change(*from).events -= 1;
            self.change(to).events += 1;
        }
        Ok(due.iter().filter(|due| due.is_ahead).count())
    }

    /// Takes the lease, if nobody has it who could still use it. `locked`: whether the lock that goes with it is ours,
    /// which shows that a holder who had it is gone. What the last holder had in hand comes again.
    pub(crate) fn take_lease(&mut self, holder: &str, locked: bool, now: SystemTime) -> rusqlite::Result<Option<i64>> {
        let held = Held::read(self.connection)?;
        if !held.is_over(locked, now) {
            return Ok(None);
        }
        self.term = self.term.saturating_add(1);
        self.connection
            .prepare_cached("UPDATE state SET term = ?1, holder = ?2, locked = ?3, renewed_at = ?4")?
            .execute(params![self.term, holder, locked, millis(now)])?;
        let places = self
            .connection
            .prepare_cached("SELECT id FROM place WHERE 0 < delivered_up_to OR in_hand != 0")?
            .query_map([], |row| row.get(0))?
            .collect::<rusqlite::Result<Vec<i64>>>()?;
        for place in places {
            self.put_back(place, now)?;
        }
        Ok(Some(self.term))
    }

    /// Says that the holder of this term is alive; `false`: it is not the holder any more.
    pub(crate) fn renew_lease(&mut self, term: i64, locked: bool, now: SystemTime) -> rusqlite::Result<bool> {
        let renewed = self
            .connection
            .prepare_cached("UPDATE state SET renewed_at = ?2, locked = ?3 WHERE term = ?1")?
            .execute(params![term, millis(now), locked])?;
        Ok(renewed == 1)
    }

    /// Gives the lease up, so that the next holder need not wait.
    pub(crate) fn end_lease(&mut self, term: i64) -> rusqlite::Result<()> {
        self.connection.prepare_cached("UPDATE state SET renewed_at = 0 WHERE term = ?1")?.execute([term])?;
        Ok(())
    }

    /// Where an event goes, and under which headers: for an account that was never admitted there is no queue.
    fn route<'h>(
        &mut self,
        place: &Place,
        headers: &'h Headers,
        now: SystemTime,
    ) -> rusqlite::Result<(Address, Cow<'h, Headers>)> {
        let number = self.place(place)?;
        let address = match place {
            Place::Later(account, delay) => {
                // The millisecond that has begun does not count: not before means not before.
                let at =
                    millis(now).saturating_add(1).saturating_add(i64::try_from(delay.as_millis()).unwrap_or(i64::MAX));
                Address { place: number, due: Some((at, self.place(&Place::Work(account.clone()))?)) }
            }
            Place::Work(_) if !self.places.is_admitted(self.connection, number)? => {
                let death = Death {
                    class: Class::Unrouted,
                    reason: NO_QUEUE.to_owned(),
                    status: None,
                    error: None,
                    dead_at: Some(now),
                };
                let address = Address { place: self.place(&Place::Dead(Class::Unrouted))?, due: None };
                return Ok((address, Cow::Owned(Headers { death: Some(death), ..headers.clone() })));
            }
            Place::Intake | Place::Work(_) | Place::Dead(_) => Address { place: number, due: None },
        };
        Ok((address, Cow::Borrowed(headers)))
    }

    fn next(&mut self) -> i64 {
        // A number that is taken already is refused by the file, and nothing is lost.
        self.last = self.last.saturating_add(1);
        self.last
    }

    fn change(&mut self, place: i64) -> &mut Change {
        self.changes.entry(place).or_default()
    }
}

/// How many events are at a place, how many of those are in hand, and how old the first one is.
pub(crate) fn depth(connection: &Connection, place: &Place) -> rusqlite::Result<Depth> {
    let place: Option<(i64, i64, i64)> = connection
        .prepare_cached("SELECT id, events, in_hand FROM place WHERE name = ?1")?
        .query_row([places::name(place)], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    let Some((place, events, in_hand)) = place else { return Ok(Depth::default()) };
    let oldest: Option<i64> = connection
        .prepare_cached("SELECT received_at FROM event WHERE place = ?1 ORDER BY number LIMIT 1")?
        .query_row([place], |row| row.get(0))
        .optional()?;
    let (events, in_hand) = (u64::try_from(events).unwrap_or(0), u64::try_from(in_hand).unwrap_or(0));
    Ok(Depth { ready: events.saturating_sub(in_hand), in_hand, oldest: oldest.and_then(row::at) })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::sqlite::store::schema;

    #[test]
    fn nothing_is_due_before_its_delay_has_passed_to_the_last_microsecond() {
        let connection = Connection::open_in_memory().unwrap();
        schema::create(&connection).unwrap();
        let begin = SystemTime::UNIX_EPOCH + Duration::from_micros(1_999);
        let (account, delay) = (AccountName::try_from("acme").unwrap(), Duration::from_secs(1));
        let headers = Headers::received("1", "identify", account.clone(), String::new(), begin);
        let message = Message { body: bytes::Bytes::new(), headers };
        let (mut places, queue) = (Places::default(), Place::Work(account.clone()));
        let mut work = Work::begin(&connection, &mut places).unwrap();
        work.admit(std::slice::from_ref(&account)).unwrap();
        work.publish(&[(Place::Later(account, delay), message)], begin).unwrap();
        work.let_due(begin + delay - Duration::from_micros(1)).unwrap();
        work.end().unwrap();
        assert_eq!(depth(&connection, &queue).unwrap(), Depth::default());

        let mut work = Work::begin(&connection, &mut places).unwrap();
        work.let_due(begin + delay + Duration::from_millis(1)).unwrap();
        work.end().unwrap();

        assert_eq!(depth(&connection, &queue).unwrap().ready, 1);
    }
}
