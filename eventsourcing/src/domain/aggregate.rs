//! State that changes by its events.

use super::Event;

/// State that its events add up to.
///
/// There is no default state: an aggregate begins with its first event. Both functions must give the
/// same result for the same events for good: no clock, no randomness, no rule that may change. Rules
/// belong to the code that decides which event to [trigger](crate::Root::trigger).
///
/// [`#[aggregate]`](macro@crate::aggregate) writes this trait, from methods that say both what can happen and what it
/// changes; who would rather have functions without `&mut` implements [`Decider`](crate::Decider).
pub trait Aggregate: Sized + Send + 'static {
    /// What can happen to it.
    type Event: Event;

    /// The state after the first event; `None` when no aggregate can begin with this one.
    fn start(event: &Self::Event) -> Option<Self>;

    /// Changes the state by a later event. An event that changes nothing is legal.
    fn apply(&mut self, event: &Self::Event);

    /// As [`Aggregate::apply`], for an event that nobody needs any more, as in a replay: what it holds can be moved into
    /// the state instead of copied. It has to change the state as `apply` does, which it calls by default.
    fn apply_owned(&mut self, event: Self::Event) {
        self.apply(&event);
    }
}
