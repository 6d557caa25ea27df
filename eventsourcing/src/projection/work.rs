//! What a policy does: the new events that it has happen, gathered until they are stored together.
//!
//! What holds here:
//! - Nothing is stored before the whole batch is; a work that is dropped has done nothing.
//! - Aggregates loaded are kept: what an earlier event of the batch did to one, a later one sees.
//! - New events lie in the order of the events that caused them, and name them in their metadata: whoever calls a policy
//!   does so in a [`MetadataScope`](crate::MetadataScope) of the effects of one.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::time::SystemTime;

use crate::application::Error;
use crate::domain::{Aggregate, AggregateId, Event, FIRST_VERSION, Root};
use crate::persistence::{SelectEvents, StoredEvent, stamp_scope};

use super::ProcessApplication;
use super::timer::{CANCELLED, SET, Timer, timer_id};

/// What an event leads to: aggregates changed, added, and events of no aggregate. It is stored together with the
/// event's position, all of it or nothing, so that each event takes effect exactly once.
///
/// Everything else that a policy does it may do more than once, since an event that failed is tried again.
///
/// Each new event carries `$causation`, the id of the event that led to it, and `$correlation`, which it has from that
/// event, or that event's id when it began with it; metadata of its own with these keys stays. So does what the policy
/// saves by itself.
pub struct Work<'a> {
    application: &'a ProcessApplication,
    /// Roots in the order they were first asked for.
    held: Vec<Box<dyn Held>>,
    places: HashMap<(TypeId, AggregateId), usize>,
    /// Places of roots handed out for the event being processed.
    touched: Vec<usize>,
    events: Vec<StoredEvent>,
}

impl<'a> Work<'a> {
    pub(crate) fn new(application: &'a ProcessApplication) -> Self {
        Self {
            application,
            held: Vec::new(),
            places: HashMap::new(),
            touched: Vec::new(),
            events: Vec::new(),
        }
    }

    /// The application it is done in. What is saved through it is stored by itself, not with this work.
    pub fn application(&self) -> &'a ProcessApplication {
        self.application
    }

    /// An aggregate, to trigger events on, with what this work has done to it already.
    ///
    /// # Errors
    /// As [`Repository::get`](crate::Repository::get).
    pub fn get<A: Aggregate>(&mut self, id: &AggregateId) -> Result<&mut Root<A>, Error> {
        let key = (TypeId::of::<A>(), id.clone());
        match self.places.get(&key) {
            Some(place) => Ok(self.touch(*place)),
            None => {
                let root = self.application.repository().get::<A>(id)?;
                Ok(self.hold(key, root))
            }
        }
    }

    /// As [`Work::get`]; `None` when there is no such aggregate.
    ///
    /// # Errors
    /// As [`Repository::get`](crate::Repository::get), but for that.
    pub fn find<A: Aggregate>(&mut self, id: &AggregateId) -> Result<Option<&mut Root<A>>, Error> {
        match self.get(id) {
            Ok(root) => Ok(Some(root)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A new aggregate. That there was none with its id shows when the work is stored; when there is one, the event
    /// is tried again, and finds it.
    ///
    /// # Errors
    /// [`Error::Persistence`] when this work has such an aggregate already, or an event cannot be encoded.
    pub fn add<A: Aggregate>(&mut self, root: Root<A>) -> Result<&mut Root<A>, Error> {
        let key = (TypeId::of::<A>(), root.id().clone());
        match self.places.get(&key) {
            Some(_) => Err(Error::AlreadyAdded {
                id: root.id().clone(),
            }),
            None => Ok(self.hold(key, root)),
        }
    }

    /// Lets an event of no aggregate happen. Events triggered on aggregates before it are stored before it.
    ///
    /// # Errors
    /// [`Error::Persistence`] when an event cannot be encoded.
    pub fn record<E: Event>(&mut self, event: &E) -> Result<(), Error> {
        let event_id = self.application.new_event_id();
        let mapper = self.application.mapper();
        let stored = mapper
            .encode(event, event_id)
            .map_err(Error::persistence("record an event"))?;
        self.push(stored)
    }

    /// Has an event of no aggregate happen at a time: it is stored now, and recorded in this application when it is due,
    /// once, by the [runner](crate::Runner) of the system; a follower of this application sees it then. A timer of this
    /// name that is pending is replaced. `name`: 1..=248 bytes.
    ///
    /// # Errors
    /// [`Error::Domain`] for a name out of range; [`Error::Persistence`].
    pub fn set_timer<E: Event>(
        &mut self,
        name: &str,
        due: SystemTime,
        event: &E,
    ) -> Result<(), Error> {
        let (id, last) = self.timer(name)?;
        let since_epoch = due
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let (event_id, timer_event_id) = (
            self.application.new_event_id(),
            self.application.new_event_id(),
        );
        let set = || {
            let timer = Timer {
                due_us: u64::try_from(since_epoch.as_micros()).unwrap_or(u64::MAX),
                event: self.application.mapper().encode(event, event_id)?,
            };
            timer.write(timer_event_id)
        };
        let set = set().map_err(Error::persistence("set a timer"))?;
        let version = last.map_or(FIRST_VERSION, |(version, _)| version + 1);
        self.push(set.of(id, version))
    }

    /// Has a timer not go off; answers whether it was pending. When it goes off at the same moment, this event is tried
    /// again, and finds that it has.
    ///
    /// # Errors
    /// As [`Work::set_timer`].
    pub fn cancel_timer(&mut self, name: &str) -> Result<bool, Error> {
        let (id, last) = self.timer(name)?;
        let Some((version, true)) = last else {
            return Ok(false);
        };
        let cancelled = StoredEvent::new(self.application.new_event_id(), CANCELLED, "{}");
        self.push(cancelled.of(id, version + 1))?;
        Ok(true)
    }

    /// The aggregate that a timer is; its last version and whether it is set, if it was ever.
    fn timer(&self, name: &str) -> Result<(AggregateId, Option<(u64, bool)>), Error> {
        let id = timer_id(name)?;
        let state = |event: &StoredEvent| Some((event.version()?, event.topic == SET));
        let own = self.events.iter().rev();
        let mut own = own.filter(|event| event.aggregate_id() == Some(&id));
        if let Some(event) = own.next() {
            return Ok((id, state(event)));
        }
        let select = SelectEvents::all().desc().limit(1);
        let stored = self.application.recorder().select_events(&id, select);
        let stored = stored.map_err(Error::persistence("read a timer"))?;
        Ok((id, stored.first().and_then(|last| state(&last.event))))
    }

    /// An event as it is, after those triggered before it.
    fn push(&mut self, mut event: StoredEvent) -> Result<(), Error> {
        self.collect()?;
        stamp_scope(&mut event.metadata);
        self.events.push(event);
        Ok(())
    }

    /// Takes the events triggered since the last time, as effects of the event whose scope this is in.
    pub(crate) fn collect(&mut self) -> Result<(), Error> {
        for place in self.touched.drain(..) {
            self.held[place].collect(self.application, &mut self.events)?;
        }
        Ok(())
    }

    /// The events to be stored.
    pub(crate) fn into_events(mut self) -> Result<Vec<StoredEvent>, Error> {
        self.collect()?;
        Ok(self.events)
    }

    fn hold<A: Aggregate>(&mut self, key: (TypeId, AggregateId), root: Root<A>) -> &mut Root<A> {
        let place = self.held.len();
        self.held.push(Box::new(root));
        self.places.insert(key, place);
        self.touch(place)
    }

    fn touch<A: Aggregate>(&mut self, place: usize) -> &mut Root<A> {
        // Those that stand there already are collected in the order they were asked for first.
        if !self.touched.contains(&place) {
            self.touched.push(place);
        }
        let root = self.held[place].as_any_mut().downcast_mut();
        root.expect("a place is found by the type of its root")
    }
}

impl std::fmt::Debug for Work<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Work")
            .field("aggregates", &self.held.len())
            .field("events", &self.events.len())
            .finish_non_exhaustive()
    }
}

/// A root of whatever type.
trait Held {
    fn as_any_mut(&mut self) -> &mut dyn Any;

    /// Moves its pending events, in their stored form.
    fn collect(
        &mut self,
        application: &ProcessApplication,
        events: &mut Vec<StoredEvent>,
    ) -> Result<(), Error>;
}

impl<A: Aggregate> Held for Root<A> {
    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }

    fn collect(
        &mut self,
        application: &ProcessApplication,
        events: &mut Vec<StoredEvent>,
    ) -> Result<(), Error> {
        for event in self.pending_mut() {
            let event_id = *event
                .event_id
                .get_or_insert_with(|| application.new_event_id());
            stamp_scope(&mut event.metadata);
            let stored = application.mapper().to_stored(event, event_id);
            events.push(stored.map_err(Error::persistence("record an event"))?);
        }
        // They are the work's now; should it not be stored, this root is gone with it.
        self.saved(None);
        Ok(())
    }
}
