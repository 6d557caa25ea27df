//! An event with its place in an aggregate.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use uuid::Uuid;

use super::AggregateId;

/// What is known about an event beside its content: correlation id, causation id, user.
/// Keys have 1..=255 bytes.
pub type Metadata = BTreeMap<String, String>;

/// An event of an aggregate: pending in a [`Root`](crate::Root), or read back from a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DomainEvent<E> {
    /// The aggregate it belongs to.
    pub aggregate_id: AggregateId,
    /// Its place in that aggregate, 1 for the first.
    pub version: u64,
    /// Its own id; `None` until the first attempt to save it. A second attempt uses the same id.
    pub event_id: Option<Uuid>,
    /// When it was stored, microseconds since the Unix epoch; `None` while it is pending.
    pub time_us: Option<u64>,
    /// See [`Metadata`].
    pub metadata: Metadata,
    /// What happened.
    pub event: E,
}

impl<E> DomainEvent<E> {
    /// When it was stored; `None` while it is pending.
    pub fn time(&self) -> Option<SystemTime> {
        self.time_us.map(system_time)
    }
}

/// A stored time as the standard library has it, which does not reach as far on every system: a time that no clock has
/// shown becomes the end of the year 9999.
pub(crate) fn system_time(time_us: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_micros(time_us.min(SHOWN_TIME_US_MAX))
}

/// The last microsecond of the year 9999.
const SHOWN_TIME_US_MAX: u64 = 253_402_300_800_000_000 - 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_no_clock_shows_is_the_last_one_shown() {
        let last = system_time(SHOWN_TIME_US_MAX);
        assert_eq!(system_time(u64::MAX), last);
        assert_eq!(system_time(0), SystemTime::UNIX_EPOCH);
        assert!(system_time(SHOWN_TIME_US_MAX - 1) < last);
    }
}
