//! A projection whose result are events: one application following another.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use annals_segments::Clock;

use super::beginning::Beginning;
use super::effects::{Effects, Share};
use super::policy::{Policy, SharedPolicy};
use super::{FollowOptions, Follower, ProcessApplication, ProjectionError};
use crate::application::Application;

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
            beginning: Beginning::behind(upstream.into(), leader),
            application,
            policy: Arc::new(policy),
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
    beginning: Beginning,
    application: Arc<ProcessApplication>,
    policy: SharedPolicy,
}

impl EventSourcedProjectionBuilder {
    /// Batches, checkpoints, retries, dead letters.
    pub fn options(mut self, options: FollowOptions) -> Self {
        self.beginning.options = options;
        self
    }

    /// The clock for the time of dead letters. Default the system's.
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.beginning.clock = Arc::new(clock);
        self
    }

    /// Starts where the application has got to: it catches up first, then goes on live.
    ///
    /// # Errors
    /// [`ProjectionError::InvalidOption`]; [`ProjectionError::Store`] when the place cannot be read.
    pub fn start(self) -> Result<EventSourcedProjection, ProjectionError> {
        let Self {
            beginning,
            application,
            policy,
        } = self;
        let effects = Effects {
            upstream: beginning.upstream.clone(),
            tracking: beginning.upstream.clone(),
            mapper: beginning.mapper.clone(),
            application: application.clone(),
            policy,
            turn: Arc::default(),
            share: Share::default(),
            stored: None,
        };
        Ok(EventSourcedProjection {
            follower: beginning.start(effects)?,
            application,
        })
    }
}

impl fmt::Debug for EventSourcedProjectionBuilder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("EventSourcedProjectionBuilder")
            .field("beginning", &self.beginning)
            .finish_non_exhaustive()
    }
}
