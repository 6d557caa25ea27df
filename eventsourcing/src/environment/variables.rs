//! Looking for variables, and telling what is wrong with them.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;

use super::EnvironmentError;

/// The configuration of an application by environment variables.
///
/// ```
/// use annals::Environment;
///
/// // `Application::from_env("School")` does the same with what is set for the process.
/// let environment = Environment::isolated("School")
///     .default_value("PERSISTENCE_MODULE", "memory")
///     .set("SCHOOL_AGGREGATE_CACHE_MAXSIZE", "1000");
/// let app = environment.application()?;
/// # let _ = app;
/// # Ok::<_, annals::EnvironmentError>(())
/// ```
///
#[doc = include_str!("../../ENVIRONMENT.md")]
#[derive(Clone)]
#[must_use = "an environment does nothing until something is opened with it"]
pub struct Environment {
    name: String,
    prefix: String,
    /// In ascending order of precedence: defaults in code, the process, given.
    layers: [HashMap<OsString, OsString>; 3],
}

impl Environment {
    /// The environment of the process, as it is now, for the application `name`.
    pub fn new(name: &str) -> Self {
        Self::with_process(name, std::env::vars_os())
    }

    /// An environment in which nothing is set: for tests, and for programs that read their configuration from
    /// elsewhere.
    pub fn isolated(name: &str) -> Self {
        Self::with_process(name, std::iter::empty())
    }

    fn with_process(name: &str, process: impl Iterator<Item = (OsString, OsString)>) -> Self {
        let capital = |char: char| match char.is_alphanumeric() {
            true => char.to_uppercase().to_string(),
            false => "_".to_owned(),
        };
        let prefix: String = name.chars().map(capital).collect();
        Self {
            name: name.to_owned(),
            prefix: prefix + "_",
            layers: [HashMap::new(), process.collect(), HashMap::new()],
        }
    }

    /// Gives a variable a value that counts unless the process has one. With or without the prefix.
    pub fn default_value(
        mut self,
        variable: impl Into<String>,
        value: impl Into<OsString>,
    ) -> Self {
        self.layers[0].insert(variable.into().into(), value.into());
        self
    }

    /// Gives a variable a value that counts before that of the process. With or without the prefix.
    pub fn set(mut self, variable: impl Into<String>, value: impl Into<OsString>) -> Self {
        self.layers[2].insert(variable.into().into(), value.into());
        self
    }

    /// Name of the application.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The value of a variable, `KEY` without prefix, with the name it was found under: for variables of your own.
    pub fn get(&self, key: &str) -> Option<(String, &OsStr)> {
        [format!("{}{key}", self.prefix), key.to_owned()]
            .into_iter()
            .find_map(|variable| {
                let layers = self.layers.iter().rev();
                let values = layers.filter_map(|layer| layer.get(OsStr::new(&variable)));
                let value = values
                    .map(OsString::as_os_str)
                    .find(|value| !value.is_empty())?;
                Some((variable, value))
            })
    }

    /// Both names of a variable, for errors.
    pub(super) fn names(&self, key: &str) -> String {
        format!("{}{key} or {key}", self.prefix)
    }

    pub(super) fn missing(&self, key: &str, expected: &'static str) -> EnvironmentError {
        EnvironmentError::Missing {
            variable: self.names(key),
            expected,
        }
    }

    /// For what a program may be built without.
    #[allow(dead_code, reason = "only what is left out of a build needs it")]
    pub(super) fn not_built_in(
        &self,
        key: &str,
        found: &'static str,
        feature: &'static str,
    ) -> EnvironmentError {
        let variable = self.get(key).map(|(variable, _)| variable);
        EnvironmentError::NotBuiltIn {
            variable: variable.unwrap_or_else(|| key.to_owned()),
            found,
            feature,
        }
    }

    /// A path, which need not be Unicode; it has to be set.
    pub(super) fn path(
        &self,
        key: &str,
        expected: &'static str,
    ) -> Result<PathBuf, EnvironmentError> {
        match self.get(key) {
            Some((_, value)) => Ok(value.into()),
            None => Err(self.missing(key, expected)),
        }
    }

    /// A value that `read` makes sense of.
    pub(super) fn choice<T>(
        &self,
        key: &str,
        expected: &'static str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, EnvironmentError> {
        let Some((variable, value)) = self.get(key) else {
            return Ok(None);
        };
        match value.to_str().and_then(|value| read(value.trim())) {
            Some(value) => Ok(Some(value)),
            None => Err(EnvironmentError::Invalid {
                variable,
                found: format!("{value:?}"),
                expected,
            }),
        }
    }

    /// As [`Environment::choice`], for a value that is told to nobody.
    #[allow(
        dead_code,
        reason = "only encryption has secrets, and may be left out of a build"
    )]
    pub(super) fn secret<T>(
        &self,
        key: &str,
        expected: &'static str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, EnvironmentError> {
        let outcome = self.choice(key, expected, read);
        outcome.map_err(|error| match (error, self.get(key)) {
            (
                EnvironmentError::Invalid {
                    variable, expected, ..
                },
                Some((_, value)),
            ) => EnvironmentError::Invalid {
                variable,
                found: format!("{} bytes", value.len()),
                expected,
            },
            (error, _) => error,
        })
    }

    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>, EnvironmentError> {
        self.choice(key, "`yes` or `no`", |value| {
            match value.to_ascii_lowercase().as_str() {
                "y" | "yes" | "t" | "true" | "on" | "1" => Some(true),
                "n" | "no" | "f" | "false" | "off" | "0" => Some(false),
                _ => None,
            }
        })
    }
}

/// Names only: a value may be a key.
impl fmt::Debug for Environment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [defaults, process, given] = &self.layers;
        let is_own = |name: &&OsString| {
            name.to_str()
                .is_some_and(|name| name.starts_with(&self.prefix))
        };
        formatter
            .debug_struct("Environment")
            .field("name", &self.name)
            .field("defaults", &defaults.keys())
            .field(
                "process",
                &process.keys().filter(is_own).collect::<Vec<_>>(),
            )
            .field("given", &given.keys())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(process: &[(&str, &str)]) -> Environment {
        let process = process
            .iter()
            .map(|(name, value)| (name.into(), value.into()));
        Environment::with_process("Dog School", process)
    }

    #[track_caller]
    fn assert_found(environment: &Environment, expected: Option<(&str, &str)>) {
        let expected = expected.map(|(name, value)| (name.to_owned(), OsStr::new(value)));
        assert_eq!(environment.get("KEY"), expected);
    }

    #[test]
    fn given_values_come_before_the_process_and_that_before_defaults() {
        assert_found(&environment(&[]), None);
        let defaulted = environment(&[]).default_value("KEY", "code");
        assert_found(&defaulted, Some(("KEY", "code")));
        let both = environment(&[("KEY", "process")]).default_value("KEY", "code");
        assert_found(&both, Some(("KEY", "process")));
        assert_found(&both.set("KEY", "given"), Some(("KEY", "given")));
    }

    #[test]
    fn the_prefixed_name_comes_first_wherever_it_stands() {
        let both = environment(&[("DOG_SCHOOL_KEY", "own"), ("KEY", "all")]);
        assert_found(&both, Some(("DOG_SCHOOL_KEY", "own")));
        assert_found(&both.set("KEY", "given"), Some(("DOG_SCHOOL_KEY", "own")));
        let defaulted = environment(&[("KEY", "all")]).default_value("DOG_SCHOOL_KEY", "code");
        assert_found(&defaulted, Some(("DOG_SCHOOL_KEY", "code")));
    }

    #[test]
    fn what_is_empty_is_not_set() {
        let empty = environment(&[("DOG_SCHOOL_KEY", ""), ("KEY", "all")]);
        assert_found(&empty, Some(("KEY", "all")));
        let hidden = environment(&[("KEY", "")]).default_value("KEY", "code");
        assert_found(&hidden, Some(("KEY", "code")));
    }

    #[test]
    fn yes_and_no_may_be_said_in_many_ways() {
        for (value, expected) in [
            ("Y", true),
            ("true", true),
            ("1", true),
            ("OFF", false),
            (" n ", false),
        ] {
            let environment = environment(&[("KEY", value)]);
            assert_eq!(environment.flag("KEY").unwrap(), Some(expected), "{value}");
        }
        let error = environment(&[("KEY", "perhaps")]).flag("KEY").unwrap_err();
        assert_eq!(
            error.to_string(),
            "KEY: found \"perhaps\", expected `yes` or `no`; change it"
        );
    }

    #[test]
    fn a_secret_is_told_to_nobody() {
        let environment = environment(&[("DOG_SCHOOL_KEY", "hush")]).set("KEY", "hush");
        let refused = environment
            .secret("KEY", "a key", |_| None::<()>)
            .unwrap_err();
        assert_eq!(
            refused.to_string(),
            "DOG_SCHOOL_KEY: found 4 bytes, expected a key; change it"
        );
        assert!(!format!("{environment:?} {refused:?}").contains("hush"));
    }
}
