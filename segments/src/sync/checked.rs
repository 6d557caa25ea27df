//! The locks of a checker, in the shape of those of `parking_lot`.

use std::ops::{Deref, DerefMut};
use std::sync::PoisonError;
use std::time::Duration;

#[cfg(loom)]
use loom as checker;
#[cfg(all(shuttle, not(loom)))]
use shuttle as checker;

pub use checker::sync::atomic;
pub use checker::thread;

/// A lock.
#[derive(Debug, Default)]
pub struct Mutex<T>(checker::sync::Mutex<T>);

impl<T> Mutex<T> {
    /// An open one.
    pub fn new(value: T) -> Self {
        Self(checker::sync::Mutex::new(value))
    }

    /// Waits for it.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard(Some(self.0.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// Holds a lock; `None` only while a condition is waited for.
#[derive(Debug)]
pub struct MutexGuard<'a, T>(Option<checker::sync::MutexGuard<'a, T>>);

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().expect(HELD)
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.as_mut().expect(HELD)
    }
}

/// A condition.
#[derive(Debug, Default)]
pub struct Condvar(checker::sync::Condvar);

impl Condvar {
    /// Wakes all who wait.
    pub fn notify_all(&self) {
        self.0.notify_all();
    }

    /// Waits to be woken.
    pub fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        let held = guard.0.take().expect(HELD);
        guard.0 = Some(self.0.wait(held).unwrap_or_else(PoisonError::into_inner));
    }

    /// Waits while it is so.
    pub fn wait_while<T>(
        &self,
        guard: &mut MutexGuard<'_, T>,
        mut is_so: impl FnMut(&mut T) -> bool,
    ) {
        while is_so(guard) {
            self.wait(guard);
        }
    }

    /// A checker has no time: it is over at once.
    pub fn wait_for<T>(&self, guard: &mut MutexGuard<'_, T>, _timeout: Duration) {
        let _ = guard;
        thread::yield_now();
    }

    /// As [`Condvar::wait_for`].
    pub fn wait_while_for<T>(
        &self,
        guard: &mut MutexGuard<'_, T>,
        mut is_so: impl FnMut(&mut T) -> bool,
        timeout: Duration,
    ) {
        if is_so(guard) {
            self.wait_for(guard, timeout);
        }
    }
}

/// A lock that many may read under.
#[derive(Debug, Default)]
pub struct RwLock<T>(checker::sync::RwLock<T>);

impl<T> RwLock<T> {
    /// An open one.
    pub fn new(value: T) -> Self {
        Self(checker::sync::RwLock::new(value))
    }

    /// Waits to read.
    pub fn read(&self) -> checker::sync::RwLockReadGuard<'_, T> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads, unless somebody writes.
    pub fn try_read(&self) -> Option<checker::sync::RwLockReadGuard<'_, T>> {
        self.0.try_read().ok()
    }

    /// Waits to write.
    pub fn write(&self) -> checker::sync::RwLockWriteGuard<'_, T> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

const HELD: &str = "a guard holds its lock but while it waits";
