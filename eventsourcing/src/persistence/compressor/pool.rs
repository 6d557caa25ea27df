//! Working memory of a compressor, used again.

use parking_lot::Mutex;

/// Contexts that nobody uses at the moment. Making one costs more than compressing a small event with it.
pub(super) struct Pool<T> {
    idle: Mutex<Vec<T>>,
}

impl<T> Default for Pool<T> {
    fn default() -> Self {
        Self {
            idle: Mutex::default(),
        }
    }
}

impl<T> Pool<T> {
    /// Calls `work` with a context, a new one if all are in use; `None` when there is no memory for one.
    pub(super) fn with<R>(
        &self,
        new: impl FnOnce() -> Option<T>,
        work: impl FnOnce(&mut T) -> R,
    ) -> Option<R> {
        let idle = self.idle.lock().pop();
        let mut context = match idle {
            Some(context) => context,
            None => new()?,
        };
        let result = work(&mut context);
        let mut idle = self.idle.lock();
        if idle.len() < IDLE_MAX {
            idle.push(context);
        }
        Some(result)
    }
}

/// As many threads as may compress at once without making contexts anew each time.
const IDLE_MAX: usize = 64;
