//! What many payloads have in common, kept apart from them.
//!
//! A small event holds little that repeats within itself, so compressing it alone gains next to nothing. What it
//! shares with others of its kind (names of fields, frequent values) goes into a dictionary, which is trained
//! once from samples and is needed to read what was compressed with it for as long as that is kept.

use std::fmt;

use super::TranscodeError;

/// A dictionary for [`Zstd`](super::Zstd), in the format of zstd itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Dictionary {
    bytes: Vec<u8>,
}

impl Dictionary {
    /// Trains a dictionary of at most `len_max` bytes from payloads as a mapper stores them without compression.
    ///
    /// Good samples are a hundred to some thousands of real payloads, in the proportions they come in; a hundredth
    /// of their length makes a good `len_max`, 100 KiB being more than enough. Samples must hold nothing secret:
    /// pieces of them are in the dictionary as they are.
    ///
    /// Its id follows from its bytes, so that another dictionary is hardly taken for it. Keep the bytes with the
    /// program (`include_bytes!`) or its configuration: training again gives another dictionary.
    ///
    /// # Errors
    /// [`DictionaryError::Samples`] when there are too few, or they are too short to have anything in common.
    pub fn train<S: AsRef<[u8]>>(samples: &[S], len_max: usize) -> Result<Self, DictionaryError> {
        let mut bytes = ::zstd::dict::from_samples(samples, len_max).map_err(|source| {
            DictionaryError::Samples {
                found: samples.len(),
                source: source.into(),
            }
        })?;
        // Ids below 2^16 take half of the room in each payload. That range is reserved among strangers, who do not
        // meet in a log of one's own.
        let id = own_id(&bytes).ok_or(DictionaryError::Malformed { found: bytes.len() })?;
        let id = ((id ^ (id >> 16)) & 0xffff).max(1);
        bytes[ID].copy_from_slice(&id.to_le_bytes());
        Self::from_bytes(bytes)
    }

    /// A dictionary that was kept: what [`Dictionary::as_bytes`] gave, or a file that `zstd --train` made.
    ///
    /// # Errors
    /// [`DictionaryError::Malformed`].
    pub fn from_bytes(bytes: impl Into<Vec<u8>>) -> Result<Self, DictionaryError> {
        let bytes = bytes.into();
        let is_sound = own_id(&bytes).is_some()
            && ::zstd::zstd_safe::DDict::try_create(&bytes).is_some()
            && ::zstd::zstd_safe::CDict::try_create(&bytes, 1).is_some();
        match is_sound {
            true => Ok(Self { bytes }),
            false => Err(DictionaryError::Malformed { found: bytes.len() }),
        }
    }

    /// Its id, which stands in every payload compressed with it; at least 1.
    pub fn id(&self) -> u32 {
        own_id(&self.bytes).unwrap_or_default()
    }

    /// What has to be kept of it.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Debug for Dictionary {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Dictionary")
            .field("id", &self.id())
            .field("len", &self.bytes.len())
            .finish()
    }
}

/// Why there is no dictionary.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DictionaryError {
    /// Nothing can be learnt from the samples.
    #[error(
        "dictionary: nothing to be learnt from {found} samples; give a hundred or more real payloads"
    )]
    Samples {
        /// Number of samples.
        found: usize,
        /// What zstd said.
        #[source]
        source: TranscodeError,
    },

    /// The bytes are no dictionary with an id.
    #[error(
        "dictionary: {found} bytes that are no zstd dictionary with an id; give those that training made"
    )]
    Malformed {
        /// Number of bytes.
        found: usize,
    },
}

fn own_id(bytes: &[u8]) -> Option<u32> {
    ::zstd::zstd_safe::get_dict_id_from_dict(bytes).map(u32::from)
}

/// Where the id stands, behind four bytes of magic. Source: RFC 8878, section 5.
const ID: std::ops::Range<usize> = 4..8;

#[cfg(test)]
mod tests {
    use super::*;

    fn samples() -> Vec<String> {
        (0..500)
            .map(|n| {
                format!(
                    r#"{{"kind":"parcel","street":"Long Street {n}","weight_g":{}}}"#,
                    n * 7
                )
            })
            .collect()
    }

    #[test]
    fn a_trained_dictionary_is_kept_and_read_back() {
        let trained = Dictionary::train(&samples(), 4096).unwrap();
        let kept = Dictionary::from_bytes(trained.as_bytes()).unwrap();
        assert_eq!(kept, trained);
        assert_eq!(kept.id(), trained.id());
        assert!((1..=0xffff).contains(&trained.id()));
        let other = Dictionary::train(&samples()[..200], 4096).unwrap();
        assert_ne!(other.id(), trained.id());
    }

    #[test]
    fn too_few_samples_are_refused() {
        let none: [&str; 0] = [];
        for (refused, expected) in [
            (Dictionary::train(&none, 4096), 0),
            (Dictionary::train(&["a", "b"], 4096), 2),
        ] {
            assert!(
                matches!(refused, Err(DictionaryError::Samples { found, .. }) if found == expected)
            );
        }
    }

    #[test]
    fn bytes_that_are_no_dictionary_are_refused() {
        let mut spoilt = Dictionary::train(&samples(), 4096).unwrap().bytes;
        spoilt.truncate(20);
        let mut nameless = spoilt.clone();
        nameless[ID].fill(0);
        for bytes in [
            Vec::new(),
            b"no dictionary at all".to_vec(),
            spoilt,
            nameless,
        ] {
            let refused = Dictionary::from_bytes(bytes).unwrap_err();
            assert!(matches!(refused, DictionaryError::Malformed { .. }));
        }
    }
}
