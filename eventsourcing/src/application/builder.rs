//! How an application is put together.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use annals_segments::{Clock, Random, SystemClock, SystemRandom};

use super::cache::Cache;
use super::snapshots::Snapshots;
use super::{Application, CacheOptions, Error, Retries};
use crate::domain::Snapshot;
use crate::persistence::{ApplicationRecorder, Durability, Mapper, SnapshotRecorder, Transcoder};

/// An [`Application`] whose options are being set; [`ApplicationBuilder::build`] checks them.
#[derive(Debug)]
#[must_use = "a builder does nothing until it builds"]
pub struct ApplicationBuilder {
    application: Application,
    cache: Option<CacheOptions>,
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
            cache: None,
            snapshots: Snapshots::default(),
            retries: Retries::default(),
            closed: AtomicBool::new(false),
        };
        Self {
            application,
            cache: None,
        }
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

    /// Keeps aggregates in memory between uses. Default: no cache.
    pub fn cache(mut self, options: CacheOptions) -> Self {
        self.cache = Some(options);
        self
    }

    /// Where snapshots are kept. Default: nowhere; [`ApplicationBuilder::open`] and [`ApplicationBuilder::in_memory`]
    /// keep them beside the events.
    pub fn snapshots(mut self, recorder: Arc<dyn SnapshotRecorder>) -> Self {
        self.application.snapshots.recorder = Some(recorder);
        self
    }

    /// Neither keeps nor uses snapshots, whatever else is said of them: aggregates are loaded from their events.
    pub fn without_snapshots(mut self) -> Self {
        self.application.snapshots.is_off = true;
        self
    }

    /// Uses snapshots of aggregates of this type when they are loaded, and takes one whenever a save has brought their
    /// version to a multiple of `events` or beyond one. 0: takes them [when asked](Application::take_snapshot) only.
    /// Default: none of any type.
    pub fn snapshot_every<A: Snapshot>(mut self, events: u64) -> Self {
        self.application.snapshots.register::<A>(events);
        self
    }

    /// How often an [edit](Application::edit) that is overtaken tries again. Default 10 attempts.
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
    /// [`Error::InvalidOption`]; [`Error::MissingOption`] for snapshots of a type and no place to keep them.
    pub fn build(mut self) -> Result<Application, Error> {
        if self.application.section_size == 0 {
            return Err(Error::InvalidOption {
                option: "section_size",
                found: 0,
                min: 1,
            });
        }
        self.application.retries.check()?;
        self.application.snapshots.check()?;
        let cache = self.cache.map(CacheOptions::check).transpose()?;
        let mapper = &self.application.mapper;
        self.application.cache = cache.map(|options| Cache::new(options, mapper.clone()));
        Ok(self.application)
    }
}
