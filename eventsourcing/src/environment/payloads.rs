//! The way of events to bytes that is configured.

use super::{Environment, EnvironmentError};
use crate::persistence::Mapper;

impl Environment {
    /// The mapper that is configured.
    ///
    /// # Errors
    /// [`EnvironmentError`].
    pub fn mapper(&self) -> Result<Mapper, EnvironmentError> {
        let mapper = self.transcoded()?;
        let mapper = self.compressed(mapper)?;
        self.encrypted(mapper)
    }

    fn transcoded(&self) -> Result<Mapper, EnvironmentError> {
        const KEY: &str = "TRANSCODER_TOPIC";
        let format = self.choice(KEY, "`json` or `messagepack`", |value| match value {
            "json" | "eventsourcing.persistence:JSONTranscoder" => Some("json"),
            "messagepack" => Some("messagepack"),
            _ => None,
        })?;
        match format {
            #[cfg(feature = "messagepack")]
            Some("messagepack") => Ok(Mapper::messagepack()),
            #[cfg(not(feature = "messagepack"))]
            Some("messagepack") => Err(self.not_built_in(KEY, "messagepack", "messagepack")),
            _ => Ok(Mapper::json()),
        }
    }

    fn compressed(&self, mapper: Mapper) -> Result<Mapper, EnvironmentError> {
        const KEY: &str = "COMPRESSOR_TOPIC";
        let compressor = self.choice(KEY, "`zstd` or `zlib`", |value| match value {
            "zstd" => Some("zstd"),
            "zlib" | "eventsourcing.compressor:ZlibCompressor" => Some("zlib"),
            _ => None,
        })?;
        match compressor {
            #[cfg(feature = "compression")]
            Some("zstd") => Ok(mapper.compressor(crate::persistence::Zstd::new())),
            #[cfg(feature = "compression")]
            Some(_) => Ok(mapper.compressor(crate::persistence::Zlib::new())),
            #[cfg(not(feature = "compression"))]
            Some(found) => Err(self.not_built_in(KEY, found, "compression")),
            None => Ok(mapper),
        }
    }

    #[cfg(not(feature = "encryption"))]
    fn encrypted(&self, mapper: Mapper) -> Result<Mapper, EnvironmentError> {
        for key in ["CIPHER_TOPIC", "CIPHER_KEY"] {
            if self.get(key).is_some() {
                return Err(self.not_built_in(key, "a cipher", "encryption"));
            }
        }
        Ok(mapper)
    }

    #[cfg(feature = "encryption")]
    fn encrypted(&self, mapper: Mapper) -> Result<Mapper, EnvironmentError> {
        const KEYS: &str = "32 bytes in base64, or several such keys as `2:…,1:…`, numbered from 1, each number once";
        let cipher = self.choice("CIPHER_TOPIC", "`aes-256-gcm`", |value| match value {
            "aes-256-gcm"
            | "eventsourcing.cipher:AESCipher"
            | "eventsourcing.cryptography:AESCipher" => Some(()),
            _ => None,
        })?;
        match self.secret("CIPHER_KEY", KEYS, key_ring)? {
            Some(ring) => Ok(mapper.cipher(crate::persistence::Encryption::new(ring))),
            None if cipher.is_some() => Err(self.missing("CIPHER_KEY", KEYS)),
            None => Ok(mapper),
        }
    }
}

/// Keys as they are written: the first one is the newest.
#[cfg(feature = "encryption")]
fn key_ring(keys: &str) -> Option<crate::persistence::KeyRing> {
    use base64::Engine;
    use base64::prelude::BASE64_STANDARD;

    use crate::persistence::{KeyRing, SecretKey};

    let mut ring: Option<KeyRing> = None;
    for numbered in keys.split(',') {
        let (number, key) = numbered.trim().split_once(':').unwrap_or(("1", numbered));
        let number: u32 = number.parse().ok()?;
        let key = zeroize::Zeroizing::new(BASE64_STANDARD.decode(key.trim()).ok()?);
        let key = SecretKey::from_slice(&key).ok()?;
        match &ring {
            Some(ring) => ring.old_key(number, key).ok()?,
            None => ring = Some(KeyRing::new(number, key).ok()?),
        }
    }
    ring
}

#[cfg(all(test, feature = "encryption"))]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_with_numbers_or_without() {
        let key = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
        for keys in [
            key.to_owned(),
            format!("7:{key}"),
            format!("2:{key}, 1:{key}"),
        ] {
            assert!(key_ring(&keys).is_some(), "{keys}");
        }
        for keys in [
            "",
            "AQE=",
            "x",
            &key[1..],
            "0:AQE=",
            &format!("1:{key},1:{key}"),
            &format!("{key},{key}"),
        ] {
            assert!(key_ring(keys).is_none(), "{keys}");
        }
    }
}
