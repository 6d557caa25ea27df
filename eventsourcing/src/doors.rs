//! Applications on the recorders that come with the library: the one place that knows both sides.

use std::path::Path;
use std::sync::Arc;

use crate::application::{Application, Error};
use crate::recorders::{LogRecorder, MemoryRecorder};

impl Application {
    /// An application whose events are gone when it is dropped. For tests and first steps.
    pub fn in_memory() -> Self {
        Self::builder(Arc::new(MemoryRecorder::new()))
            .build()
            .expect("the defaults are in range")
    }

    /// An application on the log in `dir`, which is created when it is missing. One process at a time.
    ///
    /// # Errors
    /// [`Error::Persistence`] when the log cannot be opened.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, Error> {
        let recorder =
            LogRecorder::open(dir).map_err(Error::persistence("open the application"))?;
        Self::builder(Arc::new(recorder)).build()
    }
}
