//! Applications on the recorders that come with the library: the one place that knows both sides.

use std::path::Path;
use std::sync::Arc;

use crate::application::{Application, ApplicationBuilder, Error};
use crate::dcb::{DcbApplication, DcbError};
use crate::projection::ProcessApplication;
use crate::recorders::{LogRecorder, MemoryRecorder, MemorySnapshots};

impl Application {
    /// An application whose events are gone when it is dropped. For tests and first steps.
    pub fn in_memory() -> Self {
        ApplicationBuilder::in_memory()
            .build()
            .expect("the defaults are in range")
    }

    /// An application on the log in `dir`, which is created when it is missing. One process at a time.
    ///
    /// # Errors
    /// [`Error::Persistence`] when the log cannot be opened.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, Error> {
        ApplicationBuilder::open(dir)?.build()
    }
}

impl ApplicationBuilder {
    /// As [`Application::in_memory`], with options. Snapshots are kept in memory too.
    pub fn in_memory() -> Self {
        let recorder = Arc::new(MemoryRecorder::new());
        Application::builder(recorder.clone()).snapshots(recorder)
    }

    /// As [`Application::open`], with options. Snapshots are kept beside the log.
    ///
    /// # Errors
    /// As [`Application::open`].
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, Error> {
        let recorder =
            LogRecorder::open(dir).map_err(Error::persistence("open the application"))?;
        let recorder = Arc::new(recorder);
        Ok(Application::builder(recorder.clone()).snapshots(recorder))
    }
}

impl DcbApplication {
    /// An application whose events and snapshots are gone when it is dropped. For tests and first steps.
    pub fn in_memory() -> Self {
        Self::builder(Arc::new(MemoryRecorder::new()))
            .snapshots(Arc::new(MemorySnapshots::new()))
            .build()
            .expect("the defaults are in range")
    }

    /// An application on the log in `dir`, which is created when it is missing, with snapshots of its models beside the
    /// log. One process at a time.
    ///
    /// # Errors
    /// [`DcbError::Persistence`] when the log cannot be opened.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, DcbError> {
        let recorder =
            LogRecorder::open(dir).map_err(DcbError::persistence("open the application"))?;
        let snapshots = Arc::new(recorder.model_snapshots());
        Self::builder(Arc::new(recorder))
            .snapshots(snapshots)
            .build()
    }
}

impl ProcessApplication {
    /// As [`Application::in_memory`]. Snapshots are kept in memory too.
    pub fn in_memory() -> Self {
        let recorder = Arc::new(MemoryRecorder::new());
        Self::configured(recorder.clone(), |builder| builder.snapshots(recorder))
            .expect("the defaults are in range")
    }

    /// As [`Application::open`]. Snapshots are kept beside the log.
    ///
    /// # Errors
    /// [`Error::Persistence`] when the log cannot be opened.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, Error> {
        let recorder =
            LogRecorder::open(dir).map_err(Error::persistence("open the application"))?;
        let recorder = Arc::new(recorder);
        Self::configured(recorder.clone(), |builder| builder.snapshots(recorder))
    }
}
