//! A use case by itself.

use super::{DcbApplication, DcbError, Decided, Models, Perspective};

/// A command with what it looks at and how it decides, in one place: it shares events with other slices, and no code.
///
/// A value of it is the command. [`DcbApplication::run`] loads its models, lets it decide, saves, and does all of that
/// again when somebody else was faster; so [`Slice::decide`] may be called several times.
pub trait Slice {
    /// What it looks at.
    type Models: Models;
    /// What it answers.
    type Value;
    /// Why it refuses, or could not be asked.
    type Error: From<DcbError>;

    /// The models before any event.
    fn models(&self) -> Self::Models;

    /// Triggers events on what it sees, or refuses.
    ///
    /// # Errors
    /// Its own: nothing is saved then.
    fn decide(&self, seen: &mut Perspective<Self::Models>) -> Result<Self::Value, Self::Error>;
}

impl DcbApplication {
    /// Carries out a [`Slice`]; see [`DcbApplication::decide`].
    ///
    /// # Errors
    /// As [`DcbApplication::decide`].
    pub fn run<S: Slice>(&self, slice: &S) -> Result<Decided<S::Value>, S::Error> {
        self.decide(|| slice.models(), |seen| slice.decide(seen))
    }
}
