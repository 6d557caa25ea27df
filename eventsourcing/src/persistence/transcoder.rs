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

/// MessagePack with the names of fields: about a quarter smaller than JSON, and read twice as fast. Bytes are bytes in it,
/// and a UUID is sixteen of them.
#[cfg(feature = "messagepack")]
#[derive(Clone, Copy, Debug, Default)]
pub struct MessagePackTranscoder;

#[cfg(feature = "messagepack")]
impl Transcoder for MessagePackTranscoder {
    fn encode(&self, value: &dyn Serialize) -> Result<Vec<u8>, TranscodeError> {
        Ok(rmp_serde::to_vec_named(value)?)
    }

    fn decode(&self, payload: &[u8], read: ReadContent<'_>) -> Result<(), TranscodeError> {
        let mut reader = rmp_serde::Deserializer::from_read_ref(payload);
        read(&mut <dyn Deserializer<'_>>::erase(&mut reader))?;
        messagepack_end(&mut reader)
    }
}

/// A transcoder by the way of objects, as one from outside goes: the mapper calls its own directly.
#[cfg(test)]
#[derive(Debug)]
pub(super) struct Outside<T>(pub(super) T);

#[cfg(test)]
impl<T: Transcoder> Transcoder for Outside<T> {
    fn encode(&self, value: &dyn Serialize) -> Result<Vec<u8>, TranscodeError> {
        self.0.encode(value)
    }

    fn decode(&self, payload: &[u8], read: ReadContent<'_>) -> Result<(), TranscodeError> {
        self.0.decode(payload, read)
    }
}

/// That nothing is left behind the value that was read.
#[cfg(feature = "messagepack")]
pub(super) fn messagepack_end<'de, R, C>(
    reader: &mut rmp_serde::Deserializer<R, C>,
) -> Result<(), TranscodeError>
where
    R: rmp_serde::decode::ReadSlice<'de>,
    C: rmp_serde::config::SerializerConfig,
{
    use rmp_serde::decode::Error;
    use serde::Deserialize;

    match serde::de::IgnoredAny::deserialize(reader) {
        Err(Error::InvalidMarkerRead(error))
            if error.kind() == std::io::ErrorKind::UnexpectedEof =>
        {
            Ok(())
        }
        _ => Err("there are bytes behind the value".into()),
    }
}
