//! Lookups of the Annals event store: from a key to the ascending ordinals of the events that hold it.
//!
//! One idea in three forms:
//!
//! - [`TailIndex`]: in memory, for the segment being written; only ever appended to.
//! - [`SealedIndex`]: the same answers from the bytes of an `.idx` file of an immutable segment, which a
//!   [`SealedBuilder`] makes.
//! - [`Heads`]: one table over many sealed segments, from a key to the newest place that holds it.
//!
//! An *ordinal* is a position minus the base position of its segment (`u32`, 0-based). Keys are known by
//! a seeded 64-bit hash only, so every answer is a candidate: **the caller verifies each hit against the
//! record**. A collision costs one such look and can never hide an event.
//!
//! Sans-IO: the crate encodes to a `Vec<u8>` and decodes from a byte slice. It opens no file, reads no
//! clock, draws no random number, and does not know what an event is. Every file here is derived: whoever
//! doubts one throws it away and builds it again from the log. The layouts stand in `FORMAT.md`.
//!
//! ```
//! use annals_index::{GrowingIndex, IdHash, Identity, KeyHash, KeyIndex, KeyKind, Previous, SealedIndex, TailIndex};
//!
//! # fn main() -> Result<(), annals_index::Error> {
//! let identity = Identity { log_id: [7; 16], segment: 1, salt: 42, base_position: 1, event_count: 0 };
//! let (seed, id) = (99, [1; 16]);
//! let dog = KeyHash::new(seed, KeyKind::AggregateText, b"dog-1");
//!
//! let mut tail = TailIndex::new(identity);
//! tail.push(4096, 1_000_000, id, IdHash::new(seed, &id), [dog]);
//! assert_eq!(tail.postings(dog).iter().collect::<Vec<_>>(), [0]);
//!
//! let sealed = SealedIndex::open(tail.encode(|_| None), &tail.identity())?;
//! sealed.verify()?;
//! assert_eq!(sealed.postings(dog).iter().collect::<Vec<_>>(), [0]);
//! assert_eq!(sealed.offset(0), Some(4096));
//! assert_eq!(sealed.previous_segment(dog), Previous::None);
//! # Ok(())
//! # }
//! ```

mod candidates;
mod columns;
mod directory;
mod error;
mod format;
mod heads;
mod id_times;
mod identity;
mod key;
mod key_index;
mod postings;
mod sealed;
mod sealed_builder;
mod sealed_form;
mod tail;

#[cfg(test)]
mod tests;

pub use candidates::IdCandidates;
pub use error::{Error, IdentityField, Section};
pub use format::{
    HEADS_FORMAT_VERSION, SAMPLE_INTERVAL, SEALED_FORMAT_VERSION, SEGMENT_NUMBER_MAX,
};
pub use heads::{Head, Heads, fold_heads};
pub use id_times::IdTimes;
pub use identity::{HeadsIdentity, Identity};
pub use key::{BuildKeyHasher, IdHash, KeyHash, KeyHasher, KeyKind};
pub use key_index::{GrowingIndex, KeyIndex, Previous};
pub use postings::{Postings, PostingsIter};
pub use sealed::SealedIndex;
pub use sealed_builder::SealedBuilder;
pub use tail::{FrontBytes, TailIndex};
