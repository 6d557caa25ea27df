//! Bytes that must not get out.

use std::fmt;

use annals_segments::Random;
use zeroize::Zeroizing;

use super::KeyError;

/// A key of 32 bytes. It is overwritten when it is dropped, cannot be cloned, and is not shown.
pub struct SecretKey {
    /// Boxed, so that moving the key leaves no copies behind.
    bytes: Box<Zeroizing<[u8; SECRET_KEY_LEN]>>,
}

impl SecretKey {
    /// The key with these bytes, which must be random: a password is none. Overwriting the caller's copies is up to
    /// the caller.
    pub fn new(bytes: [u8; SECRET_KEY_LEN]) -> Self {
        let bytes = Zeroizing::new(bytes);
        let mut boxed = Box::new(Zeroizing::new([0; SECRET_KEY_LEN]));
        boxed.copy_from_slice(&*bytes);
        Self { bytes: boxed }
    }

    /// As [`SecretKey::new`], from whatever holds them.
    ///
    /// # Errors
    /// [`KeyError::Length`] unless there are [`SECRET_KEY_LEN`] bytes.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, KeyError> {
        let found = bytes.len();
        let bytes = bytes.try_into().map_err(|_| KeyError::Length { found })?;
        Ok(Self::new(bytes))
    }

    /// A new key.
    pub fn generate(random: &dyn Random) -> Self {
        let mut key = Self::new([0; SECRET_KEY_LEN]);
        random.fill(&mut key.bytes[..]);
        key
    }

    /// The bytes, to be kept where nobody else reads them.
    pub fn bytes(&self) -> &[u8; SECRET_KEY_LEN] {
        &self.bytes
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("SecretKey").finish_non_exhaustive()
    }
}

/// Bytes of a [`SecretKey`].
pub const SECRET_KEY_LEN: usize = 32;
