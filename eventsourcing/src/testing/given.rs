//! Given these events, when this is done, then those happen.

use std::convert::Infallible;
use std::fmt::{self, Debug, Write as _};

use uuid::Uuid;

use crate::domain::{
    Aggregate, AggregateId, Decider, DomainEvent, FIRST_VERSION, Metadata, Pure, Root,
};
use crate::persistence::{Mapper, StoredEvent};

/// An aggregate to which these events have happened, at least one.
///
/// # Panics
/// Later, when the aggregate cannot begin with the first.
pub fn given<A: Aggregate>(events: impl IntoIterator<Item = A::Event>) -> Given<A> {
    Given {
        events: events.into_iter().collect(),
    }
}

/// An aggregate that does not exist yet.
pub fn given_nothing<A: Aggregate>() -> Given<A> {
    given([])
}

/// A [`Decider`] to which these events have happened; none, and it does not exist yet.
pub fn given_pure<D: Decider>(events: impl IntoIterator<Item = D::Event>) -> GivenPure<D> {
    GivenPure(given(events))
}

/// What has happened so far. See [`given`].
#[must_use = "nothing is tested until something is expected"]
pub struct Given<A: Aggregate> {
    events: Vec<A::Event>,
}

impl<A: Aggregate> fmt::Debug for Given<A> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let events = self.events.len();
        formatter
            .debug_struct("Given")
            .field("events", &events)
            .finish()
    }
}

impl<A: Aggregate> Given<A> {
    /// Does something with the aggregate: gives it a command, lets events happen. What the closure answers is `()` or a
    /// `Result`.
    ///
    /// # Panics
    /// When the given events are none, or not those of an aggregate.
    #[track_caller]
    pub fn when<O: Outcome>(self, act: impl FnOnce(&mut Root<A>) -> O) -> Then<A, O::Error> {
        assert!(
            !self.events.is_empty(),
            "given: no events, so there is no aggregate to act on; give it the event it begins with, or `create` one"
        );
        let given = stored::<A>(self.events);
        let mut root = replayed::<A>(&given);
        let error = act(&mut root).error();
        Then {
            root: Some(root),
            given,
            error,
        }
    }

    /// Creates an aggregate. What the closure answers is a [`Root`], or a `Result` with one.
    ///
    /// # Panics
    /// When events were given: what exists is not created.
    #[track_caller]
    pub fn create<C: Created<A>>(self, create: impl FnOnce(AggregateId) -> C) -> Then<A, C::Error> {
        assert!(
            self.events.is_empty(),
            "given: {} events, so there is an aggregate already; act on it in `when`",
            self.events.len()
        );
        let (root, error) = match create(test_id()).created() {
            Ok(root) => (Some(root), None),
            Err(error) => (None, Some(error)),
        };
        Then {
            root,
            given: Vec::new(),
            error,
        }
    }
}

/// What has happened so far to a [`Decider`]. See [`given_pure`].
#[must_use = "nothing is tested until something is expected"]
pub struct GivenPure<D: Decider>(Given<Pure<D>>);

impl<D: Decider> fmt::Debug for GivenPure<D> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl<D: Decider> GivenPure<D> {
    /// Gives it a command.
    ///
    /// # Panics
    /// When a given event cannot be stored and read again.
    #[track_caller]
    pub fn when(self, command: D::Command) -> Then<Pure<D>, D::Error> {
        let given = stored::<Pure<D>>(self.0.events);
        let mut root = match given.is_empty() {
            true => Pure::root(test_id()),
            false => replayed(&given),
        };
        let error = root.decide(command).err();
        Then {
            root: Some(root),
            given,
            error,
        }
    }
}

/// What a step may answer: nothing, or a `Result`.
pub trait Outcome {
    /// Why it was refused.
    type Error;

    /// The refusal, if it is one.
    fn error(self) -> Option<Self::Error>;
}

impl Outcome for () {
    type Error = Infallible;

    fn error(self) -> Option<Infallible> {
        None
    }
}

impl<T, E> Outcome for Result<T, E> {
    type Error = E;

    fn error(self) -> Option<E> {
        self.err()
    }
}

/// What creating an aggregate may answer: a [`Root`], or a `Result` with one.
pub trait Created<A: Aggregate> {
    /// Why it was refused.
    type Error;

    /// The aggregate, or the refusal.
    ///
    /// # Errors
    /// The refusal.
    fn created(self) -> Result<Root<A>, Self::Error>;
}

impl<A: Aggregate> Created<A> for Root<A> {
    type Error = Infallible;

    fn created(self) -> Result<Root<A>, Infallible> {
        Ok(self)
    }
}

impl<A: Aggregate, E> Created<A> for Result<Root<A>, E> {
    type Error = E;

    fn created(self) -> Self {
        self
    }
}

/// What came of it, to be compared with what was expected.
#[must_use = "nothing is tested until something is expected"]
pub struct Then<A: Aggregate, E> {
    /// `None` when creating it was refused.
    root: Option<Root<A>>,
    given: Vec<StoredEvent>,
    error: Option<E>,
}

impl<A: Aggregate, E: Debug> fmt::Debug for Then<A, E> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let happened = self.root.as_ref().map(|root| root.pending().len());
        let mut shown = formatter.debug_struct("Then");
        shown
            .field("happened", &happened)
            .field("error", &self.error)
            .finish()
    }
}

impl<A: Aggregate, E: Debug> Then<A, E> {
    /// Exactly these events happened, in this order, and nothing was refused. Each is read back from its stored form as it was.
    ///
    /// # Panics
    /// Otherwise.
    #[track_caller]
    pub fn then(self, expected: impl IntoIterator<Item = A::Event>) -> AsExpected<A>
    where
        A::Event: PartialEq + Debug,
    {
        let expected: Vec<_> = expected.into_iter().collect();
        let expected: Vec<_> = expected.iter().collect();
        let Self { root, given, error } = self;
        let (Some(root), None) = (root, &error) else {
            panic!(
                "refused: {}\n{}",
                Refusal(&error),
                listed("expected", &expected, None)
            );
        };
        let found = events(&root);
        if found != expected {
            let same = found
                .iter()
                .zip(&expected)
                .take_while(|(a, b)| a == b)
                .count();
            panic!(
                "other events happened\n{}{}",
                listed("expected", &expected, Some(same)),
                listed("found", &found, Some(same))
            );
        }
        for event in &found {
            let stored = encoded::<A>(event);
            let read = decoded::<A>(&stored);
            assert!(
                read == **event,
                "an event is not read back as it was; a field may be skipped, or a `default` hide it\n  stored: {event:?}\n  \
                 read:   {read:?}\n  as:     {} {}",
                stored.topic,
                String::from_utf8_lossy(&stored.payload)
            );
        }
        AsExpected { root, given }
    }

    /// Nothing happened, and nothing was refused.
    ///
    /// # Panics
    /// Otherwise.
    #[track_caller]
    pub fn then_nothing(self) -> AsExpected<A>
    where
        A::Event: PartialEq + Debug,
    {
        self.then([])
    }

    /// It was refused with this error, and nothing happened.
    ///
    /// # Panics
    /// Otherwise.
    #[track_caller]
    pub fn then_error(self, expected: E)
    where
        E: PartialEq,
        A::Event: Debug,
    {
        self.then_error_with(|found| {
            assert!(
                *found == expected,
                "refused otherwise\n  expected: {expected:?}\n  found:    {found:?}"
            );
        });
    }

    /// It was refused, with an error that this finds right, and nothing happened.
    ///
    /// # Panics
    /// Otherwise, and as `check` does.
    #[track_caller]
    pub fn then_error_with(self, check: impl FnOnce(&E))
    where
        A::Event: Debug,
    {
        let found = self.root.as_ref().map(events).unwrap_or_default();
        let Some(error) = &self.error else {
            panic!(
                "nothing was refused, expected an error\n{}",
                listed("found", &found, None)
            );
        };
        check(error);
        assert!(
            found.is_empty(),
            "refused, but only after something had happened; check before the first event\n{}",
            listed("found", &found, None)
        );
    }
}

/// What is left when the events were as expected: the state.
pub struct AsExpected<A: Aggregate> {
    root: Root<A>,
    given: Vec<StoredEvent>,
}

impl<A: Aggregate> fmt::Debug for AsExpected<A> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let happened = self.root.pending().len();
        formatter
            .debug_struct("AsExpected")
            .field("events", &happened)
            .finish()
    }
}

impl<A: Aggregate> AsExpected<A> {
    /// Looks at the aggregate as the events left it.
    pub fn and_state(self, look: impl FnOnce(&Root<A>)) -> Self {
        look(&self.root);
        self
    }

    /// A replay of everything that happened leaves the same state: the bodies of events rest on nothing but the events.
    ///
    /// # Panics
    /// Otherwise.
    #[track_caller]
    pub fn and_replay(self) -> Self
    where
        A: PartialEq + Debug,
    {
        let new = self
            .root
            .pending()
            .iter()
            .map(|pending| encoded::<A>(&pending.event));
        let all: Vec<_> = self.given.iter().cloned().chain(new).collect();
        if !all.is_empty() {
            let replayed = replayed::<A>(&all);
            assert!(
                *replayed == *self.root,
                "a replay leaves another state; events may rest on nothing but themselves\n  happened: {:?}\n  replayed: {:?}",
                *self.root,
                *replayed
            );
        }
        self
    }
}

#[track_caller]
fn stored<A: Aggregate>(events: Vec<A::Event>) -> Vec<StoredEvent> {
    events.iter().map(encoded::<A>).collect()
}

/// As a repository does it: from the stored form.
#[track_caller]
fn replayed<A: Aggregate>(stored: &[StoredEvent]) -> Root<A> {
    let versions = FIRST_VERSION..;
    let history = stored
        .iter()
        .zip(versions)
        .map(|(stored, version)| DomainEvent {
            aggregate_id: test_id(),
            version,
            event_id: None,
            time_us: Some(version),
            metadata: Metadata::new(),
            event: decoded::<A>(stored),
        });
    match Root::replay(history) {
        Ok(root) => root.expect("there is an event"),
        Err(error) => panic!("given: {error}"),
    }
}

#[track_caller]
fn encoded<A: Aggregate>(event: &A::Event) -> StoredEvent {
    match Mapper::default().encode(event, Uuid::nil()) {
        Ok(stored) => stored,
        Err(error) => panic!("an event cannot be stored: {}", Chain(&error)),
    }
}

#[track_caller]
fn decoded<A: Aggregate>(stored: &StoredEvent) -> A::Event {
    match Mapper::default().decode(stored) {
        Ok(event) => event,
        Err(error) => panic!(
            "an event that was stored cannot be read: {}\n  stored: {} {}",
            Chain(&error),
            stored.topic,
            String::from_utf8_lossy(&stored.payload)
        ),
    }
}

fn events<A: Aggregate>(root: &Root<A>) -> Vec<&A::Event> {
    root.pending()
        .iter()
        .map(|pending| &pending.event)
        .collect()
}

/// All of them, a line each; the first that differs is marked.
fn listed<E: Debug>(name: &str, events: &[&E], same: Option<usize>) -> String {
    let mut text = format!("  {name} {} events\n", events.len());
    for (place, event) in events.iter().enumerate() {
        let mark = if same == Some(place) { ">" } else { " " };
        let (number, event) = (place + 1, format!("{event:?}"));
        writeln!(text, "  {mark} {number}. {event}").expect("a string takes everything");
    }
    text
}

struct Refusal<'a, E>(&'a Option<E>);

impl<E: Debug> fmt::Display for Refusal<'_, E> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(error) => write!(formatter, "{error:?}, expected events"),
            None => formatter.write_str("nothing was created"),
        }
    }
}

/// An error and its causes, in a line.
pub(super) struct Chain<'a>(pub(super) &'a dyn std::error::Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(formatter, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

/// The same in every test, so that failures look the same.
fn test_id() -> AggregateId {
    Uuid::from_u128(TEST_ID).into()
}

const TEST_ID: u128 = 0x7e57_7e57_7e57_4e57_8e57_7e57_7e57_7e57;

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::domain::Event;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    enum LampEvent {
        Mounted,
        Switched {
            on: bool,
        },
        Forgotten {
            #[serde(skip)]
            by: u8,
        },
    }

    impl Event for LampEvent {}

    #[derive(Debug, PartialEq)]
    struct Lamp {
        on: bool,
        /// What no event says.
        touched: u32,
    }

    impl Aggregate for Lamp {
        type Event = LampEvent;

        fn start(event: &LampEvent) -> Option<Self> {
            (*event == LampEvent::Mounted).then_some(Self {
                on: false,
                touched: 0,
            })
        }

        fn apply(&mut self, event: &LampEvent) {
            match event {
                LampEvent::Switched { on } => self.on = *on,
                LampEvent::Forgotten { by } => self.touched = u32::from(*by),
                LampEvent::Mounted => {}
            }
        }
    }

    const ON: LampEvent = LampEvent::Switched { on: true };
    const OFF: LampEvent = LampEvent::Switched { on: false };

    fn press(lamp: &mut Root<Lamp>) -> Result<(), &'static str> {
        if lamp.on {
            return Err("it is on");
        }
        lamp.trigger(ON);
        Ok(())
    }

    #[track_caller]
    fn message(test: impl FnOnce()) -> String {
        let panic = catch_unwind(AssertUnwindSafe(test)).unwrap_err();
        match panic.downcast::<String>() {
            Ok(text) => *text,
            Err(panic) => (*panic.downcast::<&str>().unwrap()).to_owned(),
        }
    }

    #[test]
    fn what_is_as_expected_passes() {
        given([LampEvent::Mounted])
            .when(press)
            .then([ON])
            .and_state(|lamp| assert!(lamp.on))
            .and_replay();
        given([LampEvent::Mounted, ON])
            .when(press)
            .then_error("it is on");
        given([LampEvent::Mounted])
            .when(|_: &mut Root<Lamp>| {})
            .then_nothing();
        given_nothing()
            .create(|id| Root::<Lamp>::new(id, LampEvent::Mounted))
            .then([LampEvent::Mounted]);
        given_nothing::<Lamp>()
            .create(|id| Root::new(id, ON))
            .then_error_with(|error| assert!(error.to_string().contains("begins with")));
    }

    #[test]
    fn other_events_are_listed_beside_those_expected() {
        let text = message(|| {
            let lamp = given([LampEvent::Mounted]);
            lamp.when(|lamp: &mut Root<Lamp>| {
                lamp.trigger(ON);
                lamp.trigger(OFF);
            })
            .then([ON, ON, OFF]);
        });
        assert_eq!(
            text,
            "other events happened\n  expected 3 events\n    1. Switched { on: true }\n  > 2. Switched { on: true }\n    \
             3. Switched { on: false }\n  found 2 events\n    1. Switched { on: true }\n  > 2. Switched { on: false }\n"
        );
    }

    #[test]
    fn a_refusal_that_was_not_expected_is_shown() {
        let text = message(|| drop(given([LampEvent::Mounted, ON]).when(press).then([ON])));
        assert!(
            text.starts_with("refused: \"it is on\", expected events"),
            "{text}"
        );
        let text = message(|| {
            given([LampEvent::Mounted])
                .when(press)
                .then_error("it is on")
        });
        assert!(
            text.starts_with("nothing was refused") && text.contains("1. Switched"),
            "{text}"
        );
        let text = message(|| {
            given([LampEvent::Mounted, ON])
                .when(press)
                .then_error("broken")
        });
        assert!(
            text.contains("expected: \"broken\"\n  found:    \"it is on\""),
            "{text}"
        );
    }

    #[test]
    fn a_refusal_after_an_event_is_a_mistake() {
        let text = message(|| {
            let lamp = given::<Lamp>([LampEvent::Mounted]);
            lamp.when(|lamp| {
                lamp.trigger(ON);
                press(lamp)
            })
            .then_error("it is on");
        });
        assert!(text.contains("only after something had happened"), "{text}");
    }

    #[test]
    fn an_event_that_does_not_survive_storing_is_a_mistake() {
        let text = message(|| {
            let lamp = given::<Lamp>([LampEvent::Mounted]);
            drop(
                lamp.when(|lamp| lamp.trigger(LampEvent::Forgotten { by: 1 }))
                    .then([LampEvent::Forgotten { by: 1 }]),
            );
        });
        assert!(text.contains("not read back as it was"), "{text}");
    }

    #[test]
    fn a_given_history_has_to_be_one() {
        let text = message(|| drop(given::<Lamp>([ON]).when(press)));
        assert!(
            text.starts_with("given: ") && text.contains("begins with \"Switched\""),
            "{text}"
        );
        let text = message(|| drop(given::<Lamp>([]).when(press)));
        assert!(text.contains("there is no aggregate to act on"), "{text}");
    }

    #[test]
    fn a_state_that_events_do_not_explain_is_a_mistake() {
        let text = message(|| {
            let touched = Lamp {
                on: true,
                touched: 9,
            };
            let root = Root::with_first(test_id(), touched, LampEvent::Mounted);
            drop(
                AsExpected {
                    root,
                    given: vec![],
                }
                .and_replay(),
            );
        });
        assert!(
            text.contains("leaves another state") && text.contains("touched: 9"),
            "{text}"
        );
    }
}
