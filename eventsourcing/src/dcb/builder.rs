//! How an application for decisions is put together.

use std::sync::Arc;

use annals_segments::{Clock, Random, SystemClock, SystemRandom};

use super::{DcbApplication, DcbError};
use crate::application::Retries;
use crate::persistence::{DcbRecorder, Durability, Mapper, SnapshotRecorder};

/// A [`DcbApplication`] whose options are being set; [`DcbApplicationBuilder::build`] checks them.
#[derive(Debug)]
#[must_use = "a builder does nothing until it builds"]
pub struct DcbApplicationBuilder {
    application: DcbApplication,
}

impl DcbApplicationBuilder {
    pub(super) fn new(recorder: Arc<dyn DcbRecorder>) -> Self {
        let application = DcbApplication {
            recorder,
            snapshots: None,
            mapper: Mapper::default(),
            clock: Arc::new(SystemClock),
            random: Arc::new(SystemRandom::default()),
            durability: Durability::default(),
            retries: Retries::default(),
        };
        Self { application }
    }

    /// The way from an event to its stored form. Default [`Mapper::default`], which is JSON. A program must keep to the
    /// format its events are stored in.
    pub fn mapper(mut self, mapper: Mapper) -> Self {
        self.application.mapper = mapper;
        self
    }

    /// Where snapshots of models are kept that have a [policy](super::DecisionModel::SNAPSHOT). Default nowhere.
    ///
    /// None is kept of events of aggregates whose [keys can be erased](Mapper::erase_key).
    ///
    /// Their versions are positions, so it has to be a recorder that does not hold them against the versions of
    /// aggregates: [`LogModelSnapshots`](crate::LogModelSnapshots), [`MemorySnapshots`](crate::MemorySnapshots).
    pub fn snapshots(mut self, recorder: Arc<dyn SnapshotRecorder>) -> Self {
        self.application.snapshots = Some(recorder);
        self
    }

    /// What an acknowledged [`save`](DcbApplication::save) survives. Default [`Durability::Sync`].
    pub fn durability(mut self, durability: Durability) -> Self {
        self.application.durability = durability;
        self
    }

    /// What a [decision](DcbApplication::decide) does that is overtaken. Default as for [`Retries`].
    pub fn retries(mut self, retries: Retries) -> Self {
        self.application.retries = retries;
        self
    }

    /// The clock for event ids. Default the system's. The time of events is the recorder's.
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.application.clock = Arc::new(clock);
        self
    }

    /// The source of ids. Default the system's.
    pub fn random(mut self, random: impl Random + 'static) -> Self {
        self.application.random = Arc::new(random);
        self
    }

    /// The application.
    ///
    /// # Errors
    /// [`DcbError::InvalidOption`].
    pub fn build(self) -> Result<DcbApplication, DcbError> {
        match self.application.retries.attempts {
            0 => Err(DcbError::InvalidOption {
                option: "retries",
                found: 0,
                min: 1,
            }),
            _ => Ok(self.application),
        }
    }
}
