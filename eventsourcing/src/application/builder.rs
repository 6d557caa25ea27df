//! How an application is put together.

use std::sync::Arc;

use annals_segments::{Clock, Random, SystemClock, SystemRandom};

use super::{Application, Error};
use crate::persistence::{ApplicationRecorder, Durability, Mapper, Transcoder};

/// Parts of an [`Application`]; [`ApplicationBuilder::build`] checks them.
#[derive(Debug)]
#[must_use = "a builder does nothing until it builds"]
pub struct ApplicationBuilder {
    recorder: Arc<dyn ApplicationRecorder>,
    mapper: Mapper,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    durability: Durability,
    section_size: usize,
}

impl ApplicationBuilder {
    pub(super) fn new(recorder: Arc<dyn ApplicationRecorder>) -> Self {
        Self {
            recorder,
            mapper: Mapper::default(),
            clock: Arc::new(SystemClock),
            random: Arc::new(SystemRandom::default()),
            durability: Durability::default(),
            section_size: 10,
        }
    }

    /// The format of payloads. Default JSON. A program must keep to the format its events are stored in.
    pub fn transcoder(self, transcoder: impl Transcoder + 'static) -> Self {
        self.mapper(Mapper::new(transcoder))
    }

    /// The whole way from an event to its stored form. Default [`Mapper::default`].
    pub fn mapper(mut self, mapper: Mapper) -> Self {
        self.mapper = mapper;
        self
    }

    /// What an acknowledged [`save`](Application::save) survives. Default [`Durability::Sync`].
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Notifications in a section of the [notification log](Application::notification_log), and most that
    /// can be selected from it at once. Default 10, at least 1.
    pub fn section_size(mut self, notifications: usize) -> Self {
        self.section_size = notifications;
        self
    }

    /// The clock for event ids. Default the system's. The time of events is the recorder's.
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// The source of ids. Default the system's.
    pub fn random(mut self, random: impl Random + 'static) -> Self {
        self.random = Arc::new(random);
        self
    }

    /// The application.
    ///
    /// # Errors
    /// [`Error::InvalidOption`].
    pub fn build(self) -> Result<Application, Error> {
        if self.section_size == 0 {
            return Err(Error::InvalidOption {
                option: "section_size",
                found: 0,
                min: 1,
            });
        }
        let Self {
            recorder,
            mapper,
            clock,
            random,
            durability,
            section_size,
        } = self;
        Ok(Application {
            recorder,
            mapper,
            clock,
            random,
            durability,
            section_size,
        })
    }
}
