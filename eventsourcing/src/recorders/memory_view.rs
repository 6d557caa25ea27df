//! Rows in memory, gone with the view: for tests, and for read models that are cheap to make anew.
//!
//! One lock around everything. A transaction changes the rows in place and remembers what was there before; what is
//! not committed is put back, after a panic too.

use std::borrow::Borrow;
use std::collections::{BTreeMap, HashMap};
use std::fmt::{self, Debug};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::persistence::{
    DeadLetter, PersistenceError, Recorder, Step, Tracking, TrackingRecorder, View,
};

/// A [`View`] with rows of type `V` by keys of type `K`, in memory.
///
/// Several tables are an enum each for `K` and `V`, or several views.
pub struct MemoryView<K, V> {
    state: Mutex<State<K, V>>,
    advanced: Condvar,
}

impl<K: Ord, V> MemoryView<K, V> {
    /// An empty view.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads rows as they are between two transactions. Transactions wait meanwhile.
    pub fn read<T>(&self, read: impl FnOnce(&BTreeMap<K, V>) -> T) -> T {
        read(&self.state.lock().rows)
    }

    /// The row of a key.
    pub fn get<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
        V: Clone,
    {
        self.read(|rows| rows.get(key).cloned())
    }
}

impl<K: Ord, V> Default for MemoryView<K, V> {
    fn default() -> Self {
        let state = State {
            rows: BTreeMap::new(),
            tracking: HashMap::new(),
            dead_letters: BTreeMap::new(),
            closed: false,
        };
        Self {
            state: Mutex::new(state),
            advanced: Condvar::new(),
        }
    }
}

impl<K, V> Debug for MemoryView<K, V> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        formatter
            .debug_struct("MemoryView")
            .field("rows", &state.rows.len())
            .field("tracking", &state.tracking)
            .finish_non_exhaustive()
    }
}

impl<K, V> View for MemoryView<K, V>
where
    K: Ord + Clone + Send + 'static,
    V: Send + 'static,
{
    type Rows<'t> = MemoryRows<'t, K, V>;

    fn transact<T, E: From<PersistenceError>>(
        &self,
        step: Step<'_>,
        change: impl FnOnce(&mut MemoryRows<'_, K, V>) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut state = self.state.lock();
        state.check(step)?;
        let mut rows = MemoryRows {
            rows: &mut state.rows,
            before: Vec::new(),
        };
        let answer = change(&mut rows)?;
        rows.before.clear();
        drop(rows);
        state.take(step);
        self.advanced.notify_all();
        Ok(answer)
    }

    fn insert_dead_letter(&self, letter: DeadLetter) -> Result<(), PersistenceError> {
        let tracking = letter.tracking();
        let mut state = self.state.lock();
        state.check(Step::Advance(&tracking))?;
        state.take(Step::Advance(&tracking));
        let place = (tracking.name, tracking.position);
        state.dead_letters.insert(place, letter);
        self.advanced.notify_all();
        Ok(())
    }

    fn dead_letters(&self, name: &str) -> Result<Vec<DeadLetter>, PersistenceError> {
        let state = self.state.lock();
        let letters = state.dead_letters.range((name.to_owned(), 0)..);
        Ok(letters
            .map(|(_, letter)| letter)
            .take_while(|letter| letter.name == name)
            .cloned()
            .collect())
    }
}

impl<K, V> Recorder for MemoryView<K, V>
where
    K: Send,
    V: Send,
{
    fn close(&self) -> Result<(), PersistenceError> {
        self.state.lock().closed = true;
        self.advanced.notify_all();
        Ok(())
    }
}

impl<K: Send, V: Send> TrackingRecorder for MemoryView<K, V> {
    fn insert_tracking(&self, tracking: Tracking) -> Result<(), PersistenceError> {
        let mut state = self.state.lock();
        state.check(Step::Advance(&tracking))?;
        state.take(Step::Advance(&tracking));
        self.advanced.notify_all();
        Ok(())
    }

    fn max_tracking(&self, name: &str) -> Result<Option<u64>, PersistenceError> {
        Ok(self.state.lock().tracking.get(name).copied())
    }

    fn wait(&self, name: &str, position: u64, timeout: Duration) -> Result<(), PersistenceError> {
        let mut state = self.state.lock();
        let is_behind = |state: &mut State<K, V>| {
            let reached = state.tracking.get(name);
            reached.is_none_or(|reached| *reached < position) && !state.closed
        };
        self.advanced.wait_while_for(&mut state, is_behind, timeout);
        let reached = state.tracking.get(name).copied();
        match reached {
            Some(reached) if reached >= position => Ok(()),
            _ if state.closed => Err(PersistenceError::Closed),
            _ => Err(PersistenceError::WaitTimeout {
                name: name.to_owned(),
                position,
                reached,
                timeout,
            }),
        }
    }
}

/// The rows of a [`MemoryView`] while a transaction lasts.
pub struct MemoryRows<'t, K: Ord, V> {
    rows: &'t mut BTreeMap<K, V>,
    /// What was there before each change, the first change first; put back unless it is committed.
    before: Vec<(K, Option<V>)>,
}

impl<K: Ord + Clone, V> MemoryRows<'_, K, V> {
    /// The row of a key, changes of this transaction included.
    pub fn get<Q>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        self.rows.get(key)
    }

    /// All rows, ascending by key, changes of this transaction included.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.rows.iter()
    }

    /// Puts a row in the place of the one there was.
    pub fn insert(&mut self, key: K, row: V) {
        let before = self.rows.insert(key.clone(), row);
        self.before.push((key, before));
    }

    /// Removes a row, if it is there.
    pub fn remove(&mut self, key: K) {
        let before = self.rows.remove(&key);
        self.before.push((key, before));
    }

    /// Changes the row of a key; one that is missing begins as the default.
    pub fn update(&mut self, key: K, change: impl FnOnce(&mut V))
    where
        V: Clone + Default,
    {
        let mut row = self.rows.get(&key).cloned().unwrap_or_default();
        change(&mut row);
        self.insert(key, row);
    }
}

impl<K: Ord, V> Drop for MemoryRows<'_, K, V> {
    fn drop(&mut self) {
        for (key, before) in self.before.drain(..).rev() {
            match before {
                Some(row) => drop(self.rows.insert(key, row)),
                None => drop(self.rows.remove(&key)),
            }
        }
    }
}

impl<K: Ord, V> Debug for MemoryRows<'_, K, V> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("MemoryRows")
            .field("rows", &self.rows.len())
            .field("changes", &self.before.len())
            .finish()
    }
}

struct State<K, V> {
    rows: BTreeMap<K, V>,
    tracking: HashMap<String, u64>,
    /// By upstream and position.
    dead_letters: BTreeMap<(String, u64), DeadLetter>,
    closed: bool,
}

impl<K, V> State<K, V> {
    fn check(&self, step: Step<'_>) -> Result<(), PersistenceError> {
        if self.closed {
            return Err(PersistenceError::Closed);
        }
        let tracking = step.tracking();
        tracking.check()?;
        let (name, position) = (tracking.name.clone(), tracking.position);
        match (step, self.tracking.get(&name)) {
            (Step::Advance(_), Some(recorded)) if position <= *recorded => {
                Err(PersistenceError::TrackingConflict {
                    name,
                    position,
                    recorded: *recorded,
                })
            }
            (Step::Advance(_), _) => Ok(()),
            (Step::Resolve(_), _) => match self.dead_letters.contains_key(&(name, position)) {
                true => Ok(()),
                false => Err(PersistenceError::NoDeadLetter {
                    name: tracking.name.clone(),
                    position,
                }),
            },
        }
    }

    fn take(&mut self, step: Step<'_>) {
        let Tracking { name, position } = step.tracking().clone();
        match step {
            Step::Advance(_) => drop(self.tracking.insert(name, position)),
            Step::Resolve(_) => drop(self.dead_letters.remove(&(name, position))),
        }
    }
}
