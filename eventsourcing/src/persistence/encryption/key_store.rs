//! Where aggregates' own keys are kept, and where they can be erased.

use std::collections::HashMap;
use std::fmt::Debug;

use parking_lot::Mutex;

use crate::domain::AggregateId;
use crate::persistence::TranscodeError;

/// Keeps a key for each aggregate, encrypted.
///
/// It has to be able to forget: it lies outside of the log and of backups that are kept for long, or the erased key
/// comes back with them. That an erasure took place is remembered, so that nobody makes a new key.
pub trait KeyStore: Debug + Send + Sync {
    /// The key of an aggregate.
    ///
    /// # Errors
    /// What kept it from answering.
    fn load(&self, aggregate: &AggregateId) -> Result<KeptKey, TranscodeError>;

    /// Keeps a key if there is none and none was erased; answers what is there then, which is durable, whoever put it
    /// there. Asked again and again for the same aggregate: what is known to be durable should cost no sync.
    ///
    /// # Errors
    /// What kept it from that. Then nothing is sealed with it.
    fn insert(&self, aggregate: &AggregateId, key: &WrappedKey) -> Result<KeptKey, TranscodeError>;

    /// Keeps the same key in another wrapping, in place of the one there. An erased one stays erased.
    ///
    /// # Errors
    /// What kept it from that. Then either wrapping is there.
    fn replace(&self, aggregate: &AggregateId, key: &WrappedKey) -> Result<(), TranscodeError>;

    /// Destroys the key, durably, and remembers that, even if there was none; whether there was one.
    ///
    /// # Errors
    /// What kept it from that. Erasing again is safe.
    fn erase(&self, aggregate: &AggregateId) -> Result<bool, TranscodeError>;

    /// All aggregates that have a key.
    ///
    /// # Errors
    /// What kept it from answering.
    fn aggregates(&self) -> Result<Vec<AggregateId>, TranscodeError>;
}

/// What a [`KeyStore`] has of an aggregate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeptKey {
    /// Nothing.
    Absent,
    /// Its key.
    Key(WrappedKey),
    /// The fact that its key was erased.
    Erased,
}

/// An aggregate's own key, encrypted by one of the ring and bound to the aggregate: 73 bytes. To be kept as it is.
#[derive(Clone, PartialEq, Eq)]
pub struct WrappedKey(Vec<u8>);

impl WrappedKey {
    /// The key that was kept.
    pub fn from_bytes(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// What has to be kept.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Debug for WrappedKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("WrappedKey").finish_non_exhaustive()
    }
}

/// Keeps keys in memory: for tests, and for content that need not outlive the process.
#[derive(Debug, Default)]
pub struct MemoryKeyStore {
    /// `None` stands for an erased key.
    keys: Mutex<HashMap<AggregateId, Option<WrappedKey>>>,
}

impl MemoryKeyStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }
}

impl KeyStore for MemoryKeyStore {
    fn load(&self, aggregate: &AggregateId) -> Result<KeptKey, TranscodeError> {
        Ok(match self.keys.lock().get(aggregate) {
            None => KeptKey::Absent,
            Some(None) => KeptKey::Erased,
            Some(Some(key)) => KeptKey::Key(key.clone()),
        })
    }

    fn insert(&self, aggregate: &AggregateId, key: &WrappedKey) -> Result<KeptKey, TranscodeError> {
        let mut keys = self.keys.lock();
        keys.entry(aggregate.clone())
            .or_insert_with(|| Some(key.clone()));
        drop(keys);
        self.load(aggregate)
    }

    fn replace(&self, aggregate: &AggregateId, key: &WrappedKey) -> Result<(), TranscodeError> {
        if let Some(Some(kept)) = self.keys.lock().get_mut(aggregate) {
            *kept = key.clone();
        }
        Ok(())
    }

    fn erase(&self, aggregate: &AggregateId) -> Result<bool, TranscodeError> {
        let erased = self.keys.lock().insert(aggregate.clone(), None);
        Ok(erased.flatten().is_some())
    }

    fn aggregates(&self) -> Result<Vec<AggregateId>, TranscodeError> {
        let keys = self.keys.lock();
        let has_key = keys.iter().filter(|(_, key)| key.is_some());
        Ok(has_key.map(|(aggregate, _)| aggregate.clone()).collect())
    }
}
