//! Aggregates and their events, without a word about how they are stored.
//!
//! What holds here:
//! - The state of an aggregate changes by its events only: [`Root`] hands out `&A`, never `&mut A`.
//! - A [`Root`] counts its versions 1, 2, 3, … without a gap, whatever a store would allow.
//! - The stored name of an event is independent of where its type lives in the program.
//!
//! Nothing of ours is imported here, and nothing here reads a clock or a random source.

mod aggregate;
mod aggregate_id;
mod decider;
mod domain_event;
mod error;
mod event;
mod event_type;
mod root;
mod snapshot;
mod topic;

pub use aggregate::Aggregate;
pub use aggregate_id::{AGGREGATE_ID_LEN_MAX, AggregateId};
pub use decider::{Decider, Pure};
pub(crate) use domain_event::system_time;
pub use domain_event::{DomainEvent, Metadata};
pub use error::DomainError;
pub use event::Event;
pub use event_type::{EventType, UpcastError, Upcaster};
pub(crate) use event_type::{FIRST_SCHEMA_VERSION, event_type_of, is_versioned};
pub use root::{FIRST_VERSION, Root};
pub use snapshot::Snapshot;
pub use topic::{Topics, topic_of, topics_of};
