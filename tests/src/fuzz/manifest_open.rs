//! A sound log of several segments beside any manifest: it opens or is refused, and never panics.
//!
//! As long as one copy of the manifest is sound and newest, the other may hold any bytes at all. And a log
//! that was truncated opens for writing with a sound table of last versions or not at all.

use std::path::Path;
use std::sync::OnceLock;

use annals_engine::{Direction, Query};
use annals_segments::format::manifest::{MANIFEST_LEN_MAX, Manifest, SealedSegment};
use annals_segments::format::record::IdKind;
use annals_segments::format::version_table::VersionTable;
use annals_segments::format::{MANIFEST_FILES, versions_file_name};
use annals_segments::{Disk, MemoryDisk, OpenMode};

use super::input::Input;
use super::segment_recover::{Contents, DIR, check_directory, write_file};
use crate::{event, small_log};

/// One byte of choice; then the bytes of a manifest file or of a table, or changes to the true manifest.
pub fn manifest_open(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let choice = input.u8();
    let sound = sound_log();
    let disk = sound.disk.fork();
    match choice % 4 {
        // One copy is what it is, the other is sound.
        0 => {
            let bytes = input.rest();
            write_file(&disk, sound.other_copy, bytes);
            let log = small_log(disk.clone(), 1).open(DIR);
            match Manifest::decode(bytes) {
                Err(error) if !error.is_unsupported() => {
                    let log = log.expect("the sound copy is enough");
                    let count = log
                        .read(.., &Query::all(), Direction::Forward)
                        .filter(Result::is_ok)
                        .count();
                    assert_eq!(count as u64, sound.head);
                }
                _ => drop(log),
            }
        }
        1 => write_both(&disk, input.rest()),
        3 => return version_table_open(input.rest()),
        _ => {
            let mut manifest = sound.manifest.clone();
            change(&mut input, &mut manifest);
            let bytes = manifest.encode();
            if let Ok(decoded) = Manifest::decode(&bytes) {
                assert_eq!(decoded, manifest);
            }
            write_both(&disk, &bytes);
        }
    }
    check_directory(&disk, Contents::Honest);
}

/// A truncated log whose table of last versions holds these bytes.
fn version_table_open(bytes: &[u8]) {
    let sound = truncated_log();
    let disk = sound.disk.fork();
    write_file(&disk, &sound.table, bytes);
    let table = VersionTable::open(bytes);
    match small_log(disk.clone(), 1).open(DIR) {
        Ok(log) => {
            let table = table.expect("what cannot be believed is refused");
            for (kind, id, version) in table.iter() {
                let Some(id) = std::str::from_utf8(id)
                    .ok()
                    .filter(|_| kind == IdKind::Text)
                else {
                    continue;
                };
                let found = log
                    .version(&crate::id(id))
                    .expect("nothing else is damaged");
                assert!(found.is_some_and(|found| found >= version || id.starts_with("aggregate")));
            }
        }
        Err(error) => assert!(bytes != sound.bytes, "{error}"),
    }
    check_directory(&disk, Contents::Honest);
}

fn write_both(disk: &MemoryDisk, bytes: &[u8]) {
    for name in MANIFEST_FILES {
        write_file(disk, name, bytes);
    }
}

fn change(input: &mut Input<'_>, manifest: &mut Manifest) {
    while !input.is_empty() {
        let count = manifest.segments.len();
        let place = usize::from(input.u8()) % count.max(1);
        match (input.u8() % 16, manifest.segments.get_mut(place)) {
            (0, _) => manifest.log_id = input.array(),
            (1, _) => manifest.generation = input.number(),
            (2, _) => manifest.first_retained_position = input.number(),
            (3, _) => manifest.durable_position = input.number(),
            (4, _) if place == 1 => {
                let name = format!("f{}", input.u8());
                manifest.followers.insert(name.into(), input.number());
            }
            (4, _) => manifest.heads = input.number(),
            (5, Some(segment)) => segment.number = input.number(),
            (6, Some(segment)) => segment.base_position = input.number(),
            (7, Some(segment)) => segment.event_count = input.number(),
            (8, Some(segment)) => segment.end = input.number(),
            (9, Some(segment)) => {
                segment.end = segment.end.wrapping_sub(input.number().wrapping_mul(8))
            }
            (10, Some(segment)) => segment.salt = input.number(),
            (11, Some(segment)) => segment.last_time_us = input.number(),
            // Forgets the newest: an older manifest.
            (12, _) => drop(manifest.segments.pop()),
            (13, Some(_)) => drop(manifest.segments.remove(place)),
            // Counts that move from one segment to its neighbour stay contiguous.
            (14, Some(segment)) => {
                let moved = input.number().min(segment.event_count);
                segment.event_count -= moved;
                if let Some(next) = manifest.segments.get_mut(place + 1) {
                    next.base_position = next.base_position.wrapping_sub(moved);
                    next.event_count = next.event_count.wrapping_add(moved);
                }
            }
            _ if count < 8 => {
                if let Some(last) = manifest.segments.last().copied() {
                    manifest.segments.push(SealedSegment {
                        number: last.number.wrapping_add(1),
                        base_position: last.base_position.wrapping_add(last.event_count),
                        event_count: input.number(),
                        ..last
                    });
                }
            }
            _ => {}
        }
    }
}

/// A log to put manifests beside, made once.
struct SoundLog {
    disk: MemoryDisk,
    manifest: Manifest,
    /// The copy that is not the newest.
    other_copy: &'static str,
    head: u64,
}

fn sound_log() -> &'static SoundLog {
    static SOUND: OnceLock<SoundLog> = OnceLock::new();
    SOUND.get_or_init(|| {
        let disk = MemoryDisk::default();
        let log = small_log(disk.clone(), 5)
            .open(DIR)
            .expect("a new log opens");
        for number in 0..24 {
            let name = format!("aggregate-{}", number % 5);
            let appended = log.append(event(&name, "Happened", vec![b'p'; 8000]).tag("tag:1"));
            let _ = appended.expect("a disk in memory does not fail");
        }
        log.close().expect("a disk in memory does not fail");
        let copies = MANIFEST_FILES.map(|name| (name, read_manifest(&disk, name)));
        let newest = copies
            .iter()
            .flat_map(|(_, copy)| copy)
            .max_by_key(|copy| copy.generation);
        let manifest = newest.expect("a log has a manifest").clone();
        assert!(
            manifest.segments.len() >= 2,
            "{} sealed",
            manifest.segments.len()
        );
        let is_other = |(_, copy): &&(_, Option<Manifest>)| copy.as_ref() != Some(&manifest);
        let (other_copy, _) = copies
            .iter()
            .find(is_other)
            .expect("one of two is not the newest");
        SoundLog {
            other_copy,
            head: log.head(),
            disk,
            manifest,
        }
    })
}

/// A log whose oldest events were dropped, made once.
struct TruncatedLog {
    disk: MemoryDisk,
    /// Name of its table of last versions, and what is in it.
    table: String,
    bytes: Vec<u8>,
}

fn truncated_log() -> &'static TruncatedLog {
    static TRUNCATED: OnceLock<TruncatedLog> = OnceLock::new();
    TRUNCATED.get_or_init(|| {
        let disk = sound_log().disk.fork();
        let log = small_log(disk.clone(), 6).open(DIR);
        let log = log.expect("a sound log opens");
        let truncated = log.truncate_before(u64::MAX);
        let first = truncated.expect("nothing is damaged").first_position;
        log.close().expect("a disk in memory does not fail");
        let table = versions_file_name(first);
        let file = disk.open(&Path::new(DIR).join(&table), OpenMode::Read);
        let file = file.expect("a truncated log has a table");
        TruncatedLog {
            bytes: file.read_up_to(u64::MAX).expect("it can be read"),
            table,
            disk,
        }
    })
}

fn read_manifest(disk: &MemoryDisk, name: &str) -> Option<Manifest> {
    let file = disk.open(&Path::new(DIR).join(name), OpenMode::Read).ok()?;
    Manifest::decode(&file.read_all(MANIFEST_LEN_MAX).ok()?).ok()
}

pub(super) fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let changed = |rest: &[u8]| [&[2][..], rest].concat();
    let manifest = sound_log().manifest.encode();
    vec![
        ("one-copy-sound", [&[0][..], &manifest].concat()),
        ("one-copy-nothing", vec![0]),
        ("both-sound", [&[1][..], &manifest].concat()),
        (
            "both-cut",
            [&[1][..], &manifest[..manifest.len() / 2]].concat(),
        ),
        ("both-nothing", vec![1]),
        ("changed-not", changed(&[])),
        ("changed-forgets-one", changed(&[0, 12])),
        ("changed-durable-beyond", changed(&[0, 3, 199])),
        ("table-sound", [&[3][..], &truncated_log().bytes].concat()),
        (
            "table-cut",
            [&[3][..], &truncated_log().bytes[..90]].concat(),
        ),
        ("table-nothing", vec![3]),
        ("changed-followers", changed(&[1, 4, 7, 3, 1, 4, 2, 0])),
        ("changed-heads", changed(&[0, 4, 2])),
        ("changed-shorter", changed(&[0, 9, 1])),
        ("changed-counts-moved", changed(&[0, 14, 1])),
        ("changed-one-more", changed(&[0, 15, 3])),
        (
            "changed-last-position",
            changed(&[1, 7, 220, 0, 1, 2, 220, 0]),
        ),
    ]
}
