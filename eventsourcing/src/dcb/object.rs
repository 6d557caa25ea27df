//! Things with an identity whose events are found by a tag.

use std::fmt::Display;

use serde_json::Value;

use super::{DcbError, DecisionModel, SnapshotPolicy};
use crate::domain::Aggregate;
use crate::persistence::{Query, QueryItem};

/// An [`Aggregate`] whose events are found by a tag instead of a place in a sequence of their own, so that one event may
/// belong to several of them.
///
/// ```
/// use annals::{Aggregate, DcbApplication, EnduringObject, Event};
/// # use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// enum CourseEvent {
///     Opened { capacity: u32 },
///     CapacityChanged { capacity: u32 },
/// }
///
/// impl Event for CourseEvent {}
///
/// struct Course { capacity: u32 }
///
/// impl Aggregate for Course {
///     type Event = CourseEvent;
///
///     fn start(event: &CourseEvent) -> Option<Self> {
///         match event {
///             CourseEvent::Opened { capacity } => Some(Course { capacity: *capacity }),
///             CourseEvent::CapacityChanged { .. } => None,
///         }
///     }
///
///     fn apply(&mut self, event: &CourseEvent) {
///         if let CourseEvent::CapacityChanged { capacity } = event {
///             self.capacity = *capacity;
///         }
///     }
/// }
///
/// impl EnduringObject for Course {
///     const TAG: &'static str = "course";
/// }
///
/// let app = DcbApplication::in_memory();
/// app.save(&mut app.create::<Course>("maths", CourseEvent::Opened { capacity: 10 })?)?;
///
/// let mut maths = app.get::<Course>("maths")?;
/// maths.trigger(CourseEvent::CapacityChanged { capacity: 12 })?;
/// app.save(&mut maths)?;
/// assert_eq!(app.get::<Course>("maths")?.state()?.capacity, 12);
/// # Ok::<(), annals::DcbError>(())
/// ```
pub trait EnduringObject: Aggregate {
    /// What its tag begins with: that of object `maths` with the tag `course` is `course:maths`.
    const TAG: &'static str;

    /// See [`DecisionModel::SNAPSHOT`].
    const SNAPSHOT: Option<SnapshotPolicy> = None;

    /// The state for a snapshot; see [`DecisionModel::state`].
    ///
    /// # Errors
    /// When it cannot be expressed: no snapshot is kept.
    fn to_snapshot(&self) -> Result<Value, serde_json::Error> {
        Ok(Value::Null)
    }

    /// The object of a snapshot. Objects that have a [policy](EnduringObject::SNAPSHOT) need this, others do not.
    ///
    /// # Errors
    /// When it is of another shape: the events are read instead.
    fn from_snapshot(state: Value) -> Result<Self, serde_json::Error> {
        let _ = state;
        Err(serde::de::Error::custom("it keeps no snapshots"))
    }
}

/// A [`DecisionModel`] of one [`EnduringObject`].
///
/// Every event triggered on it gets its tag. So does, on a tuple of objects, every event that concerns all of them:
/// their **group**, whose boundary is the union of theirs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object<A> {
    tag: String,
    state: Option<A>,
}

impl<A: EnduringObject> Object<A> {
    /// The object with this id, which begins with its first event. Tag and id together have at most 254 bytes.
    pub fn new(id: impl Display) -> Self {
        Self {
            tag: format!("{}:{id}", A::TAG),
            state: None,
        }
    }

    /// Its tag: `course:maths`.
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// Whether an event has begun it.
    pub fn exists(&self) -> bool {
        self.state.is_some()
    }

    /// Its state.
    ///
    /// # Errors
    /// [`DcbError::NotFound`] when it does not exist.
    pub fn state(&self) -> Result<&A, DcbError> {
        self.state.as_ref().ok_or_else(|| DcbError::NotFound {
            tag: self.tag.clone(),
        })
    }
}

impl<A: EnduringObject> DecisionModel for Object<A> {
    type Event = A::Event;

    const SNAPSHOT: Option<SnapshotPolicy> = <A as EnduringObject>::SNAPSHOT;

    fn boundary(&self) -> Query {
        QueryItem::of::<A::Event>().tag(self.tag.as_str()).into()
    }

    /// Events before the one that begins it change nothing.
    fn apply(&mut self, event: &A::Event) {
        match &mut self.state {
            Some(state) => state.apply(event),
            None => self.state = A::start(event),
        }
    }

    fn tags(&self) -> Vec<String> {
        vec![self.tag.clone()]
    }

    fn state(&self) -> Result<Value, serde_json::Error> {
        self.state
            .as_ref()
            .map_or(Ok(Value::Null), EnduringObject::to_snapshot)
    }

    fn restore(&mut self, state: Value) -> Result<(), serde_json::Error> {
        self.state = match state {
            Value::Null => None,
            state => Some(A::from_snapshot(state)?),
        };
        Ok(())
    }
}
