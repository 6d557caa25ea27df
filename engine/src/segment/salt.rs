//! The salt of a segment that was lost: not known until its file comes back, and then only from a file that is known to be it.

use annals_index::Identity;
use annals_segments::format::manifest::SealedSegment;
use annals_segments::format::segment_header::{SEGMENT_HEADER_LEN, SegmentHeader};
use annals_segments::{OpenMode, scan_frames};

use crate::checkpoint;
use crate::directory::Directory;
use crate::segment::LogIdentity;

/// The salt of a segment that was named in the manifest when nothing could be read of it: its header says it, should the
/// file come back.
pub(crate) const UNKNOWN_SALT: u64 = 0;

/// What is told of a file in the place of such a segment that is not known to be it.
pub(crate) const NOT_KNOWN: &str =
    "not known to be the segment that was lost: its events are not those of the manifest";

/// Whether two entries of one number and base position may be of one segment.
pub(crate) fn is_same_salt(one: u64, other: u64) -> bool {
    one == other || [one, other].contains(&UNKNOWN_SALT)
}

/// The salt in the header of segment `number`, when that is sound and of this log.
pub(crate) fn salt_in_header(directory: &Directory, log: &LogIdentity, number: u64) -> Option<u64> {
    let path = directory.segment(number);
    let file = directory.disk.open(&path, OpenMode::Read).ok()?;
    let bytes = file.read_up_to(SEGMENT_HEADER_LEN as u64).ok()?;
    let header = SegmentHeader::decode(&bytes).ok()?;
    (header.number == number && header.log_id == log.id).then_some(header.salt)
}

/// The salt in the header of a segment that was named in the manifest when nothing could be read of it, when its file has
/// come back. A copy of the log that went on by itself has files of the same numbers and the same log: this is the one when
/// its frames take just the positions of the entry, end where that says, and a checkpoint that was left there fits.
pub(super) fn returned_salt(
    directory: &Directory,
    log: &LogIdentity,
    entry: &SealedSegment,
) -> Option<u64> {
    let salt = salt_in_header(directory, log, entry.number)?;
    let path = directory.segment(entry.number);
    let file = directory.disk.open(&path, OpenMode::Read).ok()?;
    let bytes = file.read_up_to(entry.end).ok()?;
    let (mut first, mut next) = (None, entry.base_position);
    let mut is_whole = bytes.len() as u64 == entry.end;
    let scan = scan_frames(&bytes, SEGMENT_HEADER_LEN, salt, None, |_, frame| {
        let base = frame.header.base_position;
        first.get_or_insert(base);
        is_whole &= base <= next;
        next = next.max(frame.header.next_position());
    });
    let fits = is_whole
        && scan.end as u64 == entry.end
        && next == entry.next_position()
        && !checkpoint::is_of_another(
            directory,
            &Identity {
                log_id: log.id,
                segment: entry.number,
                salt,
                base_position: first.unwrap_or(entry.base_position),
                event_count: 0,
            },
            entry.end,
        );
    if !fits {
        tracing::warn!(path = %path.display(), "not known to be the segment that was lost: not used");
    }
    fits.then_some(salt)
}
