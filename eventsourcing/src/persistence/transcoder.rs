//! From serde values to bytes and back.

use std::fmt::Debug;

use erased_serde::{Deserializer, Serialize};

/// The format of payloads.
///
/// It must be self-describing (fields by name), so that an event with a field more or less is still read.
/// Chosen when a program is configured, hence an object.
pub trait Transcoder: Debug + Send + Sync {
    /// The bytes of a value.
    ///
    /// # Errors
    /// When the format cannot express it.
    fn encode(&self, value: &dyn Serialize) -> Result<Vec<u8>, TranscodeError>;

    /// Opens `payload` and calls `read` once with it.
    ///
    /// # Errors
    /// What `read` answers, and anything left over behind the value.
    fn decode(&self, payload: &[u8], read: ReadContent<'_>) -> Result<(), TranscodeError>;
}

/// What a transcoder said. It becomes the source of a
/// [`PersistenceError::Encode`](super::PersistenceError::Encode) or
/// [`Decode`](super::PersistenceError::Decode).
pub type TranscodeError = Box<dyn std::error::Error + Send + Sync>;

/// Reads one value; called by [`Transcoder::decode`].
pub type ReadContent<'a> =
    &'a mut dyn FnMut(&mut dyn Deserializer<'_>) -> Result<(), erased_serde::Error>;

/// JSON: the default. Payloads can be read without the program, and by other languages.
#[derive(Clone, Copy, Debug, Default)]
pub struct JsonTranscoder;

impl Transcoder for JsonTranscoder {
    fn encode(&self, value: &dyn Serialize) -> Result<Vec<u8>, TranscodeError> {
        Ok(serde_json::to_vec(value)?)
    }

    fn decode(&self, payload: &[u8], read: ReadContent<'_>) -> Result<(), TranscodeError> {
        let mut json = serde_json::Deserializer::from_slice(payload);
        read(&mut <dyn Deserializer<'_>>::erase(&mut json))?;
        Ok(json.end()?)
    }
}
