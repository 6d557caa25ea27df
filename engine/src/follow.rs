//! Following a log that another process, or another handle in this one, writes.
//!
//! A read-only log looks at the watermark every 1 to 20 ms and takes over what has become durable; the steps
//! stand in `follow/step.rs`. One thread does it, which the log owns and [`Log::close`](crate::Log::close)
//! joins; [`Log::refresh`](crate::Log::refresh) does one step in the caller's thread. Polling asks nothing of
//! the file system and costs a few microseconds a look.
//!
//! A step that fails changes nothing that is shown and is done again: a directory that is being recovered
//! or truncated does not fit itself for an instant. What goes on failing is a failure, which subscriptions
//! are told, each once, until a step succeeds.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use annals_segments::format::watermark::Watermark;
use annals_segments::sync::{Condvar, Mutex};

use crate::error::Error;
use crate::log::Inner;
use step::Step;

mod step;

/// The thread, where it stands, and whether it fails.
#[derive(Debug, Default)]
pub(crate) struct Follower {
    /// Held during a step.
    step: Mutex<Step>,
    thread: Mutex<Option<JoinHandle<()>>>,
    is_stopped: Mutex<bool>,
    stopped: Condvar,
    failure: Mutex<Failure>,
    /// The number of the failure that lasts; 0 when there is none.
    lasting: AtomicU64,
}

/// Whether following fails.
#[derive(Debug, Default)]
struct Failure {
    /// Steps of the thread that have failed in a row.
    steps: u32,
    /// How many failures there have been.
    count: u64,
    /// What failed last.
    error: Option<Error>,
}

impl Follower {
    /// Starts to follow behind `watermark`, the one that the log was opened by.
    pub(crate) fn start(inner: &Arc<Inner>, watermark: Option<Watermark>) -> Result<(), Error> {
        *inner.follower.step.lock() = Step::behind(watermark);
        if !inner.options.background {
            return Ok(());
        }
        let following = inner.clone();
        let thread = std::thread::Builder::new()
            .name("annals-follow".into())
            .spawn(move || run(&following));
        let thread = thread.map_err(Error::io(
            &inner.directory.path,
            "start the following thread",
        ))?;
        *inner.follower.thread.lock() = Some(thread);
        Ok(())
    }

    /// Ends the thread and waits for it.
    pub(crate) fn stop(&self) {
        *self.is_stopped.lock() = true;
        self.stopped.notify_all();
        let is_own = |thread: &JoinHandle<()>| thread.thread().id() == std::thread::current().id();
        // A waker may hold the last handle of the log: then that thread itself closes it, and ends after.
        let thread = self.thread.lock().take_if(|thread| !is_own(thread));
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the following thread panicked");
        }
    }

    /// One step, for whoever is to see no failure that is over at once.
    fn take_steps(&self, inner: &Inner) -> Result<bool, Error> {
        let mut step = self.step.lock();
        let mut outcome = step.take(inner);
        for _ in 1..ATTEMPTS {
            if outcome.is_ok() {
                break;
            }
            outcome = step.take(inner);
        }
        outcome
    }

    /// Whether a failure lasts that is newer than number `told`.
    pub(crate) fn has_failed_since(&self, told: u64) -> bool {
        self.lasting.load(Ordering::SeqCst) > told
    }

    /// The failure that lasts and its number, when it is newer than number `told`.
    pub(crate) fn failure_since(&self, told: u64) -> Option<(u64, Error)> {
        let failure = self.failure.lock();
        let number = self.lasting.load(Ordering::SeqCst);
        let error = failure.error.as_ref().filter(|_| number > told)?;
        Some((number, again(error)))
    }

    /// Notes how a step went, which counts for so many that fail in a row.
    fn note(&self, inner: &Inner, outcome: Result<(), Error>, weight: u32) {
        let mut failure = self.failure.lock();
        let Err(error) = outcome else {
            failure.steps = 0;
            self.lasting.store(0, Ordering::SeqCst);
            return;
        };
        failure.steps = failure.steps.saturating_add(weight);
        let lasts = failure.steps >= FAILING_STEPS;
        let is_new = lasts && self.lasting.load(Ordering::SeqCst) == 0;
        if is_new {
            tracing::warn!(dir = %inner.directory.path.display(), %error, "the log cannot be followed");
            failure.count += 1;
            self.lasting.store(failure.count, Ordering::SeqCst);
        }
        failure.error = Some(error);
        drop(failure);
        if is_new {
            inner.wake_all();
        }
    }
}

impl Inner {
    /// See [`Log::refresh`](crate::Log::refresh).
    pub(crate) fn refresh(&self) -> Result<u64, Error> {
        if self.is_closed() {
            return Err(Error::Closed);
        }
        if self.read_only {
            let outcome = self.follower.take_steps(self);
            self.wake_tasks();
            let weight = match self.options.background {
                true => 1,
                false => FAILING_STEPS,
            };
            let noted = outcome.as_ref().map(drop).map_err(again);
            self.follower.note(self, noted, weight);
            outcome?;
        }
        Ok(self.durable_head())
    }
}

fn run(inner: &Inner) {
    let _guard = FailOnPanic(inner);
    let follower = &inner.follower;
    let mut pause = PAUSE_MIN;
    let mut is_stopped = follower.is_stopped.lock();
    while !*is_stopped {
        drop(is_stopped);
        let outcome = follower.step.lock().take(inner);
        inner.wake_tasks();
        pause = match &outcome {
            Ok(true) => PAUSE_MIN,
            // A quarter of a second from the shortest to the longest.
            _ => (pause + pause / 10).min(PAUSE_MAX),
        };
        follower.note(inner, outcome.map(drop), 1);
        is_stopped = follower.is_stopped.lock();
        if !*is_stopped {
            follower.stopped.wait_for(&mut is_stopped, pause);
        }
    }
}

/// Nobody is to wait for a thread that is gone.
struct FailOnPanic<'a>(&'a Inner);

impl Drop for FailOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let source = io::Error::other("the following thread panicked");
            let error = Error::io(&self.0.directory.path, "follow the log")(source);
            self.0.follower.note(self.0, Err(error), FAILING_STEPS);
        }
    }
}

/// The same error once more, for another who is told.
fn again(error: &Error) -> Error {
    match error {
        Error::Corrupt {
            path,
            offset,
            first,
            last,
            fault,
        } => Error::Corrupt {
            path: path.clone(),
            offset: *offset,
            first: *first,
            last: *last,
            fault: fault.clone(),
        },
        Error::UnsupportedFormat { path, fault } => Error::UnsupportedFormat {
            path: path.clone(),
            fault: fault.clone(),
        },
        Error::Replaced { dir, found } => Error::Replaced {
            dir: dir.clone(),
            found,
        },
        Error::Expired { first } => Error::Expired { first: *first },
        Error::Io {
            path,
            doing,
            source,
        } => Error::Io {
            path: path.clone(),
            doing,
            source: io::Error::new(source.kind(), source.to_string()),
        },
        other => Error::Io {
            path: std::path::PathBuf::new(),
            doing: "follow the log",
            source: io::Error::other(other.to_string()),
        },
    }
}

/// Between two looks while there is news, and after a while without.
const PAUSE_MIN: Duration = Duration::from_millis(1);
const PAUSE_MAX: Duration = Duration::from_millis(20);
/// So many steps that fail in a row are a failure: at least a quarter of a second.
const FAILING_STEPS: u32 = 25;
/// What a caller of `refresh` is not to see is only a writer that changes files just then.
const ATTEMPTS: u32 = 5;

#[cfg(test)]
mod tests;
