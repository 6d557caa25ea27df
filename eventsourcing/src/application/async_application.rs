//! An application for async code.
//!
//! No runtime is known here. On the log an insert is handed over and its ticket awaited, and reads are of memory; a
//! recorder that [blocks](crate::Recorder::blocks) is called in a thread.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use futures_core::Stream;

use super::cache::key_of;
use super::event_subscription::Decoding;
use super::loading::{Current, Until};
use super::{AnyRoot, Application, Decide, Error, Followed, Recording, Roots};
use crate::domain::{Aggregate, AggregateId, Event, Root};
use crate::persistence::{
    Durability, NotificationStream, Recorded, StoredEvent, Submission, unblock,
};

/// An [`Application`] whose saves, loads and subscriptions are awaited, on any executor, without blocking its threads.
///
/// Futures are lazy and may be sent between threads. On the log, reads are made where they are polled: they wait for the
/// disk only for what is not in memory. [`Durability`] holds as it does for threads, and tasks that save at the same time
/// share a sync.
#[derive(Clone, Debug)]
pub struct AsyncApplication {
    application: Arc<Application>,
}

impl AsyncApplication {
    /// The same application, awaited.
    pub fn new(application: impl Into<Arc<Application>>) -> Self {
        Self {
            application: application.into(),
        }
    }

    /// For what needs no waiting, and for threads.
    pub fn application(&self) -> &Arc<Application> {
        &self.application
    }

    /// As [`Application::save`]. Dropped before it is done, it may have saved or not, and the events stay pending: to save
    /// them again is safe, they keep their ids.
    ///
    /// # Errors
    /// As [`Application::save`]; [`PersistenceError::Busy`](crate::PersistenceError::Busy) when more is under way than
    /// may be: nothing was saved.
    pub async fn save<'a>(&self, roots: impl Roots<'a>) -> Result<Vec<Recording>, Error> {
        self.save_with(roots, self.application.durability).await
    }

    /// As [`AsyncApplication::save`], with a durability for this save.
    ///
    /// # Errors
    /// As [`AsyncApplication::save`].
    pub async fn save_with<'a>(
        &self,
        roots: impl Roots<'a>,
        durability: Durability,
    ) -> Result<Vec<Recording>, Error> {
        let mut all = Vec::new();
        roots.collect_into(&mut all);
        let keys: Vec<_> = all.iter().map(|root| root.key()).collect();
        // However this ends, by being dropped too.
        let _forgotten = OnDrop(|| {
            if let Some(cache) = &self.application.cache {
                keys.iter().for_each(|key| cache.forget(key));
            }
        });
        self.store(&mut all, durability).await
    }

    /// As [`Application::edit`]. What is waited before the next attempt holds up no other task, and the second one comes
    /// after others had their turn.
    ///
    /// # Errors
    /// As [`Application::edit`]; [`PersistenceError::Busy`](crate::PersistenceError::Busy).
    pub async fn edit<A: Aggregate, D: Decide<A>>(
        &self,
        id: &AggregateId,
        mut decide: D,
    ) -> Result<D::Value, D::Error> {
        let application = &*self.application;
        let mut failed = 0;
        loop {
            let (mut current, value) = self.current::<A>(id).await?.decided(&mut decide)?;
            let stored = self
                .store(&mut [&mut *current.root], application.durability)
                .await;
            match stored {
                Ok(recordings) => {
                    if !current.is_lent()
                        && let Some(cache) = &application.cache
                    {
                        cache.forget(&key_of::<A>(id));
                    }
                    current.saved(&recordings);
                    return Ok(value);
                }
                Err(error) => {
                    drop(current);
                    application.retries.overtaken(id, &mut failed, error)?;
                    match application.retries.due(failed, &*application.random) {
                        Duration::ZERO => let_others_go_on().await,
                        // No runtime, no timer: a thread that is about to be started costs less than the wait.
                        wait => unblock(move || thread::sleep(wait)).await,
                    }
                }
            }
        }
    }

    /// As [`Repository::get`](crate::Repository::get).
    ///
    /// # Errors
    /// As [`Repository::get`](crate::Repository::get).
    pub async fn get<A: Aggregate>(&self, id: &AggregateId) -> Result<Root<A>, Error> {
        let load = |application: &Application, id: &AggregateId| {
            let root = application.load(id, Until::Last);
            root.map(|root| *root)
        };
        match self.application.recorder.blocks() {
            false => load(&self.application, id),
            true => {
                let (application, id) = (self.application.clone(), id.clone());
                unblock(move || load(&application, &id)).await
            }
        }
    }

    /// As [`Application::subscribe`].
    ///
    /// # Errors
    /// As [`Application::subscribe`].
    pub fn subscribe(&self, after: u64, topics: &[&str]) -> Result<NotificationStream, Error> {
        let subscription = self.application.subscribe(after, topics)?;
        Ok(subscription.into_stream())
    }

    /// As [`Application::subscribe_events`].
    ///
    /// # Errors
    /// As [`Application::subscribe_events`].
    pub fn subscribe_events<E: Event>(&self, after: u64) -> Result<EventStream<E>, Error> {
        let (topics, decoding) = self.application.decoding::<E>("subscribe")?;
        Ok(EventStream {
            notifications: self.subscribe(after, &topics)?,
            decoding,
        })
    }

    async fn current<A: Aggregate>(&self, id: &AggregateId) -> Result<Current<'_, A>, Error> {
        match self.application.recorder.blocks() {
            // What is lent cannot go to another thread and back.
            true => Ok(Current::unlent(Box::new(self.get(id).await?))),
            false => self.application.current_at_once(id),
        }
    }

    /// As [`Application::store`].
    async fn store(
        &self,
        roots: &mut [&mut dyn AnyRoot],
        durability: Durability,
    ) -> Result<Vec<Recording>, Error> {
        let events = self.application.prepare(roots)?;
        if events.is_empty() {
            return Ok(Vec::new());
        }
        let events = self.link(events).await?;
        let receipts = events.iter().map(Recording::of).collect();
        let recorded = self.insert(events, durability).await?;
        let mut snapshots = Vec::new();
        let recordings = self
            .application
            .complete(roots, receipts, recorded, &mut snapshots);
        if !snapshots.is_empty() {
            let application = self.application.clone();
            unblock(move || application.keep_snapshots(snapshots)).await;
        }
        Ok(recordings)
    }

    /// As [`Mapper::link`](crate::Mapper::link), which reads the recorder, as loads do.
    async fn link(&self, mut events: Vec<StoredEvent>) -> Result<Vec<StoredEvent>, Error> {
        let Application {
            mapper, recorder, ..
        } = &*self.application;
        let linked = match mapper.is_chained() && recorder.blocks() {
            false => mapper.link(&**recorder, &mut events).map(|()| events),
            true => {
                let (mapper, recorder) = (mapper.clone(), recorder.clone());
                unblock(move || mapper.link(&*recorder, &mut events).map(|()| events)).await
            }
        };
        linked.map_err(Error::persistence("save"))
    }

    async fn insert(
        &self,
        events: Vec<StoredEvent>,
        durability: Durability,
    ) -> Result<Vec<Recorded>, Error> {
        let recorder = &self.application.recorder;
        let inserted = match recorder.submit_events(events, durability) {
            Submission::UnderWay(outcome) => outcome.await,
            Submission::Blocks(events) if recorder.blocks() => {
                let recorder = recorder.clone();
                unblock(move || recorder.insert_events(events, durability)).await
            }
            Submission::Blocks(events) => recorder.insert_events(events, durability),
        };
        inserted.map_err(Error::persistence("save"))
    }
}

/// The events of type `E` as a stream; see [`EventSubscription`](crate::EventSubscription).
#[must_use = "streams do nothing until they are polled"]
pub struct EventStream<E> {
    notifications: NotificationStream,
    decoding: Decoding<E>,
}

impl<E: Event> Stream for EventStream<E> {
    type Item = Result<Followed<E>, Error>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Self {
            notifications,
            decoding,
        } = self.get_mut();
        let polled = Pin::new(notifications).poll_next(context);
        polled.map(|found| found.map(|found| decoding.decode(found)))
    }
}

impl<E> fmt::Debug for EventStream<E> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("EventStream")
            .field("notifications", &self.notifications)
            .finish_non_exhaustive()
    }
}

/// Gives the executor back its thread once.
async fn let_others_go_on() {
    let mut has_waited = false;
    poll_fn(|context| match std::mem::replace(&mut has_waited, true) {
        true => Poll::Ready(()),
        false => {
            context.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await;
}

struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
