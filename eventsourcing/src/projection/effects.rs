//! The sink that is a process application: new events, stored with the position they are an effect of.
//!
//! Dead letters are events as well. Each is an aggregate of its own, named by upstream and position: kept at version 1,
//! resolved at version 2. So two that resolve it at once cannot both succeed, and any process recorder can keep them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use parking_lot::Mutex;
use uuid::Uuid;

use super::policy::SharedPolicy;
use super::steps::{Sink, Trouble};
use super::timer::SET;
use super::{Failure, Panicked, ProcessApplication, Work};
use crate::application::Error;
use crate::domain::AggregateId;
use crate::persistence::{
    DeadLetter, Durability, Mapper, MetadataScope, Notification, PersistenceError, Recorded,
    SelectEvents, SelectNotifications, StoredEvent, Tracking,
};

pub(crate) struct Effects {
    /// The upstream.
    pub(crate) upstream: String,
    /// Name under which its place is recorded: the upstream's, unless this is a part of a follower.
    pub(crate) tracking: String,
    /// Reads the upstream's events.
    pub(crate) mapper: Mapper,
    pub(crate) application: Arc<ProcessApplication>,
    pub(crate) policy: SharedPolicy,
    /// Held while events are processed: followers that share it do not get in each other's way.
    pub(crate) turn: Arc<Mutex<()>>,
    pub(crate) share: Share,
    /// Told when events have been stored.
    pub(crate) stored: Option<Arc<dyn Fn(Stored) + Send + Sync>>,
}

/// What was stored at once.
#[derive(Clone, Copy)]
pub(crate) struct Stored {
    pub(crate) last_position: u64,
    /// Whether a timer was set.
    pub(crate) has_timers: bool,
}

pub(crate) type Takes = dyn Fn(&Notification) -> bool + Send + Sync;

/// Which of the upstream's events are this sink's.
#[derive(Clone, Default)]
pub(crate) struct Share {
    /// Decides by aggregate and position; `None` when all are.
    pub(crate) takes: Option<Arc<Takes>>,
    /// Everything up to here was processed under another name.
    pub(crate) begins_after: u64,
}

impl Effects {
    fn work(&self, batch: &[Notification]) -> Result<Vec<StoredEvent>, Trouble> {
        let mut work = Work::new(&self.application);
        for notification in batch {
            let _effects = MetadataScope::of_effects_alone(&notification.event);
            let process = AssertUnwindSafe(|| {
                let outcome = self
                    .policy
                    .process_any(notification, &self.mapper, &mut work);
                outcome.and_then(|()| Ok(work.collect()?))
            });
            match catch_unwind(process) {
                Ok(outcome) => outcome.map_err(trouble)?,
                Err(panic) => return Err(Trouble::Event(Panicked::of(&*panic).into())),
            }
        }
        work.into_events().map_err(|error| trouble(error.into()))
    }

    /// Links events into the hash chains of their aggregates, if they have any.
    fn link(&self, events: &mut [StoredEvent]) -> Result<(), PersistenceError> {
        let recorder = self.application.process_recorder();
        self.application.mapper().link(&**recorder, events)
    }

    fn letter_id(&self, position: u64) -> Result<AggregateId, PersistenceError> {
        let text = format!("{KEPT}/{}/{position}", self.upstream);
        AggregateId::text(text).map_err(|error| PersistenceError::Store {
            doing: "name a dead letter",
            source: error.into(),
        })
    }

    fn tell(&self, recorded: &[Recorded], has_timers: bool) {
        if let (Some(stored), Some(last)) = (&self.stored, recorded.last()) {
            stored(Stored {
                last_position: last.position,
                has_timers,
            });
        }
    }

    fn new_event_id(&self) -> Uuid {
        self.application.new_event_id()
    }
}

/// Whose fault a failed policy is.
fn trouble(failure: Failure) -> Trouble {
    let persistence = match failure.downcast::<Error>() {
        Ok(error) => match *error {
            Error::Persistence { source, .. } => source,
            error => return Trouble::Event(error.into()),
        },
        Err(failure) => match failure.downcast::<PersistenceError>() {
            Ok(error) => *error,
            Err(failure) => return Trouble::Event(failure),
        },
    };
    Trouble::reading(persistence)
}

impl Sink for Effects {
    fn topics(&self) -> Vec<&'static str> {
        self.policy.topics()
    }

    fn concerns(&self, notification: &Notification) -> bool {
        (self.share.takes.as_ref()).is_none_or(|takes| takes(notification))
    }

    fn tracked(&self) -> Result<u64, PersistenceError> {
        let recorder = self.application.process_recorder();
        let tracked = recorder.max_tracking(&self.tracking)?.unwrap_or(0);
        Ok(tracked.max(self.share.begins_after))
    }

    fn process(&mut self, batch: &[Notification]) -> Result<(), Trouble> {
        let Some(last) = batch.last() else {
            return Ok(());
        };
        let tracking = Tracking::new(self.tracking.clone(), last.position);
        let _turn = self.turn.lock();
        let mut events = self.work(batch)?;
        self.link(&mut events)?;
        let has_timers = events.iter().any(|event| event.topic == SET);
        let durability = self.application.durability();
        let recorded = self
            .application
            .process_recorder()
            .insert_events_tracked(events, tracking, durability)?;
        self.tell(&recorded, has_timers);
        Ok(())
    }

    fn checkpoint(&mut self, position: u64) -> Result<(), PersistenceError> {
        let tracking = Tracking::new(self.tracking.clone(), position);
        self.application
            .process_recorder()
            .insert_tracking(tracking)
    }

    fn bury(&mut self, letter: DeadLetter) -> Result<(), PersistenceError> {
        let letter = DeadLetter {
            name: self.upstream.clone(),
            ..letter
        };
        let payload = serde_json::to_vec(&letter).map_err(|source| PersistenceError::Encode {
            topic: KEPT,
            source: source.into(),
        })?;
        let event = StoredEvent::new(self.new_event_id(), KEPT, payload)
            .of(self.letter_id(letter.position)?, 1);
        self.application
            .process_recorder()
            .insert_events_tracked(
                vec![event],
                Tracking::new(self.tracking.clone(), letter.position),
                Durability::Sync,
            )
            .map(drop)
    }

    fn dead_letters(&self) -> Result<Vec<DeadLetter>, PersistenceError> {
        let recorder = self.application.process_recorder();
        let mut letters = Vec::new();
        let mut after = 0;
        loop {
            let select = SelectNotifications::first(PAGE).after(after).topics([KEPT]);
            let page = recorder.select_notifications(&select)?;
            let Some(last) = page.last() else {
                return Ok(letters);
            };
            after = last.position;
            for notification in page {
                let letter: DeadLetter = serde_json::from_slice(&notification.event.payload)
                    .map_err(|source| PersistenceError::Decode {
                        topic: notification.event.topic.clone(),
                        source: source.into(),
                    })?;
                let id = notification.event.aggregate_id().cloned();
                let resolved = SelectEvents::all().gt(1).limit(1);
                let is_own = letter.name == self.upstream;
                if let Some(id) = id.filter(|_| is_own)
                    && recorder.select_events(&id, resolved)?.is_empty()
                {
                    letters.push(letter);
                }
            }
        }
    }

    fn resolve(&mut self, notification: &Notification) -> Result<(), Trouble> {
        let (name, position) = (self.upstream.clone(), notification.position);
        let id = self.letter_id(position)?;
        let recorder = self.application.process_recorder();
        let last = recorder.select_events(&id, SelectEvents::all().desc().limit(1))?;
        if last.first().and_then(|last| last.event.version()) != Some(1) {
            return Err(PersistenceError::NoDeadLetter { name, position }.into());
        }
        let _turn = self.turn.lock();
        let mut events = self.work(std::slice::from_ref(notification))?;
        events.push(StoredEvent::new(self.new_event_id(), RESOLVED, "{}").of(id, 2));
        self.link(&mut events)?;
        let has_timers = events.iter().any(|event| event.topic == SET);
        let recorded = recorder.insert_events(events, Durability::Sync)?;
        self.tell(&recorded, has_timers);
        Ok(())
    }
}

/// Topic of a dead letter, and how the id of one begins.
const KEPT: &str = "$dead-letter";
/// Topic of the event that resolves one.
const RESOLVED: &str = "$dead-letter-resolved";
/// Dead letters read at once.
const PAGE: usize = 1_000;
