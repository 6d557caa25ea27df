//! Goal: a file has one name, a listing sorts as the numbers do, and no other file is taken for ours.

use crate::format::*;

#[test]
fn file_names_read_back_and_sort_as_their_numbers() {
    let numbers = [
        1,
        2,
        9,
        10,
        99,
        12_345,
        999_999_999,
        1_000_000_000,
        9_999_999_999,
    ];
    for (name, parse) in [
        (
            segment_file_name as fn(u64) -> String,
            parse_segment_file_name as fn(&str) -> Option<u64>,
        ),
        (index_file_name, parse_index_file_name),
        (heads_file_name, parse_heads_file_name),
        (checkpoint_file_name, parse_checkpoint_file_name),
        (versions_file_name, parse_versions_file_name),
    ] {
        let names = numbers.map(name);
        assert!(names.is_sorted(), "{names:?}");
        for (name, number) in names.iter().zip(numbers) {
            assert_eq!(parse(name), Some(number), "{name}");
        }
        assert_eq!(
            parse(&name(u64::MAX)),
            Some(u64::MAX),
            "longer names stay legal"
        );
        assert_eq!(parse(&name(0)), None, "segments count from 1");
    }
    assert_eq!(segment_file_name(1), "0000000001.seg");
    assert_eq!(index_file_name(1), "0000000001.idx");
    assert_eq!(checkpoint_file_name(1), "0000000001.tail");
    assert_eq!(heads_file_name(1), "heads-0000000001");
    assert_eq!(versions_file_name(101), "versions-0000000101");
    assert_eq!(quarantine_file_name(1, 4096), "quarantine-0000000001-4096");
}

#[test]
fn only_canonical_names_are_ours() {
    let strangers = [
        "1.seg",
        "000000001.seg",
        "00000000001.seg",
        "0000000001.seg.tmp",
        "0000000001.SEG",
        "0000000001",
        "+000000001.seg",
        "000000000a.seg",
        "0000000001.idx",
        ".seg",
        "",
        "\u{661}000000001.seg",
        "99999999999999999999.seg",
        "18446744073709551616.seg",
    ];
    for name in strangers {
        assert_eq!(parse_segment_file_name(name), None, "{name:?}");
    }
    assert_eq!(parse_heads_file_name("heads-0000000001.tmp"), None);
    assert_eq!(parse_heads_file_name("heads-00000000001"), None);
    assert_eq!(parse_index_file_name("0000000001.seg"), None);
}
