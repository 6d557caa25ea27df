//! Events in memory, gone with the recorder: for tests, and the twin that tells what the log must do.
//!
//! One lock around everything, one condition for whoever waits. An insert is checked whole before
//! anything is changed, so that a refused one leaves no trace.

mod query_index;
mod snapshots;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use annals_segments::{Clock, SystemClock};
use parking_lot::{Condvar, Mutex};
use query_index::QueryIndex;
use uuid::Uuid;

use super::memory_snapshots::SnapshotMap;
use crate::domain::AggregateId;
use crate::persistence::{
    AggregateRecorder, AppendCondition, ApplicationRecorder, ConditionalAppend, DcbRecorder,
    Durability, Follow, Found, Notification, Origin, PersistenceError, ProcessRecorder, Query,
    QueryItem, Recorded, Recorder, SelectEvents, SelectNotifications, StopHandle, StoredEvent,
    Subscription, Tracking, TrackingRecorder, Update, recognise,
};

/// Keeps events in memory. Inserts are as durable as the process, whatever [`Durability`] says.
#[derive(Debug)]
pub struct MemoryRecorder {
    shared: Arc<Shared>,
}

impl MemoryRecorder {
    /// An empty recorder.
    pub fn new() -> Self {
        Self::with_clock(SystemClock)
    }

    /// An empty recorder that takes the time of events from `clock`.
    pub fn with_clock(clock: impl Clock + 'static) -> Self {
        let (state, changed) = Default::default();
        Self {
            shared: Arc::new(Shared {
                clock: Arc::new(clock),
                state,
                changed,
            }),
        }
    }

    fn insert(&self, append: ConditionalAppend) -> Result<Vec<Recorded>, PersistenceError> {
        let ConditionalAppend {
            events,
            conditions,
            tracking,
        } = append;
        events.iter().try_for_each(StoredEvent::check)?;
        tracking.iter().try_for_each(Tracking::check)?;
        let mut state = self.shared.state.lock();
        state.check_open()?;
        let checked = state.check(&events, &conditions, tracking.as_ref());
        let may_be_there = match &checked {
            // Versions that are free say that it is not.
            Ok(()) => events.iter().any(|event| event.origin.is_none()),
            Err(error) => error.is_conflict() || error.is_processed(),
        };
        if may_be_there && let Some(there) = state.recognise(&events, tracking.as_ref())? {
            return Ok(there);
        }
        checked?;

        let now_us = self.shared.clock.now_us();
        let recorded = events
            .into_iter()
            .map(|event| state.push(event, now_us))
            .collect();
        if let Some(Tracking { name, position }) = tracking {
            state.tracking.insert(name, position);
        }
        self.shared.changed.notify_all();
        Ok(recorded)
    }

    fn follow(&self, query: Query, after: u64) -> Subscription {
        Subscription::new(MemorySubscription {
            shared: self.shared.clone(),
            query,
            looked_at: after,
            stopped: Arc::default(),
        })
    }
}

/// Subscriptions end, as they do when it is closed: nothing will come any more.
impl Drop for MemoryRecorder {
    fn drop(&mut self) {
        self.shared.state.lock().closed = true;
        self.shared.changed.notify_all();
    }
}

impl Default for MemoryRecorder {
    fn default() -> Self {
        Self::new()
    }
}

impl Recorder for MemoryRecorder {
    fn close(&self) -> Result<(), PersistenceError> {
        self.shared.state.lock().closed = true;
        self.shared.changed.notify_all();
        Ok(())
    }

    fn blocks(&self) -> bool {
        false
    }
}

impl AggregateRecorder for MemoryRecorder {
    fn insert_events(
        &self,
        events: Vec<StoredEvent>,
        _: Durability,
    ) -> Result<Vec<Recorded>, PersistenceError> {
        match events.is_empty() {
            true => Ok(Vec::new()),
            false => self.insert(ConditionalAppend::new(events)),
        }
    }

    fn select_events(
        &self,
        aggregate_id: &AggregateId,
        select: SelectEvents,
    ) -> Result<Vec<Notification>, PersistenceError> {
        let state = self.shared.state.lock();
        let places = state
            .aggregates
            .get(aggregate_id)
            .map_or(&[][..], Vec::as_slice);
        let chosen = places
            .iter()
            .map(|place| &state.notifications[*place])
            .filter(|notification| {
                let version = notification.event.version();
                select.gt.is_none_or(|gt| version > Some(gt))
                    && select.lte.is_none_or(|lte| version <= Some(lte))
            });
        let limit = select.limit.unwrap_or(usize::MAX);
        Ok(match select.desc {
            false => chosen.take(limit).cloned().collect(),
            true => chosen.rev().take(limit).cloned().collect(),
        })
    }

    fn last_version(&self, aggregate_id: &AggregateId) -> Result<Option<u64>, PersistenceError> {
        Ok(self.shared.state.lock().last_version(aggregate_id))
    }
}

impl ApplicationRecorder for MemoryRecorder {
    fn select_notifications(
        &self,
        select: &SelectNotifications,
    ) -> Result<Vec<Notification>, PersistenceError> {
        let Some((first, last)) = select.positions() else {
            return Ok(Vec::new());
        };
        let state = self.shared.state.lock();
        Ok(state
            .matching(&topic_query(&select.topics), first - 1)
            .take_while(|notification| notification.position <= last)
            .take(select.limit)
            .cloned()
            .collect())
    }

    fn max_position(&self) -> Result<Option<u64>, PersistenceError> {
        Ok(self
            .shared
            .state
            .lock()
            .notifications
            .last()
            .map(|last| last.position))
    }

    fn subscribe(&self, after: u64, topics: &[&str]) -> Result<Subscription, PersistenceError> {
        Ok(self.follow(topic_query(topics), after))
    }
}

impl TrackingRecorder for MemoryRecorder {
    fn insert_tracking(&self, tracking: Tracking) -> Result<(), PersistenceError> {
        self.insert(ConditionalAppend::default().tracking(tracking))
            .map(drop)
    }

    fn max_tracking(&self, name: &str) -> Result<Option<u64>, PersistenceError> {
        Ok(self.shared.state.lock().tracking.get(name).copied())
    }

    fn wait(&self, name: &str, position: u64, timeout: Duration) -> Result<(), PersistenceError> {
        let mut state = self.shared.state.lock();
        let is_behind = |state: &mut State| {
            state
                .tracking
                .get(name)
                .is_none_or(|reached| *reached < position)
        };
        self.shared.changed.wait_while_for(
            &mut state,
            |state| is_behind(state) && !state.closed,
            timeout,
        );
        if !is_behind(&mut state) {
            return Ok(());
        }
        state.check_open()?;
        let reached = state.tracking.get(name).copied();
        Err(PersistenceError::WaitTimeout {
            name: name.to_owned(),
            position,
            reached,
            timeout,
        })
    }
}

impl ProcessRecorder for MemoryRecorder {
    fn insert_events_tracked(
        &self,
        events: Vec<StoredEvent>,
        tracking: Tracking,
        _: Durability,
    ) -> Result<Vec<Recorded>, PersistenceError> {
        self.insert(ConditionalAppend::new(events).tracking(tracking))
    }
}

impl DcbRecorder for MemoryRecorder {
    fn append(
        &self,
        append: ConditionalAppend,
        _: Durability,
    ) -> Result<Vec<Recorded>, PersistenceError> {
        match append.events.is_empty() {
            true => Err(PersistenceError::NoEvents),
            false => self.insert(append),
        }
    }

    fn read(
        &self,
        query: &Query,
        after: u64,
        limit: Option<usize>,
    ) -> Result<Found, PersistenceError> {
        let state = self.shared.state.lock();
        let notifications: Vec<_> = state
            .matching(query, after)
            .take(limit.unwrap_or(usize::MAX))
            .cloned()
            .collect();
        let last = match limit {
            None => state.notifications.last(),
            Some(_) => notifications.last(),
        };
        Ok(Found {
            head: last.map(|last| last.position),
            notifications,
        })
    }

    fn subscribe_query(&self, query: &Query, after: u64) -> Result<Subscription, PersistenceError> {
        Ok(self.follow(query.clone(), after))
    }
}

#[derive(Debug)]
struct Shared {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// The notification at position `p` is in place `p - 1`.
    notifications: Vec<Notification>,
    /// Places of an aggregate's events, ascending by version.
    aggregates: HashMap<AggregateId, Vec<usize>>,
    /// Places of events of no aggregate, by their ids.
    without_aggregate: HashMap<Uuid, usize>,
    index: QueryIndex,
    tracking: HashMap<String, u64>,
    snapshots: SnapshotMap,
    closed: bool,
}

impl State {
    fn check_open(&self) -> Result<(), PersistenceError> {
        match self.closed {
            true => Err(PersistenceError::Closed),
            false => Ok(()),
        }
    }

    fn check(
        &self,
        events: &[StoredEvent],
        conditions: &[AppendCondition],
        tracking: Option<&Tracking>,
    ) -> Result<(), PersistenceError> {
        self.check_versions(events)?;
        tracking.map_or(Ok(()), |tracking| self.check_tracking(tracking))?;
        self.check_conditions(conditions)
    }

    fn recognise(
        &self,
        events: &[StoredEvent],
        tracking: Option<&Tracking>,
    ) -> Result<Option<Vec<Recorded>>, PersistenceError> {
        let is_tracked = tracking.map(|tracking| self.check_tracking(tracking).is_err());
        recognise(events, is_tracked, |event| {
            let place = match &event.origin {
                None => self.without_aggregate.get(&event.event_id).copied(),
                Some(origin) => self.place(origin),
            };
            Ok(place.map(|place| self.notifications[place].clone()))
        })
    }

    /// Place of the event at a version.
    fn place(&self, origin: &Origin) -> Option<usize> {
        let places = self.aggregates.get(&origin.aggregate_id)?;
        let version = |place: &usize| self.notifications[*place].event.version();
        let found = places.binary_search_by_key(&Some(origin.version), version);
        found.ok().map(|found| places[found])
    }

    fn check_versions(&self, events: &[StoredEvent]) -> Result<(), PersistenceError> {
        let mut last_versions = HashMap::new();
        for origin in events.iter().filter_map(|event| event.origin.as_ref()) {
            let id = &origin.aggregate_id;
            let last = last_versions
                .entry(id)
                .or_insert_with(|| self.last_version(id));
            if last.is_some_and(|last| origin.version <= last) {
                let (aggregate_id, version) = (id.clone(), origin.version);
                return Err(PersistenceError::VersionConflict {
                    aggregate_id,
                    version,
                    last: *last,
                });
            }
            *last = Some(origin.version);
        }
        Ok(())
    }

    fn check_tracking(&self, tracking: &Tracking) -> Result<(), PersistenceError> {
        let Tracking { name, position } = tracking;
        match self.tracking.get(name) {
            Some(recorded) if position <= recorded => Err(PersistenceError::TrackingConflict {
                name: name.clone(),
                position: *position,
                recorded: *recorded,
            }),
            _ => Ok(()),
        }
    }

    fn check_conditions(&self, conditions: &[AppendCondition]) -> Result<(), PersistenceError> {
        for (
            condition,
            AppendCondition {
                fail_if_match,
                after,
            },
        ) in conditions.iter().enumerate()
        {
            let found = self.matching(fail_if_match, *after);
            let positions: Vec<_> = found
                .map(|notification| notification.position)
                .take(POSITIONS_MAX)
                .collect();
            if !positions.is_empty() {
                return Err(PersistenceError::ConditionConflict {
                    condition,
                    after: *after,
                    positions,
                    head: self.notifications.len() as u64,
                });
            }
        }
        Ok(())
    }

    fn last_version(&self, id: &AggregateId) -> Option<u64> {
        let place = self.aggregates.get(id)?.last()?;
        self.notifications[*place].event.version()
    }

    fn push(&mut self, mut event: StoredEvent, now_us: u64) -> Recorded {
        event.tags.sort_unstable();
        event.tags.dedup();
        let place = self.notifications.len();
        match event.aggregate_id() {
            Some(id) => self.aggregates.entry(id.clone()).or_default().push(place),
            None => drop(self.without_aggregate.insert(event.event_id, place)),
        }
        self.index.push(&event, place);
        let position = place as u64 + 1;
        let time_us = self
            .notifications
            .last()
            .map_or(now_us, |last| last.time_us.max(now_us));
        self.notifications.push(Notification {
            position,
            time_us,
            event,
        });
        Recorded {
            position,
            time_us: Some(time_us),
        }
    }

    /// The notifications behind a position that match, ascending.
    fn matching<'s>(
        &'s self,
        query: &'s Query,
        position: u64,
    ) -> Box<dyn Iterator<Item = &'s Notification> + 's> {
        let start = usize::try_from(position).unwrap_or(usize::MAX);
        let behind = || self.notifications.get(start..).unwrap_or_default();
        match self.index.candidates(query, start) {
            None => Box::new(behind().iter()),
            Some(places) => Box::new(
                places
                    .map(|place| &self.notifications[place])
                    .filter(|notification| query.matches(&notification.event)),
            ),
        }
    }
}

#[derive(Debug)]
struct MemorySubscription {
    shared: Arc<Shared>,
    query: Query,
    looked_at: u64,
    stopped: Arc<AtomicBool>,
}

impl MemorySubscription {
    /// The next notification; `None` when nothing came in time, it is stopped, or, if that is `told`, positions were
    /// looked at in vain.
    fn look(&mut self, timeout: Option<Duration>, told: bool) -> Option<Notification> {
        let Self {
            shared,
            query,
            looked_at,
            stopped,
        } = self;
        let is_over = |state: &State| state.closed || stopped.load(Ordering::SeqCst);
        let before = *looked_at;
        let mut next = None;
        let mut look = |state: &mut State| {
            if is_over(state) {
                return false;
            }
            if let Some(notification) = state.matching(query, *looked_at).next() {
                *looked_at = notification.position;
                next = Some(notification.clone());
                return false;
            }
            *looked_at = (*looked_at).max(state.notifications.len() as u64);
            !(told && *looked_at > before)
        };
        let mut state = shared.state.lock();
        match timeout {
            Some(timeout) => drop(
                shared
                    .changed
                    .wait_while_for(&mut state, &mut look, timeout),
            ),
            None => shared.changed.wait_while(&mut state, &mut look),
        }
        next
    }
}

impl Follow for MemorySubscription {
    fn next_within(
        &mut self,
        timeout: Option<Duration>,
    ) -> Option<Result<Notification, PersistenceError>> {
        self.look(timeout, false).map(Ok)
    }

    fn next_update(
        &mut self,
        timeout: Option<Duration>,
    ) -> Option<Result<Update, PersistenceError>> {
        let before = self.looked_at;
        match self.look(timeout, true) {
            Some(notification) => Some(Ok(Update::Notification(notification))),
            None if self.looked_at == before || self.is_stopped() => None,
            None => Some(Ok(Update::LookedAt(self.looked_at))),
        }
    }

    fn position(&self) -> u64 {
        self.looked_at
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst) || self.shared.state.lock().closed
    }

    fn stop_handle(&self) -> StopHandle {
        let (shared, stopped) = (self.shared.clone(), self.stopped.clone());
        StopHandle::new(move || {
            stopped.store(true, Ordering::SeqCst);
            // Under the lock, or a thread between looking and waiting would sleep on.
            let _state = shared.state.lock();
            shared.changed.notify_all();
        })
    }
}

/// Events of any of these topics; without topics, every event.
fn topic_query<T: AsRef<str>>(topics: &[T]) -> Query {
    let item = topics
        .iter()
        .fold(QueryItem::new(), |item, topic| item.topic(topic.as_ref()));
    item.into()
}

/// Positions that a conflict tells: enough to show, whatever the number of matches.
const POSITIONS_MAX: usize = 16;
