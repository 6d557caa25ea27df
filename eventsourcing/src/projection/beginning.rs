//! What every follower of an application is started with, whatever its events are made into.

use std::sync::Arc;

use annals_segments::{Clock, SystemClock};
use parking_lot::Mutex;

use super::steps::{Sink, Steps};
use super::{FollowOptions, Follower, ProjectionError};
use crate::application::Application;
use crate::persistence::{ApplicationRecorder, Mapper};

#[derive(Debug)]
pub(super) struct Beginning {
    /// Name of the application in what is tracked of it.
    pub(super) upstream: String,
    pub(super) recorder: Arc<dyn ApplicationRecorder>,
    /// Reads its events.
    pub(super) mapper: Mapper,
    pub(super) options: FollowOptions,
    pub(super) clock: Arc<dyn Clock>,
}

impl Beginning {
    pub(super) fn behind(upstream: String, application: &Application) -> Self {
        Self {
            upstream,
            recorder: application.recorder().clone(),
            mapper: application.mapper().clone(),
            options: FollowOptions::default(),
            clock: Arc::new(SystemClock),
        }
    }

    pub(super) fn start(self, sink: impl Sink + 'static) -> Result<Follower, ProjectionError> {
        let steps = Steps {
            follower: format!("projection of {:?}", self.upstream),
            sink: Arc::new(Mutex::new(sink)),
            options: self.options,
            clock: self.clock,
        };
        Follower::start(steps, self.recorder, None)
    }
}
