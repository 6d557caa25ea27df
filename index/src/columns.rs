//! What an index keeps of each event beside its keys, in the order of ordinals.
//!
//! A tail that goes on behind a sealed part keeps those of its own events only.

use crate::IdTimes;
use crate::format::SAMPLE_INTERVAL;

/// Offsets, times and kinds of ids of consecutive events.
#[derive(Debug, Default)]
pub(crate) struct Columns {
    pub(crate) offsets: Vec<u32>,
    pub(crate) id_times: IdTimes,
    /// Of every event whose ordinal is a multiple of `SAMPLE_INTERVAL`, the greatest time up to it.
    pub(crate) sample_times_us: Vec<u64>,
    pub(crate) last_time_us: u64,
}

impl Columns {
    /// Adds the event of this ordinal; the caller counts them.
    ///
    /// # Panics
    /// At ordinal `u32::MAX`.
    #[inline]
    pub(crate) fn push(&mut self, ordinal: u32, offset: u32, time_us: u64, event_id: &[u8; 16]) {
        assert!(
            ordinal < u32::MAX,
            "the segment is full at {ordinal} events"
        );
        self.offsets.push(offset);
        self.id_times.add(event_id);
        // Times do not run backwards, but a rebuild takes them from a file. The greatest so far keeps the
        // samples sorted whatever it says, and a scan start too early at worst.
        self.last_time_us = self.last_time_us.max(time_us);
        if ordinal.is_multiple_of(SAMPLE_INTERVAL) {
            self.sample_times_us.push(self.last_time_us);
        }
    }
}
