//! What the macros write: the same as by hand, and stored under names that say so.

use annals::testing::{StoredNames, given, given_nothing};
use annals::{AggregateId, Application, Event, Mapper, Root, aggregate, topic_of, topics_of};
use serde_json::{Value, json};
use uuid::Uuid;

mod dogs {
    use super::*;

    #[derive(Debug, PartialEq)]
    pub(crate) struct Dog {
        pub(crate) name: String,
        pub(crate) tricks: Vec<String>,
        colour: Option<String>,
    }

    #[derive(Debug, PartialEq)]
    pub(crate) struct Tired;

    /// A dog that learns.
    #[aggregate(name = "dog", derive(Eq))]
    impl Dog {
        pub(crate) const TRICKS_MAX: usize = 2;

        /// Somebody brought it.
        #[event(Registered)]
        pub(crate) fn register(#[event(tag)] name: String) -> Self {
            Dog {
                name,
                tricks: vec![],
                colour: None,
            }
        }

        #[event(TrickAdded, name = "dog.trick-added", alias = "Taught", version = 2, upcast(1 = with_trick))]
        fn add_trick(&mut self, mut trick: String) {
            trick.make_ascii_lowercase();
            self.tricks.push(trick);
        }

        #[event]
        pub(crate) fn painted(
            &mut self,
            #[serde(default)] colour: Option<String>,
            #[event(tag = "by")] r#by: Vec<u8>,
        ) {
            self.colour = colour;
        }

        #[event("Rested")]
        pub(crate) fn rest(&mut self) {}

        /// Teaches it, as long as it can remember.
        #[command]
        pub(crate) fn teach(&mut self, mut trick: &str) -> Result<usize, Tired> {
            trick = trick.trim();
            if self.tricks.len() == Self::TRICKS_MAX {
                return Err(Tired);
            }
            self.add_trick(trick.into());
            Ok(self.remaining())
        }

        #[command]
        pub(crate) fn teach_all<I: IntoIterator>(&mut self, tricks: I) -> Result<(), Tired>
        where
            I::Item: AsRef<str>,
        {
            tricks
                .into_iter()
                .try_for_each(|trick| self.teach(trick.as_ref()).map(drop))
        }

        fn remaining(&self) -> usize {
            Self::TRICKS_MAX - self.tricks.len()
        }
    }

    fn with_trick(old: Value) -> Value {
        json!({ "trick": old["name"] })
    }

    #[test]
    fn what_is_private_is_called_here() {
        let mut dog = Dog::register(Uuid::nil(), "Fido".into());
        dog.add_trick("Sit".to_owned());
        assert_eq!(dog.tricks, ["sit"]);
    }
}

use dogs::{Dog, DogCommands, DogEvent, Tired};

fn fido() -> Root<Dog> {
    Dog::register(Uuid::from_u128(1), "Fido".into())
}

#[test]
fn a_method_of_an_event_triggers_it_and_a_command_decides() {
    let mut dog = fido();
    assert_eq!(dog.teach(" sit "), Ok(1));
    dog.painted(Some("red".into()), vec![7]);
    dog.rest();
    assert_eq!(dog.teach_all(["roll over", "fetch"]), Err(Tired));
    assert_eq!(dog.tricks, ["sit", "roll over"]);
    let events: Vec<_> = dog
        .pending()
        .iter()
        .map(|pending| pending.event.clone())
        .collect();
    let (trick, colour) = (
        |trick: &str| DogEvent::TrickAdded {
            trick: trick.into(),
        },
        Some("red".into()),
    );
    assert_eq!(
        events,
        [
            DogEvent::Registered {
                name: "Fido".into()
            },
            trick("sit"),
            DogEvent::Painted {
                colour,
                r#by: vec![7]
            },
            DogEvent::Rested {},
            trick("roll over"),
        ]
    );
}

#[test]
fn what_was_saved_is_loaded() {
    let app = Application::in_memory();
    let mut dog = fido();
    dog.teach("sit").unwrap();
    let recorded = app.save(&mut dog).unwrap();
    let topics: Vec<_> = recorded
        .iter()
        .map(|recording| recording.topic.as_str())
        .collect();
    assert_eq!(topics, ["dog.Registered", "dog.trick-added"]);
    assert_eq!(*app.repository().get::<Dog>(dog.id()).unwrap(), *dog);
}

#[test]
fn parameters_become_fields_and_tags() {
    let event = DogEvent::Painted {
        colour: None,
        r#by: vec![1, 2],
    };
    assert_eq!(event.tags(), ["by:1", "by:2"]);
    assert_eq!(
        DogEvent::Registered {
            name: "Fido".into()
        }
        .tags(),
        ["name:Fido"]
    );
    assert!(DogEvent::Rested {}.tags().is_empty());
    let stored = Mapper::default().encode(&event, Uuid::nil()).unwrap();
    assert_eq!(
        (stored.topic.as_str(), stored.payload),
        ("dog.Painted", br#"{"colour":null,"by":[1,2]}"#.to_vec())
    );
}

#[test]
fn an_older_version_is_upcast() {
    let mut old = annals::StoredEvent::new(Uuid::nil(), "Taught", r#"{"name":"sit"}"#);
    assert_eq!(
        Mapper::default().decode::<DogEvent>(&old).unwrap(),
        DogEvent::TrickAdded {
            trick: "sit".into()
        }
    );
    old.payload = br#"{"trick":"sit"}"#.to_vec();
    assert!(Mapper::default().decode::<DogEvent>(&old).is_err());
}

#[test]
fn a_derived_event_is_stored_under_its_names() {
    assert_eq!(topic_of(&DogEvent::Rested {}), Some("dog.Rested"));
    assert_eq!(
        topics_of::<DogEvent>().iter().collect::<Vec<_>>(),
        [
            "dog.Registered",
            "dog.trick-added",
            "Taught",
            "dog.Painted",
            "dog.Rested"
        ]
    );
}

#[test]
fn stored_names_are_those_of_the_golden_file() {
    StoredNames::of::<DogEvent>()
        .and::<PageViewed>()
        .and::<PageEvent>()
        .assert_unchanged(include_str!("stored_names.txt"));
}

#[test]
fn the_three_ways_of_testing_go_without_a_store() {
    let registered = || DogEvent::Registered {
        name: "Fido".into(),
    };
    let added = |trick: &str| DogEvent::TrickAdded {
        trick: trick.into(),
    };
    given_nothing()
        .create(|id| Dog::register(id, "Fido".into()))
        .then([registered()])
        .and_replay();
    given::<Dog>([registered(), added("Sit")])
        .when(|dog| dog.teach("roll over"))
        .then([added("roll over")])
        .and_state(|dog| assert_eq!(dog.tricks, ["sit", "roll over"]))
        .and_replay();
    given::<Dog>([registered(), added("sit"), added("roll over")])
        .when(|dog| dog.teach("fetch"))
        .then_error(Tired);
    given::<Dog>([registered()])
        .when(|dog| dog.rest())
        .then([DogEvent::Rested {}]);
}

/// Alone in its aggregate, and called otherwise once.
#[derive(Debug, PartialEq, Event)]
#[event(name = "page.viewed", alias = "Viewed", version = 2, upcast(1 = |old: OldView| PageViewed { page: old.0, times: 1 }))]
struct PageViewed {
    #[event(tag = "page")]
    page: u32,
    times: u32,
}

#[derive(serde::Deserialize)]
struct OldView(u32);

#[derive(Debug, PartialEq, Event)]
#[event(name = "wrapped")]
struct Wrapped(#[event(tag = "inner")] String);

#[derive(Debug, PartialEq, Event)]
struct Empty;

#[derive(Debug, PartialEq, Event)]
#[serde(rename_all_fields = "camelCase")]
enum Every {
    Unit,
    Newtype(u8),
    Tuple(u8, #[event(tag = "second")] Option<String>),
    #[event(name = "every.struct")]
    Struct {
        long_name: u8,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        b: Option<u8>,
    },
    #[serde(other)]
    Unknown,
}

#[track_caller]
fn assert_stored<E: Event + PartialEq + std::fmt::Debug>(event: E, topic: &str, payload: &str) {
    let stored = Mapper::default().encode(&event, Uuid::nil()).unwrap();
    assert_eq!(
        (
            stored.topic.as_str(),
            std::str::from_utf8(&stored.payload).unwrap()
        ),
        (topic, payload)
    );
    assert_eq!(Mapper::default().decode::<E>(&stored).unwrap(), event);
}

#[test]
fn every_shape_can_be_derived() {
    assert_stored(
        PageViewed { page: 1, times: 2 },
        "page.viewed",
        r#"{"page":1,"times":2}"#,
    );
    assert_stored(Wrapped("x".into()), "wrapped", r#""x""#);
    assert_stored(Empty, "Empty", "{}");
    assert_stored(Every::Unit, "Unit", "{}");
    assert_stored(Every::Newtype(1), "Newtype", "1");
    assert_stored(Every::Tuple(1, None), "Tuple", "[1,null]");
    assert_stored(
        Every::Struct {
            long_name: 1,
            b: None,
        },
        "every.struct",
        r#"{"longName":1}"#,
    );
    assert_eq!(PageViewed { page: 1, times: 2 }.tags(), ["page:1"]);
    assert_eq!(Wrapped("x".into()).tags(), ["inner:x"]);
    assert_eq!(Every::Tuple(1, Some("x".into())).tags(), ["second:x"]);
    assert!(Every::Tuple(1, None).tags().is_empty());
    let later = annals::StoredEvent::new(Uuid::nil(), "Later", r#"{"x":1}"#);
    assert_eq!(
        Mapper::default().decode::<Every>(&later).unwrap(),
        Every::Unknown
    );
}

#[test]
fn a_struct_is_read_under_its_older_names_and_in_its_older_version() {
    let mut stored = annals::StoredEvent::new(Uuid::nil(), "Viewed", "7");
    let viewed = PageViewed { page: 7, times: 1 };
    assert_eq!(
        Mapper::default().decode::<PageViewed>(&stored).unwrap(),
        viewed
    );
    stored.metadata.insert("$version".into(), "2".into());
    stored.payload = br#"{"page":7,"times":1}"#.to_vec();
    assert_eq!(
        Mapper::default().decode::<PageViewed>(&stored).unwrap(),
        viewed
    );
    stored.topic = "Seen".into();
    let unknown = Mapper::default().decode::<PageViewed>(&stored).unwrap_err();
    assert!(
        unknown.to_string().contains(r#""page.viewed", "Viewed""#),
        "{unknown}"
    );
}

/// Its id is made of its name, so that nobody else can have the name.
struct Page {
    name: String,
}

#[aggregate]
impl Page {
    #[event(Created, id = Self::id_of(&name))]
    fn create(name: impl Into<String>) -> Self {
        Page { name: name.into() }
    }

    fn id_of(name: &str) -> AggregateId {
        AggregateId::named(&Uuid::NAMESPACE_URL, &format!("/pages/{name}"))
    }
}

#[test]
fn an_id_can_be_made_of_what_the_first_event_says() {
    let page = Page::create("welcome");
    assert_eq!(
        (page.id(), page.name.as_str()),
        (&Page::id_of("welcome"), "welcome")
    );
    assert_ne!(page.id(), Page::create("goodbye").id());
    assert_eq!(topic_of(&page.pending()[0].event), Some("Page.Created"));
}

/// A state need not be a struct, and a field may be called as parameters of the macro's own are.
#[derive(Debug, PartialEq)]
enum Lamp {
    On { id: u8 },
    Off,
}

#[aggregate(events = LampHappened, commands = LampSwitches)]
impl Lamp {
    #[event(Mounted)]
    fn mount(
        /// Number of the lamp, not of the aggregate.
        id: u8,
        event: u8,
    ) -> Self {
        Lamp::On { id }
    }

    #[event(SwitchedOff)]
    fn switch_off(&mut self) {
        *self = Lamp::Off;
    }

    /// Creating can be refused, too: before the first event.
    fn try_mount(id: AggregateId, lamp: u8) -> Result<Root<Self>, &'static str> {
        match lamp {
            0 => Err("lamps are counted from 1"),
            lamp => Ok(Self::mount(id, lamp, 0)),
        }
    }
}

#[test]
fn a_state_may_be_an_enum_and_creating_it_refused() {
    given_nothing()
        .create(|id| Lamp::try_mount(id, 0))
        .then_error("lamps are counted from 1");
    given_nothing()
        .create(|id| Lamp::try_mount(id, 1))
        .then([LampHappened::Mounted { id: 1, event: 0 }])
        .and_state(|lamp| assert_eq!(**lamp, Lamp::On { id: 1 }));
    given::<Lamp>([LampHappened::Mounted { id: 1, event: 0 }])
        .when(LampSwitches::switch_off)
        .then([LampHappened::SwitchedOff {}])
        .and_state(|lamp| assert_eq!(**lamp, Lamp::Off))
        .and_replay();
}
