//! The tables of a database, and the statements over them.
//!
//! - `events`: one row an event, its position the row id. Ids of aggregates are blobs (UUIDs) or text, which never
//!   compare equal; unsigned numbers are stored in the bits of signed ones.
//! - `tags`: one row for each tag of each event, so that conditions look nowhere else. The row of the event has
//!   them too, to be read with it.
//! - `tracking`: one row an upstream. A view has it too, and with it `dead_letters`.
//! - `snapshots`: the columns of `events` but for position and time.
//! - `buffered`: at most one row: the first position that a loss of power may take.
//!
//! Text is compared byte by byte. All names begin with a prefix, so that several sequences fit into one file.

use std::path::Path;

use rusqlite::Connection;

use super::SqliteError;

/// `ANLS`: what every file of ours has as its `application_id`.
pub(super) const APPLICATION_ID: i32 = i32::from_be_bytes(*b"ANLS");

/// What every file of ours has as its `user_version`. Another one is not touched.
pub(super) const FORMAT_VERSION: i32 = 1;

/// The columns of an event in the order in which [`rows`](super::rows) reads them; the first two only events have.
pub(super) const POSITION_AND_TIME: &str = "position, time_us";
pub(super) const CONTENT: &str = "event_id, aggregate_id, version, topic, tags, metadata, codec, key_id, \
                                  plain_len, digest, payload";

/// Every statement of a recorder, with the names of its tables.
#[derive(Debug)]
pub(super) struct Statements {
    /// A table by which it is seen whether all are there, and how they are made.
    pub(super) recorder: (String, String),
    pub(super) view: (String, String),

    pub(super) last_event: String,
    pub(super) last_version: String,
    pub(super) insert_event: String,
    pub(super) insert_tag: String,
    pub(super) event_at: String,
    pub(super) events_between: String,
    pub(super) event_of_aggregate: String,
    pub(super) event_of_no_aggregate: String,
    pub(super) events_of_aggregate: String,
    pub(super) events_of_aggregate_desc: String,
    pub(super) positions_of_tag: String,
    pub(super) positions_of_topic: String,

    pub(super) tracking: String,
    pub(super) set_tracking: String,

    pub(super) extent: String,
    pub(super) mark_buffered: String,
    pub(super) mark_durable: String,

    pub(super) put_snapshot: String,
    pub(super) latest_snapshot: String,
    pub(super) delete_snapshots: String,

    pub(super) put_letter: String,
    pub(super) letters: String,
    pub(super) delete_letter: String,
}

impl Statements {
    /// For tables whose names begin with `prefix`.
    pub(super) fn new(prefix: &str) -> Result<Self, SqliteError> {
        check_prefix(prefix)?;
        let table = |name: &str| format!("{prefix}{name}");
        let (events, tags, tracking) = (table("events"), table("tags"), table("tracking"));
        let (snapshots, buffered) = (table("snapshots"), table("buffered"));
        let content = "
            event_id BLOB NOT NULL,
            aggregate_id ANY,
            version INTEGER,
            topic TEXT NOT NULL,
            tags BLOB NOT NULL,
            metadata TEXT NOT NULL,
            codec INTEGER,
            key_id INTEGER,
            plain_len INTEGER,
            digest INTEGER,
            payload BLOB NOT NULL";
        let letters = table("dead_letters");
        let create_tracking = format!(
            "CREATE TABLE IF NOT EXISTS {tracking} (
                name TEXT PRIMARY KEY, position INTEGER NOT NULL
             ) STRICT, WITHOUT ROWID;
             CREATE TABLE IF NOT EXISTS {buffered} (
                id INTEGER PRIMARY KEY CHECK (id = 1), first_position INTEGER NOT NULL
             ) STRICT;"
        );
        let create_view = format!(
            "{create_tracking}
             CREATE TABLE IF NOT EXISTS {letters} (
                name TEXT NOT NULL,
                position INTEGER NOT NULL,
                topic TEXT NOT NULL,
                event_id BLOB NOT NULL,
                error TEXT NOT NULL,
                attempts INTEGER NOT NULL,
                time_us INTEGER NOT NULL,
                PRIMARY KEY (name, position)
             ) STRICT, WITHOUT ROWID;"
        );
        let create_recorder = format!(
            "{create_tracking}
             CREATE TABLE IF NOT EXISTS {events} (
                position INTEGER PRIMARY KEY, time_us INTEGER NOT NULL, {content}
             ) STRICT;
             CREATE UNIQUE INDEX IF NOT EXISTS {events}_of_aggregate ON {events} (aggregate_id, version)
                WHERE aggregate_id IS NOT NULL;
             CREATE INDEX IF NOT EXISTS {events}_of_no_aggregate ON {events} (event_id)
                WHERE aggregate_id IS NULL;
             CREATE INDEX IF NOT EXISTS {events}_of_topic ON {events} (topic);
             CREATE TABLE IF NOT EXISTS {tags} (
                tag BLOB NOT NULL, position INTEGER NOT NULL, PRIMARY KEY (tag, position)
             ) STRICT, WITHOUT ROWID;
             CREATE TABLE IF NOT EXISTS {snapshots} ({content}) STRICT;
             CREATE UNIQUE INDEX IF NOT EXISTS {snapshots}_of_aggregate ON {snapshots} (aggregate_id, version);"
        );
        Ok(Self {
            recorder: (events.clone(), create_recorder),
            view: (letters.clone(), create_view),

            last_event: format!(
                "SELECT position, time_us FROM {events} ORDER BY position DESC LIMIT 1"
            ),
            last_version: format!("SELECT max(version) FROM {events} WHERE aggregate_id = ?1"),
            insert_event: format!(
                "INSERT INTO {events} ({POSITION_AND_TIME}, {CONTENT})
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)"
            ),
            insert_tag: format!("INSERT INTO {tags} (tag, position) VALUES (?1, ?2)"),
            event_at: format!(
                "SELECT {POSITION_AND_TIME}, {CONTENT} FROM {events} WHERE position = ?1"
            ),
            events_between: format!(
                "SELECT {POSITION_AND_TIME}, {CONTENT} FROM {events} WHERE position BETWEEN ?1 AND ?2
                 ORDER BY position"
            ),
            event_of_aggregate: format!(
                "SELECT {POSITION_AND_TIME}, {CONTENT} FROM {events} WHERE aggregate_id = ?1 AND version = ?2"
            ),
            event_of_no_aggregate: format!(
                "SELECT {POSITION_AND_TIME}, {CONTENT} FROM {events} WHERE aggregate_id IS NULL AND event_id = ?1
                 ORDER BY position DESC LIMIT 1"
            ),
            events_of_aggregate: of_aggregate(&events, "ASC"),
            events_of_aggregate_desc: of_aggregate(&events, "DESC"),
            positions_of_tag: format!(
                "SELECT position FROM {tags} WHERE tag = ?1 AND position >= ?2 ORDER BY position LIMIT ?3"
            ),
            positions_of_topic: format!(
                "SELECT position FROM {events} WHERE topic = ?1 AND position >= ?2 ORDER BY position LIMIT ?3"
            ),

            tracking: format!("SELECT position FROM {tracking} WHERE name = ?1"),
            set_tracking: format!(
                "INSERT INTO {tracking} (name, position) VALUES (?1, ?2)
                 ON CONFLICT (name) DO UPDATE SET position = excluded.position"
            ),

            extent: format!(
                "SELECT coalesce((SELECT max(position) FROM {events}), 0), (SELECT first_position FROM {buffered})"
            ),
            mark_buffered: format!(
                "INSERT OR IGNORE INTO {buffered} (id, first_position) VALUES (1, ?1)"
            ),
            mark_durable: format!("DELETE FROM {buffered}"),

            put_snapshot: format!(
                "INSERT OR REPLACE INTO {snapshots} ({CONTENT})
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)"
            ),
            latest_snapshot: format!(
                "SELECT {CONTENT} FROM {snapshots} WHERE aggregate_id = ?1 AND version <= ?2
                 ORDER BY version DESC LIMIT 1"
            ),
            delete_snapshots: format!("DELETE FROM {snapshots} WHERE aggregate_id = ?1"),

            put_letter: format!(
                "INSERT OR REPLACE INTO {letters} (name, position, topic, event_id, error, attempts, time_us)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)"
            ),
            letters: format!(
                "SELECT name, position, topic, event_id, error, attempts, time_us FROM {letters}
                 WHERE name = ?1 ORDER BY position"
            ),
            delete_letter: format!("DELETE FROM {letters} WHERE name = ?1 AND position = ?2"),
        })
    }
}

fn of_aggregate(events: &str, order: &str) -> String {
    format!(
        "SELECT {POSITION_AND_TIME}, {CONTENT} FROM {events}
         WHERE aggregate_id = ?1 AND version > ?2 AND version <= ?3 ORDER BY version {order} LIMIT ?4"
    )
}

/// It becomes part of statements: nothing else may.
fn check_prefix(prefix: &str) -> Result<(), SqliteError> {
    let is_name = prefix
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let starts_well = prefix.starts_with(|first: char| !first.is_ascii_digit());
    let is_reserved = prefix.to_ascii_lowercase().starts_with("sqlite_");
    match is_name && starts_well && !is_reserved && prefix.len() <= 40 {
        true => Ok(()),
        false => Err(SqliteError::TablePrefix {
            found: prefix.to_owned(),
        }),
    }
}

/// What a file is before anything was written to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing is in it.
    New,
    /// It is ours.
    Ours,
}

/// Tells a file of ours from others without changing it. To be asked in a transaction: it may be made meanwhile.
pub(super) fn identify(connection: &Connection, path: &Path) -> Result<Kind, SqliteError> {
    let number = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i32>(0));
    let (application_id, found) = (
        number("PRAGMA application_id")?,
        number("PRAGMA user_version")?,
    );
    let path = path.to_owned();
    match (application_id, found) {
        (APPLICATION_ID, FORMAT_VERSION) => Ok(Kind::Ours),
        (APPLICATION_ID, found) => Err(SqliteError::FormatVersion { path, found }),
        (0, 0) if number("SELECT count(*) FROM sqlite_schema")? == 0 => Ok(Kind::New),
        (found, _) => Err(SqliteError::UnknownFile { path, found }),
    }
}

/// Whether there is a table of this name.
pub(super) fn has_table(connection: &Connection, table: &str) -> Result<bool, rusqlite::Error> {
    connection.query_row(
        "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1)",
        [table],
        |row| row.get(0),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every way to look for events, and what SQLite says of how it goes.
    #[test]
    fn every_lookup_goes_by_an_index() {
        let connection = Connection::open_in_memory().unwrap();
        let statements = Statements::new("annals_").unwrap();
        connection.execute_batch(&statements.recorder.1).unwrap();
        connection.execute_batch(&statements.view.1).unwrap();
        for sql in [
            &statements.last_event,
            &statements.last_version,
            &statements.event_at,
            &statements.events_between,
            &statements.event_of_aggregate,
            &statements.event_of_no_aggregate,
            &statements.events_of_aggregate,
            &statements.events_of_aggregate_desc,
            &statements.positions_of_tag,
            &statements.positions_of_topic,
            &statements.tracking,
            &statements.latest_snapshot,
            &statements.delete_snapshots,
            &statements.letters,
            &statements.delete_letter,
        ] {
            let mut explain = connection
                .prepare(&format!("EXPLAIN QUERY PLAN {sql}"))
                .unwrap();
            let count = explain.parameter_count();
            let steps: Vec<String> = explain
                .query_map(rusqlite::params_from_iter(vec![0; count]), |row| row.get(3))
                .unwrap()
                .map(Result::unwrap)
                .collect();
            let is_sorted = steps.iter().any(|step| step.contains("TEMP B-TREE"));
            // The last event is where a walk over the table from its end begins.
            let is_scan = steps.iter().any(|step| step.starts_with("SCAN"));
            let ends_at_once = sql == &statements.last_event;
            assert!(!is_sorted && (!is_scan || ends_at_once), "{sql}: {steps:?}");
        }
    }

    #[test]
    fn a_prefix_is_the_beginning_of_a_name() {
        for prefix in ["annals_", "a", "_x1", &"x".repeat(40)] {
            assert!(Statements::new(prefix).is_ok(), "{prefix}");
        }
        for prefix in [
            "",
            "1a",
            "a b",
            "a;--",
            "a\"",
            "sqlite_x",
            "SQLite_",
            "\u{fc}",
            &"x".repeat(41),
        ] {
            let refused = Statements::new(prefix).unwrap_err();
            assert!(
                matches!(refused, SqliteError::TablePrefix { .. }),
                "{prefix}"
            );
        }
    }
}
