//! Following a database: a page of what is there, then what comes.

use std::collections::VecDeque;
use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::database::Database;
use super::select::READ_EVENTS;
use crate::persistence::{Follow, Notification, PersistenceError, Query, StopHandle, Update};

pub(super) struct SqliteSubscription {
    database: Arc<Database>,
    query: Query,
    /// See [`Follow::position`].
    position: u64,
    page: VecDeque<(u64, Result<Notification, PersistenceError>)>,
    /// Up to where the page looked.
    page_end: u64,
    stopped: Arc<AtomicBool>,
}

impl SqliteSubscription {
    pub(super) fn new(database: Arc<Database>, query: Query, after: u64) -> Self {
        Self {
            database,
            query,
            position: after,
            page: VecDeque::new(),
            page_end: after,
            stopped: Arc::default(),
        }
    }

    /// The next of the page, or of the next one.
    fn look(&mut self) -> Option<Result<Notification, PersistenceError>> {
        if self.page.is_empty() {
            self.position = self.position.max(self.page_end);
            if let Err(error) = self.fetch() {
                return Some(Err(error));
            }
        }
        match self.page.pop_front() {
            Some((position, next)) => {
                self.position = position;
                Some(next)
            }
            None => {
                self.position = self.page_end;
                None
            }
        }
    }

    fn fetch(&mut self) -> Result<(), PersistenceError> {
        let Self {
            database,
            query,
            position,
            page,
            page_end,
            ..
        } = self;
        let Some(first) = position.checked_add(1) else {
            return Ok(());
        };
        database.read_durable(READ_EVENTS, |reading| {
            let durable = reading.extent()?.durable;
            if first > durable {
                return Ok(());
            }
            let (mut bytes, mut end) = (0, durable);
            let visited = reading.visit(query, first..=durable, |position, next| {
                bytes += next.as_ref().map_or(0, |next| next.event.payload.len());
                page.push_back((position, next));
                if page.len() < PAGE_LEN_MAX && bytes < PAGE_BYTES_MAX {
                    return ControlFlow::Continue(());
                }
                end = position;
                ControlFlow::Break(())
            });
            match &visited {
                Ok(()) => *page_end = end,
                // What was not looked at must not be moved over.
                Err(_) => page.clear(),
            }
            visited
        })
    }
}

impl SqliteSubscription {
    /// The next notification; `None` when nothing came in time, it is stopped, or, if that is `told`, positions were
    /// looked at in vain.
    fn follow(
        &mut self,
        timeout: Option<Duration>,
        told: bool,
    ) -> Option<Result<Notification, PersistenceError>> {
        let database = self.database.clone();
        let (poll, before) = (database.poll_interval_max(), self.position);
        let look = || {
            if self.is_stopped() {
                return Some(None);
            }
            match self.look() {
                None if told && self.position > before => Some(None),
                next => next.map(Some),
            }
        };
        let next = database.changes.wait(&*database.clock, timeout, poll, look);
        // Closed while it looked.
        next.flatten()
            .filter(|next| !matches!(next, Err(PersistenceError::Closed)))
    }
}

impl Follow for SqliteSubscription {
    fn next_within(
        &mut self,
        timeout: Option<Duration>,
    ) -> Option<Result<Notification, PersistenceError>> {
        self.follow(timeout, false)
    }

    fn next_update(
        &mut self,
        timeout: Option<Duration>,
    ) -> Option<Result<Update, PersistenceError>> {
        let before = self.position;
        match self.follow(timeout, true) {
            Some(next) => Some(next.map(Update::Notification)),
            None if self.position == before || self.is_stopped() => None,
            None => Some(Ok(Update::LookedAt(self.position))),
        }
    }

    fn position(&self) -> u64 {
        self.position
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst) || self.database.changes.is_closed()
    }

    fn stop_handle(&self) -> StopHandle {
        let (database, stopped) = (self.database.clone(), self.stopped.clone());
        StopHandle::new(move || {
            stopped.store(true, Ordering::SeqCst);
            database.changes.tell();
        })
    }
}

impl fmt::Debug for SqliteSubscription {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("SqliteSubscription")
            .field("query", &self.query)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}

/// Notifications read at once,
const PAGE_LEN_MAX: usize = 256;

/// and bytes of payload after which no further one is.
const PAGE_BYTES_MAX: usize = 4 << 20;
