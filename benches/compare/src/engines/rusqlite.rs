//! SQLite through rusqlite: one table by position, a unique index on aggregate and version, write-ahead log.
//!
//! One connection writes; readers take one from a pool. The unique index refuses a version that is taken, as
//! event stores on SQLite do. Durable is `synchronous=FULL`, buffered is `NORMAL`: the log is written and not
//! synced.

use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, params};

use super::CACHE_LEN;
use crate::engine::{Buffered, Commit, Durability, Engine, Failure, Form, GroupCommit, Kind, Seen};

pub(super) const KIND: Kind = Kind {
    name: "sqlite",
    package: "rusqlite",
    form: Form::Database,
    buffered: Buffered::SurvivesKill,
    open,
};

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS events (
        position INTEGER PRIMARY KEY,
        aggregate BLOB NOT NULL,
        version INTEGER NOT NULL,
        topic TEXT NOT NULL,
        payload BLOB NOT NULL
    ) STRICT;
    CREATE UNIQUE INDEX IF NOT EXISTS versions ON events (aggregate, version);
";

const INSERT: &str =
    "INSERT INTO events (position, aggregate, version, topic, payload) VALUES (?, ?, ?, ?, ?)";

fn open(dir: &Path, durability: Durability, _events: u64) -> Result<Box<dyn Engine>, Failure> {
    let path = dir.join("events.sqlite");
    let connection = connect(&path)?;
    connection.execute_batch(SCHEMA)?;
    connection.pragma_update(
        None,
        "synchronous",
        match durability {
            Durability::Durable => "FULL",
            Durability::Buffered => "NORMAL",
        },
    )?;
    let head = head(&connection)?;
    Ok(Box::new(Sqlite {
        path,
        writer: Mutex::new(Writer { connection, head }),
        readers: Mutex::default(),
    }))
}

fn connect(path: &Path) -> Result<Connection, Failure> {
    let connection = Connection::open(path)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "cache_size", -(CACHE_LEN as i64 >> 10))?;
    connection.pragma_update(None, "mmap_size", 8_i64 << 30)?;
    connection.set_prepared_statement_cache_capacity(16);
    Ok(connection)
}

fn head(connection: &Connection) -> Result<u64, Failure> {
    let head: Option<i64> =
        connection.query_row("SELECT max(position) FROM events", [], |row| row.get(0))?;
    Ok(head.unwrap_or(0) as u64)
}

struct Sqlite {
    path: PathBuf,
    writer: Mutex<Writer>,
    readers: Mutex<Vec<Connection>>,
}

struct Writer {
    connection: Connection,
    head: u64,
}

impl Sqlite {
    fn with_reader<T>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let reader = self.readers.lock().pop();
        let reader = reader.map_or_else(|| connect(&self.path), Ok)?;
        let answer = read(&reader);
        self.readers.lock().push(reader);
        answer
    }
}

impl Engine for Sqlite {
    fn append(&self, commit: Commit) -> Result<u64, Failure> {
        self.append_alone(&commit)
    }

    fn read_aggregate(
        &self,
        aggregate: [u8; 16],
        visit: &mut dyn FnMut(Seen<'_>),
    ) -> Result<(), Failure> {
        self.with_reader(|reader| {
            let mut statement = reader.prepare_cached(
                "SELECT position, aggregate, version, topic, payload FROM events
                 WHERE aggregate = ? ORDER BY version",
            )?;
            let mut rows = statement.query(params![aggregate])?;
            while let Some(row) = rows.next()? {
                visit(seen(row)?);
            }
            Ok(())
        })
    }

    fn replay(&self, visit: &mut dyn FnMut(Seen<'_>)) -> Result<(), Failure> {
        self.with_reader(|reader| {
            let mut statement = reader.prepare_cached(
                "SELECT position, aggregate, version, topic, payload FROM events ORDER BY position",
            )?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                visit(seen(row)?);
            }
            Ok(())
        })
    }

    fn head(&self) -> Result<u64, Failure> {
        self.with_reader(head)
    }

    fn close(self: Box<Self>) -> Result<(), Failure> {
        drop(self.readers);
        let connection = self.writer.into_inner().connection;
        connection.close().map_err(|(_, error)| error.into())
    }

    fn group(&self) -> Option<&dyn GroupCommit> {
        Some(self)
    }
}

impl GroupCommit for Sqlite {
    fn append_group(&self, commits: &[Commit]) -> Result<Vec<Result<u64, Failure>>, Failure> {
        let mut writer = self.writer.lock();
        let mut head = writer.head;
        let transaction = writer
            .connection
            .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let outcomes = {
            let mut taken = transaction
                .prepare_cached("SELECT 1 FROM events WHERE aggregate = ? AND version = ?")?;
            let mut insert = transaction.prepare_cached(INSERT)?;
            let mut append = |commit: &Commit| -> Result<u64, Failure> {
                // A commit of one event fails as a whole when its insert does; of a larger one nothing may
                // be written before all of it is known to fit.
                if commit.len() > 1 {
                    for event in commit {
                        let key = params![event.aggregate, event.version as i64];
                        if taken.query_row(key, |_| Ok(())).optional()?.is_some() {
                            return Err(Failure::Conflict);
                        }
                    }
                }
                let first = head + 1;
                for (event, position) in commit.iter().zip(first..) {
                    let inserted = insert.execute(params![
                        position as i64,
                        event.aggregate,
                        event.version as i64,
                        event.topic,
                        event.payload
                    ]);
                    inserted.map_err(|error| match error.sqlite_error_code() {
                        Some(ErrorCode::ConstraintViolation) => Failure::Conflict,
                        _ => error.into(),
                    })?;
                }
                head += commit.len() as u64;
                Ok(first)
            };
            commits.iter().map(&mut append).collect()
        };
        transaction.commit()?;
        writer.head = head;
        Ok(outcomes)
    }
}

fn seen<'a>(row: &'a Row<'_>) -> Result<Seen<'a>, Failure> {
    Ok(Seen {
        position: row.get::<_, i64>(0)? as u64,
        aggregate: row.get_ref(1)?.as_blob()?.try_into()?,
        version: row.get::<_, i64>(2)? as u64,
        topic: row.get_ref(3)?.as_str()?,
        payload: row.get_ref(4)?.as_blob()?,
    })
}
