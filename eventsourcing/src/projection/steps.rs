//! One step of a follower after the other: a batch is processed, taken apart when it fails, tried again, given up.
//!
//! What holds here:
//! - A batch takes effect whole, with its place, or not at all: that is the [`Sink`]'s promise.
//! - An event is passed over only after it was processed, or kept as a dead letter.
//! - Nothing here waits, reads a clock or starts a thread: who runs the steps does.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::error::Gone;
use super::{Failure, FollowOptions, OnFailure, ProjectionError, Replayed};
use crate::persistence::{
    ApplicationRecorder, DeadLetter, Notification, PersistenceError, SelectNotifications,
};

/// Where notifications go: rows of a view, new events of a process application.
pub(crate) trait Sink: Send {
    /// Topics that it reads.
    fn topics(&self) -> Vec<&'static str>;

    /// Whether a notification with one of these topics is its own.
    fn concerns(&self, _: &Notification) -> bool {
        true
    }

    /// The last position processed, as it is stored; 0 when there is none.
    fn tracked(&self) -> Result<u64, PersistenceError>;

    /// Processes all of them and records the last position, or does nothing.
    fn process(&mut self, batch: &[Notification]) -> Result<(), Trouble>;

    /// Records that there was nothing up to this position.
    fn checkpoint(&mut self, position: u64) -> Result<(), PersistenceError>;

    /// Keeps a dead letter and records its position. Its `name` is the sink's to set.
    fn bury(&mut self, letter: DeadLetter) -> Result<(), PersistenceError>;

    /// The dead letters there are, ascending by position.
    fn dead_letters(&self) -> Result<Vec<DeadLetter>, PersistenceError>;

    /// Processes a notification of which there is a dead letter, and removes that, or does nothing.
    fn resolve(&mut self, notification: &Notification) -> Result<(), Trouble>;
}

/// Why a batch was not processed. It had no effect.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// An event is the reason: it cannot be read, or the policy failed.
    Event(Failure),
    /// Somebody else has written what the policy rests on.
    Conflict(PersistenceError),
    /// It has been processed already, up to this position.
    Done(u64),
    /// The store.
    Store(PersistenceError),
}

impl Trouble {
    /// Trouble with storing what came of the events.
    pub(crate) fn storing(error: PersistenceError) -> Self {
        match error {
            PersistenceError::TrackingConflict { recorded, .. } => Self::Done(recorded),
            error if error.is_conflict() => Self::Conflict(error),
            // What cannot be stored anywhere is the event's fault, not the store's.
            error @ (PersistenceError::Limit { .. }
            | PersistenceError::TooLarge { .. }
            | PersistenceError::NoTopic { .. }
            | PersistenceError::Encode { .. }) => Self::Event(error.into()),
            error => Self::Store(error),
        }
    }

    /// Trouble with reading an event, or what a policy rests on.
    pub(crate) fn reading(error: PersistenceError) -> Self {
        match error {
            // Of a store that may work again the event knows nothing: it is not to be given up for that.
            error @ (PersistenceError::Store { .. }
            | PersistenceError::KeyStore { .. }
            | PersistenceError::Busy
            | PersistenceError::Closed
            | PersistenceError::Indeterminate { .. }) => Self::storing(error),
            error if error.is_conflict() => Self::storing(error),
            error => Self::Event(error.into()),
        }
    }
}

/// A sink with its options and its manners.
#[derive(Clone)]
pub(crate) struct Steps {
    pub(crate) follower: String,
    pub(crate) sink: Arc<Mutex<dyn Sink>>,
    pub(crate) options: FollowOptions,
    pub(crate) clock: Arc<dyn annals_segments::Clock>,
}

/// Pauses before the next attempt; answers whether to go on at all.
pub(crate) type Pause<'a> = &'a mut dyn FnMut(Duration) -> bool;

impl Steps {
    /// Processes a batch; answers `false` when it was told to stop in a pause. `done` is told each part that has been
    /// processed, and whether it is an event that was kept as a dead letter. On an error what came before the event is
    /// processed.
    pub(crate) fn process(
        &self,
        batch: &[Notification],
        pause: Pause<'_>,
        done: &mut dyn FnMut(&[Notification], bool),
    ) -> Result<bool, ProjectionError> {
        let mut batch = batch;
        for _ in 0..BATCH_ATTEMPTS {
            if batch.len() <= 1 {
                break;
            }
            match self.sink.lock().process(batch) {
                Ok(()) => {
                    done(batch, false);
                    return Ok(true);
                }
                Err(Trouble::Done(recorded)) => {
                    let already = batch.partition_point(|event| event.position <= recorded);
                    let (already, rest) = batch.split_at(already);
                    done(already, false);
                    batch = rest;
                }
                Err(Trouble::Conflict(_)) => {}
                Err(Trouble::Event(_) | Trouble::Store(_)) => break,
            }
        }
        // One by one, so that a failure is that of one event, and all before it is done.
        for event in batch {
            match self.process_one(event, pause)? {
                Some(is_buried) => done(std::slice::from_ref(event), is_buried),
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Whether it had to be buried; `None` when told to stop.
    fn process_one(
        &self,
        event: &Notification,
        pause: Pause<'_>,
    ) -> Result<Option<bool>, ProjectionError> {
        let (mut attempts, mut conflicts) = (0, 0);
        loop {
            let outcome = self.sink.lock().process(std::slice::from_ref(event));
            let failure = match outcome {
                Ok(()) | Err(Trouble::Done(_)) => return Ok(Some(false)),
                Err(Trouble::Conflict(error)) => {
                    conflicts += 1;
                    if conflicts < CONFLICTS_MAX {
                        std::thread::yield_now();
                        continue;
                    }
                    // Nobody is faster so often: it is in conflict with what is there for good.
                    error.into()
                }
                Err(Trouble::Event(failure)) => failure,
                Err(Trouble::Store(source)) => {
                    attempts += 1;
                    let delay = self.options.retry.delay_after(attempts);
                    match delay.filter(|_| is_passing(&source)) {
                        Some(delay) if pause(delay) => continue,
                        Some(_) => return Ok(None),
                        None => return Err(self.store_error("store", event.position - 1, source)),
                    }
                }
            };
            attempts += 1;
            conflicts = 0;
            match self.options.retry.delay_after(attempts) {
                Some(delay) if pause(delay) => {}
                Some(_) => return Ok(None),
                None => {
                    self.give_up(event, attempts, failure)?;
                    return Ok(Some(true));
                }
            }
        }
    }

    fn give_up(
        &self,
        event: &Notification,
        attempts: u32,
        source: Failure,
    ) -> Result<(), ProjectionError> {
        match self.options.on_failure {
            OnFailure::Stop => Err(ProjectionError::Event {
                follower: self.follower.clone(),
                position: event.position,
                topic: event.event.topic.clone(),
                attempts,
                source,
            }),
            OnFailure::DeadLetter => self.bury(DeadLetter {
                name: String::new(),
                position: event.position,
                topic: event.event.topic.clone(),
                event_id: event.event.event_id,
                error: super::error::with_causes(&*source),
                attempts,
                time_us: self.clock.now_us(),
            }),
        }
    }

    pub(crate) fn bury(&self, letter: DeadLetter) -> Result<(), ProjectionError> {
        let position = letter.position;
        let mut sink = self.sink.lock();
        match sink.bury(letter) {
            // Somebody else has processed it meanwhile.
            Ok(()) | Err(PersistenceError::TrackingConflict { .. }) => Ok(()),
            // Or has buried it: that there is a letter may show before the place does.
            Err(error)
                if error.is_conflict()
                    && sink.tracked().is_ok_and(|tracked| tracked >= position) =>
            {
                Ok(())
            }
            Err(source) => Err(self.store_error("keep a dead letter", position - 1, source)),
        }
    }

    /// Records a position up to which there was nothing.
    pub(crate) fn checkpoint(&self, position: u64) -> Result<(), ProjectionError> {
        match self.sink.lock().checkpoint(position) {
            Ok(()) | Err(PersistenceError::TrackingConflict { .. }) => Ok(()),
            Err(source) => Err(self.store_error("store a checkpoint", position, source)),
        }
    }

    /// The last position processed, as it is stored.
    pub(crate) fn tracked(&self) -> Result<u64, ProjectionError> {
        let tracked = self.sink.lock().tracked();
        tracked.map_err(|source| self.store_error("read its place", 0, source))
    }

    pub(crate) fn dead_letters(&self) -> Result<Vec<DeadLetter>, ProjectionError> {
        let letters = self.sink.lock().dead_letters();
        letters.map_err(|source| self.store_error("read dead letters", 0, source))
    }

    /// Tries every dead letter again, in order.
    pub(crate) fn replay_dead_letters(
        &self,
        upstream: &dyn ApplicationRecorder,
    ) -> Result<Replayed, ProjectionError> {
        let mut replayed = Replayed::default();
        for letter in self.dead_letters()? {
            match self.resolve(upstream, letter.position) {
                Ok(()) => replayed.resolved.push(letter),
                Err(Trouble::Event(failure)) => replayed.failed.push((letter, failure)),
                // Somebody else may have resolved it, or written an aggregate: it is listed again if it is there.
                Err(Trouble::Conflict(error)) => replayed.failed.push((letter, error.into())),
                Err(Trouble::Done(_) | Trouble::Store(PersistenceError::NoDeadLetter { .. })) => {}
                Err(Trouble::Store(source)) => {
                    return Err(self.store_error("replay a dead letter", letter.position, source));
                }
            }
        }
        Ok(replayed)
    }

    fn resolve(&self, upstream: &dyn ApplicationRecorder, position: u64) -> Result<(), Trouble> {
        let select = SelectNotifications::first(1).start(position).stop(position);
        let found = upstream.select_notifications(&select);
        let found = found.map_err(|error| Trouble::Event(error.into()))?;
        match found.first() {
            Some(notification) => self.sink.lock().resolve(notification),
            None => Err(Trouble::Event(Gone { position }.into())),
        }
    }

    pub(crate) fn store_error(
        &self,
        doing: &'static str,
        position: u64,
        source: PersistenceError,
    ) -> ProjectionError {
        ProjectionError::Store {
            follower: self.follower.clone(),
            doing,
            position,
            source: Box::new(source),
        }
    }
}

/// Whether a store may work again by itself.
fn is_passing(error: &PersistenceError) -> bool {
    !matches!(
        error,
        PersistenceError::Closed
            | PersistenceError::Indeterminate { .. }
            | PersistenceError::Damaged { .. }
    )
}

/// How often a batch is tried whole before it is taken apart.
const BATCH_ATTEMPTS: u32 = 4;
/// How often an event may be in conflict, one time behind the other, before that counts as a failure.
const CONFLICTS_MAX: u32 = 50;
