//! Names under which events are stored, held against a file.

use std::collections::BTreeMap;

use crate::domain::{Event, EventType, FIRST_SCHEMA_VERSION, topics_of};

/// The stored names and schema versions of event types, for a test that none is lost: what is stored under a name is to
/// be read for good, so a name may be added, and made an alias, but never taken away.
///
/// The file is part of the program, a line a name (`StoredNames` displays as its content):
///
/// ```
/// use annals::{Event, testing::StoredNames};
///
/// #[derive(Event)]
/// enum DogEvent {
///     #[event(name = "dog.registered")]
///     Registered { name: String },
///     #[event(name = "dog.trick-added", alias = "Taught", version = 2, upcast(1 = same))]
///     TrickAdded { trick: String },
/// }
/// # fn same(old: serde_json::Value) -> serde_json::Value { old }
///
/// let golden = "\
/// Taught 2
/// dog.registered 1
/// dog.trick-added 2
/// ";
/// // In a test: `include_str!("stored_names.txt")`.
/// StoredNames::of::<DogEvent>().assert_unchanged(golden);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredNames {
    /// The schema version that is written, or read last, under a name.
    versions: BTreeMap<String, u32>,
}

impl StoredNames {
    /// Those of an event type.
    ///
    /// # Panics
    /// When the type has none: its serde form hides them.
    #[track_caller]
    pub fn of<E: Event>() -> Self {
        Self::default().and::<E>()
    }

    /// Those of another event type, too. Several types may read what is stored under one name, each the fields it needs.
    ///
    /// # Panics
    /// When it has none, or has another schema version of a name that is there: what one of the two writes the other could
    /// not read.
    #[track_caller]
    #[must_use]
    pub fn and<E: Event>(mut self) -> Self {
        let own = Self::names_of::<E>();
        let type_name = std::any::type_name::<E>();
        assert!(
            !own.is_empty(),
            "{type_name}: its serde form names no topic; see `annals::Event`"
        );
        for (name, version) in own {
            let other = *self.versions.entry(name.clone()).or_insert(version);
            assert!(
                other == version,
                "{type_name}: {name:?} has schema version {version}, and {other} in another event type; give both the same"
            );
        }
        self
    }

    fn names_of<E: Event>() -> BTreeMap<String, u32> {
        let by_serde = topics_of::<E>();
        let first = by_serde
            .iter()
            .map(|name| (name.to_owned(), FIRST_SCHEMA_VERSION));
        let in_table = |of: &EventType| {
            let version = of.schema_version();
            of.names()
                .map(move |name| (name.to_owned(), version))
                .collect::<Vec<_>>()
        };
        first.chain(E::TYPES.iter().flat_map(in_table)).collect()
    }

    /// Every name of the file is still read, in its schema version or a later one, and the file has every name there is.
    ///
    /// # Panics
    /// Otherwise; the message says what to do, and shows the file as it should be where that is right.
    #[track_caller]
    pub fn assert_unchanged(&self, golden: &str) {
        let (mut lost, mut older, mut read) = (String::new(), String::new(), BTreeMap::new());
        for line in golden
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
        {
            // A name may have blanks of its own.
            let parsed = line
                .rsplit_once(' ')
                .and_then(|(name, version)| Some((name, version.parse::<u32>().ok()?)));
            let Some((name, version)) = parsed else {
                panic!(
                    "{line:?}: expected a stored name and its schema version, such as \"dog.registered 1\""
                );
            };
            match self.versions.get(name) {
                None => lost.push_str(&format!("  {name} {version}\n")),
                Some(now) if *now < version => {
                    older.push_str(&format!("  {name} {version}, now {now}\n"))
                }
                Some(_) => {}
            }
            read.insert(name.to_owned(), version);
        }
        assert!(
            lost.is_empty(),
            "stored names that are no longer read; events are stored under them, so keep each as the `name` or an `alias` \
             of an event:\n{lost}"
        );
        assert!(
            older.is_empty(),
            "schema versions lower than they were; events of the later ones are stored:\n{older}"
        );
        assert!(
            read == self.versions,
            "new stored names or schema versions; if they are meant for good, the file becomes:\n\n{self}"
        );
    }
}

/// The content of the file: a line for each name, ascending.
impl std::fmt::Display for StoredNames {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (name, version) in &self.versions {
            writeln!(formatter, "{name} {version}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::domain::Upcaster;

    #[derive(Serialize, Deserialize)]
    enum LampEvent {
        Mounted,
        #[serde(rename = "lamp switched", alias = "Switched")]
        Switched,
    }

    impl Event for LampEvent {
        const TYPES: &'static [EventType] = &[EventType::new("lamp switched")
            .aliases(&["Switched"])
            .version(2, &[Upcaster::new(1, Ok)])];
    }

    const GOLDEN: &str = "Mounted 1\nSwitched 2\nlamp switched 2\n";

    #[track_caller]
    fn message(golden: &str) -> String {
        let names = StoredNames::of::<LampEvent>();
        let panic = std::panic::catch_unwind(|| names.assert_unchanged(golden)).unwrap_err();
        *panic.downcast::<String>().unwrap()
    }

    #[test]
    fn names_that_are_there_pass_in_any_order() {
        let names = StoredNames::of::<LampEvent>();
        assert_eq!(names.to_string(), GOLDEN);
        names.assert_unchanged(GOLDEN);
        names.assert_unchanged("# Names.\nlamp switched 2\n\nSwitched 2\r\nMounted 1");
    }

    #[test]
    fn a_name_that_is_gone_is_told() {
        let text = message(&format!("{GOLDEN}Removed 1\n"));
        assert!(
            text.contains("no longer read") && text.ends_with("\n  Removed 1\n"),
            "{text}"
        );
    }

    #[test]
    fn a_version_that_went_back_is_told() {
        let text = message(&GOLDEN.replace("Mounted 1", "Mounted 3"));
        assert!(text.ends_with("  Mounted 3, now 1\n"), "{text}");
    }

    #[test]
    fn a_new_name_and_a_new_version_show_the_file_to_be() {
        for golden in [
            "",
            "Mounted 1\n",
            "Mounted 1\nSwitched 1\nlamp switched 1\n",
        ] {
            assert!(
                message(golden).ends_with(&format!("\n\n{GOLDEN}")),
                "{golden}"
            );
        }
    }

    #[test]
    fn what_is_no_line_of_names_is_told() {
        assert!(message("Mounted\n").contains("\"Mounted\": expected a stored name"));
    }

    #[test]
    fn two_types_may_read_one_name_in_one_version_only() {
        let names = StoredNames::of::<LampEvent>();
        assert_eq!(names.clone().and::<LampEvent>(), names);
        let text = std::panic::catch_unwind(|| StoredNames::of::<LampEvent>().and::<Pressed>());
        let text = text.unwrap_err().downcast::<String>().unwrap();
        assert!(
            text.contains("\"Switched\" has schema version 1, and 2 in another"),
            "{text}"
        );
    }

    #[derive(Serialize, Deserialize)]
    #[serde(rename = "Switched")]
    struct Pressed;

    impl Event for Pressed {}
}
