//! Projections, and the thread that runs one.

use std::fmt;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use annals_segments::Clock;

use super::beginning::Beginning;
use super::steps::{Sink, Trouble};
use super::{Failure, FollowOptions, Follower, Incoming, Notified, Panicked, ProjectionError};
use crate::application::Application;
use crate::persistence::{
    DeadLetter, Mapper, Notification, PersistenceError, Step, Tracking, View,
};

/// Rows made of events: what is done to the rows of a view when an event has happened.
///
/// What it knows it must keep in the view: events may be processed again after a failure, and a restart begins with a
/// new projection. For the same reason it should do nothing but change rows.
pub trait Projection<V: View>: Send + 'static {
    /// What it reads: an event type, or [one of several](crate::one_of). No other events reach it.
    type Event: Incoming;

    /// Changes the rows for an event.
    ///
    /// # Errors
    /// Any: what was changed is taken back, and the event tried again, as [`FollowOptions`] say.
    fn process(
        &mut self,
        event: &Notified<Self::Event>,
        rows: &mut V::Rows<'_>,
    ) -> Result<(), Failure>;

    /// Changes the rows for events of one transaction, ascending by position. One after the other by default.
    ///
    /// # Errors
    /// As [`Projection::process`]. Of a batch that fails each event is processed in a transaction of its own.
    fn process_batch(
        &mut self,
        events: &[Notified<Self::Event>],
        rows: &mut V::Rows<'_>,
    ) -> Result<(), Failure> {
        events
            .iter()
            .try_for_each(|event| self.process(event, rows))
    }
}

/// Keeps a view up to date with an application, in a thread of its own, until it is stopped or dropped.
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
/// use annals::{
///     Application, Event, Failure, MemoryRows, MemoryView, Notified, Projection, ProjectionRunner, Root,
/// };
/// # use annals::{Aggregate, AggregateId};
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Serialize, Deserialize)] enum DogEvent { Registered { name: String } }
/// # impl Event for DogEvent {}
/// # struct Dog;
/// # impl Aggregate for Dog {
/// #     type Event = DogEvent;
/// #     fn start(_: &DogEvent) -> Option<Self> { Some(Dog) }
/// #     fn apply(&mut self, _: &DogEvent) {}
/// # }
///
/// struct Names;
///
/// impl Projection<MemoryView<String, u64>> for Names {
///     type Event = DogEvent;
///
///     fn process(
///         &mut self,
///         event: &Notified<DogEvent>,
///         rows: &mut MemoryRows<'_, String, u64>,
///     ) -> Result<(), Failure> {
///         let DogEvent::Registered { name } = &event.event;
///         rows.update(name.clone(), |count| *count += 1);
///         Ok(())
///     }
/// }
///
/// let school = Application::in_memory();
/// let view = Arc::new(MemoryView::new());
/// let names = ProjectionRunner::builder("school", &school, view.clone(), Names).start()?;
///
/// let fido = DogEvent::Registered { name: "Fido".into() };
/// let saved = school.save(&mut Root::<Dog>::new(school.new_id(), fido)?)?;
/// names.wait(saved[0].position, Duration::from_secs(5))?;
/// assert_eq!(view.get("Fido"), Some(1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct ProjectionRunner<V: View> {
    follower: Follower,
    view: Arc<V>,
}

impl<V: View> ProjectionRunner<V> {
    /// A projection of `application` into `view`, which records its place under `upstream`: 1..=255 bytes, the same
    /// at every start, and another for each application that is projected into the same view.
    pub fn builder<P: Projection<V>>(
        upstream: impl Into<String>,
        application: &Application,
        view: Arc<V>,
        projection: P,
    ) -> ProjectionBuilder<V, P> {
        ProjectionBuilder {
            beginning: Beginning::behind(upstream.into(), application),
            view,
            projection,
        }
    }

    /// The view.
    pub fn view(&self) -> &Arc<V> {
        &self.view
    }
}

/// To wait, to see how far it is, to stop it.
impl<V: View> Deref for ProjectionRunner<V> {
    type Target = Follower;

    fn deref(&self) -> &Follower {
        &self.follower
    }
}

impl<V: View> fmt::Debug for ProjectionRunner<V> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ProjectionRunner")
            .field("view", &self.view)
            .field("follower", &self.follower)
            .finish()
    }
}

/// A [`ProjectionRunner`] whose options are being set.
#[must_use = "a builder does nothing until it starts"]
pub struct ProjectionBuilder<V: View, P> {
    beginning: Beginning,
    view: Arc<V>,
    projection: P,
}

impl<V: View, P: Projection<V>> ProjectionBuilder<V, P> {
    /// Batches, checkpoints, retries, dead letters.
    pub fn options(mut self, options: FollowOptions) -> Self {
        self.beginning.options = options;
        self
    }

    /// The clock for the time of dead letters. Default the system's.
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.beginning.clock = Arc::new(clock);
        self
    }

    /// Starts where the view's place is: it catches up first, then goes on live.
    ///
    /// # Errors
    /// [`ProjectionError::InvalidOption`]; [`ProjectionError::Store`] when the place cannot be read.
    pub fn start(self) -> Result<ProjectionRunner<V>, ProjectionError> {
        let Self {
            beginning,
            view,
            projection,
        } = self;
        let rows = Rows {
            upstream: beginning.upstream.clone(),
            mapper: beginning.mapper.clone(),
            view: view.clone(),
            projection,
        };
        let follower = beginning.start(rows)?;
        Ok(ProjectionRunner { follower, view })
    }
}

impl<V: View, P> fmt::Debug for ProjectionBuilder<V, P> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ProjectionBuilder")
            .field("beginning", &self.beginning)
            .field("view", &self.view)
            .finish_non_exhaustive()
    }
}

/// The sink that is a view.
struct Rows<V: View, P> {
    upstream: String,
    mapper: Mapper,
    view: Arc<V>,
    projection: P,
}

impl<V: View, P: Projection<V>> Rows<V, P> {
    fn transact(&mut self, step: Step<'_>, notifications: &[Notification]) -> Result<(), Trouble> {
        let decode = |notification| Notified::<P::Event>::decode(&self.mapper, notification);
        let events: Result<Vec<_>, _> = notifications.iter().map(decode).collect();
        let events = events.map_err(Trouble::reading)?;
        let projection = &mut self.projection;
        self.view.transact(step, |rows| {
            let process = AssertUnwindSafe(|| projection.process_batch(&events, rows));
            match catch_unwind(process) {
                Ok(Ok(())) => Ok(()),
                Ok(Err(failure)) => Err(Trouble::Event(failure)),
                Err(panic) => Err(Trouble::Event(Panicked::of(&*panic).into())),
            }
        })
    }
}

impl From<PersistenceError> for Trouble {
    fn from(error: PersistenceError) -> Self {
        Self::storing(error)
    }
}

impl<V: View, P: Projection<V>> Sink for Rows<V, P> {
    fn topics(&self) -> Vec<&'static str> {
        P::Event::topics()
    }

    fn tracked(&self) -> Result<u64, PersistenceError> {
        Ok(self.view.max_tracking(&self.upstream)?.unwrap_or(0))
    }

    fn process(&mut self, batch: &[Notification]) -> Result<(), Trouble> {
        let Some(last) = batch.last() else {
            return Ok(());
        };
        let tracking = Tracking::new(self.upstream.clone(), last.position);
        self.transact(Step::Advance(&tracking), batch)
    }

    fn checkpoint(&mut self, position: u64) -> Result<(), PersistenceError> {
        let tracking = Tracking::new(self.upstream.clone(), position);
        self.view.insert_tracking(tracking)
    }

    fn bury(&mut self, letter: DeadLetter) -> Result<(), PersistenceError> {
        let name = self.upstream.clone();
        self.view.insert_dead_letter(DeadLetter { name, ..letter })
    }

    fn dead_letters(&self) -> Result<Vec<DeadLetter>, PersistenceError> {
        self.view.dead_letters(&self.upstream)
    }

    fn resolve(&mut self, notification: &Notification) -> Result<(), Trouble> {
        let tracking = Tracking::new(self.upstream.clone(), notification.position);
        self.transact(Step::Resolve(&tracking), std::slice::from_ref(notification))
    }
}
