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

mod compressor;
mod content;
pub mod custom_type;
#[cfg(feature = "encryption")]
mod encryption;
mod error;
#[cfg(feature = "hash-chain")]
mod hash_chain;
mod mapper;
mod metadata_scope;
mod notification;
mod notification_form;
#[cfg(feature = "async")]
mod notification_stream;
mod payload;
#[cfg(all(feature = "compression", feature = "encryption"))]
mod python_payloads;
mod query;
mod recorder;
mod repetition;
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

pub use compressor::{Compressor, InflateError};
#[cfg(feature = "compression")]
pub use compressor::{Dictionary, DictionaryError, Zlib, Zstd};
pub use custom_type::CustomType;
#[cfg(feature = "encryption")]
pub use encryption::{
    Aes256Gcm, Cipher, CipherError, Encryption, KeptKey, KeyError, KeyRing, KeyStore, KeyedCipher,
    MemoryKeyStore, SECRET_KEY_LEN, SecretKey, WrappedKey,
};
pub use error::{DecryptError, Limit, PersistenceError};
#[cfg(feature = "hash-chain")]
pub(crate) use hash_chain::verify as verify_chain;
#[cfg(feature = "hash-chain")]
pub use hash_chain::{ChainHash, HASH_KEY, HashChain};
pub use mapper::{ERASED_TOPIC, Mapper, UnknownEvents};
pub(crate) use metadata_scope::stamp_scope;
pub use metadata_scope::{CAUSATION_KEY, CORRELATION_KEY, InMetadataScope, MetadataScope};
pub use notification::{Notification, Recorded};
#[cfg(feature = "async")]
pub use notification_stream::NotificationStream;
pub use payload::PAYLOAD_LEN_MAX;
pub(crate) use payload::PayloadKind;
#[cfg(all(feature = "compression", feature = "encryption"))]
pub use python_payloads::PythonPayloads;
pub use query::{AppendCondition, ConditionalAppend, Found, Query, QueryItem};
pub use recorder::{
    AggregateRecorder, ApplicationRecorder, DcbRecorder, Durability, ProcessRecorder, Recorder,
    SnapshotRecorder, TrackingRecorder,
};
pub(crate) use repetition::recognise;
pub use selection::{SelectEvents, SelectNotifications};
pub use stored_event::{Encoding, Origin, StoredEvent};
#[cfg(feature = "async")]
pub use submission::{Outcome, Submission};
pub use subscription::{Follow, StopHandle, Subscription, Update};
pub use tracking::Tracking;
#[cfg(feature = "messagepack")]
pub use transcoder::MessagePackTranscoder;
pub use transcoder::{JsonTranscoder, ReadContent, TranscodeError, Transcoder};
#[cfg(feature = "async")]
pub use unblock::{Unblocked, unblock};
pub use view::{DeadLetter, Step, View};
