//! A system in the thread of the caller: for tests, and wherever the same input shall lead to the same order of events.

use std::fmt;
use std::time::Duration;

use parking_lot::Mutex;

use super::wiring::Wiring;
use super::{Member, Runner, RunnerOptions, System, SystemError};
use crate::persistence::{DeadLetter, Notification, SelectNotifications};
use crate::projection::{Failure, Replayed, Steps};

/// Runs a system whenever it is told to [settle](Runner::settle), in the thread that tells it: pipe by pipe in the order
/// they were defined, a batch each, until nothing is left. It starts no thread and never pauses: what fails is tried
/// again at once. An error of one follower keeps no other from going on; the next time it is tried again.
pub struct SingleThreadedRunner {
    wiring: Wiring,
    clock: std::sync::Arc<dyn annals_segments::Clock>,
    places: Mutex<Vec<Place>>,
}

/// How far a part of a follower has come.
struct Place {
    edge: usize,
    part: usize,
    reached: u64,
    stored: u64,
}

impl SingleThreadedRunner {
    /// Opens all applications with `open`, in the order they were defined. Nothing runs yet.
    ///
    /// # Errors
    /// [`SystemError::Open`], [`SystemError::NotAProcess`], [`SystemError::SharedRecorder`], [`SystemError::Partitions`],
    /// [`SystemError::Unknown`], [`SystemError::Store`], [`SystemError::Follower`].
    pub fn start(
        system: &System,
        options: RunnerOptions,
        open: impl FnMut(&str) -> Result<Member, Failure>,
    ) -> Result<Self, SystemError> {
        let wiring = Wiring::new(system, &options, open)?;
        let mut places = Vec::new();
        for (edge, wired) in wiring.edges.iter().enumerate() {
            for (part, steps) in wired.parts.iter().enumerate() {
                let reached = steps.tracked()?;
                let stored = reached;
                places.push(Place {
                    edge,
                    part,
                    reached,
                    stored,
                });
            }
        }
        Ok(Self {
            wiring,
            clock: options.clock.clone(),
            places: Mutex::new(places),
        })
    }

    fn steps(&self, place: &Place) -> &Steps {
        &self.wiring.edges[place.edge].parts[place.part]
    }

    /// Processes a batch; answers whether there was one.
    fn step(&self, place: &mut Place) -> Result<bool, SystemError> {
        let steps = self.steps(place);
        let leader = &self.wiring.members[self.wiring.edges[place.edge].leader];
        let head = leader.durable()?;
        if head <= place.reached {
            return Ok(false);
        }
        let (topics, limit) = (steps.sink.lock().topics(), steps.options.batch_events_max);
        let select = SelectNotifications::first(limit)
            .after(place.reached)
            .stop(head)
            .topics(topics);
        let page = leader.recorder().select_notifications(&select);
        let mut page = page.map_err(|source| leader.store_error("read notifications", source))?;
        let looked_at = match page.last() {
            Some(last) if page.len() == limit => last.position,
            _ => head,
        };
        {
            let sink = steps.sink.lock();
            page.retain(|notification| sink.concerns(notification));
        }
        let mut done = |part: &[Notification], _| {
            if let Some(last) = part.last() {
                (place.reached, place.stored) = (last.position, last.position);
            }
        };
        steps.process(&page, &mut |_| true, &mut done)?;
        place.reached = looked_at;
        Ok(true)
    }
}

impl Runner for SingleThreadedRunner {
    fn member(&self, name: &str) -> Result<&Member, SystemError> {
        self.wiring.member(name)
    }

    fn settle(&self, timeout: Duration) -> Result<(), SystemError> {
        let mut places = self.places.lock();
        let limit_ns = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
        let deadline_ns = self.clock.monotonic_ns().saturating_add(limit_ns);
        let mut failed: Vec<Option<SystemError>> = places.iter().map(|_| None).collect();
        loop {
            // Asked first: what becomes durable behind a follower's back is not processed in this round.
            let was_durable = self.wiring.is_durable()?;
            let mut is_busy = false;
            for (place, failed) in places.iter_mut().zip(&mut failed) {
                if failed.is_none() {
                    match self.step(place) {
                        Ok(was_busy) => is_busy |= was_busy,
                        Err(error) => *failed = Some(error),
                    }
                }
            }
            if !is_busy && self.wiring.timers.fire_due()? == 0 {
                if was_durable {
                    break;
                }
                // What followers have written becomes durable by itself.
                std::thread::sleep(Duration::from_millis(1));
            }
            if self.clock.monotonic_ns() > deadline_ns {
                return Err(SystemError::NotAtRest { timeout });
            }
        }
        for place in places.iter_mut() {
            let steps = self.steps(place);
            if place.reached - place.stored >= steps.options.checkpoint_positions {
                steps.checkpoint(place.reached)?;
                place.stored = place.reached;
            }
        }
        match failed.into_iter().flatten().next() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    fn dead_letters(&self, follower: &str) -> Result<Vec<DeadLetter>, SystemError> {
        self.wiring.dead_letters(follower)
    }

    fn replay_dead_letters(&self, follower: &str) -> Result<Replayed, SystemError> {
        self.wiring.replay_dead_letters(follower)
    }

    fn stop(&self) -> Result<(), SystemError> {
        let mut places = self.places.lock();
        for place in places
            .iter_mut()
            .filter(|place| place.reached > place.stored)
        {
            let steps = &self.wiring.edges[place.edge].parts[place.part];
            steps.checkpoint(place.reached)?;
            place.stored = place.reached;
        }
        Ok(())
    }
}

impl fmt::Debug for SingleThreadedRunner {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("SingleThreadedRunner")
            .field("applications", &self.wiring.members.len())
            .finish_non_exhaustive()
    }
}
