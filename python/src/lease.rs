//! One log for each directory in a process, however many factories ask for it.
//!
//! A log can be opened once, and applications, views and followers of one process may all want it. Who opens it gets a
//! lease; the last one to give its lease back closes the log.

use std::collections::HashMap;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use annals_engine::{Error, Log};
use parking_lot::{Condvar, Mutex};
use pyo3::prelude::*;

/// What the leases of one directory share.
pub(crate) struct Shared {
    log: Log,
    dir: PathBuf,
    /// Held by who looks at a tracking position before waiting, and by who has moved one.
    tracking: Mutex<()>,
    tracking_moved: Condvar,
}

/// The right to use a log, until it is given back.
pub(crate) struct Lease {
    shared: Arc<Shared>,
    is_returned: AtomicBool,
}

/// The logs that are open, with the number of leases of each.
type Open = HashMap<PathBuf, (Arc<Shared>, usize)>;

static OPEN: LazyLock<Mutex<Open>> = LazyLock::new(Mutex::default);

impl Lease {
    /// Opens the log in `dir`, or shares it with who has opened it under the same path: give the real one.
    ///
    /// Not to be called with the interpreter's lock: it waits for others who open and close.
    pub(crate) fn of(dir: PathBuf) -> Result<Self, Error> {
        let mut open = OPEN.lock();
        let shared = match open.get_mut(&dir) {
            Some((shared, leases)) => {
                *leases += 1;
                shared.clone()
            }
            None => {
                let shared = Arc::new(Shared {
                    log: Log::open(&dir)?,
                    dir: dir.clone(),
                    tracking: Mutex::new(()),
                    tracking_moved: Condvar::new(),
                });
                open.insert(dir, (shared.clone(), 1));
                shared
            }
        };
        Ok(Self {
            shared,
            is_returned: AtomicBool::new(false),
        })
    }

    /// Whether it has been given back.
    pub(crate) fn is_returned(&self) -> bool {
        self.is_returned.load(Ordering::SeqCst)
    }

    /// The log, as long as the lease has not been given back.
    pub(crate) fn log(&self) -> Result<&Log, Error> {
        match self.is_returned() {
            false => Ok(&self.shared.log),
            true => Err(Error::Closed),
        }
    }

    /// Gives it back; again is legal. The last lease of a log closes it, which waits for the disk.
    pub(crate) fn give_back(&self) -> Result<(), Error> {
        if self.is_returned.swap(true, Ordering::SeqCst) {
            return Ok(());
        }
        let mut open = OPEN.lock();
        // What `close_all` has closed is no longer listed, or is another log by now.
        let Some((listed, leases)) = open.get_mut(&self.shared.dir) else {
            return Ok(());
        };
        if !Arc::ptr_eq(listed, &self.shared) {
            return Ok(());
        }
        *leases -= 1;
        if *leases > 0 {
            self.shared.tell_tracking_moved();
            return Ok(());
        }
        open.remove(&self.shared.dir);
        // Still under the lock: who opens the directory next finds it free.
        self.shared.close()
    }
}

impl Shared {
    /// Wakes those who wait for a tracking position.
    pub(crate) fn tell_tracking_moved(&self) {
        // Under the lock, or a thread between looking and waiting would sleep on.
        let _looking = self.tracking.lock();
        self.tracking_moved.notify_all();
    }

    /// Waits until `name` has reached `position`; whether it has.
    pub(crate) fn wait_tracking(&self, name: &str, position: u64, timeout: Duration) -> bool {
        let has_reached = || {
            let reached = self.log.tracking(name);
            reached.is_some_and(|reached| reached >= position)
        };
        let mut looking = self.tracking.lock();
        self.tracking_moved
            .wait_while_for(&mut looking, |()| !has_reached(), timeout);
        has_reached()
    }

    fn close(&self) -> Result<(), Error> {
        let closed = self.log.close();
        self.tell_tracking_moved();
        closed
    }
}

impl Deref for Lease {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.shared
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // A log that could not be closed in good order is one that was not closed: nothing acknowledged is lost.
        let _ = self.give_back();
    }
}

/// Closes every log of this process, whoever uses it: for the end of the interpreter.
#[pyfunction]
pub(crate) fn close_all(py: Python<'_>) {
    py.detach(|| {
        for (_, (shared, _)) in OPEN.lock().drain() {
            // As above.
            let _ = shared.close();
        }
    });
}
