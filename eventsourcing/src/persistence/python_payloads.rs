//! Payloads that the Python library `eventsourcing` has stored: compressed and encrypted without a word beside them.
//!
//! ```text
//! nonce (12) | tag (16) | what zlib made of it, encrypted by AES-GCM and bound to nothing
//! ```
//!
//! They are read only. Whatever is stored anew gets a form that says what it is.

use aes_gcm::aead::AeadInOut;
use aes_gcm::aes::Aes192;
use aes_gcm::aes::cipher::consts::U12;
use aes_gcm::{Aes128Gcm, Aes256Gcm, AesGcm, KeyInit};

use super::payload::Foreign;
use super::{Compressor, DecryptError, InflateError, KeyError, Zlib};

/// How Python's payloads are read: [`Mapper::python`](crate::Mapper::python).
///
/// By default they are neither compressed nor encrypted, as in Python.
#[derive(Default)]
pub struct PythonPayloads {
    is_compressed: bool,
    cipher: Option<AnyAes>,
}

enum AnyAes {
    Aes128(Box<Aes128Gcm>),
    Aes192(Box<AesGcm<Aes192, U12>>),
    Aes256(Box<Aes256Gcm>),
}

impl PythonPayloads {
    /// Neither compressed nor encrypted.
    pub fn new() -> Self {
        Self::default()
    }

    /// Compressed by zlib: `COMPRESSOR_TOPIC`.
    #[must_use]
    pub fn zlib(self) -> Self {
        let is_compressed = true;
        Self {
            is_compressed,
            ..self
        }
    }

    /// Encrypted with this key of 16, 24 or 32 bytes: `CIPHER_KEY`, out of its base64.
    ///
    /// # Errors
    /// [`KeyError::Length`].
    pub fn key(self, key: &[u8]) -> Result<Self, KeyError> {
        let wrong = |_| KeyError::Length { found: key.len() };
        let cipher = Some(match key.len() {
            16 => AnyAes::Aes128(Box::new(KeyInit::new_from_slice(key).map_err(wrong)?)),
            24 => AnyAes::Aes192(Box::new(KeyInit::new_from_slice(key).map_err(wrong)?)),
            _ => AnyAes::Aes256(Box::new(KeyInit::new_from_slice(key).map_err(wrong)?)),
        });
        Ok(Self { cipher, ..self })
    }
}

impl Foreign for PythonPayloads {
    fn decrypt(&self, sealed: &[u8]) -> Result<Option<Vec<u8>>, DecryptError> {
        let Some(cipher) = &self.cipher else {
            return Ok(None);
        };
        let parts = || {
            let (nonce, rest) = sealed.split_first_chunk::<12>()?;
            let (tag, content) = rest.split_first_chunk::<16>()?;
            Some((nonce, tag, content.to_vec()))
        };
        let (nonce, tag, mut content) = parts().ok_or(DecryptError::Changed)?;
        let (nonce, tag) = (nonce.into(), tag.into());
        let buffer = content.as_mut_slice().into();
        match cipher {
            AnyAes::Aes128(cipher) => cipher.decrypt_inout_detached(nonce, b"", buffer, tag),
            AnyAes::Aes192(cipher) => cipher.decrypt_inout_detached(nonce, b"", buffer, tag),
            AnyAes::Aes256(cipher) => cipher.decrypt_inout_detached(nonce, b"", buffer, tag),
        }
        // Nothing tells a wrong key from damage here.
        .map_err(|_| DecryptError::Changed)?;
        Ok(Some(content))
    }

    fn inflate(&self, compressed: &[u8], len_max: usize) -> Result<Option<Vec<u8>>, InflateError> {
        match self.is_compressed {
            true => Zlib::new().decompress(compressed, len_max).map(Some),
            false => Ok(None),
        }
    }
}

impl std::fmt::Debug for PythonPayloads {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("PythonPayloads")
            .field("is_compressed", &self.is_compressed)
            .field("is_encrypted", &self.cipher.is_some())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::domain::Event;
    use crate::persistence::{Mapper, PersistenceError, StoredEvent, Zstd};

    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    struct TrickAdded {
        trick: String,
    }

    impl Event for TrickAdded {}

    /// Made by Python's `cryptography` with nonces 0, 1, … and keys of sevens, from what `zlib.compress` made of
    /// `{"trick":"roll over"}`.
    const BY_PYTHON: [(usize, &str); 3] = [
        (
            16,
            "000102030405060708090a0b206342e9e6cbde565b96ac3172331b0e35c5080b636833a198d1e8eaf7e4976cf9d9c8a20a89995b7a1c0a05\
3a",
        ),
        (
            24,
            "000102030405060708090a0b10697451dd375f06e3555484f8880a1ce7c964de67b27f3b6d85fa9d0e45c6ee838660e3a128496c256756f6\
d2",
        ),
        (
            32,
            "000102030405060708090a0bb28c08c6e1b7cbeacbf7931d2e225188601d422637201305b9e457cec892a333b0f499c53530dd34169f40bd\
e3",
        ),
    ];

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
            .collect()
    }

    fn stored(payload: &[u8]) -> StoredEvent {
        StoredEvent::new(Uuid::nil(), "TrickAdded", payload)
    }

    fn read(mapper: &Mapper, payload: &[u8]) -> Result<TrickAdded, PersistenceError> {
        mapper.decode(&stored(payload))
    }

    fn added() -> TrickAdded {
        TrickAdded {
            trick: "roll over".into(),
        }
    }

    #[test]
    fn payloads_that_python_sealed_are_read_with_keys_of_every_length() {
        for (key_len, sealed) in BY_PYTHON {
            let python = PythonPayloads::new().zlib().key(&vec![7; key_len]).unwrap();
            let mapper = Mapper::json().python(python);
            let sealed = bytes(sealed);
            assert_eq!(read(&mapper, &sealed).unwrap(), added());
            for byte in 0..sealed.len() {
                let mut changed = sealed.clone();
                changed[byte] ^= 1;
                let refused = read(&mapper, &changed).unwrap_err();
                assert!(
                    matches!(refused, PersistenceError::Decrypt { .. }),
                    "{byte}"
                );
            }
            assert!(read(&mapper, &sealed[..27]).is_err());
        }
        assert!(matches!(
            PythonPayloads::new().key(b"seven b"),
            Err(KeyError::Length { found: 7 })
        ));
    }

    #[test]
    fn what_python_left_plain_or_only_compressed_is_read_too() {
        let plain =
            br#"{"timestamp":{"_type_":"datetime_iso","_data_":"2026"},"trick":"roll over"}"#;
        let compressed = Zlib::new().compress(plain).unwrap();
        let with = |python| Mapper::json().python(python);
        assert_eq!(read(&with(PythonPayloads::new()), plain).unwrap(), added());
        let zlib = with(PythonPayloads::new().zlib());
        assert_eq!(read(&zlib, &compressed).unwrap(), added());
        let bomb = Zlib::new().compress(&vec![b' '; 1 << 20]).unwrap();
        assert!(matches!(
            read(&zlib.payload_len_max(1 << 16), &bomb),
            Err(PersistenceError::Inflate {
                source: InflateError::TooLong { .. },
                ..
            })
        ));
    }

    #[test]
    fn what_is_stored_anew_says_what_it_is_and_is_read_beside_the_old() {
        let python = || PythonPayloads::new().zlib().key(&[7; 32]).unwrap();
        let old = bytes(BY_PYTHON[2].1);
        for mapper in [
            Mapper::json().python(python()),
            Mapper::json().compressor(Zstd::new()).python(python()),
        ] {
            let new = mapper.encode(&added(), Uuid::nil()).unwrap();
            assert!(new.encoding.is_some());
            assert_eq!(mapper.decode::<TrickAdded>(&new).unwrap(), added());
            assert_eq!(read(&mapper, &old).unwrap(), added());
        }
    }
}
