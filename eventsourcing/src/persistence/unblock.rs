//! Work that blocks, awaited: in a thread of its own, without a runtime.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::thread;

use parking_lot::Mutex;

/// Does `work` in a thread of its own, so that awaiting it blocks no thread of an executor: for calls of a recorder that
/// [blocks](crate::Recorder::blocks), and whatever else waits for a disk.
///
/// The thread is started when the future is first polled, some 20 µs; programs with a runtime may prefer its pool of
/// threads. A future that is dropped after that leaves the work to end by itself. A panic of the work is one of whoever
/// awaits it. If the system gives no thread, the work is done where the future is polled.
pub fn unblock<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Unblocked<T> {
    Unblocked(Arc::new(Job {
        work: Mutex::new(Some(Box::new(work))),
        state: Mutex::new(State {
            outcome: None,
            waker: None,
        }),
    }))
}

/// The outcome of [`unblock`].
#[must_use = "the work begins when it is awaited"]
pub struct Unblocked<T>(Arc<Job<T>>);

struct Job<T> {
    /// Until somebody does it.
    work: Mutex<Option<Work<T>>>,
    state: Mutex<State<T>>,
}

type Work<T> = Box<dyn FnOnce() -> T + Send>;

struct State<T> {
    outcome: Option<Result<T, Box<dyn Any + Send>>>,
    waker: Option<Waker>,
}

impl<T: Send + 'static> Job<T> {
    /// Does the work, unless it is done already.
    fn run(&self) {
        let Some(work) = self.work.lock().take() else {
            return;
        };
        let outcome = catch_unwind(AssertUnwindSafe(work));
        let mut state = self.state.lock();
        state.outcome = Some(outcome);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T: Send + 'static> Future for Unblocked<T> {
    type Output = T;

    /// Ready once; polled again after that it stays pending.
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let job = &self.0;
        let is_new = {
            let mut state = job.state.lock();
            if let Some(outcome) = state.outcome.take() {
                return Poll::Ready(outcome.unwrap_or_else(|panic| resume_unwind(panic)));
            }
            state.waker.replace(context.waker().clone()).is_none()
        };
        if is_new && job.work.lock().is_some() {
            let (name, of_thread) = ("annals-unblock".to_owned(), job.clone());
            let started = thread::Builder::new()
                .name(name)
                .spawn(move || of_thread.run());
            if started.is_err() {
                // Wakes this very task.
                job.run();
            }
        }
        Poll::Pending
    }
}

impl<T> fmt::Debug for Unblocked<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_done = self.0.state.lock().outcome.is_some();
        formatter
            .debug_struct("Unblocked")
            .field("is_done", &is_done)
            .finish_non_exhaustive()
    }
}
