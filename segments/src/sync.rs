//! Locks, atomics and threads, each by one name: those of the system, or those of a checker of schedules.
//!
//! Compiled with `--cfg loom` or `--cfg shuttle` the very code of the log runs under that checker, which decides who
//! runs at each step and, loom, what an atomic may still show. The wrappers give their locks the shape of
//! `parking_lot`, which the log uses: no poisoning, and conditions that are waited for by reference.

#[cfg(not(any(loom, shuttle)))]
pub use parking_lot::{Condvar, Mutex, MutexGuard, RwLock};
#[cfg(not(any(loom, shuttle)))]
pub use std::{sync::atomic, thread};

#[cfg(any(loom, shuttle))]
pub use checked::{Condvar, Mutex, MutexGuard, RwLock, atomic, thread};

#[cfg(any(loom, shuttle))]
mod checked;
