//! A thread that follows an application: it catches up, goes on live, and can be stopped and waited for.
//!
//! What holds here:
//! - What is told as reached has been processed; it is told from memory, at once, and stored with the next effects or
//!   checkpoint. So who waits is not kept waiting by a checkpoint that is not due.
//! - The thread ends when it is stopped, the upstream is closed, or an error stops it; whoever waits is told.
//! - Dropping a follower stops it and waits for its thread.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use uuid::Uuid;

use super::steps::Steps;
use super::{Failure, OnFailure, Panicked, ProjectionError};
use crate::persistence::{
    ApplicationRecorder, DeadLetter, Notification, PersistenceError, StopHandle, Subscription,
    Update,
};

/// What follows an application in a thread of its own: a [projection](crate::ProjectionRunner), a follower of a
/// [system](crate::System). Dropping it stops it.
pub struct Follower {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    steps: Steps,
    upstream: Arc<dyn ApplicationRecorder>,
    progress: Mutex<Progress>,
    changed: Condvar,
}

#[derive(Default)]
struct Progress {
    /// Everything up to here is processed, or did not concern the follower.
    reached: u64,
    /// When the last event processed was stored.
    event_time_us: Option<u64>,
    events: u64,
    buried: u64,
    is_stopping: bool,
    subscription: Option<StopHandle>,
    ended: Option<Result<(), Arc<ProjectionError>>>,
}

/// Called when a follower ends.
pub(crate) type OnEnd = Box<dyn FnOnce() + Send>;

/// How far a follower has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lag {
    /// Everything up to this position of the upstream has been processed, or did not concern the follower.
    pub reached: u64,
    /// The last position of the upstream; 0 when it is empty.
    pub head: u64,
    /// When the last event processed was stored, microseconds since the Unix epoch; `None` when none was since the
    /// start.
    pub event_time_us: Option<u64>,
    /// Events processed since the start.
    pub events: u64,
    /// Events kept as dead letters since the start.
    pub dead_letters: u64,
    /// Whether it runs; if not, it was stopped, or an error stopped it.
    pub is_running: bool,
}

impl Lag {
    /// Positions of the upstream that have not been looked at.
    pub fn behind(&self) -> u64 {
        self.head.saturating_sub(self.reached)
    }
}

/// What came of trying dead letters again.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Replayed {
    /// Letters whose events were processed now; they are gone.
    pub resolved: Vec<DeadLetter>,
    /// Letters whose events failed again, with the reason; they are kept.
    pub failed: Vec<(DeadLetter, Failure)>,
}

impl Replayed {
    pub(crate) fn extend(&mut self, other: Self) {
        self.resolved.extend(other.resolved);
        self.failed.extend(other.failed);
    }
}

impl Follower {
    /// Starts a thread. `on_end` is called, in that thread, when it ends in whatever way.
    ///
    /// # Errors
    /// When the place cannot be read, or the thread not be started.
    pub(crate) fn start(
        steps: Steps,
        upstream: Arc<dyn ApplicationRecorder>,
        on_end: Option<OnEnd>,
    ) -> Result<Self, ProjectionError> {
        steps.options.check()?;
        let reached = steps.tracked()?;
        let name: String = (steps.follower.chars())
            .filter(|char| *char != '\0')
            .collect();
        let progress = Progress {
            reached,
            ..Progress::default()
        };
        let shared = Arc::new(Shared {
            steps,
            upstream,
            progress: Mutex::new(progress),
            changed: Condvar::new(),
        });
        let own = shared.clone();
        let thread = thread::Builder::new()
            .name(name)
            .spawn(move || own.run(on_end))
            .map_err(|error| {
                let source = PersistenceError::Store {
                    doing: "start a thread",
                    source: error.into(),
                };
                shared.steps.store_error("start", reached, source)
            })?;
        Ok(Self {
            shared,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// What it is called in errors.
    pub fn name(&self) -> &str {
        &self.shared.steps.follower
    }

    /// Blocks until everything up to `position` has been processed, or does not concern the follower: wait for the
    /// position of a [`Recording`](crate::Recording) to read what you wrote. A thread that waits is woken at once.
    ///
    /// # Errors
    /// [`ProjectionError::WaitTimeout`]; [`ProjectionError::Failed`] and [`ProjectionError::Stopped`] as soon as it
    /// will never be reached.
    pub fn wait(&self, position: u64, timeout: Duration) -> Result<(), ProjectionError> {
        let shared = &*self.shared;
        let mut progress = shared.progress.lock();
        shared.changed.wait_while_for(
            &mut progress,
            |progress| progress.reached < position && progress.ended.is_none(),
            timeout,
        );
        let (follower, reached) = (shared.steps.follower.clone(), progress.reached);
        match &progress.ended {
            _ if reached >= position => Ok(()),
            Some(Err(error)) => Err(shared.failed(error)),
            Some(Ok(())) => Err(ProjectionError::Stopped {
                follower,
                position: reached,
            }),
            None => Err(ProjectionError::WaitTimeout {
                follower,
                position,
                reached,
                timeout,
            }),
        }
    }

    /// How far it has come.
    ///
    /// # Errors
    /// [`ProjectionError::Upstream`] when the last position cannot be read.
    pub fn lag(&self) -> Result<Lag, ProjectionError> {
        let shared = &*self.shared;
        let head = shared.upstream.max_position();
        let progress = shared.progress.lock();
        let head = head.map_err(|source| shared.unreadable(progress.reached, source))?;
        Ok(Lag {
            reached: progress.reached,
            head: head.unwrap_or(0),
            event_time_us: progress.event_time_us,
            events: progress.events,
            dead_letters: progress.buried,
            is_running: progress.ended.is_none(),
        })
    }

    /// Whether an error has stopped it.
    ///
    /// # Errors
    /// [`ProjectionError::Failed`].
    pub fn check(&self) -> Result<(), ProjectionError> {
        match &self.shared.progress.lock().ended {
            Some(Err(error)) => Err(self.shared.failed(error)),
            _ => Ok(()),
        }
    }

    /// The events that were passed over because they could not be processed, ascending by position.
    ///
    /// # Errors
    /// [`ProjectionError::Store`].
    pub fn dead_letters(&self) -> Result<Vec<DeadLetter>, ProjectionError> {
        self.shared.steps.dead_letters()
    }

    /// Tries all dead letters again, in order; those whose events can be processed now are gone. Also when it is
    /// stopped.
    ///
    /// # Errors
    /// [`ProjectionError::Store`].
    pub fn replay_dead_letters(&self) -> Result<Replayed, ProjectionError> {
        let Shared {
            steps, upstream, ..
        } = &*self.shared;
        steps.replay_dead_letters(&**upstream)
    }

    /// Stops it after the batch it is at, from any thread, and waits until it has stopped. Stopping again does nothing.
    ///
    /// # Errors
    /// [`ProjectionError::Failed`] when an error had stopped it before.
    pub fn stop(&self) -> Result<(), ProjectionError> {
        self.signal_stop();
        self.join();
        self.check()
    }

    /// Tells the thread to stop after the batch it is at.
    pub(crate) fn signal_stop(&self) {
        let subscription = {
            let mut progress = self.shared.progress.lock();
            progress.is_stopping = true;
            progress.subscription.take()
        };
        self.shared.changed.notify_all();
        if let Some(subscription) = subscription {
            subscription.stop();
        }
    }

    pub(crate) fn reached(&self) -> u64 {
        self.shared.progress.lock().reached
    }

    /// Keeps it from processing anything while `during` runs, which is told how far it has come; `None` when what it is
    /// at takes longer than `timeout`.
    pub(crate) fn pause<T>(&self, timeout: Duration, during: impl FnOnce(u64) -> T) -> Option<T> {
        let sink = self.shared.steps.sink.try_lock_for(timeout)?;
        // What has just been stored may not have been told yet.
        let stored = sink.tracked().unwrap_or(0);
        Some(during(self.reached().max(stored)))
    }

    pub(crate) fn clock(&self) -> Arc<dyn annals_segments::Clock> {
        self.shared.steps.clock.clone()
    }

    /// Waits until the thread has ended.
    fn join(&self) {
        let thread = self.thread.lock().take();
        // Its own thread may drop it last: then there is nobody to wait for.
        if let Some(thread) = thread.filter(|other| other.thread().id() != thread::current().id()) {
            // What panics in a policy is caught; a panic here is told by `check`.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Follower {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let progress = self.shared.progress.lock();
        formatter
            .debug_struct("Follower")
            .field("name", &self.name())
            .field("reached", &progress.reached)
            .field("is_running", &progress.ended.is_none())
            .finish_non_exhaustive()
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.signal_stop();
        self.join();
    }
}

impl Shared {
    fn run(&self, on_end: Option<OnEnd>) {
        // Policies and projections are caught where they are called; what is caught here is a bug of ours, and whoever
        // waits shall not wait for good.
        let outcome = catch_unwind(AssertUnwindSafe(|| self.follow()));
        let outcome = outcome.unwrap_or_else(|panic| {
            let source = PersistenceError::Store {
                doing: "go on",
                source: Panicked::of(&*panic).into(),
            };
            let position = self.progress.lock().reached;
            Err(self.steps.store_error("go on", position, source))
        });
        self.advance(|progress| progress.ended = Some(outcome.map_err(Arc::new)));
        on_end.into_iter().for_each(|on_end| on_end());
    }

    /// Follows until it is stopped or fails.
    fn follow(&self) -> Result<(), ProjectionError> {
        let mut unreadable = 0;
        loop {
            let after = self.progress.lock().reached;
            let Some(mut subscription) = self.subscribe(after)? else {
                return Ok(());
            };
            let Err(source) = self.follow_one(&mut subscription, &mut unreadable)? else {
                return Ok(());
            };
            let position = self.progress.lock().reached;
            // Dropped events come back by no retry, and are more than a dead letter for each could tell.
            if source.is_expired() {
                return Err(self.unreadable(position, source));
            }
            // The place cannot be read. Nothing may be passed over in silence: it is looked at again, from where
            // everything is processed.
            unreadable += 1;
            match self.steps.options.retry.delay_after(unreadable) {
                Some(delay) if self.pause(delay) => {}
                Some(_) => return Ok(()),
                None => self.give_up_reading(position, unreadable, source)?,
            }
        }
    }

    /// Follows until it is stopped or fails; the inner error is the upstream's.
    fn follow_one(
        &self,
        subscription: &mut Subscription,
        unreadable: &mut u32,
    ) -> Result<Result<(), PersistenceError>, ProjectionError> {
        let options = &self.steps.options;
        // What is stored of the place; what lies between that and `reached` is due at a checkpoint.
        let mut stored = self.progress.lock().reached;
        let mut batch = Vec::new();
        loop {
            let reached = self.progress.lock().reached;
            let idle = (reached > stored).then_some(options.checkpoint_delay);
            let mut looked_at = reached;
            let failure = self
                .collect(subscription, idle, &mut batch, &mut looked_at)
                .err();
            if let Some(last) = batch.last() {
                let mut pause = |delay| self.pause(delay);
                let mut done = |part: &[Notification], is_buried| self.processed(part, is_buried);
                if !self.steps.process(&batch, &mut pause, &mut done)? {
                    return Ok(Ok(()));
                }
                stored = last.position;
                *unreadable = 0;
                batch.clear();
            }
            if looked_at > self.progress.lock().reached {
                self.advance(|progress| progress.reached = looked_at);
                *unreadable = 0;
            }
            let is_over = subscription.is_stopped();
            let is_idle = looked_at == reached;
            let is_due = looked_at - stored.min(looked_at) >= options.checkpoint_positions;
            if looked_at > stored && (is_over || is_idle || is_due || failure.is_some()) {
                self.steps.checkpoint(looked_at)?;
                stored = looked_at;
            }
            match failure {
                Some(error) => return Ok(Err(error)),
                None if is_over => return Ok(Ok(())),
                None => {}
            }
        }
    }

    fn processed(&self, events: &[Notification], is_buried: bool) {
        let Some(last) = events.last() else { return };
        self.advance(|progress| {
            progress.reached = last.position;
            progress.event_time_us = Some(last.time_us);
            match is_buried {
                true => progress.buried += 1,
                false => progress.events += events.len() as u64,
            }
        });
    }

    /// What is there, at most a batch; waits for the first for at most `idle`, without end when there is none.
    /// `looked_at` is where the last of it stands, or how far there was nothing.
    fn collect(
        &self,
        subscription: &mut Subscription,
        idle: Option<Duration>,
        batch: &mut Vec<Notification>,
        looked_at: &mut u64,
    ) -> Result<(), PersistenceError> {
        let options = &self.steps.options;
        let mut timeout = idle;
        let mut seen = 0;
        while batch.len() < options.batch_events_max && seen < SEEN_MAX {
            let Some(update) = subscription.next_update(timeout) else {
                break;
            };
            seen += 1;
            match update? {
                Update::LookedAt(position) => {
                    *looked_at = position.max(*looked_at);
                    // Who waits for such a position is told now.
                    if batch.is_empty() {
                        break;
                    }
                }
                Update::Notification(event) => {
                    *looked_at = event.position;
                    if self.steps.sink.lock().concerns(&event) {
                        batch.push(event);
                    }
                }
            }
            timeout = Some(match batch.is_empty() {
                true => Duration::ZERO,
                false => options.batch_delay,
            });
        }
        Ok(())
    }

    fn subscribe(&self, after: u64) -> Result<Option<Subscription>, ProjectionError> {
        let topics = self.steps.sink.lock().topics();
        let subscription = match self.upstream.subscribe(after, &topics) {
            Ok(subscription) => subscription,
            Err(PersistenceError::Closed) => return Ok(None),
            Err(source) => return Err(self.unreadable(after, source)),
        };
        let mut progress = self.progress.lock();
        progress.subscription = Some(subscription.stop_handle());
        Ok((!progress.is_stopping).then_some(subscription))
    }

    /// A place that cannot be read, however often it is tried.
    fn give_up_reading(
        &self,
        position: u64,
        attempts: u32,
        source: PersistenceError,
    ) -> Result<(), ProjectionError> {
        if self.steps.options.on_failure == OnFailure::Stop {
            return Err(self.unreadable(position, source));
        }
        self.steps.bury(DeadLetter {
            name: String::new(),
            position: position + 1,
            topic: String::new(),
            event_id: Uuid::nil(),
            error: super::error::with_causes(&source),
            attempts,
            time_us: self.steps.clock.now_us(),
        })?;
        self.advance(|progress| {
            progress.reached = position + 1;
            progress.buried += 1;
        });
        Ok(())
    }

    /// Sleeps, unless it is stopped; answers whether to go on.
    fn pause(&self, delay: Duration) -> bool {
        let mut progress = self.progress.lock();
        self.changed
            .wait_while_for(&mut progress, |progress| !progress.is_stopping, delay);
        !progress.is_stopping
    }

    fn advance(&self, change: impl FnOnce(&mut Progress)) {
        change(&mut self.progress.lock());
        self.changed.notify_all();
    }

    /// The upstream cannot be read behind this position.
    fn unreadable(&self, position: u64, source: PersistenceError) -> ProjectionError {
        ProjectionError::Upstream {
            follower: self.steps.follower.clone(),
            position,
            source: Box::new(source),
        }
    }

    fn failed(&self, error: &Arc<ProjectionError>) -> ProjectionError {
        ProjectionError::Failed {
            follower: self.steps.follower.clone(),
            source: error.clone(),
        }
    }
}

/// How many notifications are looked at before those that concern the follower are processed.
const SEEN_MAX: usize = 10_000;
