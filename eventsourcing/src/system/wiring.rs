//! The applications of a system that runs, and the steps of those that follow.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::partitions::{share, tracking_name};
use super::timers::{Fires, Timers};
use super::{PARTITIONS_MAX, RunnerOptions, System, SystemError};
use crate::application::Application;
use crate::persistence::{ApplicationRecorder, DeadLetter};
use crate::projection::{Effects, Failure, ProcessApplication, Replayed, Steps, Stored};

/// An application as it takes part in a system.
#[derive(Clone, Debug)]
pub enum Member {
    /// One that is only followed: on any recorder, a log that another process writes and this one reads among them.
    Leading(Arc<Application>),
    /// One that may follow others.
    Processing(Arc<ProcessApplication>),
}

impl Member {
    /// The application, whatever it can do beyond.
    pub fn application(&self) -> &Application {
        match self {
            Self::Leading(application) => application,
            Self::Processing(application) => application,
        }
    }
}

impl From<Application> for Member {
    fn from(application: Application) -> Self {
        Self::Leading(Arc::new(application))
    }
}

impl From<ProcessApplication> for Member {
    fn from(application: ProcessApplication) -> Self {
        Self::Processing(Arc::new(application))
    }
}

impl From<Arc<Application>> for Member {
    fn from(application: Arc<Application>) -> Self {
        Self::Leading(application)
    }
}

impl From<Arc<ProcessApplication>> for Member {
    fn from(application: Arc<ProcessApplication>) -> Self {
        Self::Processing(application)
    }
}

pub(super) struct Wiring {
    pub(super) members: Vec<Wired>,
    pub(super) edges: Vec<Edge>,
    pub(super) timers: Arc<Timers>,
}

pub(super) struct Wired {
    pub(super) name: String,
    pub(super) member: Member,
    /// The last position that a follower or a timer of this system has written to it.
    written: Arc<AtomicU64>,
}

pub(super) struct Edge {
    pub(super) leader: usize,
    pub(super) follower: usize,
    /// One for each partition.
    pub(super) parts: Vec<Steps>,
}

impl Wiring {
    pub(super) fn new(
        system: &System,
        options: &RunnerOptions,
        mut open: impl FnMut(&str) -> Result<Member, Failure>,
    ) -> Result<Self, SystemError> {
        options.check(system)?;
        let mut members: Vec<Wired> = Vec::new();
        for node in &system.nodes {
            let name = node.name.clone();
            let member = open(&name).map_err(|source| SystemError::Open {
                name: name.clone(),
                source,
            })?;
            if node.policy.is_some() && matches!(member, Member::Leading(_)) {
                return Err(SystemError::NotAProcess { name });
            }
            let is_same =
                |other: &&Wired| Arc::ptr_eq(other.recorder(), member.application().recorder());
            if let Some(other) = members.iter().find(is_same) {
                let (first, second) = (other.name.clone(), name);
                return Err(SystemError::SharedRecorder { first, second });
            }
            let written = Arc::default();
            members.push(Wired {
                name,
                member,
                written,
            });
        }

        let processing = members.iter().filter_map(|wired| match &wired.member {
            Member::Processing(application) => Some(Fires {
                name: wired.name.clone(),
                application: application.clone(),
                written: wired.written.clone(),
            }),
            Member::Leading(_) => None,
        });
        let timers = Arc::new(Timers::new(processing, options.clock.clone()));
        // Followers of one application, and of one part, take turns: they would only be in conflict.
        let turns: Vec<Vec<Arc<Mutex<()>>>> = (members.iter())
            .map(|_| (0..PARTITIONS_MAX).map(|_| Arc::default()).collect())
            .collect();
        let mut edges = Vec::new();
        for (leader, follower) in &system.edges {
            let parts = options.partitions_of(&members[*follower].name);
            let parts = (0..parts).map(|part| {
                let turn = turns[*follower][part].clone();
                let edge = (&members[*leader], &members[*follower]);
                let policy = system.nodes[*follower].policy.clone();
                let policy = policy.ok_or_else(|| SystemError::NotAProcess {
                    name: edge.1.name.clone(),
                })?;
                let Member::Processing(application) = &edge.1.member else {
                    return Err(SystemError::NotAProcess {
                        name: edge.1.name.clone(),
                    });
                };
                let upstream = edge.0.name.clone();
                let recorder = application.process_recorder();
                let share = share(&**recorder, &upstream, part, parts)
                    .map_err(|source| edge.1.store_error("read its place", source))?;
                let tracking = tracking_name(&upstream, part, parts);
                let (written, timers) = (edge.1.written.clone(), timers.clone());
                let name = edge.1.name.clone();
                let stored = move |stored: Stored| {
                    written.fetch_max(stored.last_position, Ordering::SeqCst);
                    if stored.has_timers {
                        timers.ring(&name, stored.last_position);
                    }
                };
                let sink = Effects {
                    upstream,
                    tracking: tracking.clone(),
                    mapper: edge.0.member.application().mapper().clone(),
                    application: application.clone(),
                    policy,
                    turn,
                    share,
                    stored: Some(Arc::new(stored)),
                };
                Ok(Steps {
                    follower: format!("{:?} following {tracking:?}", edge.1.name),
                    sink: Arc::new(Mutex::new(sink)),
                    options: options.follow_options_of(&edge.1.name).clone(),
                    clock: options.clock.clone(),
                })
            });
            edges.push(Edge {
                leader: *leader,
                follower: *follower,
                parts: parts.collect::<Result<_, SystemError>>()?,
            });
        }
        Ok(Self {
            members,
            edges,
            timers,
        })
    }

    /// See [`Runner::dead_letters`](super::Runner::dead_letters).
    pub(super) fn dead_letters(&self, follower: &str) -> Result<Vec<DeadLetter>, SystemError> {
        let mut letters = Vec::new();
        for (_, steps) in self.first_parts(follower)? {
            letters.extend(steps.dead_letters()?);
        }
        Ok(letters)
    }

    /// See [`Runner::replay_dead_letters`](super::Runner::replay_dead_letters).
    pub(super) fn replay_dead_letters(&self, follower: &str) -> Result<Replayed, SystemError> {
        let mut all = Replayed::default();
        for (leader, steps) in self.first_parts(follower)? {
            all.extend(steps.replay_dead_letters(&**leader.recorder())?);
        }
        Ok(all)
    }

    /// The leaders of a follower, each with the first part that follows it: all parts share their dead letters.
    fn first_parts(&self, follower: &str) -> Result<Vec<(&Wired, &Steps)>, SystemError> {
        self.member(follower)?;
        let edges = self.edges.iter();
        let own = edges.filter(|edge| self.members[edge.follower].name == follower);
        Ok(own
            .filter_map(|edge| Some((&self.members[edge.leader], edge.parts.first()?)))
            .collect())
    }

    /// Whether everything that followers have written is durable.
    pub(super) fn is_durable(&self) -> Result<bool, SystemError> {
        for wired in &self.members {
            if wired.head()? > wired.durable()? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    pub(super) fn member(&self, name: &str) -> Result<&Member, SystemError> {
        let found = self.members.iter().find(|wired| wired.name == name);
        found
            .map(|wired| &wired.member)
            .ok_or_else(|| SystemError::Unknown {
                name: name.to_owned(),
            })
    }
}

impl Wired {
    pub(super) fn recorder(&self) -> &Arc<dyn ApplicationRecorder> {
        self.member.application().recorder()
    }

    /// The last position that followers have to reach: what is durable, and what this system has written but is not
    /// durable yet.
    pub(super) fn head(&self) -> Result<u64, SystemError> {
        let written = self.written.load(Ordering::SeqCst);
        Ok(self.durable()?.max(written))
    }

    /// The last durable position; 0 when there is none.
    pub(super) fn durable(&self) -> Result<u64, SystemError> {
        let durable = self.recorder().max_position();
        let durable = durable.map_err(|source| self.store_error("read its last position", source));
        Ok(durable?.unwrap_or(0))
    }

    pub(super) fn store_error(
        &self,
        doing: &'static str,
        source: crate::persistence::PersistenceError,
    ) -> SystemError {
        SystemError::Store {
            name: self.name.clone(),
            doing,
            source,
        }
    }
}
