//! Goal: a table of last versions is believed whole or not at all, and answers as a map does.

use std::collections::BTreeMap;

use proptest::collection::btree_map;
use proptest::prelude::*;

use super::samples::*;
use super::second_reading::*;
use crate::format::record::IdKind;
use crate::format::version_table::*;
use crate::format::*;

fn identity() -> VersionTableIdentity {
    VersionTableIdentity {
        log_id: LOG_ID,
        last_segment: 3,
        first_retained_position: 41,
    }
}

fn encode(entries: &BTreeMap<(bool, Vec<u8>), u64>) -> Vec<u8> {
    let entries: Vec<_> = entries
        .iter()
        .map(|((is_text, id), version)| match is_text {
            false => (IdKind::Uuid, &id[..], *version),
            true => (IdKind::Text, &id[..], *version),
        })
        .collect();
    encode_version_table(identity(), entries.into_iter())
}

#[test]
fn every_flipped_bit_and_every_cut_is_noticed() {
    let good = sample_version_table();
    for_every_flipped_bit(&good, |bytes, bit| {
        let error = VersionTable::open(bytes).expect_err("damage");
        assert!(!error.is_unsupported(), "bit {bit}: {error}");
    });
    for len in 0..good.len() {
        assert!(VersionTable::open(&good[..len]).is_err(), "cut at {len}");
    }
    let mut longer = good;
    longer.push(0);
    assert!(VersionTable::open(longer).is_err());
}

#[test]
fn what_breaks_a_rule_behind_the_checksums_is_refused() {
    let good = sample_version_table();
    type Spoil = fn(&mut Vec<u8>);
    let spoils: [(&str, Spoil); 12] = [
        ("reserved", |bytes| bytes[10] = 1),
        ("last segment", |bytes| put(bytes, 40, [0; 8])),
        ("first retained position", |bytes| {
            put(bytes, 48, 1_u64.to_le_bytes())
        }),
        ("first retained position", |bytes| {
            put(bytes, 48, u64::MAX.to_le_bytes())
        }),
        ("body length", |bytes| bytes.push(0)),
        ("count", |bytes| put(bytes, 12, u32::MAX.to_le_bytes())),
        ("start of an entry", |bytes| {
            put(bytes, 72, 1_u64.to_le_bytes())
        }),
        ("start of an entry", |bytes| {
            put(bytes, 80, u64::MAX.to_le_bytes())
        }),
        ("start of an entry", |bytes| {
            put(bytes, 80, 9_u64.to_le_bytes())
        }),
        ("kind of an id", |bytes| bytes[96] = 0),
        ("kind of an id", |bytes| bytes[96] = 3),
        ("kind of an id", |bytes| *bytes.last_mut().unwrap() = 0xff),
    ];
    for (field, spoil) in spoils {
        let mut bytes = good.clone();
        spoil(&mut bytes);
        reseal_version_table(&mut bytes);
        match VersionTable::open(&bytes) {
            Err(FormatError::Field { field: found, .. }) => assert_eq!(found, field),
            other => panic!("{other:?}, expected a refusal of {field}"),
        }
    }
    let twice = [(IdKind::Text, &b"a"[..], 1), (IdKind::Text, b"b", 2)];
    let mut bytes = encode_version_table(identity(), twice.into_iter());
    *bytes.last_mut().unwrap() = b'a';
    reseal_version_table(&mut bytes);
    let error = VersionTable::open(bytes).unwrap_err();
    assert!(
        matches!(error, FormatError::Field { field: "entry", .. }),
        "{error}"
    );
}

#[test]
fn a_later_version_is_unsupported_once_it_is_whole() {
    let mut bytes = sample_version_table();
    put(&mut bytes, 8, (FORMAT_VERSION + 1).to_le_bytes());
    assert!(!VersionTable::open(&bytes).unwrap_err().is_unsupported());
    reseal_version_table(&mut bytes);
    assert!(VersionTable::open(&bytes).unwrap_err().is_unsupported());
}

proptest! {
    #[test]
    fn a_table_answers_as_a_map_does(
        entries in btree_map(
            prop_oneof![
                any::<[u8; 16]>().prop_map(|id| (false, id.to_vec())),
                "\\PC{1,60}".prop_map(|id| (true, id.into_bytes())),
            ],
            any::<u64>(),
            0..40,
        ),
        other in "\\PC{1,4}",
    ) {
        let bytes = encode(&entries);
        let table = VersionTable::open(&bytes).unwrap();
        prop_assert_eq!(table.identity(), identity());
        for ((is_text, id), version) in &entries {
            let kind = if *is_text { IdKind::Text } else { IdKind::Uuid };
            prop_assert_eq!(table.version(kind, id), Some(*version));
        }
        let expected = entries.get(&(true, other.clone().into_bytes())).copied();
        prop_assert_eq!(table.version(IdKind::Text, other.as_bytes()), expected);
        let listed: Vec<_> = table
            .iter()
            .map(|(kind, id, version)| ((kind == IdKind::Text, id.to_vec()), version))
            .collect();
        prop_assert_eq!(listed, entries.into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn any_bytes_are_refused_or_answered(
        spots in proptest::collection::vec((0_usize..200, any::<u8>()), 1..8),
    ) {
        let mut bytes = sample_version_table();
        for (place, value) in spots {
            if let Some(byte) = bytes.get_mut(place) {
                *byte = value;
            }
        }
        reseal_version_table(&mut bytes);
        if let Ok(table) = VersionTable::open(&bytes) {
            for (kind, id, version) in table.iter() {
                prop_assert_eq!(table.version(kind, id), Some(version));
            }
        }
    }
}
