//! Payloads that only their owner can read.
//!
//! ```text
//! sealed = form (1 byte) | key check (8) | nonce (12) | content, encrypted | tag (16)
//! ```
//!
//! - **What a payload is bound to**: kind, aggregate, version, topic, event id, codec, key id and plain length. A
//!   payload in the place of another one does not verify. (Tags and metadata are not bound: they are found and read
//!   without a key. A [hash chain](crate::Mapper::hash_chain) covers them.)
//! - **Keys**: no key that is given encrypts anything. From a key of the [`KeyRing`], or from the aggregate's own one
//!   in a [`KeyStore`], HKDF-SHA-256 derives three for each aggregate: one for the cipher, one for nonces, one for
//!   digests.
//! - **The key check** is derived as well. What does not verify was sealed with another key where the check differs, and
//!   was changed where it is the same; what verifies all the same has a changed check.
//! - **The nonce** is a keyed hash of the content and of what that is bound to. The same nonce under the same key
//!   means the same message, whatever becomes of the machine's randomness, of clones of a machine, or of a save that
//!   is made again: that one gives the same bytes, so that a hash chain over them stays what it was. For different
//!   messages nonces are as good as random ones: 2^32 payloads of one aggregate are safe. Events of no aggregate share
//!   the keys derived from one of the ring: rotate it before there are as many of them. Source: Rogaway and
//!   Shrimpton, "A Provable-Security Treatment of the Key-Wrap Problem", Eurocrypt 2006 (synthetic nonces); NIST SP
//!   800-38D, section 8 (the bound).
//! - **The digest**, by which a store recognises a save that is made again, is a keyed hash of the plain payload and
//!   of its place: it tells nobody without the key anything, not even that two events are alike.

mod cipher;
mod key_ring;
mod key_store;
mod keys;
mod secret_key;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use annals_segments::{Random, SystemRandom};
use parking_lot::Mutex;

pub use self::cipher::{Aes256Gcm, Cipher, CipherError, KeyedCipher};
pub use self::key_ring::{KeyError, KeyRing};
pub use self::key_store::{KeptKey, KeyStore, MemoryKeyStore, WrappedKey};
use self::keys::{Form, KeySet, Source};
pub use self::secret_key::{SECRET_KEY_LEN, SecretKey};
use super::payload::{Bound, Sealed, Sealer};
use super::{DecryptError, PersistenceError};
use crate::domain::AggregateId;

/// How payloads are encrypted: [`Mapper::cipher`](crate::Mapper::cipher).
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use annals::{Encryption, KeyRing, Mapper, MemoryKeyStore, SecretKey, Zstd};
///
/// # let (bytes_of_2026, bytes_of_2027) = ([1; 32], [2; 32]);
/// let keys = KeyRing::new(2026, SecretKey::new(bytes_of_2026))?;
/// let mapper = Mapper::json()
///     .compressor(Zstd::new())
///     .cipher(Encryption::new(keys.clone()).key_per_aggregate(MemoryKeyStore::new()));
/// # let _ = mapper;
///
/// // Later, while everything goes on: new payloads get the new key, old ones are still read.
/// keys.rotate(2027, SecretKey::new(bytes_of_2027))?;
/// # Ok(())
/// # }
/// ```
pub struct Encryption {
    ring: KeyRing,
    /// Number of the one that writes.
    cipher: u8,
    ciphers: BTreeMap<u8, Arc<dyn Cipher>>,
    store: Option<Arc<dyn KeyStore>>,
    random: Arc<dyn Random>,
    recent: Mutex<Recent>,
    erasures: AtomicU64,
}

impl Encryption {
    /// With AES-256-GCM and keys that are derived from those of `keys`.
    pub fn new(keys: KeyRing) -> Self {
        let encryption = Self {
            ring: keys,
            cipher: 0,
            ciphers: BTreeMap::new(),
            store: None,
            random: Arc::new(SystemRandom::default()),
            recent: Mutex::default(),
            erasures: AtomicU64::new(0),
        };
        encryption.with(Aes256Gcm)
    }

    /// Encrypts with another cipher from now on. What those before have encrypted stays readable.
    ///
    /// # Panics
    /// When [`Cipher::number`] is not 1..=15.
    #[must_use]
    pub fn with(mut self, cipher: impl Cipher + 'static) -> Self {
        self.cipher = cipher.number();
        assert!(
            (1..=15).contains(&self.cipher),
            "{cipher:?}: number {}, expected 1..=15",
            self.cipher
        );
        self.ciphers.insert(self.cipher, Arc::new(cipher));
        self
    }

    /// Gives each aggregate a random key of its own, kept in `store` under the newest key of the ring: when it is
    /// [erased](crate::Mapper::erase_key), nobody can read what the aggregate holds.
    ///
    /// A [`KeyDirectory`](crate::KeyDirectory) keeps them durably. Events that were saved before, and events of no aggregate, are not covered: their keys are derived from the
    /// ring's. A new aggregate costs one durable insert into the store; so does, with a `KeyDirectory`, the first event that a
    /// program adds to one whose key another program has made.
    #[must_use]
    pub fn key_per_aggregate(self, store: impl KeyStore + 'static) -> Self {
        let store: Option<Arc<dyn KeyStore>> = Some(Arc::new(store));
        Self { store, ..self }
    }

    /// The source of the aggregates' own keys. Default the system's.
    #[must_use]
    pub fn random(self, random: impl Random + 'static) -> Self {
        let random: Arc<dyn Random> = Arc::new(random);
        Self { random, ..self }
    }

    /// The keys that seal the next payload of an aggregate.
    fn newest(&self, aggregate: Option<&AggregateId>) -> Result<(u32, Form, Arc<KeySet>), NoKey> {
        let (key_id, secret) = self.ring.newest();
        match (aggregate, &self.store) {
            (Some(id), Some(store)) => {
                let keys = self.own_keys(id, self.cipher, store, true)?;
                Ok((key_id, Form::Own, keys))
            }
            _ => {
                let keys = self.ring_keys(key_id, &secret, aggregate, self.cipher);
                Ok((key_id, Form::Ring, keys))
            }
        }
    }

    /// The keys that a payload was sealed with.
    fn keys(
        &self,
        form: Form,
        key_id: u32,
        aggregate: Option<&AggregateId>,
        cipher: u8,
    ) -> Result<Arc<KeySet>, NoKey> {
        match (form, aggregate, &self.store) {
            (Form::Ring, ..) => {
                let secret = self.ring.key(key_id)?;
                Ok(self.ring_keys(key_id, &secret, aggregate, cipher))
            }
            (Form::Own, Some(id), Some(store)) => self.own_keys(id, cipher, store, false),
            (Form::Own, Some(_), None) => Err(DecryptError::NoKeyStore.into()),
            (Form::Own, None, _) | (Form::Wrapped, ..) => Err(DecryptError::Changed.into()),
        }
    }

    fn ring_keys(
        &self,
        key_id: u32,
        secret: &SecretKey,
        aggregate: Option<&AggregateId>,
        cipher: u8,
    ) -> Arc<KeySet> {
        let name = (Source::Ring(key_id), aggregate.cloned(), cipher);
        let erasures = match self.recent.lock().get(&name) {
            Ok(keys) => return keys,
            Err(erasures) => erasures,
        };
        let keys = Arc::new(KeySet::derive(secret, aggregate, &*self.ciphers[&cipher]));
        self.recent.lock().keep(name, &keys, erasures);
        keys
    }

    fn own_keys(
        &self,
        aggregate: &AggregateId,
        cipher: u8,
        store: &Arc<dyn KeyStore>,
        create: bool,
    ) -> Result<Arc<KeySet>, NoKey> {
        let name = (Source::Own, Some(aggregate.clone()), cipher);
        let erasures = match self.recent.lock().get(&name) {
            Ok(keys) => return Ok(keys),
            Err(erasures) => erasures,
        };
        let kept = match store.load(aggregate)? {
            KeptKey::Absent if create => {
                let wrapped = self.wrap(aggregate, &SecretKey::generate(&*self.random))?;
                // Another writer may have been faster: then its key counts.
                store.insert(aggregate, &wrapped)?
            }
            // He may not be done yet: nothing may be sealed with a key that a loss of power can take. (What is opened
            // was sealed after that.)
            KeptKey::Key(wrapped) if create => store.insert(aggregate, &wrapped)?,
            kept => kept,
        };
        let wrapped = match kept {
            KeptKey::Key(wrapped) => wrapped,
            KeptKey::Absent => return Err(DecryptError::NoKeyOfAggregate.into()),
            KeptKey::Erased => return Err(NoKey::Erased),
        };
        let secret = match self.unwrap(aggregate, &wrapped) {
            // Of the key, not of the payload.
            Err(DecryptError::Changed) => return Err(NoKey::Store(DecryptError::Changed.into())),
            secret => secret?,
        };
        let keys = Arc::new(KeySet::derive(
            &secret,
            Some(aggregate),
            &*self.ciphers[&cipher],
        ));
        self.recent.lock().keep(name, &keys, erasures);
        Ok(keys)
    }

    /// An aggregate's own key, encrypted by the newest one of the ring.
    fn wrap(&self, aggregate: &AggregateId, secret: &SecretKey) -> Result<WrappedKey, NoKey> {
        let (key_id, ring_key) = self.ring.newest();
        let keys = KeySet::derive(&ring_key, Some(aggregate), &Aes256Gcm);
        let bound = key_id.to_le_bytes();
        let sealed = keys.seal(Form::Wrapped, &bound, secret.bytes())?;
        Ok(WrappedKey::from_bytes([&bound[..], &sealed].concat()))
    }

    fn unwrap(
        &self,
        aggregate: &AggregateId,
        wrapped: &WrappedKey,
    ) -> Result<SecretKey, DecryptError> {
        let (bound, sealed) = wrapped
            .as_bytes()
            .split_first_chunk::<4>()
            .ok_or(DecryptError::Changed)?;
        let key_id = u32::from_le_bytes(*bound);
        let ring_key = self.ring.key(key_id)?;
        let keys = KeySet::derive(&ring_key, Some(aggregate), &Aes256Gcm);
        let plain = zeroize::Zeroizing::new(keys.open(Form::Wrapped, key_id, bound, sealed)?);
        SecretKey::from_slice(&plain).map_err(|_| DecryptError::Changed)
    }
}

impl Sealer for Encryption {
    fn cipher(&self) -> u8 {
        self.cipher
    }

    fn seal(
        &self,
        bound: &Bound<'_>,
        plain: &[u8],
        content: &[u8],
    ) -> Result<Sealed, PersistenceError> {
        let failed = |error: NoKey| error.on_seal(bound);
        let (key_id, form, keys) = self.newest(bound.aggregate()).map_err(failed)?;
        let bytes = keys
            .seal(form, &bound.bytes(key_id), content)
            .map_err(|error| failed(error.into()))?;
        let digest = keys.digest(&bound.place(), plain);
        Ok(Sealed {
            bytes,
            key_id,
            digest,
        })
    }

    fn open(
        &self,
        bound: &Bound<'_>,
        key_id: u32,
        sealed: &[u8],
    ) -> Result<Option<Vec<u8>>, PersistenceError> {
        let cipher = bound.cipher();
        if !self.ciphers.contains_key(&cipher) {
            return Ok(None);
        }
        let open = || {
            let form = Form::of(sealed).ok_or(DecryptError::Changed)?;
            let keys = self.keys(form, key_id, bound.aggregate(), cipher)?;
            Ok(keys.open(form, key_id, &bound.bytes(key_id), sealed)?)
        };
        open()
            .map(Some)
            .map_err(|error: NoKey| error.on_open(bound))
    }

    fn has_own_keys(&self) -> bool {
        self.store.is_some()
    }

    fn erase_key(&self, aggregate: &AggregateId) -> Result<bool, PersistenceError> {
        let Some(store) = &self.store else {
            return Err(NoKey::from(DecryptError::NoKeyStore).on_store(aggregate));
        };
        let erased = store
            .erase(aggregate)
            .map_err(|source| NoKey::Store(source).on_store(aggregate));
        // Even if the store failed: it may have erased it all the same.
        self.recent.lock().forget(aggregate);
        // Behind both: what was read before them is not believed after this.
        self.erasures.fetch_add(1, Ordering::AcqRel);
        erased
    }

    fn erasures(&self) -> u64 {
        self.erasures.load(Ordering::Acquire)
    }

    fn rewrap_keys(&self) -> Result<u64, PersistenceError> {
        let Some(store) = &self.store else {
            return Ok(0);
        };
        let newest = self.ring.newest().0.to_le_bytes();
        let mut rewrapped = 0;
        let listed = store
            .aggregates()
            .map_err(|source| PersistenceError::KeyStore {
                aggregate_id: None,
                source,
            })?;
        for aggregate in listed {
            let failed = |error: NoKey| error.on_store(&aggregate);
            let kept = store
                .load(&aggregate)
                .map_err(|error| failed(NoKey::Store(error)))?;
            let KeptKey::Key(wrapped) = kept else {
                continue;
            };
            if wrapped.as_bytes().starts_with(&newest) {
                continue;
            }
            let secret = self
                .unwrap(&aggregate, &wrapped)
                .map_err(|error| failed(error.into()))?;
            let wrapped = self.wrap(&aggregate, &secret).map_err(failed)?;
            store
                .replace(&aggregate, &wrapped)
                .map_err(|error| failed(NoKey::Store(error)))?;
            rewrapped += 1;
        }
        Ok(rewrapped)
    }
}

impl From<KeyRing> for Encryption {
    fn from(keys: KeyRing) -> Self {
        Self::new(keys)
    }
}

impl fmt::Debug for Encryption {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Encryption")
            .field("ring", &self.ring)
            .field("cipher", &self.ciphers[&self.cipher])
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}

/// Why there are no keys, or they do not fit.
enum NoKey {
    Erased,
    Decrypt(DecryptError),
    Cipher(CipherError),
    Store(super::TranscodeError),
}

impl NoKey {
    fn on_seal(self, bound: &Bound<'_>) -> PersistenceError {
        match (self, bound.aggregate()) {
            (Self::Cipher(error), _) => PersistenceError::Seal {
                topic: bound.payload().topic.to_owned(),
                source: error.into(),
            },
            (error, Some(aggregate)) => error.on_store(aggregate),
            (error, None) => error.on_open(bound),
        }
    }

    fn on_open(self, bound: &Bound<'_>) -> PersistenceError {
        let source = match (self, bound.aggregate()) {
            (Self::Decrypt(source), _) => source,
            (error, Some(aggregate)) => return error.on_store(aggregate),
            // Only aggregates have keys in a store.
            (_, None) => DecryptError::Changed,
        };
        PersistenceError::Decrypt {
            topic: bound.payload().topic.to_owned(),
            event_id: bound.payload().event_id,
            source,
        }
    }

    fn on_store(self, aggregate: &AggregateId) -> PersistenceError {
        let aggregate_id = aggregate.clone();
        match self {
            Self::Erased => PersistenceError::KeyErased { aggregate_id },
            Self::Store(source) => PersistenceError::KeyStore {
                aggregate_id: Some(aggregate_id),
                source,
            },
            Self::Decrypt(error) => PersistenceError::KeyStore {
                aggregate_id: Some(aggregate_id),
                source: error.into(),
            },
            Self::Cipher(error) => PersistenceError::KeyStore {
                aggregate_id: Some(aggregate_id),
                source: error.into(),
            },
        }
    }
}

impl From<DecryptError> for NoKey {
    fn from(error: DecryptError) -> Self {
        Self::Decrypt(error)
    }
}

impl From<CipherError> for NoKey {
    fn from(error: CipherError) -> Self {
        Self::Cipher(error)
    }
}

impl From<super::TranscodeError> for NoKey {
    fn from(error: super::TranscodeError) -> Self {
        Self::Store(error)
    }
}

type KeyName = (Source, Option<AggregateId>, u8);

/// Keys of aggregates that were used not long ago: deriving them costs more than sealing a small event.
///
/// Two generations: when the younger one is full it becomes the older, and what is not asked for meanwhile is gone.
#[derive(Default)]
struct Recent {
    young: HashMap<KeyName, Arc<KeySet>>,
    old: HashMap<KeyName, Arc<KeySet>>,
    erasures: u64,
}

impl Recent {
    /// The keys, or the number of erasures so far, for [`Recent::keep`].
    fn get(&mut self, name: &KeyName) -> Result<Arc<KeySet>, u64> {
        if let Some(keys) = self.young.get(name) {
            return Ok(keys.clone());
        }
        match self.old.remove_entry(name) {
            Some((name, keys)) => {
                self.put(name, &keys);
                Ok(keys)
            }
            None => Err(self.erasures),
        }
    }

    /// Keeps what was loaded since there had been so many erasures, unless a key was erased meanwhile: it may be
    /// this one.
    fn keep(&mut self, name: KeyName, keys: &Arc<KeySet>, erasures: u64) {
        if self.erasures == erasures {
            self.put(name, keys);
        }
    }

    fn put(&mut self, name: KeyName, keys: &Arc<KeySet>) {
        if self.young.len() >= GENERATION_LEN {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(name, keys.clone());
    }

    fn forget(&mut self, aggregate: &AggregateId) {
        self.erasures += 1;
        for generation in [&mut self.young, &mut self.old] {
            generation.retain(|(_, of, _), _| of.as_ref() != Some(aggregate));
        }
    }
}

/// Aggregates whose keys are at hand, at least; about 2 KiB each.
const GENERATION_LEN: usize = 1024;

#[cfg(test)]
mod tests;
