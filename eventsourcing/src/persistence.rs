//! Stored events, the traits of the stores that keep them, and the way from a domain event to a stored
//! one and back.
//!
//! What holds here:
//! - A recorder sees a stored event as fields and bytes; it knows no event type.
//! - A [`Mapper`] sees event types and bytes; it knows no recorder.
//! - The recorder traits can be made into objects; their words are the library's own, so that a recorder
//!   on another store needs nothing of the log.
//!
//! Only `domain` is imported here. The contract of the traits is in their docs, rule by rule, and every
//! rule is a case of [`conformance`](crate::conformance).

mod content;
mod error;
mod mapper;
mod notification;
mod notification_form;
#[cfg(feature = "async")]
mod notification_stream;
mod query;
mod recorder;
mod schema;
mod selection;
mod stored_event;
#[cfg(feature = "async")]
mod submission;
mod subscription;
mod tracking;
mod transcoder;
#[cfg(feature = "async")]
mod unblock;
mod view;

pub use error::{Limit, PersistenceError};
pub use mapper::{Mapper, UnknownEvents};
pub use notification::{Notification, Recorded};
#[cfg(feature = "async")]
pub use notification_stream::NotificationStream;
pub use query::{AppendCondition, ConditionalAppend, Found, Query, QueryItem};
pub use recorder::{
    AggregateRecorder, ApplicationRecorder, DcbRecorder, Durability, ProcessRecorder, Recorder,
    SnapshotRecorder, TrackingRecorder,
};
pub use selection::{SelectEvents, SelectNotifications};
pub use stored_event::{Encoding, Origin, StoredEvent};
#[cfg(feature = "async")]
pub use submission::{Outcome, Submission};
pub use subscription::{Follow, StopHandle, Subscription, Update};
pub use tracking::Tracking;
pub use transcoder::{JsonTranscoder, ReadContent, TranscodeError, Transcoder};
#[cfg(feature = "async")]
pub use unblock::{Unblocked, unblock};
pub use view::{DeadLetter, Step, View};
