//! Compression by zlib, as the Python library compresses.

use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;

use super::{Compressor, InflateError};
use crate::persistence::TranscodeError;

/// Zlib (RFC 1950), as Python's `zlib.compress` makes it. For payloads that Python reads or has written; [`Zstd`]
/// is smaller and faster.
///
/// [`Zstd`]: super::Zstd
#[derive(Clone, Copy, Debug)]
pub struct Zlib {
    level: u32,
}

impl Zlib {
    /// At level 6, as in Python.
    pub fn new() -> Self {
        Self { level: 6 }
    }

    /// How hard to try, 0 (not at all) to 9; more is taken for 9.
    #[must_use]
    pub fn level(self, level: u32) -> Self {
        let level = level.min(9);
        Self { level }
    }
}

impl Default for Zlib {
    fn default() -> Self {
        Self::new()
    }
}

impl Compressor for Zlib {
    fn number(&self) -> u8 {
        2
    }

    fn compress(&self, plain: &[u8]) -> Result<Vec<u8>, TranscodeError> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::new(self.level));
        encoder.write_all(plain)?;
        Ok(encoder.finish()?)
    }

    fn decompress(&self, compressed: &[u8], len_max: usize) -> Result<Vec<u8>, InflateError> {
        let damaged = |source: TranscodeError| InflateError::Damaged { source };
        let mut decoder = ZlibDecoder::new(compressed);
        let mut plain = Vec::new();
        // One byte more than there may be tells that there is more.
        let limit = (len_max as u64).saturating_add(1);
        (&mut decoder)
            .take(limit)
            .read_to_end(&mut plain)
            .map_err(|error| damaged(error.into()))?;
        if plain.len() > len_max {
            return Err(InflateError::TooLong { len_max });
        }
        match decoder.total_in() == compressed.len() as u64 {
            true => Ok(plain),
            false => Err(damaged("there are bytes behind its end".into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `zlib.compress(b'{"trick":"roll over"}')` in Python 3.
    const BY_PYTHON: &[u8] =
        b"\x78\x9c\xab\x56\x2a\x29\xca\x4c\xce\x56\xb2\x52\x2a\xca\xcf\xc9\x51\xc8\x2f\x4b\x2d\
\x52\xaa\x05\x00\x51\x23\x07\x6d";

    #[test]
    fn what_python_compressed_is_read() {
        let plain = Zlib::new().decompress(BY_PYTHON, 100).unwrap();
        assert_eq!(plain, br#"{"trick":"roll over"}"#);
    }

    #[test]
    fn what_was_compressed_comes_back() {
        for level in [0, 1, 6, 9, 99] {
            for plain in [Vec::new(), b"x".to_vec(), vec![7; 100_000]] {
                let compressed = Zlib::new().level(level).compress(&plain).unwrap();
                assert_eq!(
                    Zlib::new().decompress(&compressed, plain.len()).unwrap(),
                    plain
                );
            }
        }
    }

    #[test]
    fn a_bomb_is_held_to_the_limit() {
        let bomb = Zlib::new().compress(&vec![0; 1 << 20]).unwrap();
        let refused = Zlib::new().decompress(&bomb, 999);
        assert!(matches!(
            refused,
            Err(InflateError::TooLong { len_max: 999 })
        ));
    }

    #[test]
    fn what_was_cut_changed_or_continued_is_damage() {
        let cut = BY_PYTHON[..BY_PYTHON.len() - 1].to_vec();
        let continued = [BY_PYTHON, b"x"].concat();
        let mut changed = BY_PYTHON.to_vec();
        changed[10] ^= 4;
        for bytes in [Vec::new(), b"{}".to_vec(), cut, continued, changed] {
            let refused = Zlib::new().decompress(&bytes, 100);
            assert!(
                matches!(refused, Err(InflateError::Damaged { .. })),
                "{bytes:?}"
            );
        }
    }
}
