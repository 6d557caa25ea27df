//! Event sourcing on an embedded, durable log.
//!
//! ```
#![doc = include_str!("../examples/dog_school.rs")]
//! ```
//!
//! [`Application::open`] in place of [`Application::in_memory`] keeps the events in a directory, durable
//! when `save` returns.
//!
//! # Rooms
//! - **domain**: [`Aggregate`], [`Event`], [`Root`]. Knows nothing of storage.
//! - **persistence**: [`StoredEvent`], [`Notification`], the recorder traits ([`AggregateRecorder`],
//!   [`ApplicationRecorder`], [`TrackingRecorder`], [`ProcessRecorder`], [`DcbRecorder`]), [`Transcoder`] and
//!   [`Mapper`].
//! - **application**: [`Application`], [`Repository`], [`NotificationLog`].
//! - **recorders**: [`MemoryRecorder`], [`LogRecorder`]. Another one implements the traits and proves
//!   itself by [`conformance`].

mod application;
pub mod conformance;
mod domain;
mod doors;
mod persistence;
mod recorders;

pub use application::{
    AnyRoot, Application, ApplicationBuilder, Error, NotificationLog, Recording, Repository, Roots,
    Section, SectionId,
};
pub use domain::{
    AGGREGATE_ID_LEN_MAX, Aggregate, AggregateId, DomainError, DomainEvent, Event, EventType,
    FIRST_VERSION, Metadata, Root, Topics, UpcastError, Upcaster, topic_of, topics_of,
};
pub use persistence::{
    AggregateRecorder, AppendCondition, ApplicationRecorder, ConditionalAppend, DcbRecorder,
    Durability, Encoding, Follow, Found, JsonTranscoder, Limit, Mapper, Notification, Origin,
    PersistenceError, ProcessRecorder, Query, QueryItem, ReadContent, Recorded, Recorder,
    SelectEvents, SelectNotifications, SnapshotRecorder, StopHandle, StoredEvent, Subscription,
    Tracking, TrackingRecorder, TranscodeError, Transcoder, UnknownEvents,
};
pub use recorders::{LogRecorder, MemoryRecorder};

/// The programs in the README are compiled and run with the other examples.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
