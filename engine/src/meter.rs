//! What the writing end counts while it works. Whoever holds the writer counts alone, so that a group costs
//! a few plain stores; only syncs, which may run beside it, are counted by any thread.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::histogram::{Histogram, add_alone};
use crate::report::WriteStats;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    group_batches: Histogram,
    group_events: Histogram,
    sync_us: Histogram,
    batches: AtomicU64,
    events: AtomicU64,
    bytes: AtomicU64,
    spare_waits: AtomicU64,
    device_waits: AtomicU64,
    version_cache_entries: AtomicU64,
    version_cache_bytes: AtomicU64,
}

impl Meter {
    /// A group has been written. Called by who holds the writer, as are all below but [`Meter::synced`].
    pub(crate) fn group(&self, batches: usize, events: u64) {
        self.group_batches.record_alone(batches as u64);
        self.group_events.record_alone(events);
        add_alone(&self.batches, batches as u64);
        add_alone(&self.events, events);
    }

    /// Bytes have been written.
    pub(crate) fn wrote(&self, bytes: usize) {
        add_alone(&self.bytes, bytes as u64);
    }

    /// The next segment was needed and not ready.
    pub(crate) fn waited_for_spare(&self) {
        add_alone(&self.spare_waits, 1);
    }

    /// Buffered appends were held up by the device.
    pub(crate) fn waited_for_device(&self) {
        add_alone(&self.device_waits, 1);
    }

    /// The size of the version cache.
    pub(crate) fn version_cache(&self, entries: usize, bytes: usize) {
        self.version_cache_entries
            .store(entries as u64, Ordering::Relaxed);
        self.version_cache_bytes
            .store(bytes as u64, Ordering::Relaxed);
    }

    /// A segment has been synced, by any thread.
    pub(crate) fn synced(&self, micros: u64) {
        self.sync_us.record(micros);
    }

    pub(crate) fn version_cache_len(&self) -> (u64, u64) {
        (
            self.version_cache_entries.load(Ordering::Relaxed),
            self.version_cache_bytes.load(Ordering::Relaxed),
        )
    }

    pub(crate) fn stats(&self) -> WriteStats {
        WriteStats {
            batches: self.batches.load(Ordering::Relaxed),
            events: self.events.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            group_batches: self.group_batches.distribution(),
            group_events: self.group_events.distribution(),
            sync_us: self.sync_us.distribution(),
            spare_waits: self.spare_waits.load(Ordering::Relaxed),
            device_waits: self.device_waits.load(Ordering::Relaxed),
        }
    }
}
