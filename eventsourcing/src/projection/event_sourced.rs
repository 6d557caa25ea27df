//! A projection whose result are events: one application following another.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use annals_segments::{Clock, SystemClock};

use super::effects::{Effects, Share};
use super::policy::{Policy, SharedPolicy};
use super::steps::Steps;
use super::{FollowOptions, Follower, ProcessApplication, ProjectionError};
use crate::application::Application;
use crate::persistence::{ApplicationRecorder, Mapper};

/// Has an application react to the events of another one, in a thread of its own. A [`System`](crate::System) is many
/// of these.
///
/// Waiting for it, lag, dead letters and stopping are those of [`Follower`].
pub struct EventSourcedProjection {
    follower: Follower,
    application: Arc<ProcessApplication>,
}

impl EventSourcedProjection {
    /// `application` follows `leader`, whose name is `upstream` in what it tracks: 1..=200 bytes, the same at every
    /// start, and another for each leader.
    pub fn builder(
        upstream: impl Into<String>,
        leader: &Application,
        application: Arc<ProcessApplication>,
        policy: impl Policy,
    ) -> EventSourcedProjectionBuilder {
        EventSourcedProjectionBuilder {
            upstream: upstream.into(),
            recorder: leader.recorder().clone(),
            mapper: leader.mapper().clone(),
            application,
            policy: Arc::new(policy),
            options: FollowOptions::default(),
            clock: Arc::new(SystemClock),
        }
    }

    /// The application that the new events are in.
    pub fn application(&self) -> &Arc<ProcessApplication> {
        &self.application
    }
}

impl Deref for EventSourcedProjection {
    type Target = Follower;

    fn deref(&self) -> &Follower {
        &self.follower
    }
}

impl fmt::Debug for EventSourcedProjection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("EventSourcedProjection")
            .field("follower", &self.follower)
            .finish_non_exhaustive()
    }
}

/// An [`EventSourcedProjection`] whose options are being set.
#[must_use = "a builder does nothing until it starts"]
pub struct EventSourcedProjectionBuilder {
    upstream: String,
    recorder: Arc<dyn ApplicationRecorder>,
    mapper: Mapper,
    application: Arc<ProcessApplication>,
    policy: SharedPolicy,
    options: FollowOptions,
    clock: Arc<dyn Clock>,
}

impl EventSourcedProjectionBuilder {
    /// Batches, checkpoints, retries, dead letters.
    pub fn options(mut self, options: FollowOptions) -> Self {
        self.options = options;
        self
    }

    /// The clock for the time of dead letters. Default the system's.
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Starts where the application has got to: it catches up first, then goes on live.
    ///
    /// # Errors
    /// [`ProjectionError::InvalidOption`]; [`ProjectionError::Store`] when the place cannot be read.
    pub fn start(self) -> Result<EventSourcedProjection, ProjectionError> {
        let steps = Steps {
            follower: format!("projection of {:?}", self.upstream),
            sink: Arc::new(parking_lot::Mutex::new(Effects {
                tracking: self.upstream.clone(),
                upstream: self.upstream,
                mapper: self.mapper,
                application: self.application.clone(),
                policy: self.policy,
                turn: Arc::default(),
                share: Share::default(),
                stored: None,
            })),
            options: self.options,
            clock: self.clock,
        };
        let follower = Follower::start(steps, self.recorder, None)?;
        Ok(EventSourcedProjection {
            follower,
            application: self.application,
        })
    }
}

impl fmt::Debug for EventSourcedProjectionBuilder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("EventSourcedProjectionBuilder")
            .field("upstream", &self.upstream)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
