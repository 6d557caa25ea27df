//! Events that happen later: what a [`Work`](crate::Work) sets a timer for is stored now and recorded when it is due.
//!
//! A timer is an aggregate that is set, and then fired or cancelled, any number of times: its version tells the state, so
//! firing and cancelling it at once cannot both succeed, and a timer fires once, whatever crashes. What is pending is read
//! from the events at the start.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use annals_segments::Clock;
use parking_lot::{Condvar, Mutex};

use super::SystemError;
use crate::domain::AggregateId;
use crate::persistence::{
    Notification, PersistenceError, SelectNotifications, StoredEvent, Tracking,
};
use crate::projection::ProcessApplication;
use crate::projection::timer::{CANCELLED, FIRED, SET, Timer};

pub(super) struct Timers {
    clock: Arc<dyn Clock>,
    watched: Mutex<Vec<Watched>>,
    bell: Mutex<Bell>,
    rung: Condvar,
}

/// An application with timers.
pub(super) struct Fires {
    pub(super) name: String,
    pub(super) application: Arc<ProcessApplication>,
    /// Told what is written to it.
    pub(super) written: Arc<AtomicU64>,
}

/// The timers of one application.
struct Watched {
    name: String,
    application: Arc<ProcessApplication>,
    /// The last position that this system has written to it.
    written: Arc<AtomicU64>,
    /// Everything up to here has been read.
    looked_at: u64,
    /// Up to here nothing is pending, as it is stored.
    stored: u64,
    pending: HashMap<AggregateId, Pending>,
}

struct Pending {
    version: u64,
    timer: Timer,
}

#[derive(Default)]
struct Bell {
    /// Timers were set up to this position, by name of the application.
    rung: HashMap<String, u64>,
    is_stopping: bool,
}

impl Timers {
    pub(super) fn new(
        applications: impl IntoIterator<Item = Fires>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let watched = applications.into_iter().map(|fires| Watched {
            name: fires.name,
            application: fires.application,
            written: fires.written,
            looked_at: 0,
            stored: 0,
            pending: HashMap::new(),
        });
        Self {
            clock,
            watched: Mutex::new(watched.collect()),
            bell: Mutex::default(),
            rung: Condvar::new(),
        }
    }

    /// A timer of an application was set at this position.
    pub(super) fn ring(&self, name: &str, position: u64) {
        let mut bell = self.bell.lock();
        let rung = bell.rung.entry(name.to_owned()).or_default();
        *rung = position.max(*rung);
        self.rung.notify_all();
    }

    /// Ends [`Timers::run`].
    pub(super) fn stop(&self) {
        self.bell.lock().is_stopping = true;
        self.rung.notify_all();
    }

    /// Fires timers as they become due, until it is stopped.
    pub(super) fn run(&self) -> Result<(), SystemError> {
        loop {
            self.fire_due()?;
            let has_pending = self.has_pending();
            let mut bell = self.bell.lock();
            if bell.is_stopping {
                return Ok(());
            }
            self.forget_seen(&mut bell);
            // What was set may not be durable yet, and the clock may jump: so there is a look every now and then, but
            // only while there is something to look for.
            match has_pending || !bell.rung.is_empty() {
                true => drop(self.rung.wait_for(&mut bell, TICK)),
                false => self.rung.wait(&mut bell),
            }
        }
    }

    /// Fires all timers that are due, in the order they are; answers how many.
    pub(super) fn fire_due(&self) -> Result<usize, SystemError> {
        let mut fired = 0;
        for watched in &mut *self.watched.lock() {
            watched.look()?;
            fired += watched.fire_due(self.clock.now_us())?;
        }
        Ok(fired)
    }

    fn has_pending(&self) -> bool {
        let watched = self.watched.lock();
        watched.iter().any(|watched| !watched.pending.is_empty())
    }

    fn forget_seen(&self, bell: &mut Bell) {
        // The only place that holds both locks.
        let watched = self.watched.lock();
        bell.rung.retain(|name, position| {
            let own = watched.iter().find(|watched| watched.name == *name);
            own.is_some_and(|own| own.looked_at < *position)
        });
    }
}

impl Watched {
    /// Reads what has been set, fired and cancelled since it looked last.
    fn look(&mut self) -> Result<(), SystemError> {
        let recorder = self.application.process_recorder().clone();
        if self.looked_at == 0 {
            let stored = recorder.max_tracking(TRACKED);
            self.stored = self.told("read timers", stored)?.unwrap_or(0);
            self.looked_at = self.stored;
        }
        let head = self
            .told("read timers", recorder.max_position())?
            .unwrap_or(0);
        while self.looked_at < head {
            let select = SelectNotifications::first(PAGE)
                .after(self.looked_at)
                .stop(head)
                .topics([SET, CANCELLED, FIRED]);
            let page = self.told("read timers", recorder.select_notifications(&select))?;
            let is_last = page.len() < PAGE;
            for notification in page {
                self.looked_at = notification.position;
                let outcome = self.take(notification);
                self.told("read timers", outcome)?;
            }
            if is_last {
                self.looked_at = head;
            }
        }
        // A later start need not read what is over.
        if self.pending.is_empty() && self.looked_at - self.stored >= CHECKPOINT_POSITIONS {
            let tracking = Tracking::new(TRACKED, self.looked_at);
            match recorder.insert_tracking(tracking) {
                Ok(()) | Err(PersistenceError::TrackingConflict { .. }) => {}
                Err(error) => return self.told("store how far timers are over", Err(error)),
            }
            self.stored = self.looked_at;
        }
        Ok(())
    }

    fn take(&mut self, notification: Notification) -> Result<(), PersistenceError> {
        let stored = notification.event;
        let Some(origin) = stored.origin.clone() else {
            return Ok(());
        };
        if stored.topic != SET {
            self.pending.remove(&origin.aggregate_id);
            return Ok(());
        }
        let pending = Pending {
            version: origin.version,
            timer: Timer::read(stored)?,
        };
        self.pending.insert(origin.aggregate_id, pending);
        Ok(())
    }

    fn fire_due(&mut self, now_us: u64) -> Result<usize, SystemError> {
        let pending = self.pending.iter();
        let mut due: Vec<(u64, AggregateId)> = pending
            .filter(|(_, pending)| pending.timer.due_us <= now_us)
            .map(|(id, pending)| (pending.timer.due_us, id.clone()))
            .collect();
        due.sort_unstable_by(|one, other| {
            (one.0, one.1.to_string()).cmp(&(other.0, other.1.to_string()))
        });
        let mut fired = 0;
        for (_, id) in due {
            let Some(Pending { version, timer }) = self.pending.remove(&id) else {
                continue;
            };
            let marker = StoredEvent::new(self.application.new_event_id(), FIRED, "{}");
            let events = vec![marker.of(id, version + 1), timer.event];
            let durability = self.application.durability();
            let recorder = self.application.process_recorder();
            match recorder.insert_events(events, durability) {
                Ok(recorded) => {
                    fired += 1;
                    // It may not be durable yet: nothing is at rest before that.
                    if let Some(last) = recorded.last() {
                        self.written.fetch_max(last.position, Ordering::SeqCst);
                    }
                }
                // It was cancelled or set anew, or fired by another: that is read the next time. Who fires it beside
                // another finds its event stored with another marker, which is a conflict of another kind.
                Err(error) if error.is_conflict() => {}
                Err(error) => {
                    // It is read again.
                    self.looked_at = self.stored;
                    self.pending.clear();
                    return self.told("fire a timer", Err(error));
                }
            }
        }
        Ok(fired)
    }

    fn told<T>(
        &self,
        doing: &'static str,
        outcome: Result<T, PersistenceError>,
    ) -> Result<T, SystemError> {
        outcome.map_err(|source| SystemError::Store {
            name: self.name.clone(),
            doing,
            source,
        })
    }
}

/// Name under which is tracked up to where no timer is pending.
const TRACKED: &str = "$timers";
/// Timer events read at once.
const PAGE: usize = 1_000;
/// Positions after which it is stored that no timer is pending.
const CHECKPOINT_POSITIONS: u64 = 10_000;
/// How often is looked for timers that are due, while there are any.
const TICK: Duration = Duration::from_millis(10);
