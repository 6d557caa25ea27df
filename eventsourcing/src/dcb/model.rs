//! What a decision rests on: a query, and the state that its events add up to.

use serde_json::Value;

use self::sealed::Leaves;
use super::SnapshotPolicy;
use crate::domain::Event;
use crate::persistence::Query;

/// State that the events of a boundary add up to.
///
/// A value of it is the model before any event, with whatever its boundary is drawn by: the course a rule is about,
/// say. Small models that know one thing each compose best.
///
/// ```
/// use annals::{DecisionModel, Event, Query, QueryItem};
/// # use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// enum CapacityEvent {
///     CourseDefined { course: String, capacity: u32 },
///     CapacityChanged { course: String, capacity: u32 },
/// }
///
/// impl Event for CapacityEvent {
///     fn tags(&self) -> Vec<String> {
///         let (Self::CourseDefined { course, .. } | Self::CapacityChanged { course, .. }) = self;
///         vec![format!("course:{course}")]
///     }
/// }
///
/// /// How many may join; `None` while there is no such course.
/// struct Capacity { course: String, of: Option<u32> }
///
/// impl DecisionModel for Capacity {
///     type Event = CapacityEvent;
///
///     fn boundary(&self) -> Query {
///         QueryItem::of::<CapacityEvent>().tag(format!("course:{}", self.course)).into()
///     }
///
///     fn apply(&mut self, event: &CapacityEvent) {
///         let (CapacityEvent::CourseDefined { capacity, .. }
///         | CapacityEvent::CapacityChanged { capacity, .. }) = event;
///         self.of = Some(*capacity);
///     }
/// }
/// ```
pub trait DecisionModel {
    /// What it reads: every event in its boundary must be one of these, unless unknown ones are
    /// [skipped](crate::UnknownEvents). Events of one topic may be read by several
    /// types, each with the fields that it needs.
    type Event: Event;

    /// When its state is kept, and under what name. Never by default: it is folded anew each time.
    const SNAPSHOT: Option<SnapshotPolicy> = None;

    /// The events it rests on. Asked once, before the first event. Most begin with
    /// [`QueryItem::of`](crate::QueryItem::of), which leaves out the topics that it does not read.
    fn boundary(&self) -> Query;

    /// Changes the state by the next event. The same events must give the same state for good: no clock, no
    /// randomness, no rule that may change.
    fn apply(&mut self, event: &Self::Event);

    /// Tags that an event decided upon it gets, beside its own. None by default.
    fn tags(&self) -> Vec<String> {
        Vec::new()
    }

    /// The state for a snapshot: what [`DecisionModel::apply`] changes, and nothing that the value began with. Called
    /// only if there is a [policy](DecisionModel::SNAPSHOT).
    ///
    /// # Errors
    /// When it cannot be expressed: no snapshot is kept.
    fn state(&self) -> Result<Value, serde_json::Error> {
        Ok(Value::Null)
    }

    /// Takes over the state of a snapshot.
    ///
    /// # Errors
    /// When it is of another shape. It must then have changed nothing: the events are read instead.
    fn restore(&mut self, state: Value) -> Result<(), serde_json::Error> {
        let _ = state;
        Ok(())
    }
}

/// What a decision looks at: one [`DecisionModel`], or a tuple of up to six, a vector or an array of what a decision
/// can look at.
///
/// Each model is shown the events of its own boundary; the boundary of all is the union.
pub trait Models: Leaves {}

impl<M: Leaves> Models for M {}

impl<M: DecisionModel> Leaves for M {
    fn collect_into<'m>(&'m mut self, leaves: &mut Vec<&'m mut (dyn sealed::Leaf + 'm)>) {
        leaves.push(self);
    }
}

impl<M: Leaves> Leaves for Vec<M> {
    fn collect_into<'m>(&'m mut self, leaves: &mut Vec<&'m mut (dyn sealed::Leaf + 'm)>) {
        self.iter_mut().for_each(|model| model.collect_into(leaves));
    }
}

impl<M: Leaves, const N: usize> Leaves for [M; N] {
    fn collect_into<'m>(&'m mut self, leaves: &mut Vec<&'m mut (dyn sealed::Leaf + 'm)>) {
        self.iter_mut().for_each(|model| model.collect_into(leaves));
    }
}

macro_rules! tuples {
    ($($($name:ident)+;)+) => {
        $(impl<$($name: Leaves),+> Leaves for ($($name,)+) {
            fn collect_into<'m>(&'m mut self, leaves: &mut Vec<&'m mut (dyn sealed::Leaf + 'm)>) {
                #[allow(non_snake_case, reason = "each model is named as its type")]
                let ($($name,)+) = self;
                $($name.collect_into(leaves);)+
            }
        })+
    };
}

tuples! {
    A;
    A B;
    A B C;
    A B C D;
    A B C D E;
    A B C D E F;
}

pub(super) mod sealed {
    use std::any::Any;

    use serde_json::Value;

    use super::DecisionModel;
    use crate::dcb::SnapshotPolicy;
    use crate::persistence::{Mapper, PersistenceError, Query, StoredEvent};

    /// The models that something consists of, always in the same order.
    pub trait Leaves {
        fn collect_into<'m>(&'m mut self, leaves: &mut Vec<&'m mut (dyn Leaf + 'm)>);
    }

    /// A [`DecisionModel`] of any event type.
    pub trait Leaf {
        fn boundary(&self) -> Query;

        fn tags(&self) -> Vec<String>;

        /// Applies an event of its boundary. `event` is the same as it was triggered, which need not be decoded if it
        /// is of the model's own type.
        fn apply(
            &mut self,
            mapper: &Mapper,
            stored: &StoredEvent,
            event: Option<&dyn Any>,
        ) -> Result<(), PersistenceError>;

        fn policy(&self) -> Option<SnapshotPolicy>;

        fn state(&self) -> Result<Value, serde_json::Error>;

        fn restore(&mut self, state: Value) -> Result<(), serde_json::Error>;
    }

    impl<M: DecisionModel> Leaf for M {
        fn boundary(&self) -> Query {
            DecisionModel::boundary(self)
        }

        fn tags(&self) -> Vec<String> {
            DecisionModel::tags(self)
        }

        fn apply(
            &mut self,
            mapper: &Mapper,
            stored: &StoredEvent,
            event: Option<&dyn Any>,
        ) -> Result<(), PersistenceError> {
            match event.and_then(|event| event.downcast_ref()) {
                Some(event) => DecisionModel::apply(self, event),
                None => {
                    if let Some(event) = mapper.decode_known(stored)? {
                        DecisionModel::apply(self, &event);
                    }
                }
            }
            Ok(())
        }

        fn policy(&self) -> Option<SnapshotPolicy> {
            M::SNAPSHOT
        }

        fn state(&self) -> Result<Value, serde_json::Error> {
            DecisionModel::state(self)
        }

        fn restore(&mut self, state: Value) -> Result<(), serde_json::Error> {
            DecisionModel::restore(self, state)
        }
    }
}
