//! One database: its connections, its transactions, and what of it is durable.
//!
//! What holds here:
//! - One connection writes, in transactions that lock out other processes from their first statement on. Others read,
//!   each in a transaction that shows one moment; a database in memory has one connection for all.
//! - SQLite shows a transaction when it is committed. One that was synced (`synchronous=FULL`) is durable by then. One
//!   that was not (`NORMAL`) lies in the write-ahead log for the system to write; the next sync of that log covers it,
//!   whoever asks for it. The position of the first such event stands in the table `buffered` from the transaction
//!   that stores it to the one that syncs it. So every process knows what is durable: what lies before.
//! - A process that dies between writing a transaction and syncing it leaves no mark, and whoever opens the file next
//!   finds the transaction. So to open is to sync: what is found is durable before anything is answered.
//! - After a commit that failed nothing more is stored: what the disk holds is unknown.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use annals_segments::Clock;
use parking_lot::{MappedMutexGuard, Mutex, MutexGuard};
use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior};

use super::changes::Changes;
use super::error::{cause, failure, store};
use super::options::SqliteOptions;
use super::rows::unsigned;
use super::tables::{APPLICATION_ID, FORMAT_VERSION, Kind, Statements, has_table, identify};
use super::{SqliteError, rows};
use crate::persistence::{Durability, PersistenceError, Tracking};

/// A database that is open, or was.
pub(super) struct Database {
    /// `None` in memory.
    path: Option<PathBuf>,
    lock_timeout: Duration,
    poll_interval_max: Duration,
    pub(super) statements: Statements,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) changes: Changes,
    /// `None` once it is closed.
    writer: Mutex<Option<Connection>>,
    /// Connections that nobody reads from at the moment.
    readers: Mutex<Vec<Connection>>,
    /// A commit failed.
    poisoned: AtomicBool,
}

impl Database {
    pub(super) fn open(
        path: Option<&Path>,
        content: Content<'_>,
        options: SqliteOptions,
    ) -> Result<Self, PersistenceError> {
        let prefix = options.table_prefix.as_deref();
        let prefix = prefix.unwrap_or(match content {
            Content::Events => EVENTS_PREFIX,
            Content::View(_) => VIEW_PREFIX,
        });
        let statements = Statements::new(prefix).map_err(store(OPEN))?;
        let database = Self {
            path: path.map(Path::to_owned),
            lock_timeout: options.lock_timeout,
            poll_interval_max: options.poll_interval_max,
            statements,
            clock: options.clock,
            changes: Changes::default(),
            writer: Mutex::new(None),
            readers: Mutex::default(),
            poisoned: AtomicBool::new(false),
        };
        let connection = database
            .prepared(&content, options.create_tables)
            .map_err(|error| match error {
                // To open what is no database is a slip, not damage.
                SqliteError::Sqlite(error)
                    if error.sqlite_error_code() == Some(ErrorCode::NotADatabase) =>
                {
                    let path = database.path.clone().unwrap_or_default();
                    store(OPEN)(SqliteError::UnknownFile { path, found: 0 })
                }
                SqliteError::Sqlite(error) => failure(OPEN)(error),
                error => store(OPEN)(error),
            })?;
        *database.writer.lock() = Some(connection);
        Ok(database)
    }

    /// A connection to write with, and the tables there. A file that is not ours is not changed.
    fn prepared(
        &self,
        content: &Content<'_>,
        create_tables: bool,
    ) -> Result<Connection, SqliteError> {
        let mut connection = match &self.path {
            None => Connection::open_in_memory()?,
            Some(path) => {
                let create = match create_tables {
                    true => OpenFlags::SQLITE_OPEN_CREATE,
                    false => OpenFlags::empty(),
                };
                Connection::open_with_flags(path, READ_WRITE | create)?
            }
        };
        self.configure(&connection)?;
        let path = self.path.clone().unwrap_or_default();
        let (table, create) = match content {
            Content::Events => &self.statements.recorder,
            Content::View(_) => &self.statements.view,
        };
        let no_tables = || SqliteError::NoTables {
            path: path.clone(),
            table: table.clone(),
        };
        let kind = identify(&*connection.transaction()?, &path)?;
        if kind == Kind::New && !create_tables {
            return Err(no_tables());
        }
        if self.path.is_some() {
            let found: String = self.patiently(|| {
                connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))
            })?;
            if found != "wal" {
                return Err(SqliteError::JournalMode { path, found });
            }
        }
        connection.pragma_update(None, "synchronous", FULL)?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if !has_table(&transaction, table)? {
            if !create_tables {
                return Err(no_tables());
            }
            if identify(&transaction, &path)? == Kind::New {
                transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
                transaction.pragma_update(None, "user_version", FORMAT_VERSION)?;
            }
            transaction.execute_batch(create)?;
            if let Content::View(schema) = content {
                transaction.execute_batch(schema)?;
            }
        }
        // Something has to change: a commit of nothing syncs nothing.
        transaction.execute(&self.statements.mark_buffered, [1])?;
        transaction.execute(&self.statements.mark_durable, [])?;
        transaction.commit()?;
        Ok(connection)
    }

    fn configure(&self, connection: &Connection) -> Result<(), rusqlite::Error> {
        connection.busy_timeout(self.lock_timeout)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS_CACHED);
        // Or one large transaction would leave a large file for good.
        connection.pragma_update(None, "journal_size_limit", JOURNAL_LEN_MAX)
    }

    /// Tries again while somebody else holds a lock that SQLite does not wait for on its own.
    fn patiently<T>(
        &self,
        attempt: impl Fn() -> Result<T, rusqlite::Error>,
    ) -> Result<T, rusqlite::Error> {
        let began_ns = self.clock.monotonic_ns();
        loop {
            let outcome = attempt();
            let waited_ns = self.clock.monotonic_ns().saturating_sub(began_ns);
            let is_over = Duration::from_nanos(waited_ns) >= self.lock_timeout;
            match outcome {
                Err(error)
                    if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) && !is_over =>
                {
                    std::thread::sleep(Duration::from_millis(1));
                }
                outcome => return outcome,
            }
        }
    }

    /// Runs `act` in a transaction that stores all of what it does, or, when it answers an error, nothing.
    pub(super) fn write<T, E: From<PersistenceError>>(
        &self,
        doing: &'static str,
        durability: Durability,
        act: impl FnOnce(&mut Writing<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.write_on(&mut *self.writer(doing)?, doing, durability, act)
    }

    fn write_on<T, E: From<PersistenceError>>(
        &self,
        connection: &mut Connection,
        doing: &'static str,
        durability: Durability,
        act: impl FnOnce(&mut Writing<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let failed = failure(doing);
        if self.is_poisoned() {
            return Err(store(doing)(SqliteError::Poisoned).into());
        }
        // What is gone with the process is as durable as it can be.
        let durability = match self.path {
            Some(_) => durability,
            None => Durability::Sync,
        };
        let synchronous = match durability {
            Durability::Sync => "PRAGMA synchronous = FULL",
            Durability::Buffered => "PRAGMA synchronous = NORMAL",
        };
        connection
            .prepare_cached(synchronous)
            .and_then(|mut statement| statement.raw_execute())
            .map_err(&failed)?;
        let transaction = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(&failed)?;
        let mut writing = Writing {
            transaction,
            statements: &self.statements,
            durability,
        };
        // Dropped on the way, it is rolled back.
        let answer = act(&mut writing)?;
        if durability == Durability::Sync {
            writing
                .transaction
                .prepare_cached(&self.statements.mark_durable)
                .and_then(|mut statement| statement.execute([]))
                .map_err(&failed)?;
        }
        writing
            .transaction
            .commit()
            .map_err(|error| self.failed_commit(doing, error))?;
        Ok(answer)
    }

    /// A commit that could not be written or synced may be found by the next who opens the database.
    fn failed_commit(&self, doing: &'static str, error: rusqlite::Error) -> PersistenceError {
        match error.sqlite_error_code() {
            Some(ErrorCode::SystemIoFailure) => {
                self.poisoned.store(true, Ordering::SeqCst);
                PersistenceError::Indeterminate {
                    source: SqliteError::from(error).into(),
                }
            }
            _ => failure(doing)(error),
        }
    }

    /// Runs `act` over one moment of the database.
    pub(super) fn read<T>(
        &self,
        doing: &'static str,
        act: impl FnOnce(&Reading<'_>) -> Result<T, PersistenceError>,
    ) -> Result<T, PersistenceError> {
        let read = |connection: &mut Connection| {
            let transaction = connection.transaction().map_err(failure(doing))?;
            act(&Reading {
                transaction,
                statements: &self.statements,
            })
        };
        let Some(path) = &self.path else {
            return read(&mut *self.writer(doing)?);
        };
        if self.changes.is_closed() {
            return Err(PersistenceError::Closed);
        }
        let idle = self.readers.lock().pop();
        let mut connection = match idle {
            Some(connection) => connection,
            None => self.reader(path).map_err(failure(doing))?,
        };
        let answer = read(&mut connection);
        let mut readers = self.readers.lock();
        // One that failed may go on failing; a new one costs little.
        if answer.is_ok() && readers.len() < READERS_IDLE_MAX && !self.changes.is_closed() {
            readers.push(connection);
        }
        answer
    }

    fn reader(&self, path: &Path) -> Result<Connection, rusqlite::Error> {
        let connection = Connection::open_with_flags(path, READ_WRITE)?;
        self.configure(&connection)?;
        connection.pragma_update(None, "query_only", true)?;
        Ok(connection)
    }

    fn writer(
        &self,
        doing: &'static str,
    ) -> Result<MappedMutexGuard<'_, Connection>, PersistenceError> {
        let writer = self
            .writer
            .try_lock_for(self.lock_timeout)
            .ok_or_else(|| store(doing)(SqliteError::Locked))?;
        MutexGuard::try_map(writer, Option::as_mut).map_err(|_| PersistenceError::Closed)
    }

    /// As [`Database::read`], after everything that was stored is durable. When it cannot be made so now, because
    /// somebody else writes or nothing can be written any more, what was durable before is shown all the same.
    pub(super) fn read_durable<T>(
        &self,
        doing: &'static str,
        act: impl FnOnce(&Reading<'_>) -> Result<T, PersistenceError>,
    ) -> Result<T, PersistenceError> {
        let is_durable = |reading: &Reading<'_>| {
            let extent = reading.extent()?;
            Ok(extent.durable == extent.last)
        };
        if !self.read(doing, is_durable)? && !self.is_poisoned() {
            match self.make_durable() {
                Err(error) if cause(&error).is_some_and(SqliteError::is_locked) => (),
                outcome => outcome?,
            }
        }
        self.read(doing, act)
    }

    fn make_durable(&self) -> Result<(), PersistenceError> {
        self.write(MAKE_DURABLE, Durability::Sync, |_| Ok(()))
    }

    /// Ends everything. Transactions that go on are waited for.
    pub(super) fn close(&self) -> Result<(), PersistenceError> {
        let mut writer = self.writer.lock();
        let Some(connection) = writer.as_mut() else {
            return Ok(());
        };
        let outcome = match self.is_poisoned() {
            true => Err(PersistenceError::Indeterminate {
                source: SqliteError::Poisoned.into(),
            }),
            false => self.write_on(connection, MAKE_DURABLE, Durability::Sync, |_| Ok(())),
        };
        *writer = None;
        self.changes.close();
        self.readers.lock().clear();
        outcome
    }

    fn is_poisoned(&self) -> bool {
        self.poisoned.load(Ordering::SeqCst)
    }

    pub(super) fn is_in_memory(&self) -> bool {
        self.path.is_none()
    }

    /// How seldom to look for what others have stored; `None` when nobody else can.
    pub(super) fn poll_interval_max(&self) -> Option<Duration> {
        self.path.as_ref().map(|_| self.poll_interval_max)
    }

    pub(super) fn tracking(&self, name: &str) -> Result<Option<u64>, PersistenceError> {
        self.read("read tracking", |reading| {
            tracking(&reading.transaction, reading.statements, name)
        })
    }

    /// See [`TrackingRecorder::wait`](crate::TrackingRecorder::wait).
    pub(super) fn wait_for_tracking(
        &self,
        name: &str,
        position: u64,
        timeout: Duration,
    ) -> Result<(), PersistenceError> {
        let mut reached = None;
        let look = || match self.tracking(name) {
            Ok(found) => {
                reached = found;
                found.filter(|found| *found >= position).map(|_| Ok(()))
            }
            Err(error) => Some(Err(error)),
        };
        let poll = self.poll_interval_max();
        let answer = self.changes.wait(&*self.clock, Some(timeout), poll, look);
        answer.unwrap_or_else(|| {
            Err(PersistenceError::WaitTimeout {
                name: name.to_owned(),
                position,
                reached,
                timeout,
            })
        })
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // Nobody is left to be told of a failure; what was buffered was never more than that.
        let _ = self.close();
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Database")
            .field("path", &self.path)
            .field("closed", &self.changes.is_closed())
            .finish_non_exhaustive()
    }
}

/// What a database is to hold.
pub(super) enum Content<'a> {
    Events,
    /// Rows in these tables.
    View(&'a str),
}

/// A transaction that stores.
pub(super) struct Writing<'a> {
    pub(super) transaction: Transaction<'a>,
    pub(super) statements: &'a Statements,
    /// What it is committed with.
    pub(super) durability: Durability,
}

impl Writing<'_> {
    /// Records a position, which must be above the one recorded.
    pub(super) fn track(&self, tracked: &Tracking) -> Result<(), PersistenceError> {
        self.check_tracking(tracked)?;
        let Tracking { name, position } = tracked;
        self.transaction
            .prepare_cached(&self.statements.set_tracking)
            .and_then(|mut statement| statement.execute((name, rows::bits(*position))))
            .map(drop)
            .map_err(failure("record tracking"))
    }

    /// Whether a position is above the one recorded.
    pub(super) fn check_tracking(&self, tracked: &Tracking) -> Result<(), PersistenceError> {
        let Tracking { name, position } = tracked;
        match tracking(&self.transaction, self.statements, name)? {
            Some(recorded) if *position <= recorded => Err(PersistenceError::TrackingConflict {
                name: name.clone(),
                position: *position,
                recorded,
            }),
            _ => Ok(()),
        }
    }
}

/// One moment of the database.
pub(super) struct Reading<'a> {
    pub(super) transaction: Transaction<'a>,
    pub(super) statements: &'a Statements,
}

impl Reading<'_> {
    pub(super) fn extent(&self) -> Result<Extent, PersistenceError> {
        self.transaction
            .prepare_cached(&self.statements.extent)
            .and_then(|mut statement| {
                statement.query_one([], |row| {
                    let (last, first_buffered) = (unsigned(row, 0)?, row.get::<_, Option<i64>>(1)?);
                    let before =
                        first_buffered.map(|first| first.cast_unsigned().saturating_sub(1));
                    Ok(Extent {
                        durable: before.unwrap_or(last),
                        last,
                    })
                })
            })
            .map_err(failure("read the last position"))
    }
}

/// Positions of events; 0 when there are none.
pub(super) struct Extent {
    /// The last one that a loss of power leaves.
    pub(super) durable: u64,
    /// The last one.
    pub(super) last: u64,
}

fn tracking(
    connection: &Connection,
    statements: &Statements,
    name: &str,
) -> Result<Option<u64>, PersistenceError> {
    use rusqlite::OptionalExtension;
    connection
        .prepare_cached(&statements.tracking)
        .and_then(|mut statement| {
            statement
                .query_one([name], |row| unsigned(row, 0))
                .optional()
        })
        .map_err(failure("read tracking"))
}

/// No connection is used by two threads at once; names of files are no addresses.
const READ_WRITE: OpenFlags =
    OpenFlags::SQLITE_OPEN_READ_WRITE.union(OpenFlags::SQLITE_OPEN_NO_MUTEX);

/// What names of tables begin with unless told otherwise. They differ, so that a view fits beside its events.
const EVENTS_PREFIX: &str = "annals_";
const VIEW_PREFIX: &str = "annals_view_";

const OPEN: &str = "be opened";
const MAKE_DURABLE: &str = "make events durable";
const FULL: i32 = 2;

/// More than there are statements.
const STATEMENTS_CACHED: usize = 64;

/// As many readers as stay open when nobody reads.
const READERS_IDLE_MAX: usize = 8;

/// Bytes of the write-ahead log that stay when it is begun anew.
const JOURNAL_LEN_MAX: i64 = 64 << 20;

#[cfg(test)]
mod tests {
    use rusqlite::ffi;

    use super::*;

    #[test]
    fn after_a_commit_that_failed_nothing_is_stored() {
        let database = Database::open(None, Content::Events, SqliteOptions::default()).unwrap();
        let lost = |code| rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
        let full = database.failed_commit("store", lost(ffi::SQLITE_FULL));
        assert!(matches!(full, PersistenceError::Store { .. }), "{full:?}");
        database.make_durable().unwrap();

        let failed = database.failed_commit("store", lost(ffi::SQLITE_IOERR_FSYNC));
        assert!(
            matches!(failed, PersistenceError::Indeterminate { .. }),
            "{failed:?}"
        );
        let refused = database.make_durable().unwrap_err();
        assert!(
            matches!(cause(&refused), Some(SqliteError::Poisoned)),
            "{refused:?}"
        );
        let readable = database.read_durable("read", |reading| reading.extent());
        assert_eq!(readable.unwrap().last, 0);
        assert!(database.close().is_err());
    }
}
