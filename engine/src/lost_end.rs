//! The end of a log that is not there: what a witness says was durable behind everything that can be read.
//!
//! No segment holds these positions, so no index knows of them: reads of them are answered from here, and lookups by
//! key are told that there may be more.

use std::path::PathBuf;

use annals_segments::format::FormatError;

use crate::directory::corrupt;
use crate::error::Error;

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct LostEnd {
    /// The file in which the first of them stood, or should.
    pub(crate) path: PathBuf,
    /// Where in it what can be read ends.
    pub(crate) offset: usize,
    /// First position that is lost.
    pub(crate) first: u64,
    /// Last position that a witness names; never below the first.
    pub(crate) last: u64,
    /// What stands there instead.
    pub(crate) fault: FormatError,
}

impl LostEnd {
    /// The error in the place of the event at `position`, if that is one of them.
    pub(crate) fn at(&self, position: u64) -> Option<Error> {
        let is_lost = (self.first..=self.last).contains(&position);
        is_lost.then(|| self.told(position, position))
    }

    /// The error that stands for all of them.
    pub(crate) fn all(&self) -> Error {
        self.told(self.first, self.last)
    }

    fn told(&self, first: u64, last: u64) -> Error {
        corrupt(&self.path, self.offset, first, last, self.fault.clone())
    }
}
