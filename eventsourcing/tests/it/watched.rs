//! A recorder that counts what is asked of it.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use annals::{
    AggregateId, AggregateRecorder, ApplicationRecorder, Durability, Notification,
    PersistenceError, Recorded, Recorder, SelectEvents, SelectNotifications, StoredEvent,
    Subscription,
};

/// Another recorder, and how often it was read and added to.
#[derive(Debug)]
pub(crate) struct Watched {
    inner: Arc<dyn ApplicationRecorder>,
    inserts: AtomicU64,
    reads: AtomicU64,
    shown: AtomicU64,
}

impl Watched {
    pub(crate) fn new(inner: impl ApplicationRecorder + 'static) -> Arc<Self> {
        Self::of(Arc::new(inner))
    }

    pub(crate) fn of(inner: Arc<dyn ApplicationRecorder>) -> Arc<Self> {
        Arc::new(Self {
            inner,
            inserts: AtomicU64::new(0),
            reads: AtomicU64::new(0),
            shown: AtomicU64::new(0),
        })
    }

    pub(crate) fn inserts(&self) -> u64 {
        self.inserts.load(Ordering::Relaxed)
    }

    /// Reads of events; asking for a last version is none.
    pub(crate) fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// Events shown one by one.
    pub(crate) fn shown(&self) -> u64 {
        self.shown.load(Ordering::Relaxed)
    }
}

impl Recorder for Watched {
    fn close(&self) -> Result<(), PersistenceError> {
        self.inner.close()
    }
}

impl AggregateRecorder for Watched {
    fn insert_events(
        &self,
        events: Vec<StoredEvent>,
        durability: Durability,
    ) -> Result<Vec<Recorded>, PersistenceError> {
        self.inserts.fetch_add(1, Ordering::Relaxed);
        self.inner.insert_events(events, durability)
    }

    fn select_events(
        &self,
        aggregate_id: &AggregateId,
        select: SelectEvents,
    ) -> Result<Vec<Notification>, PersistenceError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.inner.select_events(aggregate_id, select)
    }

    fn for_each_event(
        &self,
        aggregate_id: &AggregateId,
        select: SelectEvents,
        visit: &mut dyn FnMut(&Notification) -> ControlFlow<()>,
    ) -> Result<(), PersistenceError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.inner
            .for_each_event(aggregate_id, select, &mut |notification| {
                self.shown.fetch_add(1, Ordering::Relaxed);
                visit(notification)
            })
    }

    fn last_version(&self, aggregate_id: &AggregateId) -> Result<Option<u64>, PersistenceError> {
        self.inner.last_version(aggregate_id)
    }
}

impl ApplicationRecorder for Watched {
    fn select_notifications(
        &self,
        select: &SelectNotifications,
    ) -> Result<Vec<Notification>, PersistenceError> {
        self.inner.select_notifications(select)
    }

    fn max_position(&self) -> Result<Option<u64>, PersistenceError> {
        self.inner.max_position()
    }

    fn subscribe(&self, after: u64, topics: &[&str]) -> Result<Subscription, PersistenceError> {
        self.inner.subscribe(after, topics)
    }
}
