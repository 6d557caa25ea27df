//! Folding sealed segments into heads: a merge of sorted runs.
//!
//! The older table and the entries of every sealed index are runs sorted by key. They are merged in one
//! pass; where a key stands in several runs, the newest wins. Nothing is hashed or sorted again, the result
//! is written front to back, and folding in one go or by steps gives the same bytes.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::{Head, Heads};
use crate::directory;
use crate::error::Error;
use crate::format::{
    HEAD_ENTRY_SIZE, HEADS_HEADER_SIZE, HeadsHeader, HeadsLayout, KEYS_PER_BUCKET,
    SEGMENT_NUMBER_MAX, checksum, directory_len, encode_head, entry_key,
};
use crate::{HeadsIdentity, KeyHash, KeyIndex, SealedIndex};

/// Folds sealed segments into a new heads file and returns its bytes.
///
/// `older`: the table to go on from, if any, [verified](Heads::verify); all segments lie behind what it covers.
/// `sealed`: number, base position and index of each segment, ascending by number; all
/// [verified](SealedIndex::verify), with keys of one seed. `identity.covers` is at least the last of them
/// (it may be greater when the segments between hold nothing).
/// `last_version(segment, ordinal)` is asked for aggregates alone, once for each key and for the newest
/// event that holds it; tags and topics get 0.
///
/// # Errors
/// What `last_version` returns; [`Error::Malformed`] if a run proves broken after all, since a table that
/// silently lacked a key would let a writer reuse its versions.
///
/// # Panics
/// If the segments do not ascend, lie below `older` or above `identity.covers`, or bear a number or a base
/// position other than their index does.
pub fn fold_heads<H, S, E>(
    identity: HeadsIdentity,
    older: Option<&Heads<H>>,
    sealed: &[(u64, u64, &SealedIndex<S>)],
    mut last_version: impl FnMut(u64, u32) -> Result<u64, E>,
) -> Result<Vec<u8>, E>
where
    H: AsRef<[u8]>,
    S: AsRef<[u8]>,
    E: From<Error>,
{
    check_arguments(identity, older, sealed);
    // Counted first, so that the file is the only thing of its size in memory.
    let mut key_count = 0;
    let mut merge = Merge::new(runs(older, sealed))?;
    while merge.next()?.is_some() {
        key_count += 1;
    }
    let mut file = HeadsFile::with_room_for(identity, key_count);
    let mut merge = Merge::new(runs(older, sealed))?;
    while let Some((key, older, latest)) = merge.next()? {
        let head = match latest {
            Latest::Folded(head) => head,
            Latest::Fresh {
                segment, ordinal, ..
            } => Head {
                last_version: if key.kind().is_aggregate() {
                    last_version(segment, ordinal)?
                } else {
                    0
                },
                ..latest.over(older)
            },
        };
        file.push(key, &head);
    }
    Ok(file.finish())
}

/// The runs to merge, from old to new.
fn runs<'a, H: AsRef<[u8]>, S: AsRef<[u8]>>(
    older: Option<&'a Heads<H>>,
    sealed: &'a [(u64, u64, &'a SealedIndex<S>)],
) -> impl Iterator<Item = Run<'a>> {
    let folded = older.into_iter().map(|heads| {
        let run = heads
            .iter()
            .map(|(key, head)| Ok((key, Latest::Folded(head))));
        Box::new(run) as Run<'a>
    });
    let fresh = sealed.iter().map(|&(segment, base_position, index)| {
        let run = index.last_ordinals().map(move |(key, ordinal)| {
            let ordinal =
                ordinal
                    .filter(|&ordinal| ordinal < index.len())
                    .ok_or(Error::Malformed {
                        what: "last ordinal of a key",
                        found: ordinal.unwrap_or(u32::MAX).into(),
                        expected: index.len().into(),
                    })?;
            Ok((
                key,
                Latest::Fresh {
                    segment,
                    ordinal,
                    position: base_position + u64::from(ordinal),
                },
            ))
        });
        Box::new(run) as Run<'a>
    });
    folded.chain(fresh)
}

fn check_arguments<H: AsRef<[u8]>, S: AsRef<[u8]>>(
    identity: HeadsIdentity,
    older: Option<&Heads<H>>,
    sealed: &[(u64, u64, &SealedIndex<S>)],
) {
    let mut covered = older.map_or(0, Heads::covers);
    for &(segment, base_position, index) in sealed {
        assert!(
            segment > covered,
            "segment {segment} is covered already, up to {covered}"
        );
        let found = index.identity();
        assert_eq!(
            (found.segment, found.base_position),
            (segment, base_position),
            "an index under another's name"
        );
        covered = segment;
    }
    assert!(
        covered <= identity.covers,
        "segment {covered} is folded in, but {} covered",
        identity.covers
    );
    assert!(
        identity.covers <= SEGMENT_NUMBER_MAX,
        "no table can cover segment {}",
        identity.covers
    );
}

/// The file of a table that is being written, entries ascending by key.
struct HeadsFile {
    header: HeadsHeader,
    /// Where the entries start, behind header and directory.
    front: usize,
    /// Header and directory still to be filled in, then the entries so far.
    file: Vec<u8>,
}

impl HeadsFile {
    fn with_room_for(identity: HeadsIdentity, key_count: usize) -> Self {
        let key_count =
            u32::try_from(key_count).expect("2^32 heads are 140 GB, more than is folded in memory");
        let header = HeadsHeader {
            identity,
            key_count,
            directory_bits: directory::bits_for(key_count, KEYS_PER_BUCKET),
            body_crc: 0,
            body_len: 0,
        };
        let directory_words = directory_len(header.directory_bits) as usize;
        let front = HEADS_HEADER_SIZE + directory_words * size_of::<u32>();
        let mut file = Vec::with_capacity(front + key_count as usize * HEAD_ENTRY_SIZE);
        file.resize(front, 0);
        Self {
            header,
            front,
            file,
        }
    }

    fn push(&mut self, key: KeyHash, head: &Head) {
        self.file.extend_from_slice(&encode_head(key, head));
    }

    fn finish(self) -> Vec<u8> {
        let Self {
            mut header,
            front,
            mut file,
        } = self;
        let (entries, rest) = file[front..].as_chunks::<HEAD_ENTRY_SIZE>();
        assert_eq!(
            (entries.len(), rest.len()),
            (header.key_count as usize, 0),
            "as many keys as were counted"
        );
        let keys = entries.iter().map(|entry| entry_key(entry).to_bits());
        let starts = directory::starts(header.directory_bits, keys);
        let words = file[HEADS_HEADER_SIZE..front].as_chunks_mut::<4>().0;
        for (word, start) in words.iter_mut().zip(starts) {
            *word = start.to_le_bytes();
        }
        header.body_len = (file.len() - HEADS_HEADER_SIZE) as u64;
        header.body_crc = checksum(&file[HEADS_HEADER_SIZE..]);
        file[..HEADS_HEADER_SIZE].copy_from_slice(&header.encode());
        HeadsLayout::of(&header, file.len())
            .expect("the sections were written as the header lays them out");
        file
    }
}

/// A key's newest event, as one run knows it.
#[derive(Clone, Copy)]
enum Latest {
    Folded(Head),
    Fresh {
        segment: u64,
        ordinal: u32,
        position: u64,
    },
}

impl Latest {
    /// The head that this entry makes of `older`, with its segments alone.
    fn over(self, older: Option<Head>) -> Head {
        match self {
            Self::Folded(head) => head,
            Self::Fresh {
                segment, position, ..
            } => Head {
                last_version: 0,
                last_position: position,
                last_segment: segment,
                earlier: older.map_or(0, |older| older.earlier_from(segment)),
            },
        }
    }
}

/// Keys of one source, strictly ascending.
type Run<'a> = Box<dyn Iterator<Item = Result<(KeyHash, Latest), Error>> + 'a>;

/// Merge of runs, numbered from old to new; of equal keys the newest run's wins.
struct Merge<'a> {
    runs: Vec<Run<'a>>,
    /// The entry at the front of each run that has not ended.
    fronts: Vec<Option<Latest>>,
    /// Key at the front of each such run, and the number of the run.
    order: BinaryHeap<Reverse<(KeyHash, usize)>>,
}

impl<'a> Merge<'a> {
    fn new(runs: impl Iterator<Item = Run<'a>>) -> Result<Self, Error> {
        let runs: Vec<Run<'a>> = runs.collect();
        let (fronts, order) = (
            vec![None; runs.len()],
            BinaryHeap::with_capacity(runs.len()),
        );
        let mut merge = Self {
            runs,
            fronts,
            order,
        };
        for run in 0..merge.runs.len() {
            merge.advance(run, None)?;
        }
        Ok(merge)
    }

    /// The least key that is left, the head it would have without its newest entry (of which only the segments
    /// count), and that.
    fn next(&mut self) -> Result<Option<(KeyHash, Option<Head>, Latest)>, Error> {
        let Some(&Reverse((key, _))) = self.order.peek() else {
            return Ok(None);
        };
        let mut older: Option<Head> = None;
        let mut newest: Option<Latest> = None;
        // Of equal keys the older run leaves the heap first, so the last one taken is the newest.
        while let Some(&Reverse((front, run))) = self.order.peek()
            && front == key
        {
            self.order.pop();
            older = newest.map(|latest| latest.over(older)).or(older);
            newest = self.fronts[run].take();
            self.advance(run, Some(key))?;
        }
        Ok(newest.map(|latest| (key, older, latest)))
    }

    fn advance(&mut self, run: usize, last: Option<KeyHash>) -> Result<(), Error> {
        let Some((key, latest)) = self.runs[run].next().transpose()? else {
            return Ok(());
        };
        if let Some(last) = last
            && key <= last
        {
            let (found, expected) = (key.to_bits(), last.to_bits());
            return Err(Error::Malformed {
                what: "key out of order",
                found,
                expected,
            });
        }
        self.fronts[run] = Some(latest);
        self.order.push(Reverse((key, run)));
        Ok(())
    }
}
