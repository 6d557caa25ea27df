//! What a decision has seen, and what it decided.
//!
//! - The models are reached by `&M` only: they cannot change without an event.
//! - The boundary is that of the models when they were loaded, and does not change.
//! - Everything up to the last known position that lies in the boundary has been applied.

use std::any::Any;
use std::fmt;
use std::ops::Deref;

use uuid::Uuid;

use self::sealed::Collect;
use super::model::sealed::Leaf;
use super::{DcbError, Models};
use crate::domain::{Event, Metadata};
use crate::persistence::{
    ConditionalAppend, Mapper, Notification, PayloadKind, PersistenceError, Query, QueryItem,
    StoredEvent, stamp_scope,
};

/// Models in the hand (by `Deref`), how far they are known, and the events decided upon them that are not yet saved.
pub struct Perspective<M: Models> {
    models: M,
    /// The boundary of each model.
    boundaries: Vec<Query>,
    mapper: Mapper,
    outbox: Outbox,
}

/// The part of a [`Perspective`] that knows no model.
#[derive(Debug)]
pub struct Outbox {
    /// The union of the boundaries; without items nothing at all, not everything.
    boundary: Vec<QueryItem>,
    known: u64,
    pending: Vec<StoredEvent>,
    /// An event that was saved together with those of this perspective lies in the boundary, and was not applied.
    is_stale: bool,
}

impl<M: Models> Perspective<M> {
    /// Of models that nothing has been applied to, known up to nothing.
    pub(crate) fn new(mut models: M, mapper: Mapper) -> Self {
        let leaves = leaves_of(&mut models);
        let boundaries: Vec<_> = leaves.iter().map(|leaf| leaf.boundary()).collect();
        drop(leaves);
        let boundary = boundaries.iter().flat_map(items_of).collect();
        Self {
            models,
            boundaries,
            mapper,
            outbox: Outbox {
                boundary,
                known: 0,
                pending: Vec::new(),
                is_stale: false,
            },
        }
    }

    /// Lets an event happen: applies it to the models in whose boundary it lies, and keeps it pending until it is
    /// saved. It gets the tags of the [models](super::DecisionModel::tags) beside its own, and may lie outside of
    /// every boundary.
    ///
    /// # Errors
    /// [`DcbError::Persistence`] when it cannot be encoded, or a model in whose boundary it lies cannot read it. Do not
    /// go on with the perspective then: another model may have applied it.
    pub fn trigger<E: Event>(&mut self, event: E) -> Result<(), DcbError> {
        self.trigger_with(event, Metadata::new())
    }

    /// As [`Perspective::trigger`], with metadata that is stored beside the event.
    ///
    /// # Errors
    /// As [`Perspective::trigger`].
    pub fn trigger_with<E: Event>(&mut self, event: E, metadata: Metadata) -> Result<(), DcbError> {
        let failure = DcbError::persistence("trigger an event");
        // It gets its id when it is saved, and is sealed then: what is encrypted is bound to its id.
        let mut stored = self
            .mapper
            .encode_unsealed(&event, Uuid::nil())
            .map_err(&failure)?;
        let mapper = self.mapper.without_seal();
        // What the mapper says of the event's shape stands above what the caller says.
        let of_mapper = std::mem::replace(&mut stored.metadata, metadata);
        stored.metadata.extend(of_mapper);
        let mut leaves = leaves_of(&mut self.models);
        let tags = leaves.iter().flat_map(|leaf| leaf.tags());
        stored.tags.extend(tags.map(String::into_bytes));
        stored.tags.sort_unstable();
        stored.tags.dedup();
        for (leaf, boundary) in leaves.iter_mut().zip(&self.boundaries) {
            if boundary.matches(&stored) {
                let event: &dyn Any = &event;
                leaf.apply(&mapper, &stored, Some(event))
                    .map_err(&failure)?;
            }
        }
        self.outbox.pending.push(stored);
        Ok(())
    }

    /// What must not have happened behind the [last known position](Perspective::last_known_position) when it is
    /// saved: the items of all models. None if there are no models, and then nothing is in the way.
    pub fn boundary(&self) -> &[QueryItem] {
        &self.outbox.boundary
    }

    /// Everything of the boundary up to this position has been applied; 0 in an empty store.
    pub fn last_known_position(&self) -> u64 {
        self.outbox.known
    }

    /// The events triggered since it was loaded or saved, oldest first. Each gets its id when it is first saved, and
    /// keeps it from one attempt to the next.
    pub fn pending(&self) -> &[StoredEvent] {
        &self.outbox.pending
    }

    /// The models, without what is pending.
    pub fn into_models(self) -> M {
        self.models
    }

    /// The models, one by one, each with its boundary.
    pub(super) fn parts(&mut self) -> Vec<(&mut (dyn Leaf + '_), &Query)> {
        leaves_of(&mut self.models)
            .into_iter()
            .zip(&self.boundaries)
            .collect()
    }

    /// Applies what lies behind the last known position, in the boundary of any model.
    pub(crate) fn fold(&mut self, notifications: &[Notification]) -> Result<(), DcbError> {
        let mapper = self.mapper.clone();
        for (leaf, boundary) in &mut self.parts() {
            for notification in notifications {
                if boundary.matches(&notification.event) {
                    leaf.apply(&mapper, &notification.event, None)
                        .map_err(DcbError::persistence("apply an event"))?;
                }
            }
        }
        Ok(())
    }

    /// Everything up to this position has been applied.
    pub(crate) fn known(&mut self, position: u64) {
        self.outbox.known = position;
    }

    /// Why it cannot be brought up to date.
    pub(super) fn check_advance(&self) -> Result<(), DcbError> {
        let because = match self.outbox.is_stale {
            true => "an event saved together with its own lies in its boundary",
            false if !self.outbox.pending.is_empty() => "it has events that are not saved",
            false => return Ok(()),
        };
        Err(DcbError::CannotAdvance {
            position: self.outbox.known,
            because,
        })
    }
}

impl Outbox {
    pub(super) fn pending(&self) -> &[StoredEvent] {
        &self.pending
    }

    /// Gives each pending event an id and the metadata of the scope, and seals it, unless that has been done.
    pub(super) fn identify(
        &mut self,
        mapper: &Mapper,
        new_event_id: impl Fn() -> Uuid,
    ) -> Result<(), PersistenceError> {
        for event in &mut self.pending {
            if event.event_id.is_nil() {
                // All of it or nothing, or the next attempt would take it for sealed.
                let mut sealed = event.clone();
                sealed.event_id = new_event_id();
                stamp_scope(&mut sealed.metadata);
                mapper.seal(PayloadKind::Event, &mut sealed)?;
                *event = sealed;
            }
        }
        Ok(())
    }

    /// Adds events and condition to an append.
    pub(super) fn add_to(&self, append: &mut ConditionalAppend) {
        append.events.extend_from_slice(&self.pending);
        if !self.boundary.is_empty() {
            let query = Query {
                items: self.boundary.clone(),
            };
            *append = std::mem::take(append).fail_if_match(query, self.known);
        }
    }

    /// Drains the pending events, which were stored with `others`, the last of all at `position`.
    pub(super) fn saved(&mut self, others: &[StoredEvent], position: u64) {
        let own: Vec<_> = self.pending.drain(..).map(|event| event.event_id).collect();
        let is_unseen = |event: &StoredEvent| {
            !own.contains(&event.event_id) && self.boundary.iter().any(|item| item.matches(event))
        };
        // Nothing came between what was known and what was saved: that was the condition. What another perspective
        // decided in the same save was not applied here, so the next save has to fail on it.
        match others.iter().any(is_unseen) {
            true => self.is_stale = true,
            false if !self.is_stale => self.known = position,
            false => {}
        }
    }
}

impl<M: Models> Deref for Perspective<M> {
    type Target = M;

    fn deref(&self) -> &M {
        &self.models
    }
}

impl<M: Models + fmt::Debug> fmt::Debug for Perspective<M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Perspective")
            .field("models", &self.models)
            .field("last_known_position", &self.outbox.known)
            .field("pending", &self.outbox.pending.len())
            .finish_non_exhaustive()
    }
}

/// Perspectives on their way into one save: one `&mut Perspective<M>`, a tuple of up to six, an array or vector of them.
pub trait Perspectives<'a>: Collect<'a> {}

impl<'a, P: Collect<'a>> Perspectives<'a> for P {}

impl<'a, M: Models> Collect<'a> for &'a mut Perspective<M> {
    fn collect_into(self, outboxes: &mut Vec<&'a mut Outbox>) {
        outboxes.push(&mut self.outbox);
    }
}

impl<'a, P: Collect<'a>> Collect<'a> for Vec<P> {
    fn collect_into(self, outboxes: &mut Vec<&'a mut Outbox>) {
        self.into_iter()
            .for_each(|perspective| perspective.collect_into(outboxes));
    }
}

impl<'a, P: Collect<'a>, const N: usize> Collect<'a> for [P; N] {
    fn collect_into(self, outboxes: &mut Vec<&'a mut Outbox>) {
        self.into_iter()
            .for_each(|perspective| perspective.collect_into(outboxes));
    }
}

macro_rules! tuples {
    ($($($name:ident)+;)+) => {
        $(impl<'a, $($name: Collect<'a>),+> Collect<'a> for ($($name,)+) {
            fn collect_into(self, outboxes: &mut Vec<&'a mut Outbox>) {
                #[allow(non_snake_case, reason = "each perspective is named as its type")]
                let ($($name,)+) = self;
                $($name.collect_into(outboxes);)+
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

mod sealed {
    use super::Outbox;

    /// What a save needs of perspectives.
    pub trait Collect<'a> {
        fn collect_into(self, outboxes: &mut Vec<&'a mut Outbox>);
    }
}

fn leaves_of<M: Models>(models: &mut M) -> Vec<&mut (dyn Leaf + '_)> {
    let mut leaves = Vec::new();
    models.collect_into(&mut leaves);
    leaves
}

/// The items of a query, where everything is an item too.
fn items_of(query: &Query) -> Vec<QueryItem> {
    match query.items.is_empty() {
        true => vec![QueryItem::new()],
        false => query.items.clone(),
    }
}
