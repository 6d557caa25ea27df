//! Compression by zstd, with a dictionary or without.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use ::zstd::zstd_safe::zstd_sys::ZSTD_ErrorCode::ZSTD_error_dstSize_tooSmall;
use ::zstd::zstd_safe::{
    CCtx, CDict, DCtx, DDict, compress_bound, get_dict_id_from_frame, get_error_name,
    get_frame_content_size, is_error_kind, max_c_level, min_c_level,
};

use super::pool::Pool;
use super::{Compressor, Dictionary, InflateError};
use crate::persistence::TranscodeError;

/// Zstandard. Payloads are ordinary frames, which the `zstd` program reads too.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use annals::{Dictionary, Mapper, Zstd};
///
/// // Once, offline, from payloads that were stored; the bytes are kept with the program.
/// # let samples: Vec<String> = (0..500).map(|n| format!(r#"{{"trick":"roll over","times":{n}}}"#)).collect();
/// let dictionary = Dictionary::train(&samples, 16 << 10)?;
/// let kept: &[u8] = dictionary.as_bytes();
///
/// let mapper = Mapper::json().compressor(Zstd::new().dictionary(Dictionary::from_bytes(kept)?));
/// # let _ = mapper;
/// # Ok(())
/// # }
/// ```
pub struct Zstd {
    level: i32,
    newest: Option<Arc<Loaded>>,
    /// By id, the newest among them.
    known: BTreeMap<u32, Arc<Loaded>>,
    compressing: Pool<CCtx<'static>>,
    decompressing: Pool<DCtx<'static>>,
}

/// A dictionary, prepared when it is first needed: each way costs about as much as compressing its length.
struct Loaded {
    dictionary: Dictionary,
    for_compressing: OnceLock<CDict<'static>>,
    for_decompressing: OnceLock<DDict<'static>>,
}

impl Zstd {
    /// Without a dictionary, at level 3.
    pub fn new() -> Self {
        Self {
            level: 3,
            newest: None,
            known: BTreeMap::new(),
            compressing: Pool::default(),
            decompressing: Pool::default(),
        }
    }

    /// How hard to try: from 1 (fast) to 22 (small), 0 for the default of 3; below 0 faster still. What is outside of
    /// the range is brought to its end. Any level reads what any other wrote.
    #[must_use]
    pub fn level(mut self, level: i32) -> Self {
        self.level = level.clamp(min_c_level(), max_c_level());
        // Prepared for one level.
        let dictionaries = self.known.values().map(|loaded| loaded.dictionary.clone());
        self.known = dictionaries.map(by_id).collect();
        self.newest = self
            .newest
            .and_then(|newest| self.known.get(&newest.dictionary.id()).cloned());
        self
    }

    /// Compresses with this dictionary from now on. What was compressed with those given before, or with none,
    /// stays readable.
    #[must_use]
    pub fn dictionary(self, dictionary: Dictionary) -> Self {
        let id = dictionary.id();
        let mut zstd = self.old_dictionary(dictionary);
        zstd.newest = zstd.known.get(&id).cloned();
        zstd
    }

    /// Reads what was compressed with this dictionary. Of two with the same id the later counts.
    #[must_use]
    pub fn old_dictionary(mut self, dictionary: Dictionary) -> Self {
        self.known.extend([by_id(dictionary)]);
        self
    }
}

fn by_id(dictionary: Dictionary) -> (u32, Arc<Loaded>) {
    let loaded = Loaded {
        dictionary,
        for_compressing: OnceLock::new(),
        for_decompressing: OnceLock::new(),
    };
    (loaded.dictionary.id(), Arc::new(loaded))
}

impl Loaded {
    fn for_compressing(&self, level: i32) -> &CDict<'static> {
        self.for_compressing
            .get_or_init(|| CDict::create(self.dictionary.as_bytes(), level))
    }

    fn for_decompressing(&self) -> &DDict<'static> {
        self.for_decompressing
            .get_or_init(|| DDict::create(self.dictionary.as_bytes()))
    }
}

impl Default for Zstd {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Zstd {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = |loaded: &Arc<Loaded>| loaded.dictionary.id();
        formatter
            .debug_struct("Zstd")
            .field("level", &self.level)
            .field("dictionary", &self.newest.as_ref().map(id))
            .field("known", &self.known.keys())
            .finish_non_exhaustive()
    }
}

impl Compressor for Zstd {
    fn number(&self) -> u8 {
        1
    }

    fn compress(&self, plain: &[u8]) -> Result<Vec<u8>, TranscodeError> {
        let mut compressed = Vec::with_capacity(compress_bound(plain.len()));
        let outcome = self
            .compressing
            .with(CCtx::try_create, |context| match &self.newest {
                Some(newest) => {
                    let dictionary = newest.for_compressing(self.level);
                    context.compress_using_cdict(&mut compressed, plain, dictionary)
                }
                None => context.compress(&mut compressed, plain, self.level),
            });
        match outcome {
            Some(Ok(_)) => Ok(compressed),
            Some(Err(code)) => Err(get_error_name(code).into()),
            None => Err(NO_MEMORY.into()),
        }
    }

    fn decompress(&self, compressed: &[u8], len_max: usize) -> Result<Vec<u8>, InflateError> {
        let damaged = |said: &'static str| InflateError::Damaged {
            source: said.into(),
        };
        // What the frame says of itself is looked at before memory is set aside for it.
        let stated = get_frame_content_size(compressed)
            .map_err(|_| damaged("the header of the frame is unreadable"))?;
        let len = match stated.map(usize::try_from) {
            None => len_max,
            Some(Ok(len)) if len <= len_max => len,
            Some(_) => return Err(InflateError::TooLong { len_max }),
        };
        let dictionary = match get_dict_id_from_frame(compressed).map(u32::from) {
            None => None,
            Some(found) => match self.known.get(&found) {
                Some(loaded) => Some(loaded.for_decompressing()),
                None => {
                    let known = self.known.keys().copied().collect();
                    return Err(InflateError::UnknownDictionary { found, known });
                }
            },
        };
        let mut plain = Vec::with_capacity(len);
        let outcome = self
            .decompressing
            .with(DCtx::try_create, |context| match dictionary {
                Some(dictionary) => {
                    context.decompress_using_ddict(&mut plain, compressed, dictionary)
                }
                None => context.decompress(&mut plain, compressed),
            });
        match outcome {
            Some(Ok(_)) if plain.len() <= len_max => Ok(plain),
            // An allocation may be longer than was asked for.
            Some(Ok(_)) => Err(InflateError::TooLong { len_max }),
            Some(Err(code)) if is_error_kind(code, ZSTD_error_dstSize_tooSmall) => {
                Err(InflateError::TooLong { len_max })
            }
            Some(Err(code)) => Err(damaged(get_error_name(code))),
            None => Err(damaged(NO_MEMORY)),
        }
    }
}

const NO_MEMORY: &str = "no memory for a context of zstd";

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(n: usize) -> Vec<u8> {
        format!(
            r#"{{"kind":"parcel","street":"Long Street {n}","weight_g":{}}}"#,
            n * 7
        )
        .into_bytes()
    }

    fn dictionary(samples: usize) -> Dictionary {
        let samples: Vec<_> = (0..samples).map(payload).collect();
        Dictionary::train(&samples, 4096).unwrap()
    }

    fn zeros(len: usize) -> Vec<u8> {
        Zstd::new().compress(&vec![0; len]).unwrap()
    }

    #[test]
    fn what_was_compressed_comes_back_at_any_level_with_a_dictionary_and_without() {
        for level in [i32::MIN, -5, 0, 1, 3, 19, i32::MAX] {
            for zstd in [
                Zstd::new().level(level),
                Zstd::new().level(level).dictionary(dictionary(300)),
            ] {
                for plain in [Vec::new(), payload(1_000), vec![7; 100_000]] {
                    let compressed = zstd.compress(&plain).unwrap();
                    assert_eq!(zstd.decompress(&compressed, plain.len()).unwrap(), plain);
                }
            }
        }
    }

    #[test]
    fn a_dictionary_halves_small_payloads_that_have_much_in_common() {
        let plain = payload(1_234);
        let without = Zstd::new().compress(&plain).unwrap();
        let with = Zstd::new()
            .dictionary(dictionary(300))
            .compress(&plain)
            .unwrap();
        assert!(
            with.len() * 2 < plain.len(),
            "{} of {}",
            with.len(),
            plain.len()
        );
        assert!(
            with.len() * 2 < without.len(),
            "{} of {}",
            with.len(),
            without.len()
        );
    }

    #[test]
    fn payloads_of_older_dictionaries_and_of_none_are_still_read() {
        let (first, second) = (dictionary(200), dictionary(300));
        let plain = payload(5);
        let old = Zstd::new().dictionary(first.clone());
        let new = Zstd::new()
            .old_dictionary(first.clone())
            .dictionary(second.clone());
        for compressed in [
            old.compress(&plain),
            Zstd::new().compress(&plain),
            new.compress(&plain),
        ] {
            assert_eq!(new.decompress(&compressed.unwrap(), 1000).unwrap(), plain);
        }
        // Whatever the order in which things were said.
        let later = Zstd::new()
            .dictionary(second)
            .level(9)
            .old_dictionary(first);
        assert_eq!(
            later
                .decompress(&later.compress(&plain).unwrap(), 1000)
                .unwrap(),
            plain
        );
    }

    #[test]
    fn an_unknown_dictionary_is_named() {
        let (one, other) = (dictionary(200), dictionary(300));
        let compressed = Zstd::new()
            .dictionary(one.clone())
            .compress(&payload(5))
            .unwrap();
        let refused = Zstd::new()
            .dictionary(other.clone())
            .decompress(&compressed, 1000);
        assert!(matches!(
            refused,
            Err(InflateError::UnknownDictionary { found, known }) if found == one.id() && *known == [other.id()]
        ));
    }

    #[test]
    fn a_bomb_is_refused_before_it_takes_memory() {
        let bomb = zeros(64 << 20);
        assert!(bomb.len() < 64 << 10);
        let refused = Zstd::new().decompress(&bomb, 1000);
        assert!(matches!(
            refused,
            Err(InflateError::TooLong { len_max: 1000 })
        ));
        // One frame after the other, each of them small enough.
        let twice = [zeros(600), zeros(600)].concat();
        let refused = Zstd::new().decompress(&twice, 1000);
        assert!(matches!(refused, Err(InflateError::TooLong { .. })));
    }

    #[test]
    fn a_frame_that_does_not_state_its_length_is_held_to_the_limit() {
        let mut encoder = ::zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
        std::io::Write::write_all(&mut encoder, &[0; 100_000]).unwrap();
        let unstated = encoder.finish().unwrap();
        assert!(matches!(get_frame_content_size(&unstated), Ok(None)));
        assert_eq!(
            Zstd::new().decompress(&unstated, 100_000).unwrap().len(),
            100_000
        );
        let refused = Zstd::new().decompress(&unstated, 99_999);
        assert!(matches!(
            refused,
            Err(InflateError::TooLong { len_max: 99_999 })
        ));
    }

    #[test]
    fn what_is_no_frame_is_damage() {
        let mut cut = zeros(5_000);
        cut.truncate(cut.len() - 3);
        for bytes in [
            b"".to_vec(),
            b"{}".to_vec(),
            b"no frame at all".to_vec(),
            cut,
        ] {
            let refused = Zstd::new().decompress(&bytes, 10_000);
            assert!(
                matches!(refused, Err(InflateError::Damaged { .. })),
                "{bytes:?}"
            );
        }
    }
}
