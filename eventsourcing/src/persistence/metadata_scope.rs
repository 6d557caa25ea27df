//! Metadata that everything saved within a scope gets: who asked, and what led to it.
//!
//! A thread is in as many scopes as it has entered, the inner ones outweighing the outer. Nothing has to be handed
//! through the code between, and nothing that a program puts into an event's own metadata is overwritten.

use std::cell::RefCell;
use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use uuid::Uuid;

use super::StoredEvent;
use crate::domain::Metadata;

/// As long as it lives, every event that this thread saves for the first time gets some metadata.
///
/// An event that is saved again, because the first attempt failed, keeps the metadata it had then.
///
/// ```
/// use annals::{CORRELATION_KEY, MetadataScope};
/// # use annals::{Aggregate, Application, Event, Root, SelectNotifications};
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # enum Counted { Zero, More { by: u32 } }
/// # impl Event for Counted {}
/// # struct Counter { value: u32 }
/// # impl Aggregate for Counter {
/// #     type Event = Counted;
/// #     fn start(_: &Counted) -> Option<Self> { Some(Counter { value: 0 }) }
/// #     fn apply(&mut self, event: &Counted) {}
/// # }
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let app = Application::in_memory();
/// # let request_id = uuid::Uuid::from_u128(7);
/// # let mut counter = Root::<Counter>::new(app.new_id(), Counted::Zero)?;
///
/// // Around the handling of a request:
/// let _request = MetadataScope::correlated(request_id);
/// let _user = MetadataScope::enter([("user", "ann")]);
/// app.save(&mut counter)?;
///
/// let saved = app.notification_log().select(&SelectNotifications::first(1))?;
/// assert_eq!(saved[0].event.metadata["user"], "ann");
/// assert_eq!(saved[0].event.metadata[CORRELATION_KEY], request_id.to_string());
/// # Ok(())
/// # }
/// ```
///
/// A scope belongs to its thread. Work that is handed to another thread takes [`MetadataScope::current`] along and enters
/// it there. A future is put into one by [`MetadataScope::around`].
#[must_use = "the scope ends where this is dropped"]
pub struct MetadataScope {
    /// Scopes this thread was in before.
    outer: usize,
    /// It may not leave the thread.
    thread: PhantomData<Rc<()>>,
}

thread_local! {
    /// What events get in each scope the thread is in, with what they get from those around it.
    static SCOPES: RefCell<Vec<Metadata>> = const { RefCell::new(Vec::new()) };
}

impl MetadataScope {
    /// Events get these entries, beside those of the scopes around it.
    pub fn enter<K: Into<String>, V: Into<String>>(
        entries: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        let mut metadata = Self::current();
        let entries = entries.into_iter();
        metadata.extend(entries.map(|(key, value)| (key.into(), value.into())));
        Self::begin(metadata)
    }

    /// A future that is in a scope with these entries whenever it is polled, on whatever thread: what it saves gets them,
    /// beside those of the scopes that are around the poll. Whoever spawns it takes [`MetadataScope::current`] along.
    ///
    /// ```
    /// # use annals::{Application, MetadataScope};
    /// # async fn answer() {}
    /// # fn spawn(task: impl Future<Output = ()> + Send + 'static) {}
    /// spawn(MetadataScope::around([("user", "ann")], async {
    ///     answer().await; // And whatever else is awaited here.
    /// }));
    /// ```
    pub fn around<K: Into<String>, V: Into<String>, F: Future>(
        entries: impl IntoIterator<Item = (K, V)>,
        future: F,
    ) -> InMetadataScope<F> {
        let entries = entries.into_iter();
        InMetadataScope {
            entries: entries
                .map(|(key, value)| (key.into(), value.into()))
                .collect(),
            future: Box::pin(future),
        }
    }

    fn begin(metadata: Metadata) -> Self {
        SCOPES.with_borrow_mut(|scopes| {
            scopes.push(metadata);
            Self {
                outer: scopes.len() - 1,
                thread: PhantomData,
            }
        })
    }

    /// Events belong to what this id stands for: a request, a command, a conversation.
    pub fn correlated(id: Uuid) -> Self {
        Self::enter([(CORRELATION_KEY, id.to_string())])
    }

    /// Events are effects of this one: its id becomes their causation id, and its correlation id theirs, or its own id
    /// when it has none.
    ///
    /// A policy is called within such a scope, and no other: what it does is correlated by itself, however many
    /// processes it goes through.
    pub fn caused_by(cause: &StoredEvent) -> Self {
        Self::enter(of_effects(cause))
    }

    /// As [`MetadataScope::caused_by`], without the scopes around it: the effects of an event are the same whoever
    /// happens to process it.
    pub(crate) fn of_effects_alone(cause: &StoredEvent) -> Self {
        Self::begin(of_effects(cause))
    }

    /// What an event would get that was saved now.
    pub fn current() -> Metadata {
        SCOPES.with_borrow(|scopes| scopes.last().cloned().unwrap_or_default())
    }
}

impl Drop for MetadataScope {
    fn drop(&mut self) {
        // Those entered within it end with it, whatever order they are dropped in.
        SCOPES.with_borrow_mut(|scopes| scopes.truncate(self.outer));
    }
}

impl fmt::Debug for MetadataScope {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("MetadataScope")
            .field("outer", &self.outer)
            .finish_non_exhaustive()
    }
}

/// A future in a scope; see [`MetadataScope::around`].
#[must_use = "futures do nothing until they are polled"]
pub struct InMetadataScope<F> {
    entries: Metadata,
    future: Pin<Box<F>>,
}

impl<F: Future> Future for InMetadataScope<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let _scope = MetadataScope::enter(self.entries.clone());
        self.future.as_mut().poll(context)
    }
}

impl<F> fmt::Debug for InMetadataScope<F> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("InMetadataScope")
            .field("entries", &self.entries)
            .finish_non_exhaustive()
    }
}

/// Adds what the scopes of this thread say to the metadata of an event that is saved for the first time.
pub(crate) fn stamp_scope(metadata: &mut Metadata) {
    SCOPES.with_borrow(|scopes| {
        if let Some(scope) = scopes.last() {
            add_missing(metadata, scope);
        }
    });
}

/// What effects of this event carry; see [`MetadataScope::caused_by`].
fn of_effects(cause: &StoredEvent) -> Metadata {
    let causation = cause.event_id.to_string();
    let correlation = cause.metadata.get(CORRELATION_KEY).unwrap_or(&causation);
    Metadata::from([
        (CORRELATION_KEY.to_owned(), correlation.clone()),
        (CAUSATION_KEY.to_owned(), causation),
    ])
}

/// Adds the entries whose keys are not there yet.
fn add_missing(metadata: &mut Metadata, entries: &Metadata) {
    for (key, value) in entries {
        if !metadata.contains_key(key) {
            metadata.insert(key.clone(), value.clone());
        }
    }
}

/// Metadata key of the id of what an event belongs to: a UUID, hyphenated.
pub const CORRELATION_KEY: &str = "$correlation";

/// Metadata key of the id of the event that led to this one: a UUID, hyphenated.
pub const CAUSATION_KEY: &str = "$causation";

#[cfg(test)]
mod tests {
    use super::*;

    fn stamped(own: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        let mut metadata: Metadata = own.iter().map(owned).collect();
        stamp_scope(&mut metadata);
        metadata.into_iter().collect()
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        expected.iter().map(owned).collect()
    }

    #[test]
    fn inner_scopes_outweigh_outer_ones_and_the_events_own_metadata_both() {
        let _outer = MetadataScope::enter([("a", "1"), ("b", "1")]);
        {
            let _inner = MetadataScope::enter([("b", "2"), ("c", "2")]);
            let expected = [("a", "1"), ("b", "2"), ("c", "own")];
            assert_eq!(stamped(&[("c", "own")]), pairs(&expected));
        }
        assert_eq!(stamped(&[]), pairs(&[("a", "1"), ("b", "1")]));
    }

    #[test]
    fn a_scope_ends_with_the_one_around_it_and_does_not_leave_its_thread() {
        let outer = MetadataScope::enter([("a", "1")]);
        let inner = MetadataScope::enter([("b", "1")]);
        let elsewhere = std::thread::spawn(MetadataScope::current).join().unwrap();
        assert_eq!(elsewhere, Metadata::new());
        drop(outer);
        assert_eq!(stamped(&[]), []);
        let next = MetadataScope::enter([("c", "1")]);
        drop(inner);
        assert_eq!(stamped(&[]), pairs(&[("c", "1")]), "it had ended before");
        drop(next);
        assert_eq!(stamped(&[]), []);
    }

    #[test]
    fn effects_of_effects_keep_the_correlation() {
        let first = StoredEvent::new(Uuid::from_u128(1), "Asked", "");
        let effect = |cause: &StoredEvent, id| {
            let _scope = MetadataScope::caused_by(cause);
            let mut effect = StoredEvent::new(Uuid::from_u128(id), "Answered", "");
            stamp_scope(&mut effect.metadata);
            effect
        };
        let second = effect(&first, 2);
        let third = effect(&second, 3);
        let id = |event: &StoredEvent| event.event_id.to_string();
        for (event, cause) in [(&second, &first), (&third, &second)] {
            assert_eq!(event.metadata[CORRELATION_KEY], id(&first));
            assert_eq!(event.metadata[CAUSATION_KEY], id(cause));
        }
    }
}
