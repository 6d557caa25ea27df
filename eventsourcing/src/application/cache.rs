//! Aggregates kept in memory between uses.
//!
//! - An aggregate is lent to one user at a time and comes back when its events are saved. Whoever needs it meanwhile
//!   waits for a moment, then goes to the store: so nobody waits for ever, and nothing that a decision does, the use of
//!   the same aggregate included, can lock up.
//! - What comes back is the aggregate as it is stored: one with events that were not saved is dropped.
//! - Nothing is lent that was read before a key was erased.
//! - Who saves without having been lent the aggregate makes what is lent stale: it is dropped when it comes back.

use std::any::{Any, TypeId};
use std::fmt;
use std::thread::{self, ThreadId};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::Error;
use super::lru::Lru;
use crate::domain::{Aggregate, AggregateId, Root};
use crate::persistence::Mapper;

/// Which aggregates an application keeps in memory, and when it believes them.
///
/// A cached aggregate is used by [`edit`](crate::Application::edit), by [`Repository::read`](crate::Repository::read)
/// and [`Repository::get_cached`](crate::Repository::get_cached); [`Repository::get`](crate::Repository::get) always
/// reads the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct CacheOptions {
    /// `None`: no bound.
    len_max: Option<usize>,
    fast_forwards: bool,
    skips: bool,
}

impl CacheOptions {
    /// The `aggregates` used last, at least 1.
    pub fn lru(aggregates: usize) -> Self {
        Self {
            len_max: Some(aggregates),
            ..Self::unbounded()
        }
    }

    /// Every aggregate that was used, until the application is dropped.
    pub fn unbounded() -> Self {
        Self {
            len_max: None,
            fast_forwards: true,
            skips: false,
        }
    }

    /// Whether a cached aggregate is compared with the store when it is used, and brought up to date: the last version
    /// is asked for, and only what is missing is read. On by default.
    ///
    /// Off, it is believed as it is, for programs that are the only one to write: a decision may then rest on an old
    /// state if they are not. Saving it is a conflict all the same, and the retry reads the store.
    pub fn fast_forward(mut self, fast_forwards: bool) -> Self {
        self.fast_forwards = fast_forwards;
        self
    }

    /// Whether a thread that finds the aggregate in use by another reads the store at once. Off by default: it waits for
    /// the other, up to 100 ms, since two decisions at a time would end in a conflict.
    pub fn fast_forward_skipping(mut self, skips: bool) -> Self {
        self.skips = skips;
        self
    }

    pub(super) fn check(self) -> Result<Self, Error> {
        match self.len_max {
            Some(0) => Err(Error::InvalidOption {
                option: "cache",
                found: 0,
                min: 1,
            }),
            _ => Ok(self),
        }
    }
}

/// See the module.
pub(super) struct Cache {
    options: CacheOptions,
    /// Knows when a key was erased.
    mapper: Mapper,
    places: Mutex<Places>,
    returned: Condvar,
}

struct Places {
    slots: Lru<Key, Slot>,
    /// How often an aggregate has been lent.
    lent: u64,
    waiting: usize,
    /// Erasures of keys that nothing here is from before of.
    erasures: u64,
}

/// One id may stand for aggregates of several types.
pub(super) type Key = (TypeId, AggregateId);

pub(super) fn key_of<A: Aggregate>(id: &AggregateId) -> Key {
    (TypeId::of::<A>(), id.clone())
}

struct Slot {
    /// `None` while it is lent.
    root: Option<Box<dyn Any + Send>>,
    lent_to: Option<User>,
    is_stale: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct User {
    thread: ThreadId,
    number: u64,
}

impl fmt::Debug for Cache {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Cache")
            .field("options", &self.options)
            .field("len", &self.places.lock().slots.len())
            .finish()
    }
}

impl Cache {
    pub(super) fn new(options: CacheOptions, mapper: Mapper) -> Self {
        Self {
            options,
            places: Mutex::new(Places {
                slots: Lru::new(),
                lent: 0,
                waiting: 0,
                erasures: mapper.erasures(),
            }),
            mapper,
            returned: Condvar::new(),
        }
    }

    pub(super) fn fast_forwards(&self) -> bool {
        self.options.fast_forwards
    }

    /// Lends an aggregate, or the place for one that is not here. See the module for one that is in use.
    pub(super) fn lend<A: Aggregate>(&self, id: &AggregateId) -> Lent<'_, A> {
        self.lend_within(id, (!self.options.skips).then_some(WAIT_MAX))
    }

    /// As [`Cache::lend`], and waits for nobody.
    #[cfg(feature = "async")]
    pub(super) fn lend_at_once<A: Aggregate>(&self, id: &AggregateId) -> Lent<'_, A> {
        self.lend_within(id, None)
    }

    fn lend_within<A: Aggregate>(&self, id: &AggregateId, wait: Option<Duration>) -> Lent<'_, A> {
        let key = key_of::<A>(id);
        let thread = thread::current().id();
        let mut places = self.places.lock();
        let in_use_by = |places: &mut Places| places.slots.peek(&key).and_then(|slot| slot.lent_to);
        if let Some(wait) = wait
            && in_use_by(&mut places).is_some_and(|user| user.thread != thread)
        {
            places.waiting += 1;
            self.returned
                .wait_while_for(&mut places, |places| in_use_by(places).is_some(), wait);
            places.waiting -= 1;
        }
        let erased = self.forget_erased(&mut places);
        places.lent += 1;
        let user = User {
            thread,
            number: places.lent,
        };
        let (root, user, dropped) = match places.slots.touch(&key) {
            Some(slot) if slot.lent_to.is_some() => (None, None, None),
            Some(slot) => {
                slot.lent_to = Some(user);
                (slot.root.take(), Some(user), None)
            }
            None => (None, Some(user), self.make_place(&mut places, &key, user)),
        };
        drop(places);
        // Not under the lock: dropping an aggregate runs its code.
        drop((dropped, erased));
        Lent {
            cache: self,
            key,
            user,
            root: root.and_then(|root| root.downcast().ok()),
        }
    }

    /// Forgets everything, if a key was erased since the last time: which aggregates hold something of it only they know.
    /// What is lent is forgotten when it comes back.
    fn forget_erased(&self, places: &mut Places) -> Vec<Slot> {
        let erasures = self.mapper.erasures();
        if std::mem::replace(&mut places.erasures, erasures) == erasures {
            return Vec::new();
        }
        places.slots.take_all(|slot| {
            slot.is_stale = slot.lent_to.is_some();
            !slot.is_stale
        })
    }

    /// Makes a place for an aggregate that is about to be loaded; answers the one that had to go.
    fn make_place(&self, places: &mut Places, key: &Key, user: User) -> Option<Slot> {
        let slot = Slot {
            root: None,
            lent_to: Some(user),
            is_stale: false,
        };
        places.slots.insert(key.clone(), slot);
        let is_over = self
            .options
            .len_max
            .is_some_and(|len_max| places.slots.len() > len_max);
        is_over.then(|| places.slots.pop_oldest()).flatten()
    }

    /// Forgets an aggregate that somebody saved who had not been lent it, or may have.
    pub(super) fn forget(&self, key: &Key) {
        let mut places = self.places.lock();
        let forgotten = match places.slots.peek(key) {
            Some(slot) if slot.lent_to.is_some() => {
                slot.is_stale = true;
                None
            }
            Some(_) => places.slots.remove(key),
            None => None,
        };
        drop(places);
        drop(forgotten);
    }

    /// Ends a use; with what is to be kept, if anything.
    fn end_use(&self, key: &Key, user: User, root: Option<Box<dyn Any + Send>>) {
        let mut places = self.places.lock();
        let dropped = match places.slots.peek(key) {
            // A place that had to go, and maybe was made again for somebody else, is not his any more.
            Some(slot) if slot.lent_to == Some(user) => {
                if root.is_none() || slot.is_stale {
                    let slot = places.slots.remove(key);
                    (slot, root)
                } else {
                    slot.lent_to = None;
                    slot.root = root;
                    (None, None)
                }
            }
            _ => (None, root),
        };
        let is_waited_for = places.waiting > 0;
        drop(places);
        if is_waited_for {
            self.returned.notify_all();
        }
        drop(dropped);
    }
}

/// An aggregate out of the cache, or the place for it. Dropped, the place is free again and the aggregate forgotten.
pub(super) struct Lent<'c, A: Aggregate> {
    cache: &'c Cache,
    key: Key,
    /// `None` when somebody else has it.
    user: Option<User>,
    root: Option<Box<Root<A>>>,
}

impl<A: Aggregate> Lent<'_, A> {
    /// The aggregate, when it was there.
    pub(super) fn take(&mut self) -> Option<Box<Root<A>>> {
        self.root.take()
    }

    /// Gives it back as it is stored now.
    pub(super) fn give_back(mut self, root: Box<Root<A>>, change: Change) {
        assert!(root.pending().is_empty(), "what is not saved is not cached");
        match (self.user.take(), change) {
            (Some(user), _) => self.cache.end_use(&self.key, user, Some(root)),
            (None, Change::Saved) => self.cache.forget(&self.key),
            (None, Change::None) => {}
        }
    }
}

impl<A: Aggregate> Drop for Lent<'_, A> {
    fn drop(&mut self) {
        if let Some(user) = self.user.take() {
            self.cache.end_use(&self.key, user, None);
        }
    }
}

/// What a use did to the aggregate in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    None,
    Saved,
}

/// Longer than a sync takes, so that whoever waits for one that saves needs not go to the store, and not so long that
/// two decisions that use each other's aggregate are held up for good.
const WAIT_MAX: Duration = Duration::from_millis(100);
