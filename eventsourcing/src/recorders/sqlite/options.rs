//! How a database is opened.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use annals_segments::{Clock, SystemClock};

use super::database::{Content, Database};
use super::{SqliteRecorder, SqliteView};
use crate::persistence::{Durability, PersistenceError};

/// Options of a [`SqliteRecorder`] or [`SqliteView`]; they are checked when it is opened.
#[derive(Clone, Debug)]
#[must_use = "options do nothing until something is opened with them"]
pub struct SqliteOptions {
    /// `None`: as fits what is opened.
    pub(super) table_prefix: Option<String>,
    pub(super) create_tables: bool,
    pub(super) lock_timeout: Duration,
    pub(super) poll_interval_max: Duration,
    pub(super) view_durability: Durability,
    pub(super) clock: Arc<dyn Clock>,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self {
            table_prefix: None,
            create_tables: true,
            lock_timeout: Duration::from_secs(5),
            poll_interval_max: Duration::from_millis(20),
            view_durability: Durability::Buffered,
            clock: Arc::new(SystemClock),
        }
    }
}

impl SqliteOptions {
    /// What the names of all tables begin with: 1..=40 letters, digits and underscores, no digit first. Default
    /// `annals_` for events, `annals_view_` for a view. What has different prefixes on one file has nothing in common but
    /// the file.
    pub fn table_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.table_prefix = Some(prefix.into());
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

    /// What the rows of a view survive. Default [`Durability::Buffered`]: a loss of power takes the latest rows together
    /// with the position they are the effect of, so that they are made again. Events have a durability of their own.
    pub fn view_durability(mut self, durability: Durability) -> Self {
        self.view_durability = durability;
        self
    }

    /// The clock that events get their time from. Default the system's.
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Opens a database for events, and creates it when it is missing. Its directory must be there.
    ///
    /// # Errors
    /// [`PersistenceError::Store`], with a [`SqliteError`](crate::SqliteError) as source;
    /// [`PersistenceError::Damaged`].
    pub fn open(self, path: impl AsRef<Path>) -> Result<SqliteRecorder, PersistenceError> {
        Database::open(Some(path.as_ref()), Content::Events, self).map(SqliteRecorder::new)
    }

    /// A new database in memory for events, gone with the recorder: for tests.
    ///
    /// # Errors
    /// [`PersistenceError::Store`], with a [`SqliteError`](crate::SqliteError) as source.
    pub fn open_in_memory(self) -> Result<SqliteRecorder, PersistenceError> {
        Database::open(None, Content::Events, self).map(SqliteRecorder::new)
    }

    /// Opens a database for rows, and creates it when it is missing. Its directory must be there. `schema` makes the
    /// tables of the rows: statements that are run once, in the transaction that makes the database a view.
    ///
    /// # Errors
    /// As [`SqliteOptions::open`].
    pub fn open_view(
        self,
        path: impl AsRef<Path>,
        schema: &str,
    ) -> Result<SqliteView, PersistenceError> {
        let durability = self.view_durability;
        let database = Database::open(Some(path.as_ref()), Content::View(schema), self)?;
        Ok(SqliteView::new(database, durability))
    }

    /// A new database in memory for rows, gone with the view: for tests, and for rows that are cheap to make anew.
    ///
    /// # Errors
    /// As [`SqliteOptions::open_in_memory`].
    pub fn open_view_in_memory(self, schema: &str) -> Result<SqliteView, PersistenceError> {
        let durability = self.view_durability;
        let database = Database::open(None, Content::View(schema), self)?;
        Ok(SqliteView::new(database, durability))
    }
}
