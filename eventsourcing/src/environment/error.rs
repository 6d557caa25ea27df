//! What can go wrong with a configuration.

use crate::application::Error;

/// What is wrong with an environment. Values of variables that hold keys are never told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnvironmentError {
    /// A variable is needed and not set.
    #[error("{variable}: not set, expected {expected}; set it")]
    Missing {
        /// The names it was looked for.
        variable: String,
        /// What it may be.
        expected: &'static str,
    },

    /// A variable has a value that means nothing.
    #[error("{variable}: found {found}, expected {expected}; change it")]
    Invalid {
        /// Its name.
        variable: String,
        /// Its value, quoted; of a secret one only how long it is.
        found: String,
        /// What it may be.
        expected: &'static str,
    },

    /// A variable asks for something that the program was built without.
    #[error(
        "{variable}: found {found:?}, which is not built in; build with the feature `{feature}` of `annals`"
    )]
    NotBuiltIn {
        /// Its name.
        variable: String,
        /// Its value.
        found: &'static str,
        /// The feature to build with.
        feature: &'static str,
    },

    /// The variables are in order; the application cannot be opened with them.
    #[error("the application cannot be opened as configured")]
    Application(#[from] Error),
}
