//! How followers learn that the log went on: threads sleep on a condition, tasks leave a waker.
//!
//! The writer only looks at a flag while nobody waits. Threads are woken at once; tasks by
//! [`Changed::wake_tasks`], for which the writer is not locked: a waker is code of others, it may hold the last
//! handle of the log and so close it. What it must not do, here as anywhere, is wait: for an append, say.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;
use std::time::Duration;

use annals_segments::planted::{Bug, is_planted};
use annals_segments::sync::atomic::{AtomicBool, Ordering, fence};
use annals_segments::sync::{Condvar, Mutex};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Changed {
    waiting: Mutex<Waiting>,
    condition: Condvar,
    /// Mirrors whether anybody waits, to be read without the lock.
    has_waiting: AtomicBool,
    /// Whether tasks are to be woken.
    is_due: AtomicBool,
}

#[derive(Debug, Default)]
struct Waiting {
    threads: usize,
    tasks: HashMap<TaskId, Waker>,
    #[cfg(feature = "stream")]
    next_id: u64,
}

/// A task that waits, or has waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TaskId(u64);

impl Changed {
    /// Wakes the threads that wait, and has [`Changed::wake_tasks`] wake the tasks. The caller has changed
    /// what they look at.
    pub(crate) fn notify(&self) {
        if is_planted(Bug::DropWakeUp) {
            return;
        }
        if self.has_waiting() {
            self.is_due.store(true, Ordering::SeqCst);
            let _waiting = self.waiting.lock();
            self.condition.notify_all();
        }
    }

    /// Whether anybody waits, who has not seen what the caller has changed.
    pub(crate) fn has_waiting(&self) -> bool {
        // Who waits raises the flag before it looks at the state, the caller changes the state before it
        // looks at the flag: one of the two sees the other. Both sides use the total order for that.
        fence(Ordering::SeqCst);
        self.has_waiting.load(Ordering::SeqCst)
    }

    /// Wakes the tasks that waited when the log changed. The caller holds no lock.
    pub(crate) fn wake_tasks(&self) {
        if !self.is_due.load(Ordering::SeqCst) || !self.is_due.swap(false, Ordering::SeqCst) {
            return;
        }
        let mut waiting = self.waiting.lock();
        let tasks = std::mem::take(&mut waiting.tasks);
        self.note_waiting(&waiting);
        drop(waiting);
        for waker in tasks.into_values() {
            // What a waker does is its owner's affair, a panic included.
            if catch_unwind(AssertUnwindSafe(|| waker.wake())).is_err() {
                tracing::error!("the waker of a subscription panicked");
            }
        }
    }

    /// Sleeps until `is_over`, or the time is.
    pub(crate) fn wait(&self, timeout: Option<Duration>, is_over: impl Fn() -> bool) {
        let mut waiting = self.waiting.lock();
        waiting.threads += 1;
        self.note_waiting(&waiting);
        match timeout {
            None => self.condition.wait_while(&mut waiting, |_| !is_over()),
            Some(timeout) => drop(self.condition.wait_while_for(
                &mut waiting,
                |_| !is_over(),
                timeout,
            )),
        };
        waiting.threads -= 1;
        self.note_waiting(&waiting);
    }

    /// Leaves a waker, in the place of one left before. Whoever leaves one looks at the state after that.
    #[cfg(feature = "stream")]
    pub(crate) fn leave_waker(&self, id: Option<TaskId>, waker: &Waker) -> TaskId {
        // Cloned and dropped outside of the lock, as both are code of others.
        let waker = waker.clone();
        let mut waiting = self.waiting.lock();
        let id = id.unwrap_or_else(|| {
            waiting.next_id += 1;
            TaskId(waiting.next_id)
        });
        let before = waiting.tasks.insert(id, waker);
        self.note_waiting(&waiting);
        drop(waiting);
        drop(before);
        id
    }

    /// Takes the waker back.
    #[cfg(feature = "stream")]
    pub(crate) fn take_waker(&self, id: TaskId) {
        let mut waiting = self.waiting.lock();
        let before = waiting.tasks.remove(&id);
        self.note_waiting(&waiting);
        drop(waiting);
        drop(before);
    }

    /// How many tasks wait.
    #[cfg(all(test, feature = "stream"))]
    pub(crate) fn task_count(&self) -> usize {
        self.waiting.lock().tasks.len()
    }

    fn note_waiting(&self, waiting: &Waiting) {
        let has_waiting = waiting.threads > 0 || !waiting.tasks.is_empty();
        self.has_waiting.store(has_waiting, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }
}

#[cfg(all(test, feature = "stream"))]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_waker_is_woken_once_and_one_taken_back_never() {
        let changed = Changed::default();
        let counts: Vec<Arc<Count>> = (0..3).map(|_| Arc::default()).collect();
        let woken = || [0, 1, 2].map(|place: usize| counts[place].0.load(Ordering::SeqCst));
        let waker = |place: usize| Waker::from(counts[place].clone());
        let first = changed.leave_waker(None, &waker(0));
        let second = changed.leave_waker(None, &waker(1));
        assert_eq!(changed.leave_waker(Some(second), &waker(2)), second);
        changed.take_waker(first);
        assert_eq!(changed.task_count(), 1);
        changed.wake_tasks();
        assert_eq!(woken(), [0, 0, 0], "nothing has changed");
        changed.notify();
        changed.wake_tasks();
        changed.notify();
        changed.wake_tasks();
        assert_eq!(woken(), [0, 0, 1]);
        assert_eq!(changed.task_count(), 0);
    }
}
