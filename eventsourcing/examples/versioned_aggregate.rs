//! One aggregate through three releases of a program, over events that never change.
//!
//! Each module is the program of its time. What the first two stored, the third reads: on the way from the store old content
//! passes a step (an upcaster) for each release since. The other way there is none: a program that meets an event of a
//! later schema version says so, rather than read it wrong.
//!
//! What needs no new version: a field that old events lack and that has a default, and a new name for an event.

use annals::{Application, Error, PersistenceError};

/// The first release keeps a name.
mod release_1 {
    use annals::aggregate;

    pub(super) struct Person {
        pub(super) name: String,
    }

    #[aggregate(name = "person")]
    impl Person {
        #[event(Registered)]
        pub(super) fn register(name: impl Into<String>) -> Self {
            Person { name: name.into() }
        }

        #[event(Renamed)]
        pub(super) fn rename(&mut self, name: impl Into<String>) {
            self.name = name.into();
        }
    }
}

/// The second asks for first and last name. Events have a new shape: version 2, with a step from what version 1 was.
mod release_2 {
    use annals::aggregate;
    use serde_json::{Value, json};

    pub(super) struct Person {
        pub(super) first_name: String,
        pub(super) last_name: String,
    }

    #[aggregate(name = "person")]
    impl Person {
        #[event(Registered, version = 2, upcast(1 = split_name))]
        pub(super) fn register(
            first_name: impl Into<String>,
            last_name: impl Into<String>,
        ) -> Self {
            Person {
                first_name: first_name.into(),
                last_name: last_name.into(),
            }
        }

        #[event(Renamed, version = 2, upcast(1 = split_name))]
        pub(super) fn rename(
            &mut self,
            first_name: impl Into<String>,
            last_name: impl Into<String>,
        ) {
            self.first_name = first_name.into();
            self.last_name = last_name.into();
        }
    }

    /// Content of version 1 to content of version 2.
    pub(super) fn split_name(old: Value) -> Value {
        let name = old["name"].as_str().unwrap_or_default();
        let (first, last) = name.split_once(' ').unwrap_or(("", name));
        json!({ "first_name": first, "last_name": last })
    }
}

/// The third calls a registration a membership, which has a kind, and counts years of it: version 3 of one event. The
/// steps stay, each as it was, and are chained. The other event has not changed since.
mod release_3 {
    use annals::aggregate;
    use serde::{Deserialize, Serialize};

    use super::release_2::split_name;

    pub(super) struct Person {
        pub(super) last_name: String,
        pub(super) membership: Membership,
        pub(super) newsletter: bool,
    }

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    pub(super) enum Membership {
        Full,
        Trial { days: u32 },
    }

    #[aggregate(name = "person")]
    impl Person {
        #[event(
            Joined, name = "person.Joined", alias = "person.Registered",
            version = 3, upcast(1 = split_name, 2 = with_membership)
        )]
        pub(super) fn join(
            first_name: String,
            last_name: String,
            membership: Membership,
            // Without a version of its own: `false` for all who joined before there was one.
            #[serde(default)] newsletter: bool,
        ) -> Self {
            Person {
                last_name,
                membership,
                newsletter,
            }
        }

        #[event(Renamed, version = 2, upcast(1 = split_name))]
        pub(super) fn rename(&mut self, first_name: String, last_name: String) {
            self.last_name = last_name;
        }
    }

    /// What version 2 was. A step may say so in types instead of JSON.
    #[derive(Deserialize)]
    pub(super) struct Registered2 {
        first_name: String,
        last_name: String,
    }

    /// What version 3 is: later fields with a default are not its business.
    #[derive(Serialize)]
    pub(super) struct Joined3 {
        first_name: String,
        last_name: String,
        membership: Membership,
    }

    /// Content of version 2 to content of version 3: whoever was registered is a full member.
    pub(super) fn with_membership(old: Registered2) -> Joined3 {
        Joined3 {
            first_name: old.first_name,
            last_name: old.last_name,
            membership: Membership::Full,
        }
    }
}

fn main() -> Result<(), Error> {
    use release_1::PersonCommands as _;
    use release_2::PersonCommands as _;

    let club = Application::in_memory();

    let mut ada = release_1::Person::register(club.new_id(), "Ada Byron");
    club.save(&mut ada)?;
    assert_eq!(ada.name, "Ada Byron");

    // The second release reads what the first stored, and adds to it.
    let mut ada = club.repository().get::<release_2::Person>(ada.id())?;
    assert_eq!((&*ada.first_name, &*ada.last_name), ("Ada", "Byron"));
    ada.rename("Ada", "Lovelace");
    club.save(&mut ada)?;

    // The third reads both.
    let ada = club.repository().get::<release_3::Person>(ada.id())?;
    assert_eq!(ada.last_name, "Lovelace");
    assert_eq!(ada.membership, release_3::Membership::Full);
    assert!(!ada.newsletter);

    // The first, if somebody still runs it, is told that it is too old.
    match club.repository().get::<release_1::Person>(ada.id()) {
        Err(Error::Persistence {
            source:
                PersistenceError::NewerSchema {
                    found, expected, ..
                },
            ..
        }) => assert_eq!((found, expected), (2, 1)),
        other => panic!("{:?}", other.err()),
    }
    // Its own way of writing is still there, and still read.
    let mut bob = release_1::Person::register(club.new_id(), "Bob");
    bob.rename("Bob Smith");
    club.save(&mut bob)?;
    let bob = club.repository().get::<release_3::Person>(bob.id())?;
    assert_eq!(bob.last_name, "Smith");

    // What is new is stored in the new shape.
    let trial = release_3::Membership::Trial { days: 30 };
    let mut eve = release_3::Person::join(
        club.new_id(),
        "Eve".to_owned(),
        "Moor".to_owned(),
        trial.clone(),
        true,
    );
    club.save(&mut eve)?;
    let eve = club.repository().get::<release_3::Person>(eve.id())?;
    assert_eq!((&eve.membership, eve.newsletter), (&trial, true));
    Ok(())
}

#[test]
fn it_runs_to_its_end() -> Result<(), Error> {
    main()
}

#[test]
fn every_version_that_was_ever_stored_is_read() {
    use annals::testing::stored;
    use release_3::{Membership, PersonEvent};

    for (topic, version, json) in [
        ("person.Registered", 1, r#"{"name": "Ada Byron"}"#),
        (
            "person.Registered",
            2,
            r#"{"first_name": "Ada", "last_name": "Byron"}"#,
        ),
        (
            "person.Joined",
            3,
            r#"{"first_name": "Ada", "last_name": "Byron", "membership": "Full"}"#,
        ),
    ] {
        let joined = PersonEvent::Joined {
            first_name: "Ada".to_owned(),
            last_name: "Byron".to_owned(),
            membership: Membership::Full,
            newsletter: false,
        };
        assert_eq!(
            stored::<PersonEvent>(topic, version, json).unwrap(),
            joined,
            "{topic} {version}"
        );
    }
}

#[test]
fn no_stored_name_is_lost() {
    annals::testing::StoredNames::of::<release_3::PersonEvent>()
        .assert_unchanged("person.Joined 3\nperson.Registered 3\nperson.Renamed 2\n");
}
