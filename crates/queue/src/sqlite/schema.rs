use rusqlite::Connection;

/// "RFRY", in the header of every file of ours.
const APPLICATION: i32 = 0x5246_5259;
/// Rises with every change of what is below.
const VERSION: i32 = 2;

/// What the first release did not have: it left the last column out.
const FIRST: i32 = 1;
const FROM_FIRST: &str = "
    ALTER TABLE event ADD COLUMN create_only INTEGER NOT NULL DEFAULT 0;
    DROP INDEX IF EXISTS event_by_due_at;
";

/// `state`: one row with the last number given to an event, the ledger, and the lease of the worker.
/// `place`: where events are, with how many are there, how many of those were delivered and are not settled, and up to
/// which number deliveries have come since the place was taken up.
/// `event`: one row for each event, wherever it is; its number is its turn.
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
        delivered_up_to INTEGER NOT NULL
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
        held_at INTEGER,
        traceparent TEXT,
        reason TEXT,
        status INTEGER,
        error TEXT,
        dead_at INTEGER,
        body BLOB NOT NULL,
        create_only INTEGER NOT NULL DEFAULT 0
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
    /// Written by the first release, and made current by whoever opens it.
    First,
    /// Written by an earlier release, which this one does not understand.
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
            std::cmp::Ordering::Less if version == FIRST => Self::First,
            std::cmp::Ordering::Less => Self::Older(version),
            std::cmp::Ordering::Equal => Self::Current,
            std::cmp::Ordering::Greater => Self::Newer(version),
        })
    }

    /// What is wrong with it, and what to do.
    pub(crate) fn complaint(self) -> Option<String> {
        match self {
            Self::Empty | Self::Current | Self::First => None,
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

/// Makes a file of the first release one of this: what is stored there may do what it could before. Takes as long for a large file
/// as for a small one. Within a transaction.
pub(crate) fn upgrade(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(FROM_FIRST)?;
    connection.pragma_update(None, "user_version", VERSION)
}

/// Makes the tables. Within a transaction, so that they are there whole or not at all.
pub(crate) fn create(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(TABLES)?;
    connection.pragma_update(None, "application_id", APPLICATION)?;
    connection.pragma_update(None, "user_version", VERSION)
}
