//! How an application is put together.

use std::sync::Arc;

use annals_segments::{Clock, Random, SystemClock, SystemRandom};

use super::{Application, Error};
use crate::persistence::{ApplicationRecorder, Durability, Mapper, Transcoder};

/// An [`Application`] whose options are being set; [`ApplicationBuilder::build`] checks them.
#[derive(Debug)]
#[must_use = "a builder does nothing until it builds"]
pub struct ApplicationBuilder {
    application: Application,
}

impl ApplicationBuilder {
    pub(super) fn new(recorder: Arc<dyn ApplicationRecorder>) -> Self {
        let application = Application {
            recorder,
            mapper: Mapper::default(),
            clock: Arc::new(SystemClock),
            random: Arc::new(SystemRandom::default()),
            durability: Durability::default(),
            section_size: 10,
        };
        Self { application }
    }

    /// The format of payloads. Default JSON. A program must keep to the format its events are stored in.
    pub fn transcoder(self, transcoder: impl Transcoder + 'static) -> Self {
        self.mapper(Mapper::new(transcoder))
    }

    /// The whole way from an event to its stored form. Default [`Mapper::default`].
    pub fn mapper(mut self, mapper: Mapper) -> Self {
        self.application.mapper = mapper;
        self
    }

    /// What an acknowledged [`save`](Application::save) survives. Default [`Durability::Sync`].
    pub fn durability(mut self, durability: Durability) -> Self {
        self.application.durability = durability;
        self
    }

    /// Notifications in a section of the [notification log](Application::notification_log), and most that
    /// can be selected from it at once. Default 10, at least 1.
    pub fn section_size(mut self, notifications: usize) -> Self {
        self.application.section_size = notifications;
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
    /// [`Error::InvalidOption`].
    pub fn build(self) -> Result<Application, Error> {
        if self.application.section_size == 0 {
            return Err(Error::InvalidOption {
                option: "section_size",
                found: 0,
                min: 1,
            });
        }
        Ok(self.application)
    }
}
