//! Opening the recorder that is configured.

use std::collections::HashMap;
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::{Environment, EnvironmentError, Store};
use crate::application::Error;
use crate::persistence::{DcbRecorder, PersistenceError, ProcessRecorder, SnapshotRecorder};
use crate::recorders::{LogRecorder, MemoryRecorder};

/// One store, as all that it is.
#[derive(Clone, Debug)]
pub struct Recorders {
    /// For aggregates, those who follow, and those who do both.
    pub process: Arc<dyn ProcessRecorder>,
    /// For decisions without aggregates.
    pub dcb: Arc<dyn DcbRecorder>,
    /// For snapshots.
    pub snapshots: Arc<dyn SnapshotRecorder>,
}

impl Recorders {
    fn of<R>(recorder: Arc<R>) -> Self
    where
        R: ProcessRecorder + DcbRecorder + SnapshotRecorder + 'static,
    {
        Self {
            process: recorder.clone(),
            dcb: recorder.clone(),
            snapshots: recorder,
        }
    }
}

impl Environment {
    /// The store that is configured, for what is not an application.
    ///
    /// # Errors
    /// [`EnvironmentError`].
    pub fn recorders(&self) -> Result<Recorders, EnvironmentError> {
        let opened = match self.store()? {
            Store::Memory => Ok(Recorders::of(Arc::new(MemoryRecorder::new()))),
            Store::Log { dir } => shared_log(&dir).map(Recorders::of),
            #[cfg(feature = "sqlite")]
            Store::Sqlite { path, options } => match path.as_os_str() == ":memory:" {
                true => options.open_in_memory(),
                false => options.open(path),
            }
            .map(|recorder| Recorders::of(Arc::new(recorder))),
        };
        let failed = Error::persistence("open the application");
        Ok(opened.map_err(failed)?)
    }
}

/// The recorder of a log: the one that this process has already, if it is open.
fn shared_log(dir: &Path) -> Result<Arc<LogRecorder>, PersistenceError> {
    static OPEN: Mutex<Option<HashMap<PathBuf, Weak<LogRecorder>>>> = Mutex::new(None);

    // Two spellings that this does not bring together are refused by the lock of the log.
    let place = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
    let mut open = OPEN.lock();
    let logs = open.get_or_insert_default();
    let known = logs.get(&place).and_then(Weak::upgrade);
    if let Some(recorder) = known.filter(|recorder| !recorder.is_closed()) {
        return Ok(recorder);
    }
    let recorder = Arc::new(LogRecorder::open(dir)?);
    logs.retain(|_, recorder| recorder.strong_count() > 0);
    logs.insert(place, Arc::downgrade(&recorder));
    Ok(recorder)
}
