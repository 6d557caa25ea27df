//! The Annals log: an embedded, append-only, globally ordered sequence of events.
//!
//! ```
//! use annals_engine::{AggregateId, Batch, Direction, Expected, Log, NewEvent};
//!
//! # fn main() -> Result<(), annals_engine::Error> {
//! let log = Log::in_memory()?;
//! let dog = AggregateId::text("dog-1")?;
//!
//! log.append(
//!     Batch::new()
//!         .expect(dog.clone(), Expected::NoEvents)
//!         .event(NewEvent::new("Registered", r#"{"name":"Fido"}"#).aggregate(dog.clone()))
//!         .event(NewEvent::new("TrickAdded", r#"{"trick":"roll over"}"#).aggregate(dog.clone())),
//! )?;
//!
//! let view = log.view();
//! let topics: Vec<&str> = view
//!     .read_aggregate(&dog, .., Direction::Forward)
//!     .map(|event| event.map(|event| event.topic()))
//!     .collect::<Result<_, _>>()?;
//! assert_eq!(topics, ["Registered", "TrickAdded"]);
//! assert_eq!(log.head(), 2);
//! # Ok(())
//! # }
//! ```

mod aggregate_id;
mod batch;
mod changed;
mod checkpoint;
mod commit;
mod condition;
mod directory;
mod dropped;
mod error;
mod event;
mod follow;
mod heads_file;
mod histogram;
mod housekeeping;
mod live_snapshots;
mod log;
mod meter;
mod options;
mod prepared;
mod query;
mod recovery;
mod report;
mod retention;
mod retry;
mod segment;
mod segment_set;
mod snapshots;
mod stats;
#[cfg(feature = "stream")]
mod stream;
mod subscription;
mod ticket;
mod topics;
mod verify;
mod version_cache;
mod view;
mod writer;

pub use aggregate_id::AggregateId;
pub use annals_segments::format::record::Encoding;
pub use batch::{Batch, Durability, Expected, NewEvent, Version};
pub use error::{Error, ExpectedVersion, Limit};
pub use event::{Event, RecordedEvent};
pub use histogram::Distribution;
pub use log::{Appended, Log};
pub use options::{LogOptions, ReadIo};
pub use query::{Direction, Query, QueryItem};
pub use report::{
    Damage, MemoryStats, RecoveryOutcome, RecoveryReport, Stats, TornTail, VerifyReport, WriteStats,
};
pub use retention::Truncated;
pub use snapshots::{Snapshot, Snapshots};
#[cfg(feature = "stream")]
pub use stream::{EventStream, UpdateStream};
pub use subscription::{StopHandle, Subscription, Update, Updates, Visibility};
pub use ticket::Ticket;
pub use view::{Events, EventsIn, View};
