//! Writing a sealed index: the bytes of an `.idx` file from its parts, wherever those come from.

use crate::columns::Columns;
use crate::directory;
use crate::format::{
    IDS_PER_BUCKET, KEYS_PER_BUCKET, KeyEntry, SAMPLE_INTERVAL, SEALED_HEADER_SIZE, Sample,
    SealedHeader, SealedLayout, checksum,
};
use crate::{Identity, KeyHash, Postings, Previous};

/// What an index holds beside its keys.
pub(crate) struct Parts<'a> {
    /// With the count of events.
    pub(crate) identity: Identity,
    /// Of all events from the first.
    pub(crate) columns: &'a Columns,
    /// The upper 32 bits of the id hashes, by ordinal.
    pub(crate) id_fingerprints: &'a [u32],
}

/// The bytes of the file. `keys`: ascending, each once, with their ordinals. `previous`: asked once for every
/// key, in that order.
///
/// # Panics
/// If `previous` names a segment that is not older, or there are 2^32 postings.
pub(crate) fn sealed_form<'a>(
    parts: &Parts<'_>,
    keys: impl ExactSizeIterator<Item = (KeyHash, Postings<'a>)> + Clone,
    mut previous: impl FnMut(KeyHash) -> Previous,
) -> Vec<u8> {
    let key_count = keys.len() as u32;
    let posting_count: u64 = keys.clone().map(|(_, found)| stored(found) as u64).sum();
    let mut header = SealedHeader {
        identity: parts.identity,
        key_count,
        posting_count: u32::try_from(posting_count).expect("fewer than 2^31 postings"),
        key_directory_bits: directory::bits_for(key_count, KEYS_PER_BUCKET),
        id_directory_bits: directory::bits_for(parts.identity.event_count, IDS_PER_BUCKET),
        id_times: parts.columns.id_times,
        body_crc: 0,
        body_len: 0,
    };

    let mut file = vec![0; SEALED_HEADER_SIZE];
    push_words(&mut file, parts.columns.offsets.iter().copied());
    let hashes = keys.clone().map(|(key, _)| key.to_bits());
    push_words(
        &mut file,
        directory::starts(header.key_directory_bits, hashes),
    );
    let mut next_posting = 0;
    for (key, ordinals) in keys.clone() {
        let only = ordinals.first().filter(|_| ordinals.len() == 1);
        let entry = KeyEntry {
            key,
            start: only.unwrap_or(next_posting),
            count: ordinals.len() as u32,
            previous: older(parts.identity.segment, previous(key)),
        };
        file.extend_from_slice(&entry.encode());
        next_posting += stored(ordinals) as u32;
    }
    for (_, ordinals) in keys.filter(|(_, ordinals)| ordinals.len() > 1) {
        push_words(&mut file, ordinals);
    }
    let (id_starts, ids) = ids_by_bucket(parts.id_fingerprints, header.id_directory_bits);
    push_words(&mut file, id_starts);
    push_words(&mut file, ids);
    for (index, &time_us) in (0_u32..).zip(&parts.columns.sample_times_us) {
        let ordinal = index * SAMPLE_INTERVAL;
        file.extend_from_slice(&Sample { time_us, ordinal }.encode());
    }

    header.body_len = (file.len() - SEALED_HEADER_SIZE) as u64;
    header.body_crc = checksum(&file[SEALED_HEADER_SIZE..]);
    file[..SEALED_HEADER_SIZE].copy_from_slice(&header.encode());
    SealedLayout::of(&header, file.len())
        .expect("the sections were written as the header lays them out");
    file
}

/// Ordinals by bucket of their id, ascending in each, and where the buckets start.
fn ids_by_bucket(fingerprints: &[u32], bits: u8) -> (Vec<u32>, Vec<u32>) {
    let hash = |&fingerprint: &u32| u64::from(fingerprint) << 32;
    let starts = directory::starts(bits, fingerprints.iter().map(hash));
    let mut next = starts.clone();
    let mut ordinals = vec![0; fingerprints.len()];
    for (ordinal, fingerprint) in (0..).zip(fingerprints) {
        let place = &mut next[directory::bucket_of(hash(fingerprint), bits)];
        ordinals[*place as usize] = ordinal;
        *place += 1;
    }
    (starts, ordinals)
}

/// Words of a key in the section of postings: an only ordinal stands in the key's entry.
fn stored(ordinals: Postings<'_>) -> usize {
    if ordinals.len() == 1 {
        0
    } else {
        ordinals.len()
    }
}

fn older(segment: u64, previous: Previous) -> Previous {
    if let Previous::Segment(other) = previous {
        assert!(
            (1..segment).contains(&other),
            "segment {other} is not older than {segment}"
        );
    }
    previous
}

fn push_words(file: &mut Vec<u8>, words: impl IntoIterator<Item = u32>) {
    file.extend(words.into_iter().flat_map(u32::to_le_bytes));
}
