//! Aggregates as two pure functions.

use super::{Aggregate, AggregateId, Event, Root};

/// An aggregate as two functions without side effects: what a command makes happen, and what that changes.
///
/// Neither takes `&mut`: the state goes in and comes out. `None` is the state before anything happened, and after an
/// event that ended it. Nothing here knows of ids, versions, stores; a [`Root`] of a [`Pure`] adds those.
///
/// ```
/// use annals::{Application, Decider, Event, Pure};
///
/// struct Lamp { on: bool }
///
/// #[derive(Event)]
/// enum LampEvent { Mounted, Switched { on: bool }, Removed }
///
/// enum LampCommand { Mount, Press, Remove }
///
/// impl Decider for Lamp {
///     type Command = LampCommand;
///     type Event = LampEvent;
///     type Error = &'static str;
///
///     fn decide(lamp: Option<&Self>, command: LampCommand) -> Result<Vec<LampEvent>, &'static str> {
///         match (lamp, command) {
///             (None, LampCommand::Mount) => Ok(vec![LampEvent::Mounted]),
///             (Some(lamp), LampCommand::Press) => Ok(vec![LampEvent::Switched { on: !lamp.on }]),
///             (Some(_), LampCommand::Remove) => Ok(vec![LampEvent::Removed]),
///             (None, _) => Err("there is no lamp"),
///             (Some(_), LampCommand::Mount) => Err("there is one already"),
///         }
///     }
///
///     fn evolve(lamp: Option<Self>, event: &LampEvent) -> Option<Self> {
///         match event {
///             LampEvent::Mounted => Some(Lamp { on: false }),
///             LampEvent::Switched { on } => lamp.map(|_| Lamp { on: *on }),
///             LampEvent::Removed => None,
///         }
///     }
/// }
///
/// let house = Application::in_memory();
/// let mut lamp = Pure::<Lamp>::root(house.new_id());
/// assert_eq!(lamp.decide(LampCommand::Press), Err("there is no lamp"));
/// lamp.decide(LampCommand::Mount).unwrap();
/// lamp.decide(LampCommand::Press).unwrap();
/// house.save(&mut lamp)?;
///
/// let copy = house.repository().get::<Pure<Lamp>>(lamp.id())?;
/// assert!(copy.state().is_some_and(|lamp| lamp.on));
/// # Ok::<(), annals::Error>(())
/// ```
pub trait Decider: Sized + Send + 'static {
    /// What can be asked of it.
    type Command;

    /// What can happen to it.
    type Event: Event;

    /// Why a command is refused.
    type Error;

    /// What a command makes happen: any number of events, each decided on the same state.
    ///
    /// # Errors
    /// When a rule forbids it; nothing happens then.
    fn decide(
        state: Option<&Self>,
        command: Self::Command,
    ) -> Result<Vec<Self::Event>, Self::Error>;

    /// The state after an event. The same for the same events for good: no clock, no randomness, no rule.
    fn evolve(state: Option<Self>, event: &Self::Event) -> Option<Self>;
}

/// The [`Aggregate`] that a [`Decider`] is: `Root<Pure<Lamp>>` is saved and loaded as others are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pure<D>(Option<D>);

impl<D: Decider> Pure<D> {
    /// An aggregate to which nothing has happened yet: of version 0, and not stored before its first event.
    pub fn root(id: impl Into<AggregateId>) -> Root<Self> {
        Root::before_first(id.into(), Self(None))
    }

    /// The state; `None` before the first event, and after one that ended it.
    pub fn state(&self) -> Option<&D> {
        self.0.as_ref()
    }
}

impl<D: Decider> Root<Pure<D>> {
    /// Decides on a command and lets what that says happen.
    ///
    /// # Errors
    /// What [`Decider::decide`] answers; nothing happened then.
    pub fn decide(&mut self, command: D::Command) -> Result<(), D::Error> {
        for event in D::decide(self.state(), command)? {
            self.trigger(event);
        }
        Ok(())
    }
}

impl<D: Decider> Aggregate for Pure<D> {
    type Event = D::Event;

    /// Every event can be the first: what a state begins with is for `evolve` to say.
    fn start(event: &D::Event) -> Option<Self> {
        Some(Self(D::evolve(None, event)))
    }

    fn apply(&mut self, event: &D::Event) {
        self.0 = D::evolve(self.0.take(), event);
    }
}
