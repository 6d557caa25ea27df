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
/// one alone.
#[derive(Clone, Debug)]
pub struct IdCandidates<'a>(Form<'a>);

#[derive(Clone, Debug)]
enum Form<'a> {
    Bucket(Rev<slice::Iter<'a, [u8; 4]>>),
    Chain(IdChain<'a>),
}

impl<'a> IdCandidates<'a> {
    /// The candidates of a sealed bucket, whose ordinals ascend.
    pub(crate) fn bucket(ordinals: &'a [[u8; 4]]) -> Self {
        Self(Form::Bucket(ordinals.iter().rev()))
    }

    pub(crate) fn chain(chain: IdChain<'a>) -> Self {
        Self(Form::Chain(chain))
    }
}

impl Iterator for IdCandidates<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        match &mut self.0 {
            Form::Bucket(ordinals) => ordinals.next().copied().map(u32::from_le_bytes),
            Form::Chain(chain) => chain.next(),
        }
    }
}
