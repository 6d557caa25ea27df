//! How a database is opened.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use annals_segments::{Clock, SystemClock};

use super::SqliteRecorder;
use super::database::Database;
use crate::persistence::PersistenceError;

/// Options of a [`SqliteRecorder`]; they are checked when it is opened.
#[derive(Clone, Debug)]
#[must_use = "options do nothing until something is opened with them"]
pub struct SqliteOptions {
    pub(super) table_prefix: String,
    pub(super) create_tables: bool,
    pub(super) lock_timeout: Duration,
    pub(super) poll_interval_max: Duration,
    pub(super) clock: Arc<dyn Clock>,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self {
            table_prefix: "annals_".to_owned(),
            create_tables: true,
            lock_timeout: Duration::from_secs(5),
            poll_interval_max: Duration::from_millis(20),
            clock: Arc::new(SystemClock),
        }
    }
}

impl SqliteOptions {
    /// What the names of all tables begin with: 1..=40 letters, digits and underscores, no digit first. Default
    /// `annals_`. Recorders with different prefixes on one file have nothing in common but the file.
    pub fn table_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.table_prefix = prefix.into();
        self
    }

    /// Whether the file and its tables are created when they are missing. Default true.
    pub fn create_tables(mut self, create: bool) -> Self {
        self.create_tables = create;
        self
    }

    /// How long an insert waits while others write, in this process or another. Default 5 s; 0 does not wait.
    pub fn lock_timeout(mut self, timeout: Duration) -> Self {
        self.lock_timeout = timeout;
        self
    }

    /// How seldom who follows or waits looks for what others have stored, when nothing has come for a while. Default
    /// 20 ms: a look costs some microseconds. What goes through the same recorder is told at once.
    pub fn poll_interval_max(mut self, interval: Duration) -> Self {
        self.poll_interval_max = interval;
        self
    }

    /// The clock that events get their time from. Default the system's.
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Opens a database, and creates it when it is missing. Its directory must be there.
    ///
    /// # Errors
    /// [`PersistenceError::Store`], with a [`SqliteError`](crate::SqliteError) as source;
    /// [`PersistenceError::Damaged`].
    pub fn open(self, path: impl AsRef<Path>) -> Result<SqliteRecorder, PersistenceError> {
        Database::open(Some(path.as_ref()), self).map(SqliteRecorder::new)
    }

    /// A new database in memory, gone with the recorder: for tests.
    ///
    /// # Errors
    /// [`PersistenceError::Store`], with a [`SqliteError`](crate::SqliteError) as source.
    pub fn open_in_memory(self) -> Result<SqliteRecorder, PersistenceError> {
        Database::open(None, self).map(SqliteRecorder::new)
    }
}
