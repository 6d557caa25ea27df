//! Keys as they are used: derived, each for one purpose and one aggregate.

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::{Cipher, CipherError, KeyedCipher, SecretKey};
use crate::domain::AggregateId;
use crate::persistence::DecryptError;
use crate::persistence::payload::push_id;

/// Where a set of keys comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Source {
    /// From a key of the ring, by its id.
    Ring(u32),
    /// From the aggregate's own key.
    Own,
}

/// What is sealed, and with what: the first byte. Persisted, never to be renumbered. Two bits apart, so that one
/// that flips makes none of the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Form {
    /// A payload, with keys derived from one of the ring.
    Ring = 0b001,
    /// A payload, with keys derived from the aggregate's own.
    Own = 0b010,
    /// An aggregate's own key, with keys derived from one of the ring.
    Wrapped = 0b100,
}

impl Form {
    pub(super) fn of(sealed: &[u8]) -> Option<Self> {
        [Self::Ring, Self::Own, Self::Wrapped]
            .into_iter()
            .find(|form| sealed.first() == Some(&(*form as u8)))
    }
}

/// The keys for one aggregate, or for events of none.
pub(super) struct KeySet {
    check: [u8; CHECK_LEN],
    cipher: Box<dyn KeyedCipher>,
    nonces: Hmac<Sha256>,
    digests: Hmac<Sha256>,
}

impl KeySet {
    pub(super) fn derive(
        secret: &SecretKey,
        aggregate: Option<&AggregateId>,
        cipher: &dyn Cipher,
    ) -> Self {
        let derived = Hkdf::<Sha256>::new(Some(SALT), secret.bytes());
        let mut info = vec![cipher.number()];
        push_id(&mut info, aggregate);
        let mut keys = Zeroizing::new([[0; 32]; 3]);
        let mut check = [0; CHECK_LEN];
        derived
            .expand(&info, keys.as_flattened_mut())
            .and_then(|()| derived.expand(CHECK_INFO, &mut check))
            .expect("HKDF gives 8,160 bytes, and 96 are asked for");
        let [cipher_key, nonce_key, digest_key] = &*keys;
        let mac = |key: &[u8; 32]| {
            Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length")
        };
        Self {
            check,
            cipher: cipher.with_key(cipher_key),
            nonces: mac(nonce_key),
            digests: mac(digest_key),
        }
    }

    /// Encrypts `content`, which is bound to `bound`. See [the format](super).
    pub(super) fn seal(
        &self,
        form: Form,
        bound: &[u8],
        content: &[u8],
    ) -> Result<Vec<u8>, CipherError> {
        let bound = self.bound(form, bound);
        let nonce = self.nonce(&bound, content);
        let mut sealed = Vec::with_capacity(OVERHEAD + content.len());
        sealed.push(form as u8);
        sealed.extend_from_slice(&self.check);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(content);
        let tag = self
            .cipher
            .encrypt(&nonce, &bound, &mut sealed[HEADER_LEN..])?;
        sealed.extend_from_slice(&tag);
        Ok(sealed)
    }

    /// Decrypts what [`KeySet::seal`] made. `key_id` is for the error.
    pub(super) fn open(
        &self,
        form: Form,
        key_id: u32,
        bound: &[u8],
        sealed: &[u8],
    ) -> Result<Vec<u8>, DecryptError> {
        let parts = || {
            let (_, rest) = sealed
                .split_first()
                .filter(|(first, _)| **first == form as u8)?;
            let (check, rest) = rest.split_first_chunk::<CHECK_LEN>()?;
            let (nonce, rest) = rest.split_first_chunk::<NONCE_LEN>()?;
            let (content, tag) = rest.split_last_chunk::<TAG_LEN>()?;
            Some((check, nonce, content, tag))
        };
        let (check, nonce, content, tag) = parts().ok_or(DecryptError::Changed)?;
        let mut content = Zeroizing::new(content.to_vec());
        // With the check of our own key: if that opens it, the check was changed, and not the key.
        let outcome = self
            .cipher
            .decrypt(nonce, &self.bound(form, bound), &mut content, tag);
        match (outcome, *check == self.check) {
            (Ok(()), true) => Ok(std::mem::take(&mut *content)),
            (Err(CipherError), false) => Err(DecryptError::WrongKey { key_id }),
            _ => Err(DecryptError::Changed),
        }
    }

    /// See [`StoredEvent::digest`](crate::StoredEvent::digest).
    pub(super) fn digest(&self, place: &[u8], plain: &[u8]) -> u64 {
        let mut mac = self.digests.clone();
        mac.update(place);
        mac.update(plain);
        let mut digest = [0; 8];
        digest.copy_from_slice(&mac.finalize().into_bytes()[..8]);
        u64::from_le_bytes(digest)
    }

    fn bound(&self, form: Form, bound: &[u8]) -> Vec<u8> {
        [bound, &[form as u8], &self.check].concat()
    }

    fn nonce(&self, bound: &[u8], content: &[u8]) -> [u8; NONCE_LEN] {
        let mut mac = self.nonces.clone();
        // The length first: where one ends and the other begins must be no matter of choice.
        mac.update(&(bound.len() as u64).to_le_bytes());
        mac.update(bound);
        mac.update(content);
        let mut nonce = [0; NONCE_LEN];
        nonce.copy_from_slice(&mac.finalize().into_bytes()[..NONCE_LEN]);
        nonce
    }
}

const SALT: &[u8] = b"annals payload keys 1";
/// Longer than any info of keys that begins with it could be: those begin with the number of a cipher, at most 15.
const CHECK_INFO: &[u8] = b"key check";
const CHECK_LEN: usize = 8;
const NONCE_LEN: usize = 12;
const TAG_LEN: usize = 16;
const HEADER_LEN: usize = 1 + CHECK_LEN + NONCE_LEN;
const OVERHEAD: usize = HEADER_LEN + TAG_LEN;
