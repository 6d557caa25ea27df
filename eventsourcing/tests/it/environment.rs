//! Applications configured by environment variables.

use annals::{
    AggregateId, Application, ApplicationBuilder, Environment, EnvironmentError, Error, Root,
};

use crate::school::{Dog, DogEvent};

#[test]
fn without_variables_events_are_in_memory() {
    let app = environment().application().unwrap();
    save_dog(&app, "Fido");
    let other = environment().application().unwrap();
    assert_eq!(count(&app), 1);
    assert_eq!(count(&other), 0);
}

#[test]
fn an_application_that_follows_others_is_configured_the_same_way() {
    let app = environment().process_application().unwrap();
    save_dog(&app, "Fido");
    assert_eq!(app.process_recorder().max_position().unwrap(), Some(1));
    assert!(
        environment()
            .set("CIPHER_KEY", "-")
            .process_application()
            .is_err()
    );
}

#[test]
fn a_log_is_shared_by_applications_that_name_it() {
    let dir = tempfile::tempdir().unwrap();
    let log = || {
        environment()
            .set("PERSISTENCE_MODULE", "log")
            .set("ANNALS_PATH", dir.path().join("log"))
    };
    let (one, two) = (log().application().unwrap(), log().application().unwrap());
    save_dog(&one, "Fido");
    save_dog(&two, "Rex");
    assert_eq!((count(&one), count(&two)), (2, 2));

    // Closed for one, closed for both; then it can be opened anew.
    one.close().unwrap();
    assert!(two.save(&mut dog(&two, "Spot")).is_err());
    assert_eq!(count(&log().application().unwrap()), 2);
}

#[test]
fn applications_of_one_process_may_have_logs_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let own = |name| {
        Environment::isolated(name)
            .set("PERSISTENCE_MODULE", "log")
            .set("SCHOOL_ANNALS_PATH", dir.path().join("school"))
            .set("KENNEL_ANNALS_PATH", dir.path().join("kennel"))
            .application()
            .unwrap()
    };
    let (school, kennel) = (own("School"), own("Kennel"));
    save_dog(&school, "Fido");
    assert_eq!((count(&school), count(&kennel)), (1, 0));
}

#[test]
fn payloads_are_sealed_as_configured() {
    let dir = tempfile::tempdir().unwrap();
    let log = || {
        environment()
            .set("PERSISTENCE_MODULE", "log")
            .set("ANNALS_PATH", dir.path())
    };
    let long = "sit ".repeat(100);
    for (variable, value) in [
        ("COMPRESSOR_TOPIC", "zstd"),
        (
            "COMPRESSOR_TOPIC",
            "eventsourcing.compressor:ZlibCompressor",
        ),
        ("TRANSCODER_TOPIC", "messagepack"),
        ("CIPHER_KEY", KEY),
    ] {
        let app = log().set(variable, value).application().unwrap();
        let mut fido = dog(&app, "Fido");
        fido.trigger(DogEvent::trick_added(&long));
        app.save(&mut fido).unwrap();
        let events = app
            .recorder()
            .select_events(fido.id(), annals::SelectEvents::all());
        let payload = &events.unwrap()[1].event.payload;
        let is_plain = String::from_utf8_lossy(payload).starts_with('{');
        assert!(!is_plain, "{variable}={value}");
        let found = app.repository().get::<Dog>(fido.id()).unwrap();
        assert_eq!(found.tricks, [long.as_str()]);
        app.close().unwrap();
    }
}

#[test]
fn a_missing_variable_is_named_with_what_it_may_be() {
    for (module, variable) in needed() {
        let refused = environment()
            .set("PERSISTENCE_MODULE", module)
            .application()
            .unwrap_err();
        let EnvironmentError::Missing {
            variable: missing, ..
        } = &refused
        else {
            panic!("{refused:?}")
        };
        assert_eq!(*missing, format!("SCHOOL_{variable} or {variable}"));
        assert!(
            refused.to_string().contains("not set, expected"),
            "{refused}"
        );
    }
    let refused = environment()
        .set("CIPHER_TOPIC", "aes-256-gcm")
        .application()
        .unwrap_err();
    assert!(
        matches!(refused, EnvironmentError::Missing { .. }),
        "{refused:?}"
    );
}

fn needed() -> Vec<(&'static str, &'static str)> {
    let mut needed = vec![("log", "ANNALS_PATH")];
    if cfg!(feature = "sqlite") {
        needed.push(("sqlite", "SQLITE_DBNAME"));
    }
    needed
}

#[test]
fn a_value_that_means_nothing_is_named_with_what_it_may_be() {
    let dir = tempfile::tempdir().unwrap();
    for (variable, value) in [
        ("PERSISTENCE_MODULE", "eventsourcing.postgres"),
        ("INFRASTRUCTURE_FACTORY", "mine:Factory"),
        ("ANNALS_DURABILITY", "always"),
        ("TRANSCODER_TOPIC", "xml"),
        ("COMPRESSOR_TOPIC", "lzma"),
        ("CIPHER_TOPIC", "rot13"),
        ("CIPHER_KEY", "AQE="),
        ("IS_SNAPSHOTTING_ENABLED", "perhaps"),
        ("AGGREGATE_CACHE_MAXSIZE", "many"),
        ("AGGREGATE_CACHE_FASTFORWARD", "2"),
        ("AGGREGATE_CACHE_FASTFORWARD_SKIPPING", "-"),
    ] {
        let refused = environment()
            .set("ANNALS_PATH", dir.path().join("log"))
            .set(format!("SCHOOL_{variable}"), value)
            .application()
            .unwrap_err();
        let EnvironmentError::Invalid {
            variable: invalid,
            found,
            ..
        } = &refused
        else {
            panic!("{variable}={value}: {refused:?}")
        };
        assert_eq!(*invalid, format!("SCHOOL_{variable}"));
        match variable {
            "CIPHER_KEY" => assert_eq!(found, "4 bytes"),
            _ => assert_eq!(*found, format!("{value:?}")),
        }
    }
    assert!(
        !dir.path().join("log").exists(),
        "nothing is made of what is wrong"
    );
}

#[test]
fn what_cannot_be_opened_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let _held = Application::open(dir.path()).unwrap();
    let refused = environment()
        .set("PERSISTENCE_MODULE", "log")
        .set("ANNALS_PATH", dir.path())
        .application()
        .unwrap_err();
    assert!(
        matches!(
            refused,
            EnvironmentError::Application(Error::Persistence { .. })
        ),
        "{refused:?}"
    );
}

#[test]
fn the_environment_of_the_process_is_read() {
    // Cargo sets variables for every test: one of them stands for those of an application.
    let environment = Environment::new("cargo_pkg");
    let (variable, value) = environment.get("NAME").unwrap();
    assert_eq!(
        (variable.as_str(), value.to_str()),
        ("CARGO_PKG_NAME", Some("annals"))
    );
    Application::from_env("School").unwrap();
    ApplicationBuilder::from_env("School")
        .unwrap()
        .section_size(20)
        .build()
        .unwrap();
}

#[test]
fn every_variable_that_is_read_is_in_the_table() {
    let source = [
        include_str!("../../src/environment.rs"),
        include_str!("../../src/environment/payloads.rs"),
    ]
    .concat();
    let table = include_str!("../../ENVIRONMENT.md");
    let words = source.split(|char: char| !(char.is_ascii_uppercase() || char == '_'));
    let mut read: Vec<_> = source
        .split('"')
        .filter(|text| text.len() > 8 && words.clone().any(|word| word == *text))
        .collect();
    read.sort_unstable();
    read.dedup();
    assert!(read.len() >= 15, "{read:?}");
    for variable in read {
        assert!(table.contains(&format!("`{variable}`")), "{variable}");
    }
}

#[cfg(feature = "sqlite")]
mod sqlite {
    use annals::{PersistenceError, SqliteError, Tracking, TrackingRecorder};

    use super::*;

    #[test]
    fn events_are_in_the_file_named() {
        let dir = tempfile::tempdir().unwrap();
        let sqlite = |name, module| {
            Environment::isolated(name)
                .set("FACTORY_TOPIC", module)
                .set("SQLITE_DBNAME", dir.path().join("events.db"))
                .set("SQLITE_LOCK_TIMEOUT", "0.5")
                .set("KENNEL_SQLITE_TABLE_PREFIX", "kennel_")
                .set("IS_SNAPSHOTTING_ENABLED", "n")
                .application()
                .unwrap()
        };
        let (one, two) = (
            sqlite("School", "sqlite"),
            sqlite("School", "eventsourcing.sqlite:Factory"),
        );
        let kennel = sqlite("Kennel", "eventsourcing.sqlite");
        save_dog(&one, "Fido");
        one.close().unwrap();
        assert_eq!((count(&two), count(&kennel)), (1, 0));
    }

    #[test]
    fn a_database_in_memory_has_a_name_of_its_own() {
        let app = environment()
            .set("PERSISTENCE_MODULE", "sqlite")
            .set("SQLITE_DBNAME", ":memory:")
            .application()
            .unwrap();
        save_dog(&app, "Fido");
        assert_eq!(count(&app), 1);
    }

    #[test]
    fn a_view_is_where_the_environment_of_its_projection_says() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("names.db");
        let names = || Environment::isolated("Names").set("NAMES_SQLITE_DBNAME", &path);
        let schema = "CREATE TABLE names (name TEXT)";
        let view = names().sqlite_view(schema).unwrap();
        view.insert_tracking(Tracking::new("school", 7)).unwrap();
        let again = names().sqlite_view(schema).unwrap();
        assert_eq!(again.max_tracking("school").unwrap(), Some(7));
        assert!(Environment::isolated("Names").sqlite_view(schema).is_err());
    }

    #[test]
    fn tables_are_created_unless_told_otherwise() {
        let dir = tempfile::tempdir().unwrap();
        let refused = environment()
            .set("PERSISTENCE_MODULE", "sqlite")
            .set("SQLITE_DBNAME", dir.path().join("events.db"))
            .set("CREATE_TABLE", "no")
            .application()
            .unwrap_err();
        assert!(
            matches!(refused, EnvironmentError::Application(_)),
            "{refused:?}"
        );
        for (variable, value) in [("SQLITE_LOCK_TIMEOUT", "-1"), ("CREATE_TABLE", "maybe")] {
            let refused = environment()
                .set("PERSISTENCE_MODULE", "sqlite")
                .set("SQLITE_DBNAME", ":memory:")
                .set(variable, value)
                .application()
                .unwrap_err();
            assert!(
                matches!(refused, EnvironmentError::Invalid { .. }),
                "{refused:?}"
            );
        }
        let refused = environment()
            .set("PERSISTENCE_MODULE", "sqlite")
            .set("SQLITE_DBNAME", ":memory:")
            .set("SQLITE_TABLE_PREFIX", "1; DROP")
            .application()
            .unwrap_err();
        let EnvironmentError::Application(Error::Persistence {
            source: PersistenceError::Store { source, .. },
            ..
        }) = refused
        else {
            panic!("{refused:?}")
        };
        let told = source.downcast_ref::<SqliteError>();
        assert!(
            matches!(told, Some(SqliteError::TablePrefix { .. })),
            "{source}"
        );
    }
}

fn environment() -> Environment {
    Environment::isolated("School")
}

fn dog(app: &Application, name: &str) -> Root<Dog> {
    Root::new(app.new_id(), DogEvent::registered(name)).unwrap()
}

fn save_dog(app: &Application, name: &str) -> AggregateId {
    let mut dog = dog(app, name);
    app.save(&mut dog).unwrap();
    dog.id().clone()
}

fn count(app: &Application) -> u64 {
    app.recorder().max_position().unwrap().unwrap_or(0)
}

const KEY: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
