//! Sealed index in bulk: from all events of a segment, or its first ones, in one pass and without lookups.
//!
//! The tail index answers while it grows and pays a lookup a key for it. Who only wants the file collects
//! (key, ordinal) pairs and sorts them once: by the top bits of the key into buckets of a few pairs, then
//! each bucket. The bytes are those that a [`TailIndex`](crate::TailIndex) of the same events gives.

use crate::columns::Columns;
use crate::directory;
use crate::sealed_form::{Parts, sealed_form};
use crate::{GrowingIndex, IdHash, Identity, KeyHash, Postings, Previous};

/// Events on their way into the bytes of a [`SealedIndex`](crate::SealedIndex).
#[derive(Debug)]
pub struct SealedBuilder {
    identity: Identity,
    columns: Columns,
    pairs: Vec<(KeyHash, u32)>,
    id_fingerprints: Vec<u32>,
}

impl SealedBuilder {
    /// A builder for the segment `identity`, whose event count is ignored.
    #[must_use]
    pub fn new(identity: Identity) -> Self {
        Self {
            identity,
            columns: Columns::default(),
            pairs: Vec::new(),
            id_fingerprints: Vec::new(),
        }
    }

    /// Count of events so far.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.columns.offsets.len() as u32
    }

    /// Whether there are no events yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.columns.offsets.is_empty()
    }

    /// The segment, with the count of events so far: what the file is opened with.
    #[must_use]
    pub fn identity(&self) -> Identity {
        Identity {
            event_count: self.len(),
            ..self.identity
        }
    }

    /// The bytes of the `.idx` file.
    ///
    /// `previous` is asked once for every key, in ascending order, for the newest older segment that holds
    /// it: an `Option<u64>`, or a [`Previous`] where the caller may not know.
    ///
    /// # Panics
    /// If `previous` names a segment that is not older than this one.
    #[must_use]
    pub fn encode<P: Into<Previous>>(self, mut previous: impl FnMut(KeyHash) -> P) -> Vec<u8> {
        let identity = self.identity();
        let (ordinals, keys) = grouped(&self.pairs);
        let keys = keys
            .iter()
            .map(|(key, start, end)| (*key, Postings::words(&ordinals[*start..*end])));
        let parts = Parts {
            identity,
            columns: &self.columns,
            id_fingerprints: &self.id_fingerprints,
        };
        sealed_form(&parts, keys, |key| previous(key).into())
    }
}

impl GrowingIndex for SealedBuilder {
    fn next_ordinal(&self) -> u32 {
        self.len()
    }

    fn push(
        &mut self,
        offset: u32,
        time_us: u64,
        event_id: [u8; 16],
        id: IdHash,
        keys: impl IntoIterator<Item = KeyHash>,
    ) {
        let ordinal = self.next_ordinal();
        self.columns.push(ordinal, offset, time_us, &event_id);
        self.pairs
            .extend(keys.into_iter().map(|key| (key, ordinal)));
        self.id_fingerprints.push(id.fingerprint());
    }
}

/// A key and its range of the ordinals.
type Group = (KeyHash, usize, usize);

/// The ordinals by key, ascending, each once; and the keys, ascending, with the range each has of them.
fn grouped(pairs: &[(KeyHash, u32)]) -> (Vec<u32>, Vec<Group>) {
    let bits = directory::bits_for(
        u32::try_from(pairs.len()).unwrap_or(u32::MAX),
        PAIRS_PER_BUCKET,
    );
    let starts = directory::starts(bits, pairs.iter().map(|(key, _)| key.to_bits()));
    let mut next = starts.clone();
    let mut sorted = vec![(KeyHash::from_bits(0), 0); pairs.len()];
    for pair in pairs {
        let place = &mut next[directory::bucket_of(pair.0.to_bits(), bits)];
        sorted[*place as usize] = *pair;
        *place += 1;
    }
    let mut ordinals = Vec::with_capacity(sorted.len());
    let mut keys: Vec<Group> = Vec::new();
    for bucket in starts.windows(2) {
        let bucket = &mut sorted[bucket[0] as usize..bucket[1] as usize];
        // Pairs came in the order of ordinals: sorting stably by key keeps those of a key ascending. A key
        // that most events hold has a bucket nearly for itself.
        bucket.sort_by_key(|(key, _)| *key);
        for &mut (key, ordinal) in bucket {
            match keys.last_mut() {
                Some((last, _, end)) if *last == key => {
                    if ordinals.last() != Some(&ordinal) {
                        ordinals.push(ordinal);
                        *end += 1;
                    }
                }
                _ => {
                    keys.push((key, ordinals.len(), ordinals.len() + 1));
                    ordinals.push(ordinal);
                }
            }
        }
    }
    (ordinals, keys)
}

/// About as many pairs are sorted at a time.
const PAIRS_PER_BUCKET: u32 = 8;
