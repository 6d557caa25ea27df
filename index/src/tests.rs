//! Promises of the crate across its files.
//!
//! Goal: all three forms answer as a naive model does; the layout is locked; damage is found; no bytes at
//! all make a lookup panic. Method: proptest against `BTreeMap`s, golden bytes that stand in `FORMAT.md`,
//! every cut and every flipped bit of small files, and files with a good checksum over bad contents.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use crate::format::{HEADS_HEADER_SIZE, SEALED_HEADER_SIZE, checksum, reseal_heads, reseal_sealed};
use crate::{
    Error, FrontBytes, GrowingIndex, Head, Heads, HeadsIdentity, IdHash, Identity, IdentityField,
    KeyHash, KeyIndex, KeyKind, Previous, SAMPLE_INTERVAL, SealedBuilder, SealedIndex, TailIndex,
    fold_heads,
};

const SEED: u64 = 0x5EED;
const LOG_ID: [u8; 16] = *b"log-id-of-a-test";

/// One event of a model: what `TailIndex::push` is given.
#[derive(Clone, Debug)]
struct Event {
    offset: u32,
    time_us: u64,
    id: [u8; 16],
    keys: Vec<KeyHash>,
}

fn identity(segment: u64, base_position: u64) -> Identity {
    Identity {
        log_id: LOG_ID,
        segment,
        salt: segment ^ 0xABCD,
        base_position,
        event_count: 0,
    }
}

fn id_hash(id: &[u8; 16]) -> IdHash {
    IdHash::new(SEED, id)
}

/// A key out of a small world, so that keys repeat; the kind follows from the number.
fn key(number: u8) -> KeyHash {
    let kinds = [
        KeyKind::AggregateUuid,
        KeyKind::AggregateText,
        KeyKind::Tag,
        KeyKind::Topic,
    ];
    KeyHash::new(SEED, kinds[usize::from(number % 4)], &[number])
}

fn tail_of(identity: Identity, events: &[Event]) -> TailIndex {
    let mut tail = TailIndex::new(identity);
    push_all(&mut tail, events);
    tail
}

fn push_all(index: &mut impl GrowingIndex, events: &[Event]) {
    for event in events {
        index.push(
            event.offset,
            event.time_us,
            event.id,
            id_hash(&event.id),
            event.keys.iter().copied(),
        );
    }
}

fn built(identity: Identity, events: &[Event]) -> SealedBuilder {
    let mut builder = SealedBuilder::new(identity);
    push_all(&mut builder, events);
    builder
}

/// A tail of all events, the first `cut` of which it knows from a sealed index.
fn tail_behind(identity: Identity, events: &[Event], cut: usize) -> TailIndex {
    let front = built(identity, &events[..cut]);
    let (front_identity, bytes) = (front.identity(), front.encode(|_| Previous::Unknown));
    let front = SealedIndex::open(FrontBytes::new(bytes), &front_identity).unwrap();
    front.verify().unwrap();
    let mut tail = TailIndex::behind(front);
    push_all(&mut tail, &events[cut..]);
    tail
}

fn open(tail: &TailIndex, bytes: Vec<u8>) -> SealedIndex<Vec<u8>> {
    let sealed = SealedIndex::open(bytes, &tail.identity()).unwrap();
    sealed.verify().unwrap();
    sealed
}

fn events(count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Event>> {
    let event = (
        1..100_u32,
        0..3_u64,
        any::<[u8; 16]>(),
        prop::collection::vec(0..40_u8, 0..6),
    );
    prop::collection::vec(event, count).prop_map(|steps| {
        let (mut offset, mut time_us) = (64, 1_000);
        let build = |(length, pause_us, mut id, keys): (u32, u64, [u8; 16], Vec<u8>)| {
            offset += length;
            time_us += pause_us;
            if length % 2 == 0 {
                (id[6], id[8]) = (id[6] & 0x0f | 0x70, id[8] & 0x3f | 0x80); // a v7 id
            }
            Event {
                offset,
                time_us,
                id,
                keys: keys.into_iter().map(key).collect(),
            }
        };
        steps.into_iter().map(build).collect()
    })
}

/// Enough events for several time samples, without asking proptest for each of them.
fn many_events(count: u32) -> Vec<Event> {
    let event = |n: u32| Event {
        offset: 64 + 8 * n,
        time_us: 1_000 + u64::from(n / 3),
        id: u128::from(n).to_be_bytes(),
        keys: vec![key((n % 7) as u8), key((n % 31) as u8)],
    };
    (0..count).map(event).collect()
}

/// What every form must answer, found the slow way.
fn check_against_model(index: &dyn KeyIndex, events: &[Event]) {
    assert_eq!(index.len() as usize, events.len());
    let mut postings: BTreeMap<KeyHash, BTreeSet<u32>> = BTreeMap::new();
    for (ordinal, event) in (0..).zip(events) {
        for &key in &event.keys {
            postings.entry(key).or_default().insert(ordinal);
        }
        assert_eq!(index.offset(ordinal), Some(event.offset));
        assert!(
            index
                .id_candidates(id_hash(&event.id))
                .any(|candidate| candidate == ordinal)
        );
        assert!(index.id_times().may_hold(&event.id));
    }
    assert_eq!(index.offset(index.len()), None);
    assert_eq!(index.offset(u32::MAX), None);

    for number in 0..=255 {
        let (found, expected) = (index.postings(key(number)), postings.get(&key(number)));
        let expected: Vec<u32> = expected.into_iter().flatten().copied().collect();
        assert_eq!(found.iter().collect::<Vec<_>>(), expected);
        let below = |bound: u32| expected.iter().filter(|&&ordinal| ordinal < bound).count();
        for bound in [0, 1, index.len() / 2, index.len(), u32::MAX] {
            assert_eq!(found.lower_bound(bound), below(bound));
        }
    }

    let last_us = events.last().map_or(0, |event| event.time_us);
    for time_us in [
        0,
        1_000,
        1_001,
        last_us / 2,
        last_us.saturating_sub(1),
        last_us,
        last_us + 1,
        u64::MAX,
    ] {
        let sampled = (0..index.len()).step_by(SAMPLE_INTERVAL as usize);
        let floor = sampled
            .filter(|&ordinal| events[ordinal as usize].time_us < time_us)
            .max();
        assert_eq!(
            index.time_floor(time_us),
            floor.unwrap_or(0),
            "time {time_us}"
        );
    }
}

/// Every lookup there is, for its panics alone.
fn touch(index: &dyn KeyIndex, keys: impl Iterator<Item = KeyHash>) {
    for key in keys {
        let postings = index.postings(key);
        assert_eq!(postings.iter().count(), postings.len());
        assert!(postings.lower_bound(3) <= postings.len());
        let _ = (postings.range(1..5).last(), index.previous_segment(key));
        let candidates = index.id_candidates(IdHash::from_bits(key.to_bits()));
        assert!(candidates.count() <= index.len() as usize);
        let _ = (
            index.time_floor(key.to_bits()),
            index.offset(key.to_bits() as u32),
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn tail_and_sealed_answer_as_a_model_does(events in events(0..200)) {
        let tail = tail_of(identity(3, 1_000), &events);
        check_against_model(&tail, &events);
        let sealed = open(&tail, tail.encode(|_| None));
        check_against_model(&sealed, &events);
        prop_assert_eq!(sealed.key_count(), tail.key_count());
        prop_assert!(sealed.keys().is_sorted());
    }

    #[test]
    fn built_in_bulk_the_bytes_are_those_of_a_tail(events in events(0..300)) {
        let previous = |key: KeyHash| key.to_bits().is_multiple_of(3).then_some(2);
        let tail = tail_of(identity(3, 1_000), &events);
        let builder = built(identity(3, 1_000), &events);
        prop_assert_eq!(builder.identity(), tail.identity());
        prop_assert_eq!(builder.encode(previous), tail.encode(previous));
    }

    #[test]
    fn a_tail_behind_a_sealed_part_answers_as_a_model_does(
        events in events(0..200),
        cut in any::<prop::sample::Index>(),
    ) {
        let cut = cut.index(events.len() + 1);
        let tail = tail_behind(identity(3, 1_000), &events, cut);
        check_against_model(&tail, &events);
        let keys: BTreeSet<KeyHash> = tail.keys().collect();
        let expected: BTreeSet<KeyHash> = events.iter().flat_map(|event| event.keys.clone()).collect();
        prop_assert_eq!(keys, expected);
    }

    #[test]
    fn folding_by_steps_gives_the_bytes_of_folding_at_once(
        segments in prop::collection::vec(events(0..12), 1..40),
        cut in 0..40_usize,
    ) {
        let (all, model) = fold_model(&segments);
        let cut = cut.min(all.len());
        let at_once = fold(None, &all);
        let first = fold(None, &all[..cut]);
        let by_steps = fold(Some(&heads(&first, cut)), &all[cut..]);
        // A fold that covers nothing new covers what the older one did.
        prop_assert_eq!(&at_once, &by_steps);

        let heads = heads(&at_once, all.len());
        prop_assert_eq!(heads.len() as usize, model.len());
        for number in 0..=255 {
            prop_assert_eq!(heads.lookup(key(number)), model.get(&key(number)).copied());
        }
        for (key, head) in &model {
            let holding = all.iter().filter(|(.., index)| !index.postings(*key).is_empty());
            let holding: Vec<u64> = holding.map(|(segment, ..)| *segment).rev().collect();
            let reach = head.last_segment.saturating_sub(32);
            prop_assert!(head.segments().eq(holding.into_iter().filter(|one| *one >= reach)));
        }
        prop_assert!(heads.iter().eq(model));
    }

    #[test]
    fn sealed_lookups_survive_bytes_that_lie(
        events in events(1..60),
        lies in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        aim_at_header in any::<bool>(),
    ) {
        let tail = tail_of(identity(3, 1_000), &events);
        let mut bytes = tail.encode(|_| Some(2));
        spoil(&mut bytes, &lies, aim_at_header, SEALED_HEADER_SIZE);
        reseal_sealed(&mut bytes);
        if let Ok(sealed) = SealedIndex::open(&bytes[..], &tail.identity()) {
            let keys: Vec<KeyHash> = sealed.keys().chain((0..40).map(key)).collect();
            touch(&sealed, keys.into_iter());
            let _ = sealed.verify();
            let covers = HeadsIdentity { log_id: LOG_ID, covers: 3 };
            let _ = fold_heads(covers, no_heads(), &[(3, 1_000, &sealed)], |_, _| Ok::<_, Error>(1));
        }
    }

    #[test]
    fn heads_lookups_survive_bytes_that_lie(
        events in events(1..60),
        lies in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        aim_at_header in any::<bool>(),
    ) {
        let (all, _) = fold_model(&[events]);
        let mut bytes = fold(None, &all);
        spoil(&mut bytes, &lies, aim_at_header, HEADS_HEADER_SIZE);
        reseal_heads(&mut bytes);
        if let Ok(heads) = Heads::open(&bytes[..], &HeadsIdentity { log_id: LOG_ID, covers: 1 }) {
            for key in heads.iter().map(|(key, _)| key).chain((0..40).map(key)) {
                prop_assert!(heads.lookup(key).is_none_or(|head| head.last_segment == 1));
            }
            let _ = heads.verify();
            let covers = HeadsIdentity { log_id: LOG_ID, covers: 2 };
            let _ = fold_heads(covers, Some(&heads), no_segments(), |_, _| Ok::<_, Error>(1));
        }
    }

    #[test]
    fn any_bytes_at_all_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(SealedIndex::open(&bytes[..], &identity(1, 1)).is_err());
        let covers = HeadsIdentity { log_id: LOG_ID, covers: 1 };
        prop_assert!(Heads::open(&bytes[..], &covers).is_err());
    }
}

/// Overwrites bytes of the header, or of the body behind it.
fn spoil(
    bytes: &mut [u8],
    lies: &[(prop::sample::Index, u8)],
    in_header: bool,
    header_size: usize,
) {
    let (header, body) = bytes.split_at_mut(header_size);
    let target = if in_header { header } else { body };
    for (place, value) in lies {
        target[place.index(target.len())] = *value;
    }
}

fn no_heads() -> Option<&'static Heads<Vec<u8>>> {
    None
}

fn no_segments() -> &'static [(u64, u64, &'static SealedIndex<Vec<u8>>)] {
    &[]
}

/// The version that a model's aggregate has at an event.
fn version_at(segment: u64, ordinal: u32) -> u64 {
    segment * 1_000_000 + u64::from(ordinal)
}

type Segments = Vec<(u64, u64, SealedIndex<Vec<u8>>)>;

/// Seals the segments, numbered from 1, and finds every head the slow way.
fn fold_model(segments: &[Vec<Event>]) -> (Segments, BTreeMap<KeyHash, Head>) {
    let mut model = BTreeMap::new();
    let mut sealed = Vec::new();
    let mut holding: BTreeMap<KeyHash, BTreeSet<u64>> = BTreeMap::new();
    let mut base_position = 1;
    for (segment, events) in (1..).zip(segments) {
        let tail = tail_of(identity(segment, base_position), events);
        let previous = |key| model.get(&key).map(|head: &Head| head.last_segment);
        let index = open(&tail, tail.encode(previous));
        for key in index.keys() {
            assert_eq!(index.previous_segment(key), previous(key).into());
        }
        for (ordinal, event) in (0_u32..).zip(events) {
            for &key in &event.keys {
                let aggregate = key.kind().is_aggregate();
                let last_version = if aggregate {
                    version_at(segment, ordinal)
                } else {
                    0
                };
                let last_position = base_position + u64::from(ordinal);
                let holding = holding.entry(key).or_default();
                holding.insert(segment);
                let earlier =
                    (1..=32).filter(|back| holding.contains(&segment.wrapping_sub(*back)));
                model.insert(
                    key,
                    Head {
                        last_version,
                        last_position,
                        last_segment: segment,
                        earlier: earlier.fold(0, |bits, back| bits | 1 << (back - 1)),
                    },
                );
            }
        }
        sealed.push((segment, base_position, index));
        base_position += events.len() as u64;
    }
    (sealed, model)
}

fn fold(older: Option<&Heads<Vec<u8>>>, segments: &[(u64, u64, SealedIndex<Vec<u8>>)]) -> Vec<u8> {
    let sealed: Vec<_> = segments
        .iter()
        .map(|(segment, base, index)| (*segment, *base, index))
        .collect();
    let last = segments.last().map(|(segment, ..)| *segment);
    let covers = last.or(older.map(Heads::covers)).unwrap_or(0);
    let mut asked = BTreeSet::new();
    let last_version = |segment, ordinal| {
        asked.insert((segment, ordinal));
        Ok::<_, Error>(version_at(segment, ordinal))
    };
    fold_heads(
        HeadsIdentity {
            log_id: LOG_ID,
            covers,
        },
        older,
        &sealed,
        last_version,
    )
    .unwrap()
}

fn heads(bytes: &[u8], covers: usize) -> Heads<Vec<u8>> {
    let heads = Heads::open(
        bytes.to_vec(),
        &HeadsIdentity {
            log_id: LOG_ID,
            covers: covers as u64,
        },
    )
    .unwrap();
    heads.verify().unwrap();
    heads
}

#[test]
fn several_time_samples_answer_as_a_model_does() {
    for count in [
        SAMPLE_INTERVAL - 1,
        SAMPLE_INTERVAL,
        SAMPLE_INTERVAL + 1,
        5 * SAMPLE_INTERVAL,
    ] {
        let events = many_events(count);
        let tail = tail_of(identity(3, 1_000), &events);
        check_against_model(&tail, &events);
        check_against_model(&open(&tail, tail.encode(|_| None)), &events);
        for cut in [0, 1, 1023, 1024, 1025, count as usize]
            .into_iter()
            .filter(|cut| *cut <= events.len())
        {
            check_against_model(&tail_behind(identity(1, 1), &events, cut), &events);
        }
    }
}

#[test]
fn the_bytes_do_not_depend_on_the_order_of_keys() {
    let mut events = many_events(300);
    let bytes = tail_of(identity(1, 1), &events).encode(|_| None);
    events.iter_mut().for_each(|event| event.keys.reverse());
    assert_eq!(tail_of(identity(1, 1), &events).encode(|_| None), bytes);
}

#[test]
fn every_kind_of_previous_segment_survives() {
    let tail = tail_of(identity(9, 1), &many_events(10));
    assert_eq!(tail.previous_segment(key(0)), Previous::Unknown);
    let previous = |asked: KeyHash| match asked {
        asked if asked == key(0) => Previous::None,
        asked if asked == key(1) => Previous::Segment(8),
        _ => Previous::Unknown,
    };
    let sealed = open(&tail, tail.encode(previous));
    for number in 0..200 {
        assert_eq!(sealed.previous_segment(key(number)), previous(key(number)));
    }
}

#[test]
fn time_that_runs_backwards_only_starts_scans_too_early() {
    let mut events = many_events(3 * SAMPLE_INTERVAL);
    events[5].time_us = 1_000_000;
    let tail = tail_of(identity(1, 1), &events);
    assert_eq!(
        tail.time_floor(1_000_000),
        0,
        "the event 5 is at that time and must be found"
    );
    let sealed = open(&tail, tail.encode(|_| None));
    assert_eq!(sealed.time_floor(1_000_000), 0);
    assert_eq!(sealed.time_floor(1_000_001), 2 * SAMPLE_INTERVAL);
}

#[test]
fn an_index_answers_for_its_own_segment_only() {
    let tail = tail_of(identity(4, 100), &many_events(5));
    let bytes = tail.encode(|_| None);
    let own = tail.identity();
    let others = [
        (
            Identity {
                log_id: [1; 16],
                ..own
            },
            IdentityField::LogId,
        ),
        (Identity { segment: 5, ..own }, IdentityField::Segment),
        (Identity { salt: 1, ..own }, IdentityField::Salt),
        (
            Identity {
                base_position: 99,
                ..own
            },
            IdentityField::BasePosition,
        ),
        (
            Identity {
                event_count: 6,
                ..own
            },
            IdentityField::EventCount,
        ),
    ];
    for (other, differs) in others {
        let refused = SealedIndex::open(&bytes[..], &other);
        assert!(matches!(refused, Err(Error::WrongIdentity { field, .. }) if field == differs));
    }
    let bytes = fold(None, &fold_model(&[many_events(5)]).0);
    for (log_id, covers) in [(LOG_ID, 2), ([1; 16], 1)] {
        let refused = Heads::open(&bytes[..], &HeadsIdentity { log_id, covers });
        assert!(matches!(refused, Err(Error::WrongIdentity { .. })));
    }
}

#[test]
fn files_of_the_future_are_refused_by_their_version() {
    let tail = tail_of(identity(1, 1), &many_events(3));
    let mut bytes = tail.encode(|_| None);
    for version in [0, 2, u16::MAX] {
        bytes[8..10].copy_from_slice(&version.to_le_bytes());
        reseal_sealed(&mut bytes);
        let refused = SealedIndex::open(&bytes[..], &tail.identity());
        assert!(matches!(refused, Err(Error::UnsupportedFormat { found, .. }) if found == version));
    }
    bytes[8..16].copy_from_slice(&[1, 0, 0, 0, 1, 0, 0, 0]);
    reseal_sealed(&mut bytes);
    let refused = SealedIndex::open(&bytes[..], &tail.identity());
    assert!(matches!(
        refused,
        Err(Error::UnsupportedFeatures {
            found: 1,
            supported: 0
        })
    ));
}

#[test]
fn every_flipped_bit_of_a_sealed_index_is_found() {
    let events = many_events(12);
    let tail = tail_of(identity(3, 1_000), &events);
    let mut bytes = tail.encode(|_| Some(2));
    for bit in 0..bytes.len() * 8 {
        bytes[bit / 8] ^= 1 << (bit % 8);
        match SealedIndex::open(&bytes[..], &tail.identity()) {
            Err(_) => assert!(
                bit / 8 < SEALED_HEADER_SIZE,
                "bit {bit} belongs to the body"
            ),
            Ok(sealed) => {
                assert!(
                    bit / 8 >= SEALED_HEADER_SIZE,
                    "bit {bit} of the header went unnoticed"
                );
                touch(&sealed, (0..40).map(key));
                assert!(
                    matches!(sealed.verify(), Err(Error::Checksum { .. })),
                    "bit {bit}"
                );
            }
        }
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
}

#[test]
fn every_flipped_bit_of_heads_is_found() {
    let mut bytes = fold(None, &fold_model(&[many_events(9), many_events(12)]).0);
    let expected = HeadsIdentity {
        log_id: LOG_ID,
        covers: 2,
    };
    for bit in 0..bytes.len() * 8 {
        bytes[bit / 8] ^= 1 << (bit % 8);
        match Heads::open(&bytes[..], &expected) {
            Err(_) => assert!(bit / 8 < HEADS_HEADER_SIZE, "bit {bit} belongs to the body"),
            Ok(heads) => {
                assert!(
                    bit / 8 >= HEADS_HEADER_SIZE,
                    "bit {bit} of the header went unnoticed"
                );
                (0..40).for_each(|number| {
                    assert!(
                        heads
                            .lookup(key(number))
                            .is_none_or(|head| head.last_segment <= 2)
                    )
                });
                assert!(
                    matches!(heads.verify(), Err(Error::Checksum { .. })),
                    "bit {bit}"
                );
            }
        }
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
}

#[test]
fn a_file_cut_or_grown_anywhere_is_refused() {
    let tail = tail_of(identity(3, 1_000), &many_events(12));
    let mut sealed = tail.encode(|_| None);
    let mut heads = fold(None, &fold_model(&[many_events(12)]).0);
    let covers = HeadsIdentity {
        log_id: LOG_ID,
        covers: 1,
    };
    for len in 0..sealed.len() {
        assert!(matches!(
            SealedIndex::open(&sealed[..len], &tail.identity()),
            Err(Error::TooShort { .. })
        ));
    }
    for len in 0..heads.len() {
        assert!(matches!(
            Heads::open(&heads[..len], &covers),
            Err(Error::TooShort { .. })
        ));
    }
    sealed.push(0);
    heads.push(0);
    assert!(matches!(
        SealedIndex::open(&sealed[..], &tail.identity()),
        Err(Error::Malformed { .. })
    ));
    assert!(matches!(
        Heads::open(&heads[..], &covers),
        Err(Error::Malformed { .. })
    ));
}

#[test]
fn an_empty_segment_has_an_index_too() {
    let tail = TailIndex::new(identity(1, 1));
    assert!(tail.is_empty() && tail.time_floor(u64::MAX) == 0);
    let sealed = open(&tail, tail.encode(|_| None));
    touch(&sealed, (0..40).map(key));
    assert!(
        sealed.is_empty() && sealed.postings(key(0)).is_empty() && sealed.time_floor(u64::MAX) == 0
    );
    let heads = heads(&fold(None, &[(1, 1, sealed)]), 1);
    assert!(heads.is_empty() && heads.lookup(key(0)).is_none());
}

#[test]
fn an_error_of_the_caller_ends_a_fold() {
    let (all, _) = fold_model(&[many_events(12)]);
    let (segment, base_position, index) = &all[0];
    let refused = fold_heads(
        HeadsIdentity {
            log_id: LOG_ID,
            covers: 1,
        },
        no_heads(),
        &[(*segment, *base_position, index)],
        |_, _| {
            Err(Error::TooShort {
                found: 1,
                needed: 2,
            })
        },
    );
    assert_eq!(
        refused,
        Err(Error::TooShort {
            found: 1,
            needed: 2
        })
    );
}

/// The events of the worked examples in `FORMAT.md`.
fn worked_example() -> Vec<Event> {
    let order = KeyHash::new(SEED, KeyKind::AggregateText, b"order-1");
    let topic = KeyHash::new(SEED, KeyKind::Topic, b"OrderPlaced");
    let v7 = *b"\x01\x7F\x22\xE2\x79\xB0\x7C\xC3\x98\xC4\xDC\x0C\x0C\x07\x39\x8F";
    vec![
        Event {
            offset: 128,
            time_us: 1_700_000_000_000_000,
            id: v7,
            keys: vec![order, topic],
        },
        Event {
            offset: 264,
            time_us: 1_700_000_000_000_050,
            id: [0x44; 16],
            keys: vec![order],
        },
    ]
}

/// Hex words of the `n`th example in `FORMAT.md`: lines `offset  bytes  meaning` in a fence.
fn example_bytes(n: usize) -> Vec<u8> {
    let text = include_str!("../FORMAT.md");
    let fence = text
        .split("```")
        .filter(|fence| fence.starts_with("text\n0000  "))
        .nth(n);
    let mut bytes = Vec::new();
    for line in fence.expect("FORMAT.md has the example").lines().skip(1) {
        let mut columns = line.split("  ");
        let offset = columns
            .next()
            .and_then(|hex| usize::from_str_radix(hex, 16).ok());
        assert_eq!(offset, Some(bytes.len()), "offset of the line {line:?}");
        let words = columns.next().expect("a column of bytes");
        bytes.extend(
            words
                .split(' ')
                .map(|byte| u8::from_str_radix(byte, 16).expect("hex")),
        );
    }
    bytes
}

#[test]
fn golden_bytes_of_a_sealed_index_are_those_of_the_format_text() {
    let tail = tail_of(identity(7, 1_001), &worked_example());
    let topic = KeyHash::new(SEED, KeyKind::Topic, b"OrderPlaced");
    let bytes = tail.encode(|key| if key == topic { Some(6) } else { None });
    assert_eq!(hex(&bytes), hex(&example_bytes(0)));
    check_against_model(&open(&tail, bytes), &worked_example());
}

#[test]
fn golden_bytes_of_heads_are_those_of_the_format_text() {
    let tail = tail_of(identity(7, 1_001), &worked_example());
    let sealed = open(&tail, tail.encode(|_| None));
    let covers = HeadsIdentity {
        log_id: LOG_ID,
        covers: 7,
    };
    let bytes = fold_heads(
        covers,
        no_heads(),
        &[(7, 1_001, &sealed)],
        |segment, ordinal| {
            assert_eq!(
                (segment, ordinal),
                (7, 1),
                "only the aggregate has versions"
            );
            Ok::<_, Error>(2)
        },
    );
    assert_eq!(hex(&bytes.unwrap()), hex(&example_bytes(1)));
}

#[test]
fn the_bytes_of_a_larger_index_and_its_heads_are_locked_by_their_checksums() {
    // The worked examples are too small for directories of several buckets.
    let events = many_events(3_000);
    let bytes = tail_of(identity(1, 1), &events).encode(|_| None);
    assert_eq!(
        (bytes.len(), checksum(&bytes)),
        (56_624, 4_000_275_845),
        "sealed"
    );
    let bytes = fold(None, &fold_model(&[events]).0);
    assert_eq!(
        (bytes.len(), checksum(&bytes)),
        (1_092, 1_538_386_066),
        "heads"
    );
}

/// Changes one word of a worked example, behind the back of its checksums; offsets are those of the example.
fn with_word(n: usize, offset: usize, word: u32) -> Vec<u8> {
    let mut bytes = example_bytes(n);
    bytes[offset..offset + 4].copy_from_slice(&word.to_le_bytes());
    if n == 0 {
        reseal_sealed(&mut bytes)
    } else {
        reseal_heads(&mut bytes)
    }
    bytes
}

#[test]
fn contents_that_contradict_themselves_are_found_under_a_right_checksum() {
    let expected = tail_of(identity(7, 1_001), &worked_example()).identity();
    let lies = [
        (0x8c, 1, "key directory"),
        (0x94, u32::MAX, "key out of order"),
        (0x98, 1, "first posting of a key"),
        (0x9c, 0, "postings of a key"),
        (0x9c, 3, "start of a key"),
        (0xac, 2, "start of a key"),
        (0xb4, 7, "previous segment"),
        (0xb8, 1, "ordinal of a key"),
        (0xbc, 2, "ordinal of a key"),
        (0xc0, 1, "id directory"),
        (0xc4, 1, "end of the id directory"),
        (0xc8, 1, "ordinal of an id"),
        (0xcc, 2, "ordinal of an id"),
        (0xd8, 1, "ordinal of a time sample"),
    ];
    for (offset, word, rule) in lies {
        let sealed = SealedIndex::open(with_word(0, offset, word), &expected).unwrap();
        let refused = sealed.verify();
        assert!(
            matches!(refused, Err(Error::Malformed { what, .. }) if what == rule),
            "{offset:#x}: {refused:?}"
        );
    }
    let expected = HeadsIdentity {
        log_id: LOG_ID,
        covers: 7,
    };
    let lies = [
        (0x44, 1, "key directory"),
        (0x4c, u32::MAX, "key out of order"),
        (0x60, 0, "segment of a head"),
        (0x60, 8, "segment of a head"),
    ];
    for (offset, word, rule) in lies {
        let heads = Heads::open(with_word(1, offset, word), &expected).unwrap();
        let refused = heads.verify();
        assert!(
            matches!(refused, Err(Error::Malformed { what, .. }) if what == rule),
            "{offset:#x}: {refused:?}"
        );
    }
}

#[test]
fn no_value_of_any_byte_makes_a_lookup_panic() {
    let expected = tail_of(identity(7, 1_001), &worked_example()).identity();
    let covers = HeadsIdentity {
        log_id: LOG_ID,
        covers: 7,
    };
    let good = example_bytes(0);
    for (place, value) in
        (0..good.len()).flat_map(|place| (0..=255).map(move |value| (place, value)))
    {
        let mut bytes = good.clone();
        bytes[place] = value;
        reseal_sealed(&mut bytes);
        let Ok(sealed) = SealedIndex::open(bytes, &expected) else {
            continue;
        };
        touch(&sealed, sealed.keys());
        let folded = fold_heads(covers, no_heads(), &[(7, 1_001, &sealed)], |_, _| {
            Ok::<_, Error>(1)
        });
        if sealed.verify().is_ok() {
            assert!(
                folded.is_ok(),
                "a verified index can be folded; byte {place:#x} is {value:#x}"
            );
        }
    }
}

#[test]
fn a_fold_refuses_keys_out_of_order_rather_than_lose_them() {
    let expected = tail_of(identity(7, 1_001), &worked_example()).identity();
    let covers = HeadsIdentity {
        log_id: LOG_ID,
        covers: 7,
    };
    let sealed = SealedIndex::open(with_word(0, 0x94, u32::MAX), &expected).unwrap();
    let refused = fold_heads(covers, no_heads(), &[(7, 1_001, &sealed)], |_, _| {
        Ok::<_, Error>(1)
    });
    assert!(matches!(
        refused,
        Err(Error::Malformed {
            what: "key out of order",
            ..
        })
    ));
}

fn hex(bytes: &[u8]) -> String {
    let line = |line: &[u8]| {
        line.iter()
            .map(|byte| format!("{byte:02x} "))
            .collect::<String>()
            + "\n"
    };
    bytes.chunks(16).map(line).collect()
}

#[test]
fn two_hundred_thousand_events_cost_under_60_bytes_each_in_memory_and_30_on_disk() {
    const EVENTS: u32 = 200_000;
    const AGGREGATES: u64 = 90_000;
    let mut tail = TailIndex::new(identity(1, 1));
    for n in 0..EVENTS {
        // A multiplicative walk over the aggregates: as spread as random, and needs no generator.
        let aggregate = u128::from((u64::from(n) * 1_000_003) % AGGREGATES).to_be_bytes();
        let keys = [
            KeyHash::new(SEED, KeyKind::AggregateUuid, &aggregate),
            KeyHash::new(SEED, KeyKind::Topic, &[(n % 10) as u8]),
        ];
        let id = u128::from(n).to_be_bytes();
        tail.push(64 + 300 * n, u64::from(n), id, id_hash(&id), keys);
    }
    let bytes = tail.encode(|_| None);
    let per_event = |bytes: usize| bytes as f64 / f64::from(EVENTS);
    println!(
        "{:.1} B/event in memory, {:.1} on disk",
        per_event(tail.heap_bytes()),
        per_event(bytes.len())
    );
    assert!(per_event(tail.heap_bytes()) < 60.0, "{tail:?}");
    assert!(per_event(bytes.len()) < 30.0, "{} bytes", bytes.len());
    open(&tail, bytes);
}
