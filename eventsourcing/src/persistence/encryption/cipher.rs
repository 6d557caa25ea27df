//! Authenticated encryption, as an exchangeable part.

use std::fmt::Debug;

use aes_gcm::KeyInit;
use aes_gcm::aead::AeadInOut;

/// An algorithm that encrypts and authenticates (AEAD), with keys of 32 bytes, nonces of 12 and tags of 16.
///
/// It never sees a nonce twice under one key but for the same message.
pub trait Cipher: Debug + Send + Sync {
    /// The number that stands for it in [`Encoding::codec`](crate::Encoding::codec): 1 is [`Aes256Gcm`], 2..=7 are
    /// kept for later, 8..=15 are for those who write one. It must never change its meaning.
    fn number(&self) -> u8;

    /// It, with a key. What it keeps of the key has to be overwritten when it is dropped.
    fn with_key(&self, key: &[u8; 32]) -> Box<dyn KeyedCipher>;
}

/// A [`Cipher`] that has its key.
pub trait KeyedCipher: Send + Sync {
    /// Encrypts `content` where it lies, and answers the tag over it and `bound`.
    ///
    /// # Errors
    /// When it is longer than the algorithm takes: 64 GiB for AES-GCM.
    fn encrypt(
        &self,
        nonce: &[u8; 12],
        bound: &[u8],
        content: &mut [u8],
    ) -> Result<[u8; 16], CipherError>;

    /// Decrypts `content` where it lies.
    ///
    /// # Errors
    /// When the tag is not the one over it and `bound`. Then nobody looks at `content` again.
    fn decrypt(
        &self,
        nonce: &[u8; 12],
        bound: &[u8],
        content: &mut [u8],
        tag: &[u8; 16],
    ) -> Result<(), CipherError>;
}

/// A [`Cipher`] refused. It does not say why: to tell reasons apart helps those who guess.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the cipher refused")]
pub struct CipherError;

/// AES-256 in Galois/Counter Mode, as in NIST SP 800-38D. In constant time, by the processor's instructions where
/// it has them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Aes256Gcm;

impl Cipher for Aes256Gcm {
    fn number(&self) -> u8 {
        1
    }

    fn with_key(&self, key: &[u8; 32]) -> Box<dyn KeyedCipher> {
        Box::new(aes_gcm::Aes256Gcm::new(key.into()))
    }
}

impl KeyedCipher for aes_gcm::Aes256Gcm {
    fn encrypt(
        &self,
        nonce: &[u8; 12],
        bound: &[u8],
        content: &mut [u8],
    ) -> Result<[u8; 16], CipherError> {
        self.encrypt_inout_detached(nonce.into(), bound, content.into())
            .map(Into::into)
            .map_err(|_| CipherError)
    }

    fn decrypt(
        &self,
        nonce: &[u8; 12],
        bound: &[u8],
        content: &mut [u8],
        tag: &[u8; 16],
    ) -> Result<(), CipherError> {
        self.decrypt_inout_detached(nonce.into(), bound, content.into(), tag.into())
            .map_err(|_| CipherError)
    }
}
