//! An aggregate with its identity, version and new events.
//!
//! - The state is reached by `&A` only: it cannot change without an event.
//! - The version is that of the last event applied, pending ones included.
//! - An event that does not fit leaves the root as it was.

use std::fmt;
use std::ops::Deref;
use std::time::SystemTime;

use super::domain_event::system_time;
use super::{Aggregate, AggregateId, DomainError, DomainEvent, Metadata, topic_of};

/// An aggregate in the hand: its state (by `Deref`), id, version, and the events not yet saved.
///
/// ```
/// # use annals::{Aggregate, AggregateId, Event, Root};
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # enum Counted { Zero, More { by: u32 } }
/// # impl Event for Counted {}
/// # struct Counter { value: u32 }
/// # impl Aggregate for Counter {
/// #     type Event = Counted;
/// #     fn start(event: &Counted) -> Option<Self> {
/// #         matches!(event, Counted::Zero).then(|| Counter { value: 0 })
/// #     }
/// #     fn apply(&mut self, event: &Counted) {
/// #         if let Counted::More { by } = event { self.value += by }
/// #     }
/// # }
/// let mut counter = Root::<Counter>::new(AggregateId::text("visitors")?, Counted::Zero)?;
/// counter.trigger(Counted::More { by: 3 });
/// assert_eq!((counter.value, counter.version(), counter.pending().len()), (3, 2, 2));
/// # Ok::<(), annals::DomainError>(())
/// ```
pub struct Root<A: Aggregate> {
    id: AggregateId,
    version: u64,
    state: A,
    pending: Vec<DomainEvent<A::Event>>,
    created_us: Option<u64>,
    modified_us: Option<u64>,
}

impl<A: Aggregate> Root<A> {
    /// A new aggregate with its first event, which is pending.
    ///
    /// That no other aggregate has this id shows when it is saved.
    ///
    /// # Errors
    /// [`DomainError::NotAFirstEvent`] when [`Aggregate::start`] does not accept it.
    pub fn new(id: impl Into<AggregateId>, event: A::Event) -> Result<Self, DomainError> {
        let mut root = Self::begin(id.into(), FIRST_VERSION, &event)?;
        root.pending.push(root.envelope(event, Metadata::new()));
        Ok(root)
    }

    /// A new aggregate in the state that its first event, which is pending, leaves: for those who know it already.
    pub(crate) fn with_first(id: AggregateId, state: A, event: A::Event) -> Self {
        let mut root = Self::at_version(id, FIRST_VERSION, state);
        root.pending.push(root.envelope(event, Metadata::new()));
        root
    }

    /// An aggregate to which nothing has happened.
    pub(crate) fn before_first(id: AggregateId, state: A) -> Self {
        Self::at_version(id, FIRST_VERSION - 1, state)
    }

    /// The aggregate that its stored events add up to; `None` when there are none.
    ///
    /// # Errors
    /// [`DomainError::NotAFirstEvent`], [`DomainError::AggregateIdMismatch`],
    /// [`DomainError::VersionMismatch`].
    pub fn replay(
        events: impl IntoIterator<Item = DomainEvent<A::Event>>,
    ) -> Result<Option<Self>, DomainError> {
        let mut root: Option<Self> = None;
        for stored in events {
            let (id, version, time_us) = (stored.aggregate_id, stored.version, stored.time_us);
            match &mut root {
                Some(root) => root.advance_by(&id, version, time_us, Some(stored.event))?,
                None => root = Some(Self::begin_stored(id, version, time_us, &stored.event)?),
            }
        }
        Ok(root)
    }

    /// An aggregate as its first stored event leaves it.
    pub(crate) fn begin_stored(
        id: AggregateId,
        version: u64,
        time_us: Option<u64>,
        event: &A::Event,
    ) -> Result<Self, DomainError> {
        let mut root = Self::begin(id, version, event)?;
        root.created_us = time_us;
        root.modified_us = time_us;
        Ok(root)
    }

    /// As [`Root::advance`], of an event that nobody needs any more; `None` stands for one the program does not know, which
    /// is counted and changes nothing else.
    pub(crate) fn advance_by(
        &mut self,
        id: &AggregateId,
        version: u64,
        time_us: Option<u64>,
        event: Option<A::Event>,
    ) -> Result<(), DomainError> {
        self.check_next(id, version)?;
        if let Some(event) = event {
            self.state.apply_owned(event);
        }
        self.version = version;
        self.modified_us = time_us;
        Ok(())
    }

    /// Applies the next stored event.
    ///
    /// # Errors
    /// [`DomainError::AggregateIdMismatch`], [`DomainError::VersionMismatch`], and
    /// [`DomainError::PendingEvents`] when it has events of its own that are not saved.
    pub fn advance(&mut self, stored: &DomainEvent<A::Event>) -> Result<(), DomainError> {
        self.check_next(&stored.aggregate_id, stored.version)?;
        self.state.apply(&stored.event);
        self.version = stored.version;
        self.modified_us = stored.time_us;
        Ok(())
    }

    /// Lets an event happen: applies it and keeps it pending until the aggregate is saved.
    pub fn trigger(&mut self, event: A::Event) {
        self.trigger_with(event, Metadata::new());
    }

    /// As [`Root::trigger`], with metadata that is stored beside the event.
    pub fn trigger_with(&mut self, event: A::Event, metadata: Metadata) {
        self.state.apply(&event);
        self.version += 1;
        let event = self.envelope(event, metadata);
        self.pending.push(event);
    }

    /// Its identity.
    pub fn id(&self) -> &AggregateId {
        &self.id
    }

    /// Version of its last event, pending ones included; 1 after the first.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The events that happened since it was loaded or saved, oldest first.
    pub fn pending(&self) -> &[DomainEvent<A::Event>] {
        &self.pending
    }

    /// When its first event was stored; `None` before that, and while the store has not told.
    pub fn created_at(&self) -> Option<SystemTime> {
        self.created_us.map(system_time)
    }

    /// When its last stored event was stored; `None` before there is one, and while the store has not told.
    /// Pending events do not count: the store assigns the time.
    pub fn modified_at(&self) -> Option<SystemTime> {
        self.modified_us.map(system_time)
    }

    /// A copy as it is stored. It has no pending events.
    pub(crate) fn copy(&self) -> Self
    where
        A: Clone,
    {
        Self {
            id: self.id.clone(),
            version: self.version,
            state: self.state.clone(),
            pending: Vec::new(),
            created_us: self.created_us,
            modified_us: self.modified_us,
        }
    }

    /// An aggregate as it was stored at some version.
    pub(crate) fn restore(
        id: AggregateId,
        version: u64,
        state: A,
        created_us: Option<u64>,
        modified_us: Option<u64>,
    ) -> Self {
        Self {
            id,
            version,
            state,
            pending: Vec::new(),
            created_us,
            modified_us,
        }
    }

    /// See [`Root::created_at`]; microseconds since the Unix epoch.
    pub(crate) fn created_us(&self) -> Option<u64> {
        self.created_us
    }

    /// See [`Root::modified_at`]; microseconds since the Unix epoch.
    pub(crate) fn modified_us(&self) -> Option<u64> {
        self.modified_us
    }

    /// Its pending events, for giving them what they need to be stored.
    pub(crate) fn pending_mut(&mut self) -> &mut [DomainEvent<A::Event>] {
        &mut self.pending
    }

    /// Drains the pending events, which were stored together at this time, if that is known.
    pub(crate) fn saved(&mut self, time_us: Option<u64>) {
        let was_new = self
            .pending
            .first()
            .is_some_and(|event| event.version == FIRST_VERSION);
        if was_new {
            self.created_us = time_us;
        }
        if !self.pending.is_empty() {
            self.modified_us = time_us;
        }
        self.pending.clear();
    }

    fn begin(id: AggregateId, version: u64, event: &A::Event) -> Result<Self, DomainError> {
        check_version(&id, FIRST_VERSION, version)?;
        match A::start(event) {
            Some(state) => Ok(Self::at_version(id, version, state)),
            None => Err(DomainError::NotAFirstEvent {
                id,
                topic: topic_of(event).unwrap_or_default(),
            }),
        }
    }

    /// That a stored event is the one behind the last, and this root one of stored events only.
    fn check_next(&self, id: &AggregateId, version: u64) -> Result<(), DomainError> {
        if !self.pending.is_empty() {
            return Err(DomainError::PendingEvents {
                id: self.id.clone(),
                pending: self.pending.len(),
            });
        }
        if *id != self.id {
            return Err(DomainError::AggregateIdMismatch {
                expected: self.id.clone(),
                found: id.clone(),
            });
        }
        check_version(&self.id, self.version + 1, version)
    }

    fn at_version(id: AggregateId, version: u64, state: A) -> Self {
        Self {
            id,
            version,
            state,
            pending: Vec::new(),
            created_us: None,
            modified_us: None,
        }
    }

    fn envelope(&self, event: A::Event, metadata: Metadata) -> DomainEvent<A::Event> {
        let (aggregate_id, version) = (self.id.clone(), self.version);
        DomainEvent {
            aggregate_id,
            version,
            event_id: None,
            time_us: None,
            metadata,
            event,
        }
    }
}

impl<A: Aggregate> Deref for Root<A> {
    type Target = A;

    fn deref(&self) -> &A {
        &self.state
    }
}

/// The same aggregate at the same version in the same state, with as many events that are not saved.
impl<A: Aggregate + PartialEq> PartialEq for Root<A> {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
            && self.version == other.version
            && self.pending.len() == other.pending.len()
            && self.state == other.state
    }
}

impl<A: Aggregate + Eq> Eq for Root<A> {}

impl<A: Aggregate + fmt::Debug> fmt::Debug for Root<A> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Root")
            .field("id", &self.id)
            .field("version", &self.version)
            .field("state", &self.state)
            .field("pending", &self.pending.len())
            .finish_non_exhaustive()
    }
}

fn check_version(id: &AggregateId, expected: u64, found: u64) -> Result<(), DomainError> {
    match found == expected {
        true => Ok(()),
        false => Err(DomainError::VersionMismatch {
            id: id.clone(),
            expected,
            found,
        }),
    }
}

/// Version of the first event of an aggregate.
pub const FIRST_VERSION: u64 = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Event;

    #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    enum LampEvent {
        Mounted,
        Switched { on: bool },
    }

    impl Event for LampEvent {}

    #[derive(Debug, PartialEq)]
    struct Lamp {
        on: bool,
    }

    impl Aggregate for Lamp {
        type Event = LampEvent;

        fn start(event: &LampEvent) -> Option<Self> {
            (*event == LampEvent::Mounted).then_some(Self { on: false })
        }

        fn apply(&mut self, event: &LampEvent) {
            if let LampEvent::Switched { on } = event {
                self.on = *on;
            }
        }
    }

    fn id() -> AggregateId {
        AggregateId::text("lamp").unwrap()
    }

    fn stored(version: u64, event: LampEvent) -> DomainEvent<LampEvent> {
        let (aggregate_id, time_us) = (id(), Some(1000 + version));
        DomainEvent {
            aggregate_id,
            version,
            event_id: None,
            time_us,
            metadata: Metadata::new(),
            event,
        }
    }

    fn history() -> [DomainEvent<LampEvent>; 2] {
        [
            stored(1, LampEvent::Mounted),
            stored(2, LampEvent::Switched { on: true }),
        ]
    }

    #[test]
    fn an_event_changes_state_and_version_and_is_pending() {
        let mut lamp = Root::<Lamp>::new(id(), LampEvent::Mounted).unwrap();
        assert_eq!((lamp.version(), lamp.on), (1, false));

        let metadata = Metadata::from([("user".to_owned(), "ann".to_owned())]);
        lamp.trigger_with(LampEvent::Switched { on: true }, metadata.clone());

        assert_eq!((lamp.version(), lamp.on), (2, true));
        let versions: Vec<_> = lamp.pending().iter().map(|event| event.version).collect();
        assert_eq!(versions, [1, 2]);
        assert_eq!(lamp.pending()[1].metadata, metadata);
        assert_eq!((lamp.created_at(), lamp.modified_at()), (None, None));
    }

    #[test]
    fn replay_gives_back_the_state_with_nothing_pending() {
        let lamp = Root::<Lamp>::replay(history()).unwrap().unwrap();
        assert_eq!(
            (lamp.version(), lamp.on, lamp.pending().len()),
            (2, true, 0)
        );
        assert_eq!(lamp.created_at(), Some(system_time(1001)));
        assert_eq!(lamp.modified_at(), Some(system_time(1002)));
        assert!(Root::<Lamp>::replay([]).unwrap().is_none());
    }

    #[test]
    fn saving_drains_the_pending_events_and_sets_the_times() {
        let mut lamp = Root::<Lamp>::new(id(), LampEvent::Mounted).unwrap();
        lamp.saved(Some(5));
        lamp.trigger(LampEvent::Switched { on: true });
        lamp.saved(Some(7));
        assert!(lamp.pending().is_empty());
        assert_eq!(lamp.created_at(), Some(system_time(5)));
        assert_eq!(lamp.modified_at(), Some(system_time(7)));
    }

    #[test]
    fn an_aggregate_begins_with_a_first_event_only() {
        let event = LampEvent::Switched { on: true };
        let refused = Root::<Lamp>::new(id(), event).unwrap_err();
        assert_eq!(
            refused,
            DomainError::NotAFirstEvent {
                id: id(),
                topic: "Switched"
            }
        );
    }

    #[test]
    fn a_gap_a_repetition_and_a_late_beginning_are_refused() {
        let [first, second] = history();
        for (events, expected, found) in [
            (vec![first.clone(), stored(3, LampEvent::Mounted)], 2, 3),
            (vec![first.clone(), first.clone()], 2, 1),
            (vec![second.clone()], 1, 2),
        ] {
            let refused = Root::<Lamp>::replay(events).unwrap_err();
            assert_eq!(
                refused,
                DomainError::VersionMismatch {
                    id: id(),
                    expected,
                    found
                }
            );
        }
    }

    #[test]
    fn an_event_of_another_aggregate_is_refused_and_changes_nothing() {
        let [first, mut second] = history();
        second.aggregate_id = AggregateId::text("other").unwrap();
        let mut lamp = Root::<Lamp>::replay([first]).unwrap().unwrap();
        let refused = lamp.advance(&second).unwrap_err();
        assert!(matches!(refused, DomainError::AggregateIdMismatch { .. }));
        assert_eq!((lamp.version(), lamp.on), (1, false));
    }

    #[test]
    fn equal_is_the_same_aggregate_at_the_same_version_in_the_same_state() {
        let lamp = || Root::<Lamp>::new(id(), LampEvent::Mounted).unwrap();
        assert_eq!(lamp(), lamp());
        let mut saved = lamp();
        saved.saved(Some(5));
        assert_ne!(saved, lamp(), "other events are pending");
        let replayed = Root::<Lamp>::replay([history()[0].clone()]).unwrap();
        assert_eq!(Some(saved), replayed, "whenever that was");

        let mut on = lamp();
        on.trigger(LampEvent::Switched { on: true });
        let mut off = lamp();
        off.trigger(LampEvent::Switched { on: false });
        assert_ne!(on, off);
        assert_ne!(off, lamp(), "another version, the same state");
        let other = AggregateId::text("other").unwrap();
        assert_ne!(
            Root::<Lamp>::new(other, LampEvent::Mounted).unwrap(),
            lamp()
        );
    }

    #[test]
    fn history_behind_pending_events_is_refused() {
        let [_, second] = history();
        let mut lamp = Root::<Lamp>::new(id(), LampEvent::Mounted).unwrap();
        assert_eq!(
            lamp.advance(&second),
            Err(DomainError::PendingEvents {
                id: id(),
                pending: 1
            })
        );
    }
}
