//! Sequences without a state: a log of what there is, read from either end.

use std::fmt;
use std::marker::PhantomData;

use super::{Error, Repository};
use crate::domain::{Aggregate, AggregateId, DomainEvent, Event, FIRST_VERSION, Root};
use crate::persistence::SelectEvents;

/// An aggregate that is nothing but its events, of which there may be any number: a list of registered ids, to find
/// aggregates by; a journal.
///
/// [`Repository::event_log`] gets it without reading the events it has, and [`Repository::events`] reads some of them.
/// Saved together with what it lists, it lists that or neither is stored. Whoever adds to it meanwhile is in conflict:
/// where many do, look for the first events of the aggregates by their topic instead
/// ([`SelectNotifications::topics`](crate::SelectNotifications::topics)), which costs no log.
///
/// ```
/// use annals::{AggregateId, Application, Event, SelectEvents};
///
/// #[derive(Debug, PartialEq, Event)]
/// struct PageAdded {
///     slug: String,
/// }
///
/// let app = Application::in_memory();
/// let pages = AggregateId::text("pages")?;
/// for slug in ["welcome", "about"] {
///     let mut log = app.repository().event_log::<PageAdded>(&pages)?;
///     log.trigger(PageAdded { slug: slug.into() });
///     app.save(&mut log)?;
/// }
/// let newest = app.repository().events::<PageAdded>(&pages, SelectEvents::all().desc().limit(1))?;
/// assert_eq!(newest[0].event.slug, "about");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct EventLog<E> {
    events: PhantomData<fn() -> E>,
}

impl<E> EventLog<E> {
    const EMPTY: Self = Self {
        events: PhantomData,
    };
}

impl<E: Event> Aggregate for EventLog<E> {
    type Event = E;

    fn start(_: &E) -> Option<Self> {
        Some(Self::EMPTY)
    }

    fn apply(&mut self, _: &E) {}
}

impl<E> fmt::Debug for EventLog<E> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("EventLog")
    }
}

impl Repository<'_> {
    /// A log of events to add to, empty or not, without reading those it has. It knows no times.
    ///
    /// # Errors
    /// [`Error::Persistence`].
    pub fn event_log<E: Event>(&self, id: &AggregateId) -> Result<Root<EventLog<E>>, Error> {
        let doing = "look for a log of events";
        self.application.check_open(doing)?;
        let last = self.application.recorder.last_version(id);
        let version = last
            .map_err(Error::persistence(doing))?
            .unwrap_or(FIRST_VERSION - 1);
        Ok(Root::restore(
            id.clone(),
            version,
            EventLog::EMPTY,
            None,
            None,
        ))
    }

    /// Events of an aggregate of any kind, decoded, in the order asked for; none when it has none. Of types that are
    /// unknown the mapper's [policy](crate::Mapper::unknown_events) says whether they are passed over.
    ///
    /// # Errors
    /// [`Error::Persistence`].
    pub fn events<E: Event>(
        &self,
        id: &AggregateId,
        select: SelectEvents,
    ) -> Result<Vec<DomainEvent<E>>, Error> {
        let doing = "read events of an aggregate";
        self.application.check_open(doing)?;
        let found = self.application.recorder.select_events(id, select);
        found
            .map_err(Error::persistence(doing))?
            .into_iter()
            .filter_map(|stored| self.application.mapper.to_domain_known(stored).transpose())
            .collect::<Result<_, _>>()
            .map_err(Error::persistence(doing))
    }
}
