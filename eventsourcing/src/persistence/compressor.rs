//! Making payloads smaller.
//!
//! A compressor is named in every payload it has made by a number, so that a mapper may change the one it writes
//! with and still read what the others wrote. [`Zstd`] and [`Zlib`] are built in (feature `compression`).
//!
//! Each payload is compressed alone, never together with others: an event can be read by itself, and how well one
//! compresses says nothing of another. (Compressed and encrypted payloads still tell their length. Where an
//! attacker can choose one part of an event, may guess another part of the same event, and sees lengths, leave its
//! topic uncompressed: [`Mapper::uncompressed`](crate::Mapper::uncompressed). Source: Rizzo and Duong, "The CRIME
//! attack", 2012.)

#[cfg(feature = "compression")]
mod dictionary;
#[cfg(feature = "compression")]
mod pool;
#[cfg(feature = "compression")]
mod zlib;
#[cfg(feature = "compression")]
mod zstd;

use std::fmt::Debug;

#[cfg(feature = "compression")]
pub use self::dictionary::{Dictionary, DictionaryError};
#[cfg(feature = "compression")]
pub use self::zlib::Zlib;
#[cfg(feature = "compression")]
pub use self::zstd::Zstd;
use super::TranscodeError;

/// Makes payloads smaller, and as they were again. Chosen when a program is configured, hence an object.
pub trait Compressor: Debug + Send + Sync {
    /// The number that stands for it in [`Encoding::codec`](crate::Encoding::codec): 1 is [`Zstd`], 2 is [`Zlib`],
    /// 3..=7 are kept for later, 8..=15 are for those who write one. It must never change its meaning.
    fn number(&self) -> u8;

    /// The payload, smaller. An answer that is not smaller is thrown away, and the payload stored as it is.
    ///
    /// The same payload must give the same bytes as long as the configuration is the same, or a save that is made
    /// again is taken for another one.
    ///
    /// # Errors
    /// When there is no memory for it.
    fn compress(&self, plain: &[u8]) -> Result<Vec<u8>, TranscodeError>;

    /// The payload as it was, of at most `len_max` bytes, for which no more memory than that is used however
    /// small or mad the input is.
    ///
    /// # Errors
    /// [`InflateError`].
    fn decompress(&self, compressed: &[u8], len_max: usize) -> Result<Vec<u8>, InflateError>;
}

/// Why a payload cannot be made as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InflateError {
    /// It is longer than it may be: damaged, or made to fill the memory.
    #[error("inflates beyond the {len_max} bytes expected")]
    TooLong {
        /// Greatest length in bytes.
        len_max: usize,
    },

    /// It was compressed with a dictionary that is not there.
    #[error("compressed with dictionary {found}, expected one of {known:?}")]
    UnknownDictionary {
        /// Id of the dictionary.
        found: u32,
        /// Ids of those that are there.
        known: Box<[u32]>,
    },

    /// It is no output of this compressor.
    #[error("is not what was compressed")]
    Damaged {
        /// What the compressor said.
        #[source]
        source: TranscodeError,
    },
}
