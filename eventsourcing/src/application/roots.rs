//! Aggregates of any types on their way into one save.

use sealed::Unsaved;
use uuid::Uuid;

use super::Application;
use super::cache::{Key, key_of};
use crate::domain::{Aggregate, Root};
use crate::persistence::{Mapper, PersistenceError, Recorded, StoredEvent, stamp_scope};

/// A [`Root`] of whatever type, for saving a number of roots known only when the program runs.
pub trait AnyRoot: Unsaved + Send {}

impl<A: Aggregate> AnyRoot for Root<A> {}

/// What [`Application::save`](crate::Application::save) takes: roots to be saved together.
pub trait Roots<'a> {
    /// Adds the roots, in order.
    fn collect_into(self, roots: &mut Vec<&'a mut dyn AnyRoot>);
}

impl<'a, A: Aggregate> Roots<'a> for &'a mut Root<A> {
    fn collect_into(self, roots: &mut Vec<&'a mut dyn AnyRoot>) {
        roots.push(self);
    }
}

impl<'a> Roots<'a> for &'a mut dyn AnyRoot {
    fn collect_into(self, roots: &mut Vec<&'a mut dyn AnyRoot>) {
        roots.push(self);
    }
}

impl<'a, R: Roots<'a>> Roots<'a> for Vec<R> {
    fn collect_into(self, roots: &mut Vec<&'a mut dyn AnyRoot>) {
        self.into_iter().for_each(|root| root.collect_into(roots));
    }
}

impl<'a, R: Roots<'a>, const N: usize> Roots<'a> for [R; N] {
    fn collect_into(self, roots: &mut Vec<&'a mut dyn AnyRoot>) {
        self.into_iter().for_each(|root| root.collect_into(roots));
    }
}

impl<'a, A: Aggregate> Roots<'a> for &'a mut [Root<A>] {
    fn collect_into(self, roots: &mut Vec<&'a mut dyn AnyRoot>) {
        self.iter_mut().for_each(|root| root.collect_into(roots));
    }
}

impl<'a, A: Aggregate> Roots<'a> for &'a mut Vec<Root<A>> {
    fn collect_into(self, roots: &mut Vec<&'a mut dyn AnyRoot>) {
        self.as_mut_slice().collect_into(roots);
    }
}

macro_rules! tuples {
    ($($($name:ident)+;)+) => {
        $(impl<'a, $($name: Roots<'a>),+> Roots<'a> for ($($name,)+) {
            fn collect_into(self, roots: &mut Vec<&'a mut dyn AnyRoot>) {
                #[allow(non_snake_case, reason = "each root is named as its type")]
                let ($($name,)+) = self;
                $($name.collect_into(roots);)+
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
    use super::*;

    /// What a save needs of a root. Not for outsiders: who stores events otherwise, has the recorder.
    pub trait Unsaved {
        /// Adds the stored form of the pending events, each with an id that it keeps.
        fn store(
            &mut self,
            mapper: &Mapper,
            new_event_id: &dyn Fn() -> Uuid,
            events: &mut Vec<StoredEvent>,
        ) -> Result<(), PersistenceError>;

        /// Drains the pending events, which lie where the first of `recorded` say; answers the rest of those.
        /// Adds a snapshot when one is due.
        fn saved<'r>(
            &mut self,
            recorded: &'r [Recorded],
            application: &Application,
            snapshots: &mut Vec<StoredEvent>,
        ) -> &'r [Recorded];

        /// What it is cached under.
        fn key(&self) -> Key;
    }

    impl<A: Aggregate> Unsaved for Root<A> {
        fn store(
            &mut self,
            mapper: &Mapper,
            new_event_id: &dyn Fn() -> Uuid,
            events: &mut Vec<StoredEvent>,
        ) -> Result<(), PersistenceError> {
            for event in self.pending_mut() {
                // Both once, so that a second attempt stores the same event.
                if event.event_id.is_none() {
                    stamp_scope(&mut event.metadata);
                }
                let event_id = *event.event_id.get_or_insert_with(new_event_id);
                events.push(mapper.to_stored(event, event_id)?);
            }
            Ok(())
        }

        fn saved<'r>(
            &mut self,
            recorded: &'r [Recorded],
            application: &Application,
            snapshots: &mut Vec<StoredEvent>,
        ) -> &'r [Recorded] {
            let (own, rest) = recorded.split_at(self.pending().len());
            Root::saved(self, own.last().and_then(|last| last.time_us));
            snapshots.extend(application.due_snapshot(self, own.len() as u64));
            rest
        }

        fn key(&self) -> Key {
            key_of::<A>(self.id())
        }
    }
}
