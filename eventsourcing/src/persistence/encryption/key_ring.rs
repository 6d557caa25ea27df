//! Keys by id, one of which writes.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::RwLock;

use super::{SECRET_KEY_LEN, SecretKey};
use crate::persistence::DecryptError;

/// The keys a program has. The newest one seals; all of them open. Clones are handles to the same ring.
///
/// A key has to be kept as long as anything sealed with it is to be read. For stores of [own
/// keys](super::Encryption::key_per_aggregate) that ends with [`Mapper::rewrap_keys`](crate::Mapper::rewrap_keys).
#[derive(Clone)]
pub struct KeyRing {
    keys: Arc<RwLock<Keys>>,
}

struct Keys {
    newest: u32,
    by_id: BTreeMap<u32, Arc<SecretKey>>,
}

impl KeyRing {
    /// A ring of one key. `key_id` stands beside each payload, in the clear: 1 or more, and never given to another
    /// key.
    ///
    /// # Errors
    /// [`KeyError::Id`] when it is 0.
    pub fn new(key_id: u32, key: SecretKey) -> Result<Self, KeyError> {
        let keys = Keys {
            newest: key_id,
            by_id: BTreeMap::new(),
        };
        let ring = Self {
            keys: Arc::new(RwLock::new(keys)),
        };
        ring.rotate(key_id, key)?;
        Ok(ring)
    }

    /// Adds a key that seals from now on, also for mappers that have the ring already.
    ///
    /// A save that failed under the old key and is made again under the new one is not recognised as the same.
    ///
    /// # Errors
    /// [`KeyError::Id`] when it is 0, [`KeyError::Taken`] when there is a key of that id.
    pub fn rotate(&self, key_id: u32, key: SecretKey) -> Result<(), KeyError> {
        let mut keys = self.keys.write();
        keys.add(key_id, key)?;
        keys.newest = key_id;
        Ok(())
    }

    /// Adds a key that only opens what was sealed with it.
    ///
    /// # Errors
    /// As [`KeyRing::rotate`].
    pub fn old_key(&self, key_id: u32, key: SecretKey) -> Result<(), KeyError> {
        self.keys.write().add(key_id, key)
    }

    pub(super) fn newest(&self) -> (u32, Arc<SecretKey>) {
        let keys = self.keys.read();
        let newest = keys.by_id.get(&keys.newest);
        let newest = newest.expect("a ring begins with its newest key and loses none");
        (keys.newest, newest.clone())
    }

    pub(super) fn key(&self, key_id: u32) -> Result<Arc<SecretKey>, DecryptError> {
        let keys = self.keys.read();
        keys.by_id
            .get(&key_id)
            .cloned()
            .ok_or_else(|| DecryptError::UnknownKey {
                key_id,
                known: keys.by_id.keys().copied().collect(),
            })
    }
}

impl Keys {
    fn add(&mut self, key_id: u32, key: SecretKey) -> Result<(), KeyError> {
        if key_id == 0 {
            return Err(KeyError::Id);
        }
        if self.by_id.contains_key(&key_id) {
            return Err(KeyError::Taken { key_id });
        }
        self.by_id.insert(key_id, Arc::new(key));
        Ok(())
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = self.keys.read();
        formatter
            .debug_struct("KeyRing")
            .field("newest", &keys.newest)
            .field("ids", &keys.by_id.keys())
            .finish_non_exhaustive()
    }
}

/// A key that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Its length is not that of a key.
    #[error("key of {found} bytes, expected {SECRET_KEY_LEN}; give random bytes, not a password")]
    Length {
        /// Number of bytes.
        found: usize,
    },

    /// Its id stands for none.
    #[error("key id 0, expected at least 1; 0 stands for no key")]
    Id,

    /// There is a key of its id.
    #[error(
        "key id {key_id} is taken, expected one that is not; what was sealed with it would be lost"
    )]
    Taken {
        /// The id.
        key_id: u32,
    },
}
