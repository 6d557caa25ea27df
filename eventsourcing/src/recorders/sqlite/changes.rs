//! Who waits for something to happen in a database, and who tells them.
//!
//! What this recorder stores is told at once. What others store, in this process or another, is found by looking
//! again and again, more and more seldom while nothing comes.

use std::time::Duration;

use annals_segments::Clock;
use parking_lot::{Condvar, Mutex, MutexGuard};

/// Wakes those who wait.
#[derive(Debug, Default)]
pub(super) struct Changes {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// How often something was told.
    generation: u64,
    closed: bool,
}

impl Changes {
    /// Wakes everybody who waits, to look again.
    pub(super) fn tell(&self) {
        self.state.lock().generation += 1;
        self.changed.notify_all();
    }

    /// Wakes everybody for good.
    pub(super) fn close(&self) {
        self.state.lock().closed = true;
        self.tell();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state.lock().closed
    }

    /// Calls `look` until it finds something: at once, whenever something is told, and in between at intervals of up
    /// to `poll` (`None`: nobody else stores). `None` after `timeout`.
    pub(super) fn wait<T>(
        &self,
        clock: &dyn Clock,
        timeout: Option<Duration>,
        poll: Option<Duration>,
        mut look: impl FnMut() -> Option<T>,
    ) -> Option<T> {
        let began_ns = clock.monotonic_ns();
        let mut interval = poll.map(|longest| longest.min(INTERVAL_MIN));
        loop {
            // Before looking, or what is told in between would be slept through.
            let seen = self.state.lock().generation;
            if let Some(found) = look() {
                return Some(found);
            }
            let rest = timeout.map(|timeout| {
                let waited_ns = clock.monotonic_ns().saturating_sub(began_ns);
                timeout.saturating_sub(Duration::from_nanos(waited_ns))
            });
            if rest == Some(Duration::ZERO) {
                return None;
            }
            let is_told = self.sleep(seen, [rest, interval].into_iter().flatten().min());
            interval = interval.zip(poll).map(|(interval, longest)| match is_told {
                true => longest.min(INTERVAL_MIN),
                false => longest.min(interval * 2),
            });
        }
    }

    /// Sleeps until something is told; answers whether it was, or the pause was over.
    fn sleep(&self, seen: u64, pause: Option<Duration>) -> bool {
        let mut state: MutexGuard<'_, State> = self.state.lock();
        let is_quiet = |state: &mut State| state.generation == seen;
        match pause {
            Some(pause) => !self
                .changed
                .wait_while_for(&mut state, is_quiet, pause)
                .timed_out(),
            None => {
                self.changed.wait_while(&mut state, is_quiet);
                true
            }
        }
    }
}

/// The first pause between two looks.
const INTERVAL_MIN: Duration = Duration::from_millis(1);
