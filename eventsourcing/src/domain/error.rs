//! What can go wrong with aggregates and events themselves.

use super::{AGGREGATE_ID_LEN_MAX, AggregateId};

/// What the domain answers instead of a result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DomainError {
    /// A text id is empty or too long.
    #[error(
        "aggregate id: {found} bytes, expected 1..={AGGREGATE_ID_LEN_MAX}; \
         give a shorter one, or a UUID derived from it"
    )]
    AggregateIdLength {
        /// Its length in bytes.
        found: usize,
    },

    /// The aggregate cannot begin with this event.
    #[error(
        "aggregate {id}: begins with {topic:?}, expected an event that `Aggregate::start` accepts; \
         check the id, or let `start` accept it"
    )]
    NotAFirstEvent {
        /// The aggregate.
        id: AggregateId,
        /// Stored name of the event.
        topic: &'static str,
    },

    /// An event of one aggregate was applied to another.
    #[error("aggregate {expected}: got an event of {found}; apply each aggregate's own events")]
    AggregateIdMismatch {
        /// The aggregate.
        expected: AggregateId,
        /// The one the event belongs to.
        found: AggregateId,
    },

    /// An event is missing, comes twice, or comes out of order.
    #[error(
        "aggregate {id}: got version {found}, expected {expected}; \
         apply its events from the first on, ascending and without a gap"
    )]
    VersionMismatch {
        /// The aggregate.
        id: AggregateId,
        /// The version that comes next.
        expected: u64,
        /// The version of the event.
        found: u64,
    },

    /// History was applied to an aggregate that has new events of its own.
    #[error(
        "aggregate {id}: {pending} new events are pending, expected none; \
         save them before you apply history"
    )]
    PendingEvents {
        /// The aggregate.
        id: AggregateId,
        /// Number of pending events.
        pending: usize,
    },
}
