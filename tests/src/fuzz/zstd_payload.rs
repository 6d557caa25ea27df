//! Compressed payloads of any bytes: what is read is no longer than it may be, or there is an error that says why.

use std::sync::OnceLock;

use annals::{Compressor, Dictionary, Event, InflateError, Mapper, StoredEvent, Zlib, Zstd};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::input::Input;

#[derive(Serialize, Deserialize)]
struct Noted(String);

impl Event for Noted {}

/// Where the bytes come from, how long they say they are, and how they were changed; then the bytes or their
/// description.
pub fn zstd_payload(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let compressors = compressors();
    let source = usize::from(input.below(4));
    let stated = input.number().min(STATED_MAX);
    let len_max = usize::try_from(stated).expect("it was capped");
    let mut is_changed = false;
    let (plain, mut compressed) = match compressors.get(source) {
        Some(compressor) => {
            let plain = plain(&mut input);
            let compressed = compressor.compress(&plain).expect("there is memory");
            (plain, compressed)
        }
        None => {
            is_changed = true;
            (Vec::new(), Vec::new())
        }
    };
    match is_changed {
        true => compressed.extend_from_slice(input.rest()),
        false => {
            while !input.is_empty() {
                is_changed |= change(&mut input, &mut compressed);
            }
        }
    }

    for (place, compressor) in compressors.iter().enumerate() {
        let outcome = compressor.decompress(&compressed, len_max);
        match &outcome {
            Ok(found) => assert!(found.len() <= len_max, "{} of {len_max}", found.len()),
            Err(InflateError::TooLong { len_max: told }) => assert_eq!(*told, len_max),
            Err(InflateError::UnknownDictionary { found, known }) => {
                assert!(!known.contains(found));
            }
            Err(_) => {}
        }
        // What one of them made, it reads.
        if !is_changed && place == source {
            match plain.len() <= len_max {
                true => assert_eq!(outcome.expect("it was made by this one"), plain),
                false => assert!(matches!(outcome, Err(InflateError::TooLong { .. }))),
            }
        }
    }
    decode(&compressed, stated, source);
}

/// The same by way of a mapper, which believes the length stated.
fn decode(compressed: &[u8], stated: u64, source: usize) {
    let mut stored = StoredEvent::new(Uuid::nil(), "Noted", compressed);
    stored.encoding = Some(annals::Encoding {
        codec: [1, 1, 2, 3][source],
        key_id: 0,
        plain_len: u32::try_from(stated).expect("it was capped"),
    });
    let mapper = Mapper::json().payload_len_max(1 << 16);
    if let Ok(Noted(text)) = mapper.decode(&stored) {
        // A JSON string is never shorter than what it stands for, and two quotes.
        assert!(text.len() as u64 + 2 <= stated);
    }
}

/// Something that compresses: a JSON string of a repeated piece.
fn plain(input: &mut Input<'_>) -> Vec<u8> {
    let times = usize::from(input.u16() % 5_000);
    let piece = String::from_utf8_lossy(input.bytes(20)).into_owned();
    serde_json::to_vec(&piece.repeat(times)).expect("a string is JSON")
}

/// Whether anything is another than before.
fn change(input: &mut Input<'_>, bytes: &mut Vec<u8>) -> bool {
    let place = usize::from(input.u16());
    match input.below(4) {
        0 => {
            let len = bytes.len();
            bytes.truncate(place);
            bytes.len() != len
        }
        1 => {
            let added = input.bytes(16);
            bytes.extend_from_slice(added);
            !added.is_empty()
        }
        2 => {
            bytes.extend_from_within(..place.min(bytes.len()));
            place != 0 && !bytes.is_empty()
        }
        _ => {
            let flipped = input.u8();
            let len = bytes.len().max(1);
            match bytes.get_mut(place % len) {
                Some(byte) => *byte ^= flipped,
                None => return false,
            }
            flipped != 0
        }
    }
}

/// Zstd without a dictionary, zstd with one, zlib.
fn compressors() -> &'static [Box<dyn Compressor>; 3] {
    static COMPRESSORS: OnceLock<[Box<dyn Compressor>; 3]> = OnceLock::new();
    COMPRESSORS.get_or_init(|| {
        let samples: Vec<String> = (0..400)
            .map(|n| format!(r#"{{"name":"number {n}","square":{}}}"#, n * n))
            .collect();
        let dictionary = Dictionary::train(&samples, 4 << 10).expect("there are enough samples");
        [
            Box::new(Zstd::new()),
            Box::new(Zstd::new().dictionary(dictionary)),
            Box::new(Zlib::new()),
        ]
    })
}

/// Bytes that are stated at most: a target may hold 64 MiB.
const STATED_MAX: u64 = 4 << 20;

pub(super) fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let honest = |source: u8, edits: &[u8]| {
        let described = [
            &[source, 250, 0, 0, 1, 0, 0, 0, 0, 0, 100, 0, 6][..],
            b"secret",
            edits,
        ];
        described.concat()
    };
    let raw = |stated: u8, compressed: Vec<u8>| [&[3, stated][..], &compressed].concat();
    let zeros =
        |compressor: &dyn Compressor| compressor.compress(&[0; 1 << 20]).expect("there is memory");
    vec![
        ("zstd", honest(0, &[])),
        ("zstd-dictionary", honest(1, &[])),
        ("zlib", honest(2, &[])),
        (
            "zstd-stated-short",
            vec![0, 10, 100, 0, 3, b'a', b'b', b'c'],
        ),
        ("zstd-cut", honest(0, &[9, 0, 0])),
        ("zstd-flipped", honest(0, &[7, 0, 3, 1])),
        ("zstd-twice", honest(0, &[255, 255, 2])),
        ("zlib-continued", honest(2, &[0, 0, 1, 3, 1, 2, 3])),
        ("zstd-bomb", raw(100, zeros(&Zstd::new()))),
        ("zlib-bomb", raw(100, zeros(&Zlib::new()))),
        ("nothing", raw(0, Vec::new())),
        ("magic-alone", raw(100, vec![0x28, 0xb5, 0x2f, 0xfd])),
    ]
}
