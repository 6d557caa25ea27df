//! What a SQLite database says beyond the words of every recorder.

use std::error::Error as StdError;
use std::path::PathBuf;

use rusqlite::ErrorCode;

use super::tables::{APPLICATION_ID, FORMAT_VERSION};
use crate::persistence::PersistenceError;

/// The source of a [`PersistenceError`] of a [`SqliteRecorder`](super::SqliteRecorder).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SqliteError {
    /// The file is a database of another program, or no database. It was not changed.
    #[error(
        "{path}: application id {found:#010x}, expected {APPLICATION_ID:#010x}; name a database of Annals, \
         or a file that does not exist yet", path = path.display()
    )]
    UnknownFile {
        /// The file.
        path: PathBuf,
        /// Its application id; 0 when it has none.
        found: i32,
    },

    /// The file was made by a release that stores in another way. It was not changed.
    #[error(
        "{path}: format version {found}, expected {FORMAT_VERSION}; open it with the release that made it",
        path = path.display()
    )]
    FormatVersion {
        /// The file.
        path: PathBuf,
        /// Its `user_version`.
        found: i32,
    },

    /// Tables are missing, and were not to be created.
    #[error(
        "{path}: no table {table:?}; let it be created (`create_tables`), or check the table prefix",
        path = path.display()
    )]
    NoTables {
        /// The file.
        path: PathBuf,
        /// One that is missing.
        table: String,
    },

    /// The file system cannot do what several readers beside a writer need.
    #[error(
        "{path}: journal mode {found:?}, expected \"wal\"; keep the file on a local file system", path = path.display()
    )]
    JournalMode {
        /// The file.
        path: PathBuf,
        /// The mode that SQLite chose.
        found: String,
    },

    /// A table prefix is no beginning of a name.
    #[error(
        "table prefix {found:?}: expected 1..=40 letters, digits and underscores, the first one no digit, \
         and not `sqlite_`"
    )]
    TablePrefix {
        /// What was given.
        found: String,
    },

    /// Somebody else was writing for longer than the lock timeout. Nothing was stored.
    #[error("somebody else is writing; try again, or raise the lock timeout")]
    Locked,

    /// A commit failed earlier, so what the disk holds is unknown.
    #[error("an earlier commit failed; close it, and open it again to learn what survived")]
    Poisoned,

    /// Statements of a change have ended the transaction that they are a part of.
    #[error("the change ended its transaction; leave COMMIT and ROLLBACK to the view")]
    TransactionEnded,

    /// A row does not hold what this release writes.
    #[error("{table}: row {row}: not what was written; restore it from a backup")]
    Row {
        /// The table.
        table: &'static str,
        /// Its position, or its version.
        row: u64,
        /// What does not fit.
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },

    /// SQLite's own answer.
    #[error("SQLite refused")]
    Sqlite(#[from] rusqlite::Error),
}

impl SqliteError {
    /// Whether trying again may help.
    pub fn is_locked(&self) -> bool {
        matches!(self, Self::Locked)
    }
}

/// So that a change to the rows of a [`SqliteView`](super::SqliteView) may use `?`.
impl From<rusqlite::Error> for PersistenceError {
    fn from(error: rusqlite::Error) -> Self {
        failure("use SQLite")(error)
    }
}

/// SQLite's answer in the library's words.
pub(super) fn failure(doing: &'static str) -> impl Fn(rusqlite::Error) -> PersistenceError {
    move |error| match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => damaged(error.into()),
        Some(ErrorCode::TooBig) => PersistenceError::TooLarge {
            source: error.into(),
        },
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            store(doing)(SqliteError::Locked)
        }
        _ => store(doing)(error.into()),
    }
}

pub(super) fn store(doing: &'static str) -> impl Fn(SqliteError) -> PersistenceError {
    move |error| PersistenceError::Store {
        doing,
        source: error.into(),
    }
}

pub(super) fn damaged(error: SqliteError) -> PersistenceError {
    PersistenceError::Damaged {
        source: error.into(),
    }
}

/// What SQLite or a recorder of it said below `error`.
pub(super) fn cause(error: &PersistenceError) -> Option<&SqliteError> {
    match error {
        PersistenceError::Store { source, .. } => source.downcast_ref(),
        _ => None,
    }
}
