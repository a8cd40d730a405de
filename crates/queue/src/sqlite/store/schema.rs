use rusqlite::Connection;

/// "RFRY", in the header of every file of ours.
const APPLICATION: i32 = 0x5246_5259;
/// Rises with every change of what is below.
const VERSION: i32 = 4;

/// What makes a file of each earlier version one of the next.
const UPGRADES: [&str; 3] = [FROM_FIRST, FROM_SHARDS, FROM_UNVOUCHED];

/// The last column was not there.
const FROM_FIRST: &str = "
    ALTER TABLE event ADD COLUMN create_only INTEGER NOT NULL DEFAULT 0;
    DROP INDEX IF EXISTS event_by_due_at;
";

/// Events were on shards, those of all accounts among each other, and behind accounts whose keys were refused. What is in a
/// work queue is in that order then: first what was held, which is older. An event of nobody goes among the unrouted.
const FROM_SHARDS: &str = "
    ALTER TABLE place ADD COLUMN admitted INTEGER NOT NULL DEFAULT 0;
    CREATE TEMP TABLE moving AS
        SELECT number, account, place, deliveries + (number <= delivered_up_to) AS deliveries,
            (SELECT last FROM state) + row_number() OVER (ORDER BY name GLOB 'events.*', number) AS turn
        FROM (
            SELECT event.number, event.deliveries, place.delivered_up_to, place.name, place.id AS place,
                CASE WHEN place.name GLOB 'held.*' THEN substr(place.name, 6) ELSE event.account END AS account
            FROM event JOIN place ON place.id = event.place
            WHERE place.name GLOB 'events.*' OR place.name GLOB 'held.*'
        );
    DELETE FROM place WHERE name GLOB 'events.*' OR name GLOB 'held.*';
    INSERT INTO place (name, events, in_hand, delivered_up_to, admitted)
        SELECT 'events.' || account, 0, 0, 0, 1 FROM moving WHERE account IS NOT NULL
        UNION SELECT 'events.' || account, 0, 0, 0, 1 FROM event WHERE due_at IS NOT NULL AND account IS NOT NULL;
    INSERT OR IGNORE INTO place (name, events, in_hand, delivered_up_to) VALUES ('dead.unrouted', 0, 0, 0);
    UPDATE event SET number = moving.turn, deliveries = moving.deliveries, place = place.id,
            reason = CASE WHEN moving.account IS NULL THEN 'no_queue' END
        FROM moving JOIN place ON place.name = coalesce('events.' || moving.account, 'dead.unrouted')
        WHERE event.number = moving.number;
    UPDATE event SET due_place = (SELECT id FROM place WHERE name = 'events.' || event.account) WHERE due_at IS NOT NULL;
    UPDATE place SET events = (SELECT count(*) FROM event WHERE event.place = place.id);
    UPDATE state SET last = (SELECT coalesce(max(turn), last) FROM moving);
    DROP TABLE moving;
    DROP TABLE IF EXISTS gate;
    ALTER TABLE event DROP COLUMN held_at;
    ALTER TABLE event ADD COLUMN was_due_at INTEGER;
    ALTER TABLE event ADD COLUMN alone INTEGER NOT NULL DEFAULT 0;
";

/// Nobody knew what a directory may learn from.
const FROM_UNVOUCHED: &str = "ALTER TABLE event ADD COLUMN vouched INTEGER NOT NULL DEFAULT 0;";

/// `state`: one row with the last number given to an event, the ledger, and the lease of the worker.
/// `place`: where events are, with how many are there, how many of those were delivered and are not settled, and up to
/// which number deliveries have come since the place was taken up; and of a work queue, whether its account was ever admitted.
/// `event`: one row for each event, wherever it is; its number is its turn. `due_at` is when it leaves the tier that it is in,
/// `was_due_at` when it was to leave the last one; `alone` counts the notes of those who worked it alone.
const TABLES: &str = "
    CREATE TABLE state (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        last INTEGER NOT NULL,
        accepted INTEGER NOT NULL,
        delivered INTEGER NOT NULL,
        ignored INTEGER NOT NULL,
        dropped INTEGER NOT NULL,
        term INTEGER NOT NULL,
        holder TEXT NOT NULL,
        locked INTEGER NOT NULL,
        renewed_at INTEGER NOT NULL,
        probes INTEGER NOT NULL
    ) STRICT;
    INSERT INTO state VALUES (1, 0, 0, 0, 0, 0, 0, '', 0, 0, 0);
    CREATE TABLE place (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        events INTEGER NOT NULL,
        in_hand INTEGER NOT NULL,
        delivered_up_to INTEGER NOT NULL,
        admitted INTEGER NOT NULL DEFAULT 0
    ) STRICT;
    CREATE TABLE event (
        number INTEGER PRIMARY KEY,
        place INTEGER NOT NULL,
        due_at INTEGER,
        due_place INTEGER,
        deliveries INTEGER NOT NULL,
        message_id TEXT NOT NULL,
        type TEXT NOT NULL,
        account TEXT,
        subject TEXT,
        received_at INTEGER NOT NULL,
        attempts INTEGER NOT NULL,
        first_failed_at INTEGER,
        generation INTEGER NOT NULL,
        traceparent TEXT,
        reason TEXT,
        status INTEGER,
        error TEXT,
        dead_at INTEGER,
        body BLOB NOT NULL,
        create_only INTEGER NOT NULL DEFAULT 0,
        was_due_at INTEGER,
        alone INTEGER NOT NULL DEFAULT 0,
        vouched INTEGER NOT NULL DEFAULT 0
    ) STRICT;
    CREATE INDEX event_by_place ON event (place, number);
";

/// What a file turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Schema {
    /// Nothing is in it yet.
    Empty,
    /// Ours.
    Current,
    /// Written by an earlier release, and made current by whoever opens it.
    Earlier(i32),
    /// Written by an earlier release that this one knows nothing of.
    Older(i32),
    /// Written by a later release.
    Newer(i32),
    /// A database of somebody else.
    Foreign,
}

impl Schema {
    /// At one moment: somebody else may be making the tables.
    pub(crate) fn of(connection: &Connection) -> rusqlite::Result<Self> {
        let _moment = connection.is_autocommit().then(|| connection.unchecked_transaction()).transpose()?;
        let number = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
        let (application, version) = (number("application_id")?, number("user_version")?);
        if application == 0 && version == 0 {
            let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
            return Ok(if tables == 0 { Self::Empty } else { Self::Foreign });
        }
        Ok(match version.cmp(&VERSION) {
            _ if application != APPLICATION => Self::Foreign,
            std::cmp::Ordering::Less if upgrades(version).is_some() => Self::Earlier(version),
            std::cmp::Ordering::Less => Self::Older(version),
            std::cmp::Ordering::Equal => Self::Current,
            std::cmp::Ordering::Greater => Self::Newer(version),
        })
    }

    /// What is wrong with it, and what to do.
    pub(crate) fn complaint(self) -> Option<String> {
        match self {
            Self::Empty | Self::Current | Self::Earlier(_) => None,
            Self::Older(version) => Some(format!(
                "it was written by an earlier release (format {version}, this is {VERSION}): let that release work it \
                 until it is empty, then move it away"
            )),
            Self::Newer(version) => Some(format!(
                "it was written by a later release (format {version}, this is {VERSION}): run that release, or one after it"
            )),
            Self::Foreign => Some("it is the database of another program: name another file".to_owned()),
        }
    }
}

/// What makes a file of an earlier version one of this; `None` if there never was such a version.
fn upgrades(version: i32) -> Option<&'static [&'static str]> {
    UPGRADES.get(usize::try_from(version).ok()?.checked_sub(1)?..)
}

/// Makes a file of an earlier release one of this. Within a transaction.
pub(crate) fn upgrade(connection: &Connection, version: i32) -> rusqlite::Result<()> {
    for statements in upgrades(version).unwrap_or_default() {
        connection.execute_batch(statements)?;
    }
    connection.pragma_update(None, "user_version", VERSION)
}

/// Makes the tables. Within a transaction, so that they are there whole or not at all.
pub(crate) fn create(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(TABLES)?;
    connection.pragma_update(None, "application_id", APPLICATION)?;
    connection.pragma_update(None, "user_version", VERSION)
}
