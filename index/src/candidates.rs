//! Events that may hold an event id.
//!
//! A sealed index stores no id hashes, only ordinals in hash buckets: the whole bucket is the answer. The
//! tail keeps 32 bits of each hash and filters by them. Either way the record decides.

use std::iter::Rev;
use std::slice;

use crate::tail::IdChain;

/// Ordinals of events that may hold an event id, newest first.
///
/// No ordinal comes twice. Sealed: two others beside the one sought, on average; tail: almost always the
/// one alone. A tail that goes on behind a sealed part has both, its own first.
#[derive(Clone, Debug)]
pub struct IdCandidates<'a> {
    tail: Option<IdChain<'a>>,
    sealed: Rev<slice::Iter<'a, [u8; 4]>>,
}

impl<'a> IdCandidates<'a> {
    /// The candidates of a sealed bucket, whose ordinals ascend.
    pub(crate) fn bucket(ordinals: &'a [[u8; 4]]) -> Self {
        Self {
            tail: None,
            sealed: ordinals.iter().rev(),
        }
    }

    /// Those of a tail, and behind them these.
    pub(crate) fn behind(self, chain: IdChain<'a>) -> Self {
        Self {
            tail: Some(chain),
            ..self
        }
    }
}

impl Iterator for IdCandidates<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        if let Some(ordinal) = self.tail.as_mut().and_then(Iterator::next) {
            return Some(ordinal);
        }
        self.sealed.next().copied().map(u32::from_le_bytes)
    }
}
