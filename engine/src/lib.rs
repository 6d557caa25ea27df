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
//!
//! | to | there is |
//! |---|---|
//! | open | [`Log::open`], [`Log::open_read_only`] beside a process that writes, [`Log::options`] |
//! | append | [`Log::append`]; [`Log::submit`] without waiting; [`Batch`] for what has to hold and how durable it is |
//! | read | [`Log::view`], then [`View::read`], [`View::read_aggregate`], [`View::get`], [`View::version`], [`View::position_at`] a time |
//! | follow | [`Log::subscribe`]: events, or [updates](Subscription::updates) that tell what was passed; a `Stream` with the feature `stream` |
//! | keep states of aggregates | [`Log::snapshots`] |
//! | drop the oldest events | [`Log::truncate_before`], held up by [`Log::set_follower`] |
//! | look after it | [`Log::stats`], [`Log::verify`], [`Log::recovery`] |
//! | keep a copy | [`Log::backup`] while it is written to, [`LogOptions::restore`] |
//! | go on with a damaged one | [`LogOptions::repair`] |
//!
//! Reads of one aggregate, of an event by its id and of versions see buffered events; reads by query and followers see
//! an event once it is durable. Event ids are those of the crate `uuid`, version 1.

mod aggregate_id;
mod backup;
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
mod lost_end;
mod meter;
mod options;
mod prepared;
mod query;
mod recovery;
mod repair;
mod report;
mod retention;
mod retry;
#[cfg(all(test, any(loom, shuttle)))]
mod schedules;
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
pub use backup::{BackupMode, BackupReport, RestoreReport};
pub use batch::{Batch, Durability, Expected, NewEvent, Version};
pub use error::{Error, ExpectedVersion, Limit};
pub use event::{Event, RecordedEvent};
pub use histogram::Distribution;
pub use log::{Appended, Log};
pub use options::{LogOptions, ReadIo};
pub use query::{Direction, Query, QueryItem};
pub use repair::{Loss, Repair, RepairPlan, Repaired};
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
