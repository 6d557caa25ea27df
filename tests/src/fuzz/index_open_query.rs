//! Index files of any bytes: opened or refused, and every lookup answers within bounds.
//!
//! Built from a description, an index answers as a naive twin does; with any byte of it changed, it is
//! refused by `open` or by `verify`, and still answers without a panic for whoever skips both.

use std::collections::BTreeMap;
use std::hint::black_box;

use annals_index::{
    Error, FrontBytes, GrowingIndex, Heads, HeadsIdentity, IdHash, Identity, IdentityField,
    KeyHash, KeyIndex, KeyKind, Previous, SealedIndex, TailIndex, fold_heads,
};

use super::input::Input;

/// One byte of choice; then the bytes of a sealed index, those of a table of heads, or a description.
pub fn index_open_query(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    match input.u8() % 3 {
        0 => any_sealed(input.rest()),
        1 => any_heads(input.rest()),
        _ => described(&mut input),
    }
}

/// Opens the index as the one it says it is.
fn open_sealed(bytes: &[u8]) -> Result<SealedIndex<&[u8]>, Error> {
    let mut expected = IDENTITY;
    loop {
        match SealedIndex::open(bytes, &expected) {
            Err(Error::WrongIdentity { field, found, .. }) => match field {
                IdentityField::LogId => expected.log_id = found.to_be_bytes(),
                IdentityField::Segment => expected.segment = found as u64,
                IdentityField::Salt => expected.salt = found as u64,
                IdentityField::BasePosition => expected.base_position = found as u64,
                IdentityField::EventCount => expected.event_count = found as u32,
                other => panic!("a sealed index has no {other:?}"),
            },
            opened => return opened,
        }
    }
}

fn open_heads(bytes: &[u8]) -> Result<Heads<&[u8]>, Error> {
    let mut expected = HeadsIdentity {
        log_id: IDENTITY.log_id,
        covers: 1,
    };
    loop {
        match Heads::open(bytes, &expected) {
            Err(Error::WrongIdentity { field, found, .. }) => match field {
                IdentityField::LogId => expected.log_id = found.to_be_bytes(),
                IdentityField::Covers => expected.covers = found as u64,
                other => panic!("heads have no {other:?}"),
            },
            opened => return opened,
        }
    }
}

fn any_sealed(bytes: &[u8]) {
    let Ok(index) = open_sealed(bytes) else {
        return;
    };
    query(&index);
    let is_sound = index.verify().is_ok();
    let identity = index.identity();
    // As the front of a tail, which goes on behind whatever it says.
    let front = SealedIndex::open_front(FrontBytes::new(bytes.to_vec()), &identity);
    let front = front.expect("it has just been opened");
    for key in index.keys().take(8) {
        black_box((front.touch(key, 0), front.touch(key, 1)));
    }
    if identity.event_count < u32::MAX {
        let mut tail = TailIndex::behind(front);
        let id = IdHash::from_bits(1);
        tail.push(64, 1, [0; 16], id, [key(0)]);
        assert_eq!(tail.postings(key(0)).last(), Some(identity.event_count));
        query(&tail);
    }
    for key in index.keys().take(KEYS_MAX) {
        query_key(&index, key);
        if is_sound {
            assert!(!index.postings(key).is_empty(), "a key without events");
        }
    }
    // Folding believes what was verified; anything else it may refuse.
    let heads_identity = HeadsIdentity {
        log_id: identity.log_id,
        covers: identity.segment,
    };
    let sealed = [(identity.segment, identity.base_position, &index)];
    let folded = fold_heads::<&[u8], _, Error>(heads_identity, None, &sealed, |_, _| Ok(1));
    if is_sound {
        let folded = folded.expect("a sound index can be folded");
        let heads = Heads::open(&folded, &heads_identity).expect("its heads open");
        heads.verify().expect("and are sound");
        assert_eq!(heads.len(), index.key_count());
    }
}

fn any_heads(bytes: &[u8]) {
    let Ok(heads) = open_heads(bytes) else { return };
    let is_sound = heads.verify().is_ok();
    for (key, head) in heads.iter().take(KEYS_MAX) {
        let found = heads.lookup(key);
        assert!(
            !is_sound || found == Some(head),
            "{found:?} is not {head:?}"
        );
    }
    for number in 0..8 {
        black_box(heads.lookup(key(number)));
    }
}

/// Lookups that are bound to end, whatever the bytes say.
fn query(index: &impl KeyIndex) {
    for number in 0..8 {
        query_key(index, key(number));
        query_id(index, u128::from(number));
    }
    for ordinal in [0, 1, index.len().wrapping_sub(1), index.len(), u32::MAX] {
        let offset = index.offset(ordinal);
        assert!(
            ordinal < index.len() || offset.is_none(),
            "an offset behind the end"
        );
    }
    for time_us in [0, 1, 1 << 20, u64::MAX] {
        let floor = index.time_floor(time_us);
        assert!(
            floor < index.len() || floor == 0,
            "{floor} of {}",
            index.len()
        );
    }
    black_box(index.id_times().may_hold(&[7; 16]));
}

fn query_key(index: &impl KeyIndex, key: KeyHash) {
    let postings = index.postings(key);
    black_box((postings.first(), postings.last(), postings.get(3)));
    black_box(postings.iter().take(KEYS_MAX).count());
    black_box(index.previous_segment(key));
}

fn query_id(index: &impl KeyIndex, id: u128) {
    let hash = IdHash::new(SEED, &id.to_be_bytes());
    black_box(index.id_candidates(hash).take(KEYS_MAX).count());
}

/// What the index of a few events must answer.
#[derive(Default)]
struct Twin {
    postings: BTreeMap<KeyHash, Vec<u32>>,
    offsets: Vec<u32>,
    ids: Vec<[u8; 16]>,
}

impl Twin {
    fn check(&self, index: &impl KeyIndex) {
        assert_eq!(index.len() as usize, self.offsets.len());
        for (key, expected) in &self.postings {
            assert!(index.postings(*key).iter().eq(expected.iter().copied()));
        }
        for number in (0..=u8::MAX).filter(|number| !self.postings.contains_key(&key(*number))) {
            assert!(
                index.postings(key(number)).is_empty(),
                "key {number} was never there"
            );
        }
        for (ordinal, expected) in (0..).zip(&self.offsets) {
            assert_eq!(index.offset(ordinal), Some(*expected));
        }
        for (ordinal, id) in (0..).zip(&self.ids) {
            assert!(index.id_times().may_hold(id));
            let mut candidates = index.id_candidates(IdHash::new(SEED, id));
            assert!(
                candidates.any(|candidate| candidate == ordinal),
                "id {ordinal} is lost"
            );
        }
    }
}

fn described(input: &mut Input<'_>) {
    let mut tail = TailIndex::new(IDENTITY);
    let mut twin = Twin::default();
    let changes: [(u16, u8); 2] = std::array::from_fn(|_| (input.u16(), input.u8()));
    let cut = input.u8();
    while !input.is_empty() && twin.offsets.len() < 5000 {
        let ordinal = twin.offsets.len() as u32;
        let (offset, id) = (input.u32(), u128::from(input.u16()).to_be_bytes());
        let keys: Vec<KeyHash> = (0..input.below(5)).map(|_| key(input.u8())).collect();
        // Repeated, so that few bytes make long lists.
        let repeats = if input.rarely(8) {
            u32::from(input.u8())
        } else {
            1
        };
        for repeat in 0..repeats {
            let offset = offset.wrapping_add(repeat);
            let time_us = input.number();
            let hash = IdHash::new(SEED, &id);
            tail.push(offset, time_us, id, hash, keys.iter().copied());
            for key in &keys {
                let postings = twin.postings.entry(*key).or_default();
                if postings.last() != Some(&(ordinal + repeat)) {
                    postings.push(ordinal + repeat);
                }
            }
            twin.offsets.push(offset);
            twin.ids.push(id);
        }
    }
    twin.check(&tail);
    query(&tail);
    let mut bytes = tail.encode(|key| match key.to_bits() % 3 {
        0 => Previous::None,
        1 => Previous::Segment(1),
        _ => Previous::Unknown,
    });
    let sealed = SealedIndex::open(&bytes, &tail.identity()).expect("what was written opens");
    sealed.verify().expect("what was written is sound");
    twin.check(&sealed);
    query(&sealed);

    let sound = bytes.clone();
    for (offset, change) in changes {
        let len = bytes.len();
        bytes[usize::from(offset) % len] ^= change;
    }
    bytes.truncate(sound.len() - usize::from(cut) % sound.len());
    if bytes != sound {
        let verified = open_sealed(&bytes).and_then(|index| index.verify());
        assert!(verified.is_err(), "a change went unnoticed");
    }
    any_sealed(&bytes);
}

/// A key out of a small world, so that keys repeat.
fn key(number: u8) -> KeyHash {
    let kinds = [
        KeyKind::AggregateUuid,
        KeyKind::AggregateText,
        KeyKind::Tag,
        KeyKind::Topic,
    ];
    KeyHash::new(SEED, kinds[usize::from(number % 4)], &[number])
}

const SEED: u64 = 99;
const IDENTITY: Identity = Identity {
    log_id: [7; 16],
    segment: 3,
    salt: 42,
    base_position: 10,
    event_count: 0,
};
/// Keys and postings looked at, where the bytes may announce four billion.
const KEYS_MAX: usize = 10_000;

pub(super) fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let mut tail = TailIndex::new(IDENTITY);
    for number in 0..40_u8 {
        let id = u128::from(number).to_be_bytes();
        let keys = [key(number % 7), key(number % 3)];
        let offset = 4096 + 64 * u32::from(number);
        tail.push(
            offset,
            1_000 + u64::from(number),
            id,
            IdHash::new(SEED, &id),
            keys,
        );
    }
    let sealed = tail.encode(|_| None);
    let index = SealedIndex::open(&sealed, &tail.identity()).expect("what was written opens");
    let identity = HeadsIdentity {
        log_id: IDENTITY.log_id,
        covers: IDENTITY.segment,
    };
    let runs = [(IDENTITY.segment, IDENTITY.base_position, &index)];
    let heads = fold_heads::<&[u8], _, Error>(identity, None, &runs, |_, _| Ok(1));
    let heads = heads.expect("a sound index can be folded");
    let mut long = vec![2; 8];
    for number in 0..=60_u8 {
        long.extend_from_slice(&[number, 1, 0, 0, number, 0, 3, number % 9, 4, number, 7, 40]);
    }
    vec![
        ("sealed", [&[0][..], &sealed].concat()),
        ("heads", [&[1][..], &heads].concat()),
        ("described-nothing", vec![2]),
        ("described-zeros", [&[2][..], &[0; 60]].concat()),
        (
            "described-changed",
            [&[2, 3, 0, 1, 200, 0, 128, 0][..], &[9; 90]].concat(),
        ),
        (
            "described-cut",
            [&[2, 0, 0, 0, 0, 0, 0, 9][..], &[9; 90]].concat(),
        ),
        ("described-long", long),
    ]
}
