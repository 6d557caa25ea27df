//! Rows in SQLite, made of events.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Row, Transaction};
use uuid::Uuid;

use super::SqliteError;
use super::database::{Database, Writing};
use super::error::{failure, store};
use super::options::SqliteOptions;
use super::rows::{bits, not_as_written, unsigned};
use crate::persistence::{
    DeadLetter, Durability, PersistenceError, Recorder, Step, Tracking, TrackingRecorder, View,
};

/// A [`View`] with tables of your own in a SQLite database, full-text indexes (FTS5) included.
///
/// ```
/// use annals::{PersistenceError, SqliteView, Step, Tracking, View};
///
/// # fn main() -> Result<(), PersistenceError> {
/// let view = SqliteView::in_memory("CREATE TABLE dogs (name TEXT PRIMARY KEY, tricks INTEGER NOT NULL)")?;
///
/// // As a projection does for a batch of events: rows and position, both or neither.
/// view.transact(Step::Advance(&Tracking::new("school", 7)), |rows| {
///     rows.execute("INSERT INTO dogs VALUES (?1, ?2)", ("Fido", 2))?;
///     Ok::<_, PersistenceError>(())
/// })?;
///
/// let tricks: u32 = view.read(|rows| rows.query_one("SELECT sum(tricks) FROM dogs", [], |row| row.get(0)))?;
/// assert_eq!(tricks, 2);
/// # Ok(())
/// # }
/// ```
///
/// Several views fit into one file, and beside the events of a recorder, each with a
/// [prefix](SqliteOptions::table_prefix) and tables of its own. A change to the tables of the rows is a new view: build it
/// beside the one in use, and [replace](crate::LiveProjection::replace) that.
#[derive(Debug)]
pub struct SqliteView {
    database: Arc<Database>,
    durability: Durability,
}

impl SqliteView {
    /// Opens a view, and creates it when it is missing: as [`SqliteOptions::open_view`].
    ///
    /// # Errors
    /// As [`SqliteOptions::open`].
    pub fn open(path: impl AsRef<std::path::Path>, schema: &str) -> Result<Self, PersistenceError> {
        SqliteOptions::default().open_view(path, schema)
    }

    /// A view in memory: as [`SqliteOptions::open_view_in_memory`].
    ///
    /// # Errors
    /// As [`SqliteOptions::open_in_memory`].
    pub fn in_memory(schema: &str) -> Result<Self, PersistenceError> {
        SqliteOptions::default().open_view_in_memory(schema)
    }

    pub(super) fn new(database: Database, durability: Durability) -> Self {
        Self {
            database: Arc::new(database),
            durability,
        }
    }

    /// Reads rows as they are at one moment. Several threads may; in a file they do not keep anybody from storing.
    ///
    /// # Errors
    /// [`PersistenceError::Store`] with what `read` answered, [`PersistenceError::Closed`].
    pub fn read<T>(
        &self,
        read: impl FnOnce(&Transaction<'_>) -> Result<T, rusqlite::Error>,
    ) -> Result<T, PersistenceError> {
        const DOING: &str = "read rows";
        self.database.read(DOING, |reading| {
            read(&reading.transaction).map_err(failure(DOING))
        })
    }

    fn store<T, E: From<PersistenceError>>(
        &self,
        doing: &'static str,
        step: Step<'_>,
        change: impl FnOnce(&mut Writing<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        step.tracking().check()?;
        let act = |writing: &mut Writing<'_>| -> Result<T, E> {
            match step {
                Step::Advance(tracking) => writing.track(tracking)?,
                Step::Resolve(tracking) => resolve(writing, tracking)?,
            }
            let answer = change(writing)?;
            match writing.transaction.is_autocommit() {
                false => Ok(answer),
                true => Err(store(doing)(SqliteError::TransactionEnded).into()),
            }
        };
        let answer = self.database.write(doing, self.durability, act)?;
        self.database.changes.tell();
        Ok(answer)
    }
}

impl View for SqliteView {
    type Rows<'t> = Transaction<'t>;

    fn transact<T, E: From<PersistenceError>>(
        &self,
        step: Step<'_>,
        change: impl FnOnce(&mut Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.store("store rows", step, |writing| {
            change(&mut writing.transaction)
        })
    }

    fn insert_dead_letter(&self, letter: DeadLetter) -> Result<(), PersistenceError> {
        const DOING: &str = "keep a dead letter";
        self.store(DOING, Step::Advance(&letter.tracking()), |writing| {
            let row = (
                &letter.name,
                bits(letter.position),
                &letter.topic,
                letter.event_id.as_bytes(),
                &letter.error,
                letter.attempts,
                bits(letter.time_us),
            );
            writing
                .transaction
                .prepare_cached(&writing.statements.put_letter)
                .and_then(|mut statement| statement.execute(row))
                .map(drop)
                .map_err(failure(DOING))
        })
    }

    fn dead_letters(&self, name: &str) -> Result<Vec<DeadLetter>, PersistenceError> {
        let failed = failure("read dead letters");
        self.database.read("read dead letters", |reading| {
            let mut statement = reading
                .transaction
                .prepare_cached(&reading.statements.letters)
                .map_err(&failed)?;
            let mut rows = statement.query([name]).map_err(&failed)?;
            let mut letters = Vec::new();
            while let Some(row) = rows.next().map_err(&failed)? {
                letters.push(dead_letter(row).map_err(|source| {
                    let position = unsigned(row, 1).unwrap_or(0);
                    not_as_written("dead_letters", position, source)
                })?);
            }
            Ok(letters)
        })
    }
}

impl Recorder for SqliteView {
    fn close(&self) -> Result<(), PersistenceError> {
        self.database.close()
    }
}

impl TrackingRecorder for SqliteView {
    fn insert_tracking(&self, tracking: Tracking) -> Result<(), PersistenceError> {
        self.store("record tracking", Step::Advance(&tracking), |_| Ok(()))
    }

    fn max_tracking(&self, name: &str) -> Result<Option<u64>, PersistenceError> {
        self.database.tracking(name)
    }

    fn wait(&self, name: &str, position: u64, timeout: Duration) -> Result<(), PersistenceError> {
        self.database.wait_for_tracking(name, position, timeout)
    }
}

fn resolve(writing: &Writing<'_>, resolved: &Tracking) -> Result<(), PersistenceError> {
    let Tracking { name, position } = resolved;
    let deleted = writing
        .transaction
        .prepare_cached(&writing.statements.delete_letter)
        .and_then(|mut statement| statement.execute((name, bits(*position))))
        .map_err(failure("resolve a dead letter"))?;
    match deleted {
        0 => Err(PersistenceError::NoDeadLetter {
            name: name.clone(),
            position: *position,
        }),
        _ => Ok(()),
    }
}

fn dead_letter(row: &Row<'_>) -> Result<DeadLetter, rusqlite::Error> {
    Ok(DeadLetter {
        name: row.get(0)?,
        position: unsigned(row, 1)?,
        topic: row.get(2)?,
        event_id: Uuid::from_bytes(row.get(3)?),
        error: row.get(4)?,
        attempts: row.get(5)?,
        time_us: unsigned(row, 6)?,
    })
}
