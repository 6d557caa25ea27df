//! Given that these events have happened, when it is decided upon them, or a policy reacts, then those happen.

use std::fmt::{self, Debug, Write as _};
use std::sync::Arc;

use uuid::Uuid;

use super::given::Chain;
use crate::dcb::{DcbError, Models, Perspective, Slice};
use crate::domain::{AggregateId, Event, FIRST_VERSION};
use crate::persistence::{
    AggregateRecorder, Durability, Mapper, MetadataScope, Notification, StoredEvent,
};
use crate::projection::{Failure, Incoming, Notified, Policy, ProcessApplication, Work};
use crate::recorders::MemoryRecorder;

/// What has happened before a decision, of any event types: a store of these events alone.
///
/// ```
/// use annals::testing::given_events;
/// use annals::{DcbError, DecisionModel, Event, Perspective, Query, QueryItem};
///
/// #[derive(Event)]
/// enum NameEvent {
///     Taken { #[event(tag)] name: String },
/// }
///
/// struct IsTaken { name: String, is: bool }
///
/// impl DecisionModel for IsTaken {
///     type Event = NameEvent;
///
///     fn boundary(&self) -> Query {
///         QueryItem::of::<NameEvent>().tag(format!("name:{}", self.name)).into()
///     }
///
///     fn apply(&mut self, _: &NameEvent) {
///         self.is = true;
///     }
/// }
///
/// fn take(name: &mut Perspective<IsTaken>) -> Result<(), DcbError> {
///     if !name.is {
///         let name_taken = NameEvent::Taken { name: name.name.clone() };
///         name.trigger(name_taken)?;
///     }
///     Ok(())
/// }
///
/// let ann = || IsTaken { name: "ann".to_owned(), is: false };
/// let taken = |name: &str| NameEvent::Taken { name: name.to_owned() };
///
/// given_events().happened(taken("bob")).when(ann(), take).then(taken("ann"));
/// given_events().happened(taken("ann")).when(ann(), take).then_nothing();
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "nothing is tested until something is expected"]
pub struct GivenEvents {
    stored: Vec<StoredEvent>,
}

/// An empty store, for tests of decisions. See [`GivenEvents`].
pub fn given_events() -> GivenEvents {
    GivenEvents::default()
}

impl GivenEvents {
    /// An event that has happened, with the tags it has of its own.
    ///
    /// # Panics
    /// When it cannot be stored.
    #[track_caller]
    pub fn happened<E: Event>(mut self, event: E) -> Self {
        self.stored.push(encoded(&event));
        self
    }

    /// As [`GivenEvents::happened`], with tags it got from the models it was decided upon.
    ///
    /// # Panics
    /// When it cannot be stored.
    #[track_caller]
    pub fn happened_with<E: Event>(
        mut self,
        event: E,
        tags: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        let mut stored = encoded(&event);
        let tags = tags.into_iter().map(|tag| tag.into().into_bytes());
        stored.tags.extend(tags);
        self.stored.push(stored);
        self
    }

    /// Events that have happened to an aggregate, its first ones or the next.
    ///
    /// # Panics
    /// When one cannot be stored.
    #[track_caller]
    pub fn happened_to<E: Event>(
        mut self,
        id: impl Into<AggregateId>,
        events: impl IntoIterator<Item = E>,
    ) -> Self {
        let id = id.into();
        let of_id = |stored: &&StoredEvent| stored.aggregate_id() == Some(&id);
        let last = self.stored.iter().rev().find(of_id);
        let next = last
            .and_then(StoredEvent::version)
            .map_or(FIRST_VERSION, |last| last + 1);
        let events = (next..).zip(events);
        let stored: Vec<_> = events
            .map(|(version, event)| encoded(&event).of(id.clone(), version))
            .collect();
        self.stored.extend(stored);
        self
    }

    /// Has a policy react to an event of an aggregate elsewhere, in an application in which the given events have happened.
    /// An event that it does not read does not reach it.
    ///
    /// ```
    /// use annals::testing::given_events;
    /// use annals::uuid::Uuid;
    /// use annals::{Event, Notified, policy};
    ///
    /// #[derive(Event)]
    /// enum DogEvent {
    ///     Registered { name: String },
    /// }
    ///
    /// #[derive(Event)]
    /// struct Greeted {
    ///     name: String,
    /// }
    ///
    /// let greet = policy(|event: &Notified<DogEvent>, work| {
    ///     let DogEvent::Registered { name } = &event.event;
    ///     work.record(&Greeted { name: name.clone() })?;
    ///     Ok(())
    /// });
    ///
    /// let fido = || "Fido".to_owned();
    /// given_events()
    ///     .react(&greet, Uuid::nil(), DogEvent::Registered { name: fido() })
    ///     .then(Greeted { name: fido() });
    /// ```
    ///
    /// # Panics
    /// When the given events cannot be stored together.
    #[track_caller]
    pub fn react<P: Policy, E: Event>(
        self,
        policy: &P,
        id: impl Into<AggregateId>,
        event: E,
    ) -> Decision<Failure> {
        let cause = Notification {
            position: 1,
            time_us: 1,
            event: encoded(&event).of(id, FIRST_VERSION),
        };
        let application = match self.application() {
            Ok(application) => application,
            Err(error) => panic!("given: {}", Chain(&*error)),
        };
        let mut work = Work::new(&application);
        let _effects = MetadataScope::of_effects_alone(&cause.event);
        let process = || {
            if P::Event::reads(&cause.event.topic) {
                let cause = Notified::<P::Event>::decode(&Mapper::default(), &cause)?;
                policy.process(&cause, &mut work)?;
            }
            Ok(work.into_events()?)
        };
        let (found, error) = match process() {
            Ok(found) => (found, None),
            Err(error) => (Vec::new(), Some(error)),
        };
        Decision { found, error }
    }

    /// An application in which these events have happened.
    fn application(self) -> Result<ProcessApplication, Failure> {
        let recorder = Arc::new(MemoryRecorder::new());
        let number = |(id, stored): (u128, StoredEvent)| StoredEvent {
            event_id: Uuid::from_u128(id),
            ..stored
        };
        let stored = (1..).zip(self.stored).map(number).collect();
        recorder.insert_events(stored, Durability::Sync)?;
        Ok(ProcessApplication::new(recorder)?)
    }

    /// Decides upon what models see of these events.
    ///
    /// # Panics
    /// When a model cannot read an event in its boundary.
    #[track_caller]
    pub fn when<M: Models, T, E>(
        self,
        models: M,
        decide: impl FnOnce(&mut Perspective<M>) -> Result<T, E>,
    ) -> Decision<E> {
        let mut seen = match self.seen(models) {
            Ok(seen) => seen,
            Err(error) => panic!("given: {}", Chain(&error)),
        };
        let error = decide(&mut seen).err();
        Decision {
            found: seen.pending().to_vec(),
            error,
        }
    }

    /// Carries out a [`Slice`].
    ///
    /// # Panics
    /// As [`GivenEvents::when`].
    #[track_caller]
    pub fn run<S: Slice>(self, slice: &S) -> Decision<S::Error> {
        self.when(slice.models(), |seen| slice.decide(seen))
    }

    fn seen<M: Models>(self, models: M) -> Result<Perspective<M>, DcbError> {
        let mut seen = Perspective::new(models, Mapper::default());
        let notifications: Vec<_> = (1..)
            .zip(self.stored)
            .map(|(position, event)| Notification {
                position,
                time_us: position,
                event,
            })
            .collect();
        seen.fold(&notifications)?;
        seen.known(notifications.len() as u64);
        Ok(seen)
    }
}

/// What was decided, to be compared with what was expected.
#[must_use = "nothing is tested until something is expected"]
#[derive(Debug)]
pub struct Decision<E> {
    /// What happened and has not been compared.
    found: Vec<StoredEvent>,
    error: Option<E>,
}

impl<E: Debug> Decision<E> {
    /// This happened and nothing else, with at least the tags it has of its own.
    ///
    /// # Panics
    /// Otherwise.
    #[track_caller]
    pub fn then<V: Event>(self, expected: V) {
        self.then_all([expected]);
    }

    /// Exactly these happened, in this order. For events of several types: [`Decision::then_stored`].
    ///
    /// # Panics
    /// Otherwise.
    #[track_caller]
    pub fn then_all<V: Event>(self, expected: impl IntoIterator<Item = V>) {
        let expected = expected.into_iter();
        self.then_stored(expected.map(|event| encoded(&event)));
    }

    /// As [`Decision::then_all`], of events as [`Mapper::encode`] makes them; where they are said to be
    /// [of](StoredEvent::of) an aggregate, they have to be.
    ///
    /// # Panics
    /// Otherwise.
    #[track_caller]
    pub fn then_stored(self, expected: impl IntoIterator<Item = StoredEvent>) {
        let expected: Vec<_> = expected.into_iter().collect();
        if let Some(error) = &self.error {
            panic!(
                "refused: {error:?}, expected events\n{}",
                listed("expected", &expected, None)
            );
        }
        let same = self
            .found
            .iter()
            .zip(&expected)
            .take_while(|(found, expected)| is_as(found, expected))
            .count();
        assert!(
            same == expected.len() && same == self.found.len(),
            "other events happened\n{}{}",
            listed("expected", &expected, Some(same)),
            listed("found", &self.found, Some(same))
        );
    }

    /// Nothing happened, and nothing was refused.
    ///
    /// # Panics
    /// Otherwise.
    #[track_caller]
    pub fn then_nothing(self) {
        self.then_stored([]);
    }

    /// It was refused with this error. What had been triggered before is not saved, as an application does not.
    ///
    /// # Panics
    /// Otherwise.
    #[track_caller]
    pub fn then_error(self, expected: E)
    where
        E: PartialEq,
    {
        self.then_error_with(|found| {
            assert!(
                *found == expected,
                "refused otherwise\n  expected: {expected:?}\n  found:    {found:?}"
            );
        });
    }

    /// It was refused, with an error that this finds right.
    ///
    /// # Panics
    /// Otherwise, and as `check` does.
    #[track_caller]
    pub fn then_error_with(self, check: impl FnOnce(&E)) {
        match &self.error {
            Some(error) => check(error),
            None => panic!(
                "nothing was refused, expected an error\n{}",
                listed("found", &self.found, None)
            ),
        }
    }
}

/// The same content under the same name; models may have added tags, and the aggregate may be left open.
fn is_as(found: &StoredEvent, expected: &StoredEvent) -> bool {
    found.topic == expected.topic
        && (expected.origin.is_none() || expected.origin == found.origin)
        && found.payload == expected.payload
        && expected.tags.iter().all(|tag| found.tags.contains(tag))
}

#[track_caller]
fn encoded<E: Event>(event: &E) -> StoredEvent {
    match Mapper::default().encode(event, Uuid::nil()) {
        Ok(stored) => stored,
        Err(error) => panic!("an event cannot be stored: {}", Chain(&error)),
    }
}

/// All of them, a line each; the first that differs is marked.
fn listed(name: &str, events: &[StoredEvent], same: Option<usize>) -> String {
    let mut text = format!("  {name} {} events\n", events.len());
    for (place, event) in events.iter().enumerate() {
        let mark = if same == Some(place) { ">" } else { " " };
        let (number, event) = (place + 1, Shown(event));
        writeln!(text, "  {mark} {number}. {event}").expect("a string takes everything");
    }
    text
}

struct Shown<'a>(&'a StoredEvent);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let StoredEvent {
            topic,
            payload,
            tags,
            ..
        } = self.0;
        write!(formatter, "{topic} {}", String::from_utf8_lossy(payload))?;
        for tag in tags {
            write!(formatter, " #{}", String::from_utf8_lossy(tag))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::dcb::DecisionModel;
    use crate::domain::Aggregate;
    use crate::persistence::{Query, QueryItem};
    use crate::projection::policy;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Seat {
        Taken { seat: u32, by: String },
    }

    impl Event for Seat {
        fn tags(&self) -> Vec<String> {
            let Self::Taken { seat, .. } = self;
            vec![format!("seat:{seat}")]
        }
    }

    struct TakenBy {
        seat: u32,
        by: Option<String>,
    }

    impl DecisionModel for TakenBy {
        type Event = Seat;

        fn boundary(&self) -> Query {
            let item = QueryItem::of::<Seat>();
            item.tag(format!("seat:{}", self.seat)).into()
        }

        fn apply(&mut self, event: &Seat) {
            let Seat::Taken { by, .. } = event;
            self.by = Some(by.clone());
        }

        fn tags(&self) -> Vec<String> {
            vec!["house:big".to_owned()]
        }
    }

    struct Take {
        seat: u32,
    }

    #[derive(Debug)]
    enum Refused {
        Taken(String),
        Failed,
    }

    impl From<DcbError> for Refused {
        fn from(_: DcbError) -> Self {
            Self::Failed
        }
    }

    impl Slice for Take {
        type Models = TakenBy;
        type Value = ();
        type Error = Refused;

        fn models(&self) -> TakenBy {
            let seat = self.seat;
            TakenBy { seat, by: None }
        }

        fn decide(&self, seen: &mut Perspective<TakenBy>) -> Result<(), Refused> {
            match &seen.by {
                Some(by) => Err(Refused::Taken(by.clone())),
                None => Ok(seen.trigger(taken(self.seat, "me"))?),
            }
        }
    }

    fn taken(seat: u32, by: &str) -> Seat {
        let by = by.to_owned();
        Seat::Taken { seat, by }
    }

    fn message(test: impl FnOnce()) -> String {
        let panic = catch_unwind(AssertUnwindSafe(test)).unwrap_err();
        *panic.downcast::<String>().unwrap()
    }

    #[test]
    fn a_decision_sees_what_lies_in_its_boundary() {
        given_events()
            .happened(taken(2, "ann"))
            .run(&Take { seat: 1 })
            .then(taken(1, "me"));
        given_events()
            .happened_with(taken(1, "ann"), ["house:big"])
            .run(&Take { seat: 1 })
            .then_error_with(|error| assert!(matches!(error, Refused::Taken(by) if by == "ann")));
        given_events()
            .when(Take { seat: 1 }.models(), |_| Ok::<_, Refused>(()))
            .then_nothing();
    }

    #[test]
    fn other_events_are_shown_with_content_and_tags() {
        let text = message(|| given_events().run(&Take { seat: 1 }).then(taken(1, "ann")));
        assert_eq!(
            text,
            "other events happened\n  expected 1 events\n  > 1. Taken {\"seat\":1,\"by\":\"ann\"} #seat:1\n  found 1 \
             events\n  > 1. Taken {\"seat\":1,\"by\":\"me\"} #house:big #seat:1\n"
        );
    }

    #[test]
    fn an_event_too_many_or_too_few_is_a_mistake() {
        let run = || given_events().run(&Take { seat: 1 });
        assert!(message(|| run().then_nothing()).contains("found 1 events"));
        let two = || [taken(1, "me"), taken(2, "me")];
        assert!(message(|| run().then_all(two())).contains("expected 2 events"));
    }

    #[test]
    fn a_policy_reacts_in_an_application_that_has_a_past() {
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        enum HouseEvent {
            Opened,
            Filled { seat: u32 },
        }

        impl Event for HouseEvent {}

        struct House;

        impl Aggregate for House {
            type Event = HouseEvent;

            fn start(event: &HouseEvent) -> Option<Self> {
                (*event == HouseEvent::Opened).then_some(Self)
            }

            fn apply(&mut self, _: &HouseEvent) {}
        }

        let house = || AggregateId::text("house").unwrap();
        let fill = policy(move |event: &Notified<Seat>, work: &mut Work<'_>| {
            let Seat::Taken { seat, .. } = event.event;
            let house = work.get::<House>(&AggregateId::text("house")?)?;
            house.trigger(HouseEvent::Filled { seat });
            Ok(())
        });
        let given = || given_events().happened_to(house(), [HouseEvent::Opened]);
        given()
            .react(&fill, Uuid::nil(), taken(1, "ann"))
            .then_stored([encoded(&HouseEvent::Filled { seat: 1 }).of(house(), 2)]);
        given()
            .happened_to(house(), [HouseEvent::Filled { seat: 7 }])
            .react(&fill, Uuid::nil(), taken(1, "ann"))
            .then_stored([encoded(&HouseEvent::Filled { seat: 1 }).of(house(), 3)]);
        // What it does not read does not reach it; what fails leaves nothing.
        given()
            .react(&fill, Uuid::nil(), HouseEvent::Opened)
            .then_nothing();
        given_events()
            .react(&fill, Uuid::nil(), taken(1, "ann"))
            .then_error_with(|error| assert!(error.to_string().contains("house"), "{error}"));
    }

    #[test]
    fn refusals_and_their_absence_are_shown() {
        let refused = || {
            let given = given_events().happened(taken(1, "ann"));
            given.run(&Take { seat: 1 })
        };
        let text = message(|| refused().then(taken(1, "me")));
        assert!(text.starts_with("refused: Taken(\"ann\")"), "{text}");
        let text = message(|| {
            let happened = given_events().run(&Take { seat: 1 });
            happened.then_error_with(|_| {});
        });
        assert!(text.starts_with("nothing was refused"), "{text}");
    }
}
