//! A sound log whose snapshots hold any bytes: a snapshot that is shown is one that was put, or there is none.
//!
//! Snapshots are a cache. Whatever becomes of their files, the events stay as they are, and who finds no snapshot
//! replays them.

use std::path::Path;
use std::sync::OnceLock;

use annals_engine::{Direction, Log, NewEvent};
use annals_segments::{Disk, MemoryDisk, OpenMode};

use super::input::Input;
use crate::log_files::DIR;
use crate::{event, id, small_log};

/// Which file; whether it is replaced or changed; then its bytes, or where to change it.
pub fn snapshot_load(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let disk = sound().fork();
    let names: Vec<String> = files(&disk);
    let path = Path::new(SNAPSHOTS).join(&names[usize::from(input.u8()) % names.len()]);
    let file = disk
        .open(&path, OpenMode::ReadWrite)
        .expect("it was listed");
    let spoilt = match input.below(3) {
        0 => {
            let bytes = input.rest();
            file.set_len(0).and_then(|()| file.write_all_at(bytes, 0))
        }
        1 => {
            let len = file.len().expect("memory can be asked");
            file.set_len(u64::from(input.u16()) % len.max(1))
        }
        _ => change(&mut input, &*file),
    };
    spoilt.expect("memory can be written");
    check(&disk);
}

/// Changes bytes where there are any.
fn change(input: &mut Input<'_>, file: &dyn annals_segments::DiskFile) -> std::io::Result<()> {
    let written = file.written_end(0)?.max(1);
    while !input.is_empty() {
        let offset = u64::from(input.u16()) % written;
        let mut byte = [0];
        file.read_at(&mut byte, offset)?;
        byte[0] ^= input.u8();
        file.write_all_at(&byte, offset)?;
    }
    Ok(())
}

fn check(disk: &MemoryDisk) {
    for is_writer in [false, true] {
        let options = small_log(disk.fork(), 5);
        let log = match is_writer {
            true => options.open(DIR),
            false => options.open_read_only(DIR),
        };
        let log = log.expect("a log opens whatever its snapshots are");
        for aggregate in 0..AGGREGATES {
            for bound in [None, Some(VERSIONS / 2), Some(0)] {
                check_latest(&log, aggregate, bound);
            }
            let events = log.read_aggregate(&id(&name(aggregate)), .., Direction::Forward);
            let versions = events.map(|event| event.expect("the events are sound").version);
            assert!(versions.eq((1..=VERSIONS).map(Some)));
        }
        if is_writer {
            // A new one is found again, or could not be put.
            let put = log
                .snapshots()
                .put(id(&name(0)), VERSIONS, state(0, VERSIONS));
            if put.is_ok() {
                check_latest(&log, 0, None);
            }
            let _ = log.snapshots().prune();
            log.close().expect("memory does not fail");
        }
    }
}

fn check_latest(log: &Log, aggregate: u64, bound: Option<u64>) {
    let Ok(Some(found)) = log.snapshots().latest(&id(&name(aggregate)), bound) else {
        return;
    };
    assert_eq!(found.aggregate_id, id(&name(aggregate)));
    assert!(found.version <= bound.unwrap_or(VERSIONS));
    assert_eq!(found.payload, payload(aggregate, found.version));
    assert_eq!(found.topic, TOPIC);
}

/// Names of the files of the snapshots that hold any bytes.
fn files(disk: &MemoryDisk) -> Vec<String> {
    let entries = disk
        .list(Path::new(SNAPSHOTS))
        .expect("there are snapshots");
    let files = entries.into_iter().filter(|entry| !entry.is_dir);
    files.map(|entry| entry.name).collect()
}

/// A closed log with snapshots of every third version.
fn sound() -> &'static MemoryDisk {
    static SOUND: OnceLock<MemoryDisk> = OnceLock::new();
    SOUND.get_or_init(|| {
        let disk = MemoryDisk::default();
        let log = small_log(disk.clone(), 1)
            .open(DIR)
            .expect("a new log opens");
        for version in 1..=VERSIONS {
            for aggregate in 0..AGGREGATES {
                let appended = log.append(event(&name(aggregate), "Happened", "x"));
                let put = match version % 3 {
                    0 => log.snapshots().put(
                        id(&name(aggregate)),
                        version,
                        state(aggregate, version),
                    ),
                    _ => Ok(()),
                };
                appended.and(put).expect("memory does not fail");
            }
        }
        log.close().expect("memory does not fail");
        disk
    })
}

fn name(aggregate: u64) -> String {
    format!("aggregate-{aggregate}")
}

fn state(aggregate: u64, version: u64) -> NewEvent {
    NewEvent::new(TOPIC, payload(aggregate, version))
}

fn payload(aggregate: u64, version: u64) -> Vec<u8> {
    format!("state of {aggregate} at {version}")
        .into_bytes()
        .repeat(20)
}

const SNAPSHOTS: &str = "/log/snapshots";
const TOPIC: &str = "State";
const AGGREGATES: u64 = 3;
const VERSIONS: u64 = 30;

pub(super) fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let files = files(sound()).len() as u8;
    let place = |name: &str| {
        let names = self::files(sound());
        names.iter().position(|found| found == name).unwrap_or(0) as u8
    };
    vec![
        ("replaced-by-nothing", vec![place("0000000001.seg"), 0]),
        ("manifest-replaced", vec![place("MANIFEST-a"), 0, 1, 2, 3]),
        ("cut", vec![place("0000000001.seg"), 1, 0, 20]),
        ("watermark-cut", vec![place("WATERMARK"), 1, 7, 0]),
        (
            "changed",
            vec![place("0000000001.seg"), 2, 8, 17, 1, 90, 20, 255],
        ),
        ("last-changed", vec![files.wrapping_sub(1), 2, 1, 0, 1]),
    ]
}
