//! A directory of any bytes, opened as a log: it opens or is refused, and never panics.
//!
//! What opens for writing goes on as a log: it takes an append, closes, and opens again with the same
//! events. What opens read-only can be read and verified.

use std::hint::black_box;
use std::path::Path;

use annals_engine::{Batch, Direction, Log, NewEvent, Query, QueryItem, RecordedEvent};
use annals_segments::format::segment_header::{Layout, SEGMENT_HEADER_LEN, SegmentHeader};
use annals_segments::format::watermark::{WATERMARK_FILE_LEN, WATERMARK_SLOT_LEN, Watermark};
use annals_segments::format::{SEGMENT_LEN_MIN, WATERMARK_FILE, segment_file_name};
use annals_segments::{Disk, MemoryDisk, OpenMode};

use super::hostile::FrameSequence;
use super::input::Input;
use crate::small_log;

/// One byte of choice; then the bytes of the only segment file, or a description of up to three.
pub fn segment_recover(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let disk = MemoryDisk::default();
    disk.create_dir(Path::new(DIR))
        .expect("a new disk takes a directory");
    if input.u8().is_multiple_of(2) {
        write_file(&disk, &segment_file_name(1), input.rest());
        check_directory(&disk, Contents::Honest);
    } else {
        describe(&mut input, &disk);
        check_directory(&disk, Contents::Lying);
    }
}

fn describe(input: &mut Input<'_>, disk: &MemoryDisk) {
    let log_id = [7; 16];
    if input.rarely(4) {
        write_watermark(input, disk, log_id);
    }
    let mut frames = FrameSequence::new(input.u64());
    for number in 1..=1 + u64::from(input.below(3)) {
        let mut bytes = SegmentHeader {
            layout: Layout::Plain,
            compatible: u32::from(input.rarely(4)),
            log_id: match input.rarely(40) {
                true => input.array(),
                false => log_id,
            },
            number: match input.rarely(40) {
                true => input.number().max(1),
                false => number,
            },
            salt: frames.salt,
            created_us: 0,
        }
        .encode();
        for _ in 0..input.below(8) {
            frames.push(input, &mut bytes);
        }
        damage(input, &mut bytes);
        match input.below(4) {
            0 => {}
            1 => bytes.extend_from_slice(input.bytes(64)),
            2 => bytes.resize(SEGMENT_LEN_MIN as usize, 0),
            _ => bytes.truncate(bytes.len().saturating_sub(usize::from(input.u8()))),
        }
        write_file(disk, &segment_file_name(number), &bytes);
    }
}

/// Changes bytes behind the header, so that some frames no longer verify.
fn damage(input: &mut Input<'_>, bytes: &mut [u8]) {
    for _ in 0..input.below(4) {
        let offset = SEGMENT_HEADER_LEN + usize::from(input.u16());
        let change = input.u8();
        if let Some(byte) = bytes.get_mut(offset) {
            *byte ^= change;
        }
    }
}

fn write_watermark(input: &mut Input<'_>, disk: &MemoryDisk, log_id: [u8; 16]) {
    let mut file = vec![0; WATERMARK_FILE_LEN];
    for slot in file.chunks_exact_mut(WATERMARK_SLOT_LEN) {
        let watermark = Watermark {
            log_id,
            generation: input.number(),
            position: input.number(),
            segment: input.number(),
            end: (SEGMENT_HEADER_LEN as u64).saturating_add(input.number()),
        };
        let bytes = watermark.encode();
        slot[..bytes.len()].copy_from_slice(&bytes);
    }
    write_file(disk, WATERMARK_FILE, &file);
}

/// Whether what verifies can have been written by the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Contents {
    /// Checksums fit only where the log wrote.
    Honest,
    /// Checksums fit and topics are defined too late or not at all: an event may turn into an error.
    Lying,
}

/// The log in [`DIR`] of `disk` is opened both ways, or refused.
pub(super) fn check_directory(disk: &MemoryDisk, contents: Contents) {
    let read_only = disk.fork();
    if let Ok(log) = small_log(read_only, 1).open_read_only(DIR) {
        read_all(&log);
    }
    let writing = disk.fork();
    let Ok(log) = small_log(writing.clone(), 2).open(DIR) else {
        return;
    };
    read_all(&log);
    let before = first_events(&log);
    let head = log.head();
    assert_eq!(log.durable_head(), head, "an opened log is durable");
    match log.append(Batch::from(NewEvent::new("Appended", "").tag("behind"))) {
        Ok(appended) => assert_eq!(appended.first, head + 1),
        Err(error) => panic!("open for writing, and no append: {error}"),
    }
    check_same(&log, &before, contents);
    log.close().expect("a disk in memory does not fail");
    drop(log);
    let again = small_log(writing, 3)
        .open(DIR)
        .expect("a log that was closed opens");
    assert_eq!(again.head(), head + 1);
    check_same(&again, &before, contents);
}

fn check_same(log: &Log, before: &[(u64, Option<RecordedEvent>)], contents: Contents) {
    let now = first_events(log);
    assert!(
        now.len() >= before.len(),
        "{} of {}",
        now.len(),
        before.len()
    );
    for (now, before) in now.iter().zip(before) {
        assert_eq!(now.0, before.0, "positions changed");
        let is_shown = now.1.is_some() && before.1.is_some();
        if is_shown || contents == Contents::Honest {
            assert_eq!(now.1, before.1, "events changed");
        }
    }
}

/// The first events, each with its position; `None` where one is damaged.
fn first_events(log: &Log) -> Vec<(u64, Option<RecordedEvent>)> {
    let first = log.view().first_position();
    let read = log.read(.., &Query::all(), Direction::Forward);
    (first..)
        .zip(read.map(Result::ok))
        .take(EVENTS_MAX)
        .collect()
}

/// Every way to read. Damage answers with an error; nothing else is asked of the answers.
fn read_all(log: &Log) {
    let view = log.view();
    for direction in [Direction::Forward, Direction::Backward] {
        let mut position = 0;
        for event in view.read(.., &Query::all(), direction).take(EVENTS_MAX) {
            let Ok(event) = event else { continue };
            assert!(position == 0 || is_next(position, event.position(), direction));
            position = event.position();
            black_box((
                event.tags().len(),
                event.metadata().len(),
                event.payload().len(),
            ));
            black_box(log.get(event.event_id()).is_ok());
            if let Some(id) = event.aggregate_id() {
                black_box(log.version(&id).is_ok());
                black_box(
                    log.read_aggregate(&id, .., direction)
                        .take(EVENTS_MAX)
                        .count(),
                );
            }
        }
        let query = Query::from(QueryItem::new().topic("Happened").tag("tag:1"));
        black_box(view.read(3.., &query, direction).take(EVENTS_MAX).count());
    }
    black_box((
        log.tracking("Happened"),
        log.recovery(),
        log.count_aggregates().is_ok(),
    ));
    black_box(log.verify(|_, _| {}).is_ok());
}

fn is_next(before: u64, now: u64, direction: Direction) -> bool {
    match direction {
        Direction::Forward => now > before,
        Direction::Backward => now < before,
    }
}

pub(super) fn write_file(disk: &MemoryDisk, name: &str, bytes: &[u8]) {
    let path = Path::new(DIR).join(name);
    let write = || {
        let file = match disk.open(&path, OpenMode::ReadWrite) {
            Ok(file) => file,
            Err(_) => disk.open(&path, OpenMode::CreateNew)?,
        };
        file.set_len(0)?;
        file.write_all_at(bytes, 0)
    };
    write().expect("a disk in memory takes a small file");
}

pub(super) const DIR: &str = "/log";
/// Events looked at; a lying head may announce 2^64.
const EVENTS_MAX: usize = 300;

pub(super) fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let described = |rest: &[u8]| [&[1][..], rest].concat();
    let disk = MemoryDisk::default();
    let log = small_log(disk.clone(), 4)
        .open(DIR)
        .expect("a new log opens");
    let batch = Batch::new()
        .event(crate::event("dog", "Registered", "1").tag("tag:1"))
        .event(crate::event("dog", "Happened", "2").metadata("user", "u-1"))
        .tracking("Happened", 3);
    let appended = log
        .append(batch)
        .and_then(|_| log.append(crate::event("cat", "Happened", "3")));
    let _ = appended.expect("a disk in memory does not fail");
    let raw = || {
        let path = Path::new(DIR).join(segment_file_name(1));
        let file = disk
            .open(&path, OpenMode::Read)
            .expect("the first segment is there");
        let mut bytes = file.read_all(1 << 20).expect("it can be read");
        let written = bytes
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |last| last + 1);
        bytes.truncate(written.next_multiple_of(8));
        [&[0][..], &bytes].concat()
    };
    let killed = raw();
    log.close().expect("a disk in memory does not fail");
    let closed = raw();
    let torn = killed[..killed.len() - 30].to_vec();
    vec![
        ("raw-killed", killed),
        ("raw-closed", closed),
        ("raw-torn", torn),
        ("raw-nothing", vec![0]),
        ("described-zeros", described(&[0; 64])),
        ("described-three-segments", described(&[2; 400])),
        (
            "described-all",
            described(&(0..=255).collect::<Vec<u8>>().repeat(2)),
        ),
        ("described-rare", described(&[239; 300])),
    ]
}
