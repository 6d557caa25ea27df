//! Event sourcing on an embedded, durable log.
//!
//! ```
#![doc = include_str!("../examples/dog_school.rs")]
//! ```
//!
//! [`Application::open`] in place of [`Application::in_memory`] keeps the events in a directory, durable
//! when `save` returns.
//!
//! With the feature `async`, `AsyncApplication` offers the same to async code, on any executor.
//!
//! # Rooms
//! - **domain**: [`Aggregate`], [`Event`](trait@Event), [`Root`]. Knows nothing of storage.
//! - **macros**: [`#[aggregate]`](macro@aggregate), [`#[derive(Event)]`](macro@Event); what they write can be written by hand.
//! - **persistence**: [`StoredEvent`], [`Notification`], the recorder traits ([`AggregateRecorder`],
//!   [`ApplicationRecorder`], [`TrackingRecorder`], [`ProcessRecorder`], [`DcbRecorder`]), [`Transcoder`] and
//!   [`Mapper`].
//! - **application**: [`Application`], [`Repository`], [`NotificationLog`].
//! - **testing**: [`testing`], given, when, then without a store.
//! - **dcb**: [`DcbApplication`], [`DecisionModel`], [`Perspective`]: decisions without aggregates, each with a
//!   boundary of its own; [`Slice`], [`Object`].
//! - **projection**: [`Projection`]s of an application into a [`View`], run by a [`ProjectionRunner`].
//! - **system**: a [`System`] of applications that follow each other, by [`Policy`] or [`Saga`], run by a [`Runner`].
//! - **environment**: [`Environment`], applications as environment variables say.
//! - **recorders**: [`MemoryRecorder`], [`LogRecorder`], and, with the feature `sqlite`, `SqliteRecorder`. Another one
//!   implements the traits and proves itself by [`conformance`].

// What the macros write says `::annals`, here as everywhere.
extern crate self as annals;

mod application;
pub mod conformance;
mod dcb;
mod domain;
mod doors;
mod environment;
mod macros;
mod persistence;
mod projection;
mod recorders;
mod system;

#[doc(hidden)]
pub mod __private;
pub mod testing;

/// Time and randomness as they are handed in, and those of the machine.
pub use annals_segments::{Clock, Random, SystemClock, SystemRandom};
pub use application::{
    AnyRoot, Application, ApplicationBuilder, CacheOptions, Decide, Edited, Error, EventLog,
    EventSubscription, Followed, NotificationLog, Recording, Repository, Retries, Roots, Section,
    SectionId,
};
#[cfg(feature = "async")]
pub use application::{AsyncApplication, EventStream};
pub use dcb::{
    DcbApplication, DcbApplicationBuilder, DcbError, Decided, DecisionModel, DecisionSubscription,
    EnduringObject, Happened, Models, Object, Perspective, Perspectives, Slice, SnapshotPolicy,
};
pub use domain::{
    AGGREGATE_ID_LEN_MAX, Aggregate, AggregateId, Decider, DomainError, DomainEvent, Event,
    EventType, FIRST_VERSION, Metadata, Pure, Root, Snapshot, Topics, UpcastError, Upcaster,
    topic_of, topics_of,
};
/// Ids of aggregates and events are those of this crate.
pub use uuid;

#[cfg(feature = "macros")]
pub use macros::{Event, aggregate};
#[cfg(feature = "messagepack")]
pub use persistence::MessagePackTranscoder;
#[cfg(all(feature = "compression", feature = "encryption"))]
pub use persistence::PythonPayloads;
#[cfg(feature = "encryption")]
pub use persistence::{
    Aes256Gcm, Cipher, CipherError, Encryption, KeptKey, KeyError, KeyRing, KeyStore, KeyedCipher,
    MemoryKeyStore, SECRET_KEY_LEN, SecretKey, WrappedKey,
};
pub use persistence::{
    AggregateRecorder, AppendCondition, ApplicationRecorder, ConditionalAppend, DcbRecorder,
    DeadLetter, Durability, Encoding, Follow, Found, JsonTranscoder, Limit, Mapper, Notification,
    Origin, PersistenceError, ProcessRecorder, Query, QueryItem, ReadContent, Recorded, Recorder,
    SelectEvents, SelectNotifications, SnapshotRecorder, Step, StopHandle, StoredEvent,
    Subscription, Tracking, TrackingRecorder, TranscodeError, Transcoder, UnknownEvents, Update,
    View,
};
pub use persistence::{CAUSATION_KEY, CORRELATION_KEY, InMetadataScope, MetadataScope};
#[cfg(feature = "hash-chain")]
pub use persistence::{ChainHash, HASH_KEY, HashChain};
pub use persistence::{Compressor, DecryptError, ERASED_TOPIC, InflateError, PAYLOAD_LEN_MAX};
pub use persistence::{CustomType, custom_type};
#[cfg(feature = "compression")]
pub use persistence::{Dictionary, DictionaryError, Zlib, Zstd};
#[cfg(feature = "async")]
pub use persistence::{NotificationStream, Outcome, Submission, Unblocked, unblock};
pub use projection::{
    EventSourcedProjection, EventSourcedProjectionBuilder, Failure, FollowOptions, Follower,
    Incoming, Lag, LiveProjection, Notified, OnFailure, Panicked, Policy, PolicyFn,
    ProcessApplication, Projection, ProjectionBuilder, ProjectionError, ProjectionRunner, Replayed,
    Retry, Work, policy,
};
#[cfg(feature = "encryption")]
pub use recorders::KeyDirectory;
pub use recorders::{
    LogModelSnapshots, LogRecorder, MemoryRecorder, MemoryRows, MemorySnapshots, MemoryView,
};
pub use system::{
    Member, MultiThreadedRunner, PARTITIONS_MAX, Role, Runner, RunnerOptions, Saga, SagaPolicy,
    SagaStep, SingleThreadedRunner, System, SystemBuilder, SystemError,
};

/// The programs in the README are compiled and run with the other examples.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

/// So are those in the book, a struct for each of its pages with programs.
#[cfg(doctest)]
mod book {
    #[doc = include_str!("../../docs/tutorial/1-first-steps.md")]
    struct FirstSteps;
    #[doc = include_str!("../../docs/tutorial/2-aggregates.md")]
    struct Aggregates;
    #[doc = include_str!("../../docs/tutorial/3-applications.md")]
    struct Applications;
    #[cfg(feature = "sqlite")]
    #[doc = include_str!("../../docs/tutorial/4-followers.md")]
    struct Followers;
    #[doc = include_str!("../../docs/tutorial/5-decisions.md")]
    struct Decisions;
    #[doc = include_str!("../../docs/how-to/choose-a-store.md")]
    struct ChooseAStore;
    #[doc = include_str!("../../docs/how-to/compress.md")]
    struct Compress;
    #[doc = include_str!("../../docs/how-to/encrypt.md")]
    struct Encrypt;
    #[doc = include_str!("../../docs/how-to/change-events.md")]
    struct ChangeEvents;
    #[doc = include_str!("../../docs/how-to/snapshots.md")]
    struct Snapshots;
    #[doc = include_str!("../../docs/how-to/test.md")]
    struct Test;
    #[doc = include_str!("../../docs/how-to/conditions.md")]
    struct Conditions;
    #[doc = include_str!("../../docs/how-to/back-up.md")]
    struct BackUp;
    #[doc = include_str!("../../docs/how-to/truncate.md")]
    struct Truncate;
    #[doc = include_str!("../../docs/how-to/tune.md")]
    struct Tune;
    #[doc = include_str!("../../docs/how-to/metadata.md")]
    struct Metadata;
    #[doc = include_str!("../../docs/how-to/hash-chain.md")]
    struct HashChain;
    #[cfg(feature = "sqlite")]
    #[doc = include_str!("../../docs/how-to/python.md")]
    struct Python;
    #[doc = include_str!("../../docs/how-to/async.md")]
    struct Async;
    #[doc = include_str!("../../docs/how-to/saga.md")]
    struct Saga;
    #[doc = include_str!("../../docs/how-to/own-recorder.md")]
    struct OwnRecorder;
}

pub use environment::{Environment, EnvironmentError, Recorders};
#[cfg(feature = "sqlite")]
pub use recorders::{SqliteError, SqliteOptions, SqliteRecorder, SqliteView};

/// The SQLite that the library is built with, for rows of your own.
#[cfg(feature = "sqlite")]
pub use rusqlite;
