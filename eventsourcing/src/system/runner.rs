//! What all runners have in common.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use annals_segments::{Clock, SystemClock};

use super::{Member, PARTITIONS_MAX, System, SystemError};
use crate::persistence::DeadLetter;
use crate::projection::{FollowOptions, ProcessApplication, Replayed};

/// A system that runs. What it does is the same under every runner, once it has come to rest.
pub trait Runner {
    /// An application of the system, to use as any other.
    ///
    /// # Errors
    /// [`SystemError::Unknown`].
    fn member(&self, name: &str) -> Result<&Member, SystemError>;

    /// An application that follows others.
    ///
    /// # Errors
    /// [`SystemError::Unknown`], [`SystemError::NotAProcess`] when it was opened as one that is only followed.
    fn process_application(&self, name: &str) -> Result<&Arc<ProcessApplication>, SystemError> {
        match self.member(name)? {
            Member::Processing(application) => Ok(application),
            Member::Leading(_) => Err(SystemError::NotAProcess {
                name: name.to_owned(),
            }),
        }
    }

    /// Blocks until everything durable has been processed, with all that came of it, which is durable too, and timers
    /// that are due have gone off.
    ///
    /// # Errors
    /// [`SystemError::Follower`] when a follower has stopped or not come far enough within `timeout`,
    /// [`SystemError::NotAtRest`], [`SystemError::Store`].
    fn settle(&self, timeout: Duration) -> Result<(), SystemError>;

    /// The events of all its leaders that an application could not process and passed over, leader by leader.
    ///
    /// # Errors
    /// [`SystemError::Unknown`], [`SystemError::Follower`].
    fn dead_letters(&self, follower: &str) -> Result<Vec<DeadLetter>, SystemError>;

    /// Tries all of them again.
    ///
    /// # Errors
    /// As [`Runner::dead_letters`].
    fn replay_dead_letters(&self, follower: &str) -> Result<Replayed, SystemError>;

    /// Stops all followers and waits for them. The applications stay open. Stopping again does nothing.
    ///
    /// # Errors
    /// [`SystemError::Follower`] when an error had stopped one before: the first of them.
    fn stop(&self) -> Result<(), SystemError>;
}

/// How a system is run.
#[derive(Clone, Debug)]
#[must_use = "options do nothing until a system is started with them"]
pub struct RunnerOptions {
    follow: FollowOptions,
    by_follower: HashMap<String, FollowOptions>,
    partitions: HashMap<String, usize>,
    pub(super) clock: Arc<dyn Clock>,
}

impl Default for RunnerOptions {
    fn default() -> Self {
        Self {
            follow: FollowOptions::default(),
            by_follower: HashMap::new(),
            partitions: HashMap::new(),
            clock: Arc::new(SystemClock),
        }
    }
}

impl RunnerOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Batches, checkpoints, retries and dead letters of all followers that have no options of their own.
    pub fn follow(mut self, options: FollowOptions) -> Self {
        self.follow = options;
        self
    }

    /// Those of one follower.
    pub fn follower(mut self, name: impl Into<String>, options: FollowOptions) -> Self {
        self.by_follower.insert(name.into(), options);
        self
    }

    /// In how many parts, 1..=[`PARTITIONS_MAX`], a follower processes each of its leaders, beside each other. Events of
    /// one aggregate of the leader stay in order, others do not. Default 1. The number may change at every start. A
    /// single-threaded runner goes through the parts in turn.
    pub fn partitions(mut self, follower: impl Into<String>, parts: usize) -> Self {
        self.partitions.insert(follower.into(), parts);
        self
    }

    /// The clock for timers and dead letters. Default the system's.
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    pub(super) fn check(&self, system: &System) -> Result<(), SystemError> {
        let names = self.by_follower.keys().chain(self.partitions.keys());
        for name in names {
            let node = &system.nodes[system.place(name)?];
            if node.policy.is_none() {
                let (name, role) = (name.clone(), node.role);
                return Err(SystemError::NotAFollower { name, role });
            }
        }
        let options = self.by_follower.values().chain([&self.follow]);
        for options in options {
            options.check()?;
        }
        let out_of_range = |parts: &usize| !(1..=PARTITIONS_MAX).contains(parts);
        match self
            .partitions
            .iter()
            .find(|(_, parts)| out_of_range(parts))
        {
            Some((name, found)) => Err(SystemError::Partitions {
                name: name.clone(),
                found: *found,
            }),
            None => Ok(()),
        }
    }

    pub(super) fn partitions_of(&self, follower: &str) -> usize {
        self.partitions.get(follower).copied().unwrap_or(1)
    }

    pub(super) fn follow_options_of(&self, follower: &str) -> &FollowOptions {
        self.by_follower.get(follower).unwrap_or(&self.follow)
    }
}
