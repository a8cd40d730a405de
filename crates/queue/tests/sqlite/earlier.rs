//! Files of earlier releases, where events were on shards and behind held accounts.

use std::path::Path;
use std::time::SystemTime;

use refersion_relay_model::Class;
use refersion_relay_queue::{Former, Place, Queue, Remnant};
use rusqlite::{Connection, params};

use refersion_relay_queue_testkit::events::{DELIVERED, account, bodies, event, numbers, other_work, work};
use refersion_relay_queue_testkit::sqlite::begin;
use refersion_relay_queue_testkit::waiting::take;

/// As the second release made it.
const TABLES: &str = "
    CREATE TABLE state (
        id INTEGER PRIMARY KEY CHECK (id = 1), last INTEGER NOT NULL, accepted INTEGER NOT NULL, delivered INTEGER NOT NULL,
        ignored INTEGER NOT NULL, dropped INTEGER NOT NULL, term INTEGER NOT NULL, holder TEXT NOT NULL, locked INTEGER NOT NULL,
        renewed_at INTEGER NOT NULL, probes INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE place (
        id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, events INTEGER NOT NULL, in_hand INTEGER NOT NULL,
        delivered_up_to INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE event (
        number INTEGER PRIMARY KEY, place INTEGER NOT NULL, due_at INTEGER, due_place INTEGER, deliveries INTEGER NOT NULL,
        message_id TEXT NOT NULL, type TEXT NOT NULL, account TEXT, subject TEXT, received_at INTEGER NOT NULL,
        attempts INTEGER NOT NULL, first_failed_at INTEGER, generation INTEGER NOT NULL, held_at INTEGER, traceparent TEXT,
        reason TEXT, status INTEGER, error TEXT, dead_at INTEGER, body BLOB NOT NULL, create_only INTEGER NOT NULL DEFAULT 0
    ) STRICT;
    CREATE INDEX event_by_place ON event (place, number);
    CREATE INDEX event_by_tier ON event (place, due_at) WHERE due_at IS NOT NULL;
    CREATE TABLE gate (shards INTEGER PRIMARY KEY, closed INTEGER NOT NULL, closing_until INTEGER NOT NULL) STRICT;
    INSERT INTO gate VALUES (2, 0, 0);
    PRAGMA application_id = 1380340313;
    PRAGMA journal_mode = WAL;
";

/// The places, with how many events are there, how many of those are in hand, and up to which number they were delivered.
const PLACES: [(i64, &str, i64, i64, i64); 6] = [
    (1, "events.n2.0", 2, 1, 2),
    (2, "events.n2.1", 3, 0, 0),
    (3, "held.acme", 2, 0, 0),
    (4, "held.renamed", 1, 0, 0),
    (5, "retry.1s", 2, 0, 0),
    (6, "dead.invalid", 1, 0, 0),
];

/// Each with its place, whose it is, what it is, and to which place it goes back.
const EVENTS: [(i64, Option<&str>, &str, Option<i64>); 11] = [
    (6, Some("acme"), "letter", None),
    (1, Some("acme"), "2", None),
    (2, Some("other"), "0", None),
    (3, Some("acme"), "0", None),
    (2, None, "nobody's", None),
    (1, Some("acme"), "3", None),
    (3, Some("acme"), "1", None),
    (5, Some("acme"), "4", Some(1)),
    (2, Some("other"), "1", None),
    (4, Some("renamed"), "renamed", None),
    (5, Some("other"), "2", Some(2)),
];

fn make(path: &Path, version: i32) {
    let connection = Connection::open(path).unwrap();
    connection.execute_batch(TABLES).unwrap();
    let last = i64::try_from(EVENTS.len()).unwrap();
    connection.execute("INSERT INTO state VALUES (1, ?1, ?1, 0, 0, 0, 7, 'gone', 0, 1, 0)", [last]).unwrap();
    for place in PLACES {
        connection.execute("INSERT INTO place VALUES (?1, ?2, ?3, ?4, ?5)", place).unwrap();
    }
    for (number, (place, account, body, back)) in (1_i64..).zip(EVENTS) {
        let due_at = back.map(|_| 1);
        let sql = "INSERT INTO event (number, place, due_at, due_place, deliveries, message_id, type, account, subject, \
                   received_at, attempts, generation, held_at, body) VALUES (?1, ?2, ?3, ?4, 0, ?5, 'identify', ?6, 'one', \
                   1, 0, 0, 1, ?7)";
        connection.execute(sql, params![number, place, due_at, back, body, account, body.as_bytes()]).unwrap();
    }
    if version == 1 {
        connection.execute_batch("ALTER TABLE event DROP COLUMN create_only").unwrap();
    }
    connection.pragma_update(None, "user_version", version).unwrap();
}

#[tokio::test]
async fn everything_in_a_file_of_an_earlier_release_is_in_the_work_queues_in_its_order() {
    for version in [1, 2] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("relay.db");
        make(&path, version);

        // Several at once, as when everything is started again.
        let instances: Vec<_> = (0..3).map(|_| begin(&path)).collect();

        for instance in &instances {
            instance.until_up().await;
            assert_eq!((instance.depth(&work()).await, instance.depth(&other_work()).await), (4, 2));
        }
        let relay = &instances[0];
        let ledger = relay.queue.ledger().await.unwrap();
        assert_eq!((ledger.waiting, ledger.dead, ledger.difference()), (9, 2, 0), "{ledger}");
        assert_eq!(relay.bodies(Class::Unrouted).await, ["nobody's"]);
        assert_eq!(relay.bodies(Class::Invalid).await, ["letter"]);
        let left = relay.queue.left_behind().await.unwrap().remnants;
        assert_eq!(left, [Remnant { of: Former::Account(account("renamed")), events: 1 }]);
        relay.store(&Place::Work(account("renamed")), [event("one", "later")]).await;

        let (mut owned, mut other) = (relay.own(&work()).await, relay.own(&other_work()).await);
        // What was held comes first, since it is older, and what comes out of a tier last.
        let taken = take(&mut owned, 5).await;
        assert_eq!(bodies(&taken), numbers(0..5));
        let counts: Vec<_> = taken.iter().map(|delivery| delivery.delivery_count).collect();
        assert_eq!(counts, [0, 0, 1, 0, 0], "one was in hand");
        assert!(
            taken.iter().all(|delivery| !delivery.message.headers.create_only),
            "they may do what they could before"
        );
        assert!(taken.iter().all(|delivery| delivery.message.headers.received_at < SystemTime::now()));
        for delivery in taken {
            delivery.settle(DELIVERED).await.unwrap();
        }
        assert_eq!(bodies(&take(&mut other, 3).await), numbers(0..3));
        owned.release().await;
        other.release().await;
        assert_eq!(relay.depth(&Place::Work(account("renamed"))).await, 2, "it keeps its queue");
    }
}

#[tokio::test]
async fn events_of_before_there_was_a_directory_teach_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("relay.db");
    let before = begin(&path);
    before.until_up().await;
    before.store(&work(), [event("one", "0")]).await;
    before.queue.close().await;
    let connection = Connection::open(&path).unwrap();
    connection.execute_batch("ALTER TABLE event DROP COLUMN vouched; PRAGMA user_version = 3").unwrap();
    drop(connection);

    let relay = begin(&path);
    relay.until_up().await;

    let taken = take(&mut relay.own(&work()).await, 1).await;
    assert_eq!(bodies(&taken), numbers(0..1));
    assert!(!taken[0].message.headers.vouched);
}
