//! Tail checkpoint: the index of the first events of the segment being written, so that an open neither
//! reads nor indexes them again.
//!
//! It has the form of a sealed index and ends where a dictionary frame stands, which repeats all topics and
//! tracking positions: a scan that starts there misses nothing. It is derived: written without a sync,
//! believed only when its checksum fits and a witness says that every event in it was durable. The frames
//! that it covers are then believed as those of a sealed segment are: verified when they are read.

use annals_index::{FrontBytes, Identity, IdentityField, KeyIndex, Previous, SealedIndex};
use annals_segments::format;
use annals_segments::format::frame::{Frame, FrameKind};
use annals_segments::format::record::Record;
use annals_segments::format::segment_header::SEGMENT_HEADER_LEN;
use annals_segments::{FrozenFile, write_unsynced};

use crate::directory::Directory;
use crate::error::Error;
use crate::log::Inner;
use crate::segment::{LogIdentity, Segment, derived_len_max};

/// The first events of a segment, by their checkpoint.
#[derive(Debug)]
pub(crate) struct Front {
    pub(crate) index: SealedIndex<FrontBytes>,
    /// Offset behind their last frame, where a dictionary starts.
    pub(crate) end: usize,
    /// Time of the first of them.
    pub(crate) first_time_us: u64,
    /// Time of the last of them.
    pub(crate) last_time_us: u64,
}

impl Front {
    /// The checkpoint of segment `number`, whose frames are in `bytes`, when there is one, it is sound, and
    /// it covers nothing behind position `durable`.
    pub(crate) fn open(
        directory: &Directory,
        log: &LogIdentity,
        number: u64,
        salt: u64,
        bytes: &[u8],
        durable: u64,
    ) -> Option<Self> {
        let path = directory.checkpoint(number);
        let len_max = derived_len_max(bytes.len() as u64);
        let file = FrozenFile::open(&*directory.disk, &path, len_max).ok()?;
        let first = Frame::parse(bytes.get(SEGMENT_HEADER_LEN..)?, salt).ok()?;
        let identity = Identity {
            log_id: log.id,
            segment: number,
            salt,
            base_position: first.header.base_position,
            event_count: 0,
        };
        let opened = SealedIndex::open_front(FrontBytes::new(file), &identity);
        // The bytes are those that a process of ours wrote, or lookups find candidates that records refute:
        // checking how the sections agree would cost more than all else of an open.
        let verified = opened.and_then(|index| index.verify_checksum().map(|()| index));
        let index = verified
            .inspect_err(
                |error| tracing::warn!(path = %path.display(), %error, "checkpoint not usable"),
            )
            .ok()?;
        Self::fit(index, salt, bytes, durable)
    }

    /// Whether the index ends where the frames say.
    fn fit(index: SealedIndex<FrontBytes>, salt: u64, bytes: &[u8], durable: u64) -> Option<Self> {
        let next_position = position_behind(&index);
        let last = index.len().checked_sub(1)?;
        if next_position - 1 > durable {
            return None;
        }
        let base_position = index.identity().base_position;
        let record_of = |ordinal: u32| {
            let offset = index.offset(ordinal)? as usize;
            let record = Record::parse(bytes.get(offset..)?).ok()?;
            let position = base_position + u64::from(ordinal);
            record.verify(position, salt).ok()?;
            Some((record.place().time_us, offset + record.as_bytes().len()))
        };
        let (first_time_us, _) = record_of(0)?;
        let (last_time_us, end) = record_of(last)?;
        let dictionary = Frame::parse(bytes.get(end..)?, salt).ok()?;
        dictionary.verify().ok()?;
        let fits = dictionary.header.base_position == next_position
            && dictionary.header.kind == Some(FrameKind::Dictionary);
        fits.then_some(Self {
            index,
            end,
            first_time_us,
            last_time_us,
        })
    }

    pub(crate) fn next_position(&self) -> u64 {
        position_behind(&self.index)
    }
}

fn position_behind(index: &SealedIndex<FrontBytes>) -> u64 {
    index.identity().base_position + u64::from(index.len())
}

/// Writes the checkpoint of the frames before `end`, where a dictionary starts. Nothing is written when an
/// event there is damaged, or not durable yet.
pub(crate) fn write(inner: &Inner, segment: &Segment, end: usize) -> Result<(), Error> {
    let Some(builder) = segment.build_index(end)? else {
        return Ok(());
    };
    let next_position = segment.base_position + u64::from(builder.len());
    if builder.is_empty() || next_position - 1 > inner.durable_head() {
        return Ok(());
    }
    let bytes = builder.encode(|_| Previous::Unknown);
    let directory = &inner.directory;
    let name = format::checkpoint_file_name(segment.number);
    write_unsynced(&*directory.disk, &directory.path, &name, &bytes).map_err(Error::io(
        directory.checkpoint(segment.number),
        "write the checkpoint",
    ))
}

/// Whether there is a checkpoint of the segment with the number in `identity`, of so many bytes, and it was made of a segment
/// with another salt. Says no of one that cannot be read.
pub(crate) fn is_of_another(directory: &Directory, identity: &Identity, segment_len: u64) -> bool {
    let path = directory.checkpoint(identity.segment);
    let file = FrozenFile::open(&*directory.disk, &path, derived_len_max(segment_len));
    let opened = file.map(|file| SealedIndex::open_front(FrontBytes::new(file), identity));
    matches!(
        opened,
        Ok(Err(annals_index::Error::WrongIdentity {
            field: IdentityField::Salt,
            ..
        }))
    )
}

/// Removes the checkpoint of a segment that has an index of its own, or none to keep.
pub(crate) fn remove(directory: &Directory, number: u64) {
    // Derived, and told by its identity when it is found again.
    let _ = directory.disk.remove(&directory.checkpoint(number));
}
