//! A system in threads: one for each pair of leader and follower and each of its parts, woken by what it follows.

use std::fmt;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, RwLock};

use super::wiring::Wiring;
use super::{Member, Runner, RunnerOptions, System, SystemError};
use crate::persistence::DeadLetter;
use crate::projection::{Failure, Follower, Lag, Replayed};

/// Runs a system in threads of its own, from its start on: what was not processed before is caught up with, what is
/// saved is processed at once. A follower that fails keeps no other from going on; see [`MultiThreadedRunner::watch`].
/// Dropping it stops it.
pub struct MultiThreadedRunner {
    wiring: Wiring,
    clock: Arc<dyn annals_segments::Clock>,
    running: Vec<Running>,
    ended: Arc<Ended>,
    timers: Mutex<Option<JoinHandle<()>>>,
}

/// A part of a follower.
struct Running {
    edge: usize,
    part: usize,
    follower: RwLock<Arc<Follower>>,
}

/// Told when a thread ends.
#[derive(Default)]
struct Ended {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    ended: u64,
    timers: Option<Arc<SystemError>>,
}

impl Ended {
    fn tell(&self) {
        self.state.lock().ended += 1;
        self.changed.notify_all();
    }
}

impl MultiThreadedRunner {
    /// Opens all applications with `open`, in the order they were defined, and starts all followers.
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
        let ended = Arc::new(Ended::default());
        let mut running = Vec::new();
        for (edge, wired) in wiring.edges.iter().enumerate() {
            for part in 0..wired.parts.len() {
                let follower = follow(&wiring, edge, part, &ended)?;
                running.push(Running {
                    edge,
                    part,
                    follower: RwLock::new(Arc::new(follower)),
                });
            }
        }
        let timers = fire_timers(&wiring, &ended)?;
        Ok(Self {
            wiring,
            clock: options.clock.clone(),
            running,
            ended,
            timers: Mutex::new(Some(timers)),
        })
    }

    /// Blocks until a follower or the timers have stopped on an error, for at most `timeout`.
    ///
    /// # Errors
    /// [`SystemError::Follower`] with the first failure there is, [`SystemError::Timers`].
    pub fn watch(&self, timeout: Duration) -> Result<(), SystemError> {
        let mut state = self.ended.state.lock();
        self.check_all(&state)?;
        let seen = state.ended;
        (self.ended.changed).wait_while_for(&mut state, |state| state.ended == seen, timeout);
        self.check_all(&state)
    }

    /// Starts the followers again that have stopped on an error, each where it stopped, and the timers, if they have;
    /// answers how many, of which the timers are one.
    ///
    /// # Errors
    /// [`SystemError::Follower`] when one cannot be started, [`SystemError::Open`] when the timers cannot.
    pub fn restart_failed(&self) -> Result<usize, SystemError> {
        let mut restarted = 0;
        for running in &self.running {
            let mut follower = running.follower.write();
            if follower.check().is_err() {
                let again = follow(&self.wiring, running.edge, running.part, &self.ended)?;
                *follower = Arc::new(again);
                restarted += 1;
            }
        }
        let mut timers = self.timers.lock();
        // Taken before they start: they may fail again at once.
        let failure = self.ended.state.lock().timers.take();
        if let Some(failure) = failure {
            match fire_timers(&self.wiring, &self.ended) {
                Ok(thread) => *timers = Some(thread),
                Err(error) => {
                    self.ended.state.lock().timers = Some(failure);
                    return Err(error);
                }
            }
            restarted += 1;
        }
        Ok(restarted)
    }

    /// Blocks until `follower` has processed everything of `leader` up to `position`, in all of its parts.
    ///
    /// # Errors
    /// [`SystemError::Unknown`]; [`SystemError::Follower`] when it is not reached within `timeout`, or never will be.
    pub fn wait(
        &self,
        leader: &str,
        follower: &str,
        position: u64,
        timeout: Duration,
    ) -> Result<(), SystemError> {
        let deadline_ns = self.deadline_ns(timeout);
        for (_, follower) in self.between(leader, follower)? {
            follower.wait(position, self.left(deadline_ns))?;
        }
        Ok(())
    }

    /// How far each part of each follower has come, with the names of leader and follower.
    ///
    /// # Errors
    /// [`SystemError::Follower`] when the last position of a leader cannot be read.
    pub fn lags(&self) -> Result<Vec<(&str, &str, Lag)>, SystemError> {
        let name = |place: usize| &*self.wiring.members[place].name;
        let lags = self.running.iter().map(|running| {
            let edge = &self.wiring.edges[running.edge];
            let lag = running.follower.read().lag()?;
            Ok((name(edge.leader), name(edge.follower), lag))
        });
        lags.collect()
    }

    /// The parts of a follower that follow a leader, first the first.
    fn between(
        &self,
        leader: &str,
        follower: &str,
    ) -> Result<Vec<(usize, Arc<Follower>)>, SystemError> {
        self.member(leader)?;
        self.member(follower)?;
        let name = |place: usize| &*self.wiring.members[place].name;
        let found: Vec<_> = (self.running.iter())
            .filter(|running| {
                let edge = &self.wiring.edges[running.edge];
                name(edge.leader) == leader && name(edge.follower) == follower
            })
            .map(|running| (running.part, running.follower.read().clone()))
            .collect();
        match found.is_empty() {
            false => Ok(found),
            true => Err(SystemError::Unknown {
                name: format!("{leader} -> {follower}"),
            }),
        }
    }

    fn check_all(&self, state: &State) -> Result<(), SystemError> {
        for running in &self.running {
            running.follower.read().check()?;
        }
        match &state.timers {
            Some(error) => Err(SystemError::Timers {
                source: error.clone(),
            }),
            None => Ok(()),
        }
    }

    fn deadline_ns(&self, timeout: Duration) -> u64 {
        let limit_ns = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
        self.clock.monotonic_ns().saturating_add(limit_ns)
    }

    fn left(&self, deadline_ns: u64) -> Duration {
        Duration::from_nanos(deadline_ns.saturating_sub(self.clock.monotonic_ns()))
    }

    /// Stops everything that runs and waits for it; tells the first failure.
    fn stop_all(&self) -> Result<(), SystemError> {
        self.wiring.timers.stop();
        let followers: Vec<_> = self
            .running
            .iter()
            .map(|running| running.follower.read().clone())
            .collect();
        followers.iter().for_each(|follower| follower.signal_stop());
        let outcomes: Vec<_> = followers.iter().map(|follower| follower.stop()).collect();
        if let Some(timers) = self.timers.lock().take() {
            // What it had to say stands in `ended`.
            let _ = timers.join();
        }
        outcomes.into_iter().try_for_each(|outcome| Ok(outcome?))
    }
}

fn follow(
    wiring: &Wiring,
    edge: usize,
    part: usize,
    ended: &Arc<Ended>,
) -> Result<Follower, SystemError> {
    let wired = &wiring.edges[edge];
    let upstream = wiring.members[wired.leader].recorder().clone();
    let ended = ended.clone();
    let on_end = Box::new(move || ended.tell());
    let steps = wired.parts[part].clone();
    Ok(Follower::start(steps, upstream, Some(on_end))?)
}

/// Fires timers in a thread of its own.
fn fire_timers(wiring: &Wiring, ended: &Arc<Ended>) -> Result<JoinHandle<()>, SystemError> {
    let (timers, told) = (wiring.timers.clone(), ended.clone());
    let thread = thread::Builder::new().name("timers".to_owned());
    let thread = thread.spawn(move || {
        if let Err(error) = timers.run() {
            told.state.lock().timers = Some(Arc::new(error));
        }
        told.tell();
    });
    thread.map_err(|error| SystemError::Open {
        name: "timers".to_owned(),
        source: error.into(),
    })
}

impl Runner for MultiThreadedRunner {
    fn member(&self, name: &str) -> Result<&Member, SystemError> {
        self.wiring.member(name)
    }

    fn settle(&self, timeout: Duration) -> Result<(), SystemError> {
        let deadline_ns = self.deadline_ns(timeout);
        let heads = || {
            let members = self.wiring.members.iter();
            members
                .map(|wired| wired.head())
                .collect::<Result<Vec<_>, _>>()
        };
        loop {
            let before = heads()?;
            for running in &self.running {
                let position = before[self.wiring.edges[running.edge].leader];
                let follower = running.follower.read().clone();
                follower.wait(position, self.left(deadline_ns))?;
            }
            // All that there was is processed, and nothing came of it.
            if self.wiring.timers.fire_due()? == 0 && heads()? == before {
                if self.wiring.is_durable()? {
                    return Ok(());
                }
                // What followers have written becomes durable by itself.
                thread::sleep(Duration::from_millis(1));
            }
            if self.left(deadline_ns).is_zero() {
                return Err(SystemError::NotAtRest { timeout });
            }
        }
    }

    fn dead_letters(&self, follower: &str) -> Result<Vec<DeadLetter>, SystemError> {
        self.wiring.dead_letters(follower)
    }

    fn replay_dead_letters(&self, follower: &str) -> Result<Replayed, SystemError> {
        self.wiring.replay_dead_letters(follower)
    }

    fn stop(&self) -> Result<(), SystemError> {
        self.stop_all()
    }
}

impl Drop for MultiThreadedRunner {
    fn drop(&mut self) {
        // Who wants to know asks `stop` or `watch`.
        let _ = self.stop_all();
    }
}

impl fmt::Debug for MultiThreadedRunner {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let followers: Vec<_> = (self.running.iter())
            .map(|running| running.follower.read().clone())
            .collect();
        formatter
            .debug_struct("MultiThreadedRunner")
            .field("followers", &followers)
            .finish_non_exhaustive()
    }
}
