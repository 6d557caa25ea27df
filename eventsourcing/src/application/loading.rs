//! From stored events to an aggregate, and from an old state of it to the newest.

use std::ops::ControlFlow;

use super::cache::{Change, Lent};
use super::{Application, Decide, Error, Recording};
use crate::domain::{Aggregate, AggregateId, Root};
use crate::persistence::{Notification, PersistenceError, SelectEvents};

/// How far an aggregate is replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    Last,
    /// The last event at or below this version.
    Version(u64),
    /// The last event stored at or before this time, microseconds since the Unix epoch.
    Time(u64),
}

/// An aggregate in its newest state, and its place in the cache, if there is one.
pub(super) struct Current<'a, A: Aggregate> {
    pub(super) root: Box<Root<A>>,
    lent: Option<Lent<'a, A>>,
}

impl<A: Aggregate> Current<'_, A> {
    /// One that the cache knows nothing of.
    #[cfg(feature = "async")]
    pub(super) fn unlent(root: Box<Root<A>>) -> Self {
        Self { root, lent: None }
    }

    #[cfg(feature = "async")]
    pub(super) fn is_lent(&self) -> bool {
        self.lent.is_some()
    }

    /// Lets `decide` trigger events on it. Refused, it is given back as it was, if nothing was triggered.
    pub(super) fn decided<D: Decide<A>>(
        mut self,
        decide: &mut D,
    ) -> Result<(Self, D::Value), D::Error> {
        match decide(&mut self.root) {
            Ok(value) => Ok((self, value)),
            Err(refusal) => {
                if self.root.pending().is_empty() {
                    self.give_back(Change::None);
                }
                Err(refusal)
            }
        }
    }

    /// Ends its use with what was saved.
    pub(super) fn saved(self, recordings: &[Recording]) {
        self.give_back(match recordings.is_empty() {
            true => Change::None,
            false => Change::Saved,
        });
    }

    /// Ends its use. Without this it is forgotten.
    pub(super) fn give_back(self, change: Change) {
        if let Some(lent) = self.lent {
            lent.give_back(self.root, change);
        }
    }
}

impl Application {
    /// The aggregate in its newest state: out of the cache when it is there, else from the store.
    pub(super) fn current<A: Aggregate>(&self, id: &AggregateId) -> Result<Current<'_, A>, Error> {
        let lent = self.cache.as_ref().map(|cache| cache.lend(id));
        self.lent_or_loaded(id, lent)
    }

    /// As [`Application::current`], and never waits for somebody else to give it back.
    #[cfg(feature = "async")]
    pub(super) fn current_at_once<A: Aggregate>(
        &self,
        id: &AggregateId,
    ) -> Result<Current<'_, A>, Error> {
        let lent = self.cache.as_ref().map(|cache| cache.lend_at_once(id));
        self.lent_or_loaded(id, lent)
    }

    fn lent_or_loaded<'a, A: Aggregate>(
        &self,
        id: &AggregateId,
        mut lent: Option<Lent<'a, A>>,
    ) -> Result<Current<'a, A>, Error> {
        self.check_open("load an aggregate")?;
        let root = match lent.as_mut().and_then(Lent::take) {
            Some(root) => self.fast_forward(root)?,
            None => self.load(id, Until::Last)?,
        };
        Ok(Current { root, lent })
    }

    /// The aggregate as its events tell it.
    pub(super) fn load<A: Aggregate>(
        &self,
        id: &AggregateId,
        until: Until,
    ) -> Result<Box<Root<A>>, Error> {
        self.check_open("load an aggregate")?;
        let restored = self.restore(id, until).map(Box::new);
        let root = self.replay(id, restored, until)?;
        root.ok_or_else(|| Error::not_found(id, until))
    }

    /// Brings a cached state up to date, unless it is to be believed as it is.
    fn fast_forward<A: Aggregate>(&self, root: Box<Root<A>>) -> Result<Box<Root<A>>, Error> {
        if self
            .cache
            .as_ref()
            .is_some_and(|cache| !cache.fast_forwards())
        {
            return Ok(root);
        }
        let id = root.id().clone();
        let last = self
            .recorder
            .last_version(&id)
            .map_err(Error::persistence("load an aggregate"))?;
        match last {
            Some(last) if last == root.version() => Ok(root),
            Some(last) if last > root.version() => {
                let root = self.replay(&id, Some(root), Until::Last)?;
                root.ok_or_else(|| Error::not_found(&id, Until::Last))
            }
            // The store has lost what it had, or is another one.
            _ => self.load(&id, Until::Last),
        }
    }

    /// Adds what is stored behind a state to it; without one, from the first event on.
    fn replay<A: Aggregate>(
        &self,
        id: &AggregateId,
        mut root: Option<Box<Root<A>>>,
        until: Until,
    ) -> Result<Option<Box<Root<A>>>, Error> {
        let select = SelectEvents {
            gt: root.as_ref().map(|root| root.version()),
            lte: match until {
                Until::Version(version) => Some(version),
                Until::Last | Until::Time(_) => None,
            },
            ..SelectEvents::all()
        };
        let mut outcome = Ok(());
        let read = self
            .recorder
            .for_each_event(id, select, &mut |notification| {
                if matches!(until, Until::Time(time_us) if notification.time_us > time_us) {
                    return ControlFlow::Break(());
                }
                outcome = self.replay_next(id, &mut root, notification);
                match outcome.is_ok() {
                    true => ControlFlow::Continue(()),
                    false => ControlFlow::Break(()),
                }
            });
        outcome?;
        read.map_err(Error::persistence("load an aggregate"))?;
        Ok(root)
    }

    /// Adds the next stored event to an aggregate. Nothing is made of it but the event itself, which is moved into the
    /// state.
    fn replay_next<A: Aggregate>(
        &self,
        id: &AggregateId,
        root: &mut Option<Box<Root<A>>>,
        Notification { time_us, event, .. }: &Notification,
    ) -> Result<(), Error> {
        let unreadable = Error::persistence("load an aggregate");
        let Some(version) = event.version() else {
            let topic = event.topic.clone();
            return Err(unreadable(PersistenceError::NoAggregate { topic }));
        };
        let replayed = match root {
            None => {
                let first = self.mapper.decode(event).map_err(unreadable)?;
                Root::begin_stored(id.clone(), version, Some(*time_us), &first)
                    .map(|begun| *root = Some(Box::new(begun)))
            }
            Some(root) => {
                let next = self.mapper.decode_known(event).map_err(unreadable)?;
                root.advance_by(id, version, Some(*time_us), next)
            }
        };
        replayed.map_err(|source| Error::Replay {
            id: id.clone(),
            source,
        })
    }
}
