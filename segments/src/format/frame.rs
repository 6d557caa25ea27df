//! A frame: one batch, all or nothing, or one of the frames that carry no events.
//!
//! Header, preamble, records. The header has its own checksum, so that its length can be trusted when
//! the rest is damaged. The preamble is a list of entries (topics defined here, tracking positions)
//! under a second checksum; each record carries its own.

use super::record::{Record, told, walk_records};
use super::{
    ALIGNMENT, FRAME_LEN_MAX, FormatError, TOPIC_LEN_MAX, TRACKING_NAME_LEN_MAX, align_up,
    are_positions, check_crc, check_len, check_zeros, put, u16_at, u32_at, u64_at,
};
use crate::planted::{Bug, is_planted};

const CRC_OFFSET: usize = 0;
const LENGTH_OFFSET: usize = CRC_OFFSET + size_of::<u32>();
const KIND_OFFSET: usize = LENGTH_OFFSET + size_of::<u32>();
const FLAGS_OFFSET: usize = KIND_OFFSET + size_of::<u8>();
const RESERVED_OFFSET: usize = FLAGS_OFFSET + size_of::<u8>();
const EVENT_COUNT_OFFSET: usize = RESERVED_OFFSET + size_of::<u16>();
const BASE_POSITION_OFFSET: usize = EVENT_COUNT_OFFSET + size_of::<u32>();
const DURABLE_OFFSET: usize = BASE_POSITION_OFFSET + size_of::<u64>();
const TIME_OFFSET: usize = DURABLE_OFFSET + size_of::<u64>();
const PREAMBLE_LEN_OFFSET: usize = TIME_OFFSET + size_of::<u64>();
const PREAMBLE_CRC_OFFSET: usize = PREAMBLE_LEN_OFFSET + size_of::<u32>();
/// Bytes of a frame header.
pub const FRAME_HEADER_LEN: usize = PREAMBLE_CRC_OFFSET + size_of::<u32>();

const ENTRY_KIND_OFFSET: usize = 0;
const ENTRY_FLAGS_OFFSET: usize = ENTRY_KIND_OFFSET + size_of::<u8>();
const ENTRY_LEN_OFFSET: usize = ENTRY_FLAGS_OFFSET + size_of::<u8>();
const ENTRY_HEADER_LEN: usize = ENTRY_LEN_OFFSET + size_of::<u16>();

const _: () = assert!(FRAME_HEADER_LEN.is_multiple_of(ALIGNMENT));
const _: () = assert!(FRAME_LEN_MAX <= u32::MAX as usize);

/// What a frame is. Persisted: values are never renumbered; 0 is unwritten space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FrameKind {
    /// Events of one append, and what they advance.
    Batch = 1,
    /// Everything later frames of the segment rely on: its topics, and all tracking positions.
    Dictionary = 2,
    /// Written last by a clean close; frames may follow after the next open.
    Close = 3,
    /// Written last when a segment is sealed; nothing follows.
    Footer = 4,
}

/// A frame kind with this flag may be skipped by a reader that does not know it.
pub const FLAG_SKIPPABLE: u8 = 0b1000_0000;

/// An entry of the preamble. Persisted: values are never renumbered.
const ENTRY_TOPIC: u8 = 1;
const ENTRY_TRACKING: u8 = 2;

/// The fields of a frame header that a writer chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// `None` for a kind of a later release that may be skipped: all it holds is in its preamble.
    pub kind: Option<FrameKind>,
    /// Bytes of the whole frame: header, preamble, records, padding. A multiple of 8.
    pub length: u32,
    /// Events in it; 0 unless it is a batch. A batch of 0 has a preamble: it advances a tracking.
    pub event_count: u32,
    /// Position of its first event, or the position the next event will have.
    pub base_position: u64,
    /// Every event up to this position was synced before the frame was written; below the base position.
    pub durable_upto: u64,
    /// Store-assigned time, microseconds since the epoch, never below that of the frame before.
    pub time_us: u64,
    preamble_len: u32,
    preamble_crc: u32,
}

impl FrameHeader {
    /// Whether the frame has entries before its records: topics, tracking positions.
    #[inline]
    pub fn has_preamble(&self) -> bool {
        self.preamble_len > 0
    }

    /// The position behind the frame's last event.
    #[inline]
    pub fn next_position(&self) -> u64 {
        self.base_position + u64::from(self.event_count)
    }

    /// Reads the header of the frame at the start of `bytes`, which may reach far beyond it.
    ///
    /// Order of the checks: unwritten, checksum, kind and flags, reserved bytes, then fields: a field is
    /// looked at only when all are as written. `Unwritten` is the normal end of a segment.
    pub fn decode(bytes: &[u8], salt: u64) -> Result<Self, FormatError> {
        check_len(STRUCTURE, bytes, FRAME_HEADER_LEN)?;
        let header = &bytes[..FRAME_HEADER_LEN];
        if header.iter().all(|byte| *byte == 0) {
            return Err(FormatError::Unwritten);
        }
        check_crc(
            STRUCTURE,
            header_crc(header, salt),
            u32_at(header, CRC_OFFSET),
        )?;
        Self::decode_fields(header)
    }

    /// Reads the header of the frame at the start of `bytes` at its word, for whoever has lost the salt under which its
    /// checksum was made: `None` where no writer would have written these fields.
    pub fn decode_unverified(bytes: &[u8]) -> Option<Self> {
        Self::decode_fields(bytes.get(..FRAME_HEADER_LEN)?).ok()
    }

    fn decode_fields(header: &[u8]) -> Result<Self, FormatError> {
        let skippable = header[FLAGS_OFFSET] & FLAG_SKIPPABLE != 0;
        let kind = match header[KIND_OFFSET] {
            1 => Some(FrameKind::Batch),
            2 => Some(FrameKind::Dictionary),
            3 => Some(FrameKind::Close),
            4 => Some(FrameKind::Footer),
            _ if skippable => None,
            other => {
                return Err(FormatError::Feature {
                    structure: STRUCTURE,
                    flags: u32::from(other),
                });
            }
        };
        if header[FLAGS_OFFSET] & !FLAG_SKIPPABLE != 0 {
            return Err(FormatError::Feature {
                structure: STRUCTURE,
                flags: u32::from(header[FLAGS_OFFSET]),
            });
        }
        check_zeros(
            STRUCTURE,
            "reserved",
            &header[RESERVED_OFFSET..EVENT_COUNT_OFFSET],
        )?;
        let decoded = Self {
            kind,
            length: u32_at(header, LENGTH_OFFSET),
            event_count: u32_at(header, EVENT_COUNT_OFFSET),
            base_position: u64_at(header, BASE_POSITION_OFFSET),
            durable_upto: u64_at(header, DURABLE_OFFSET),
            time_us: u64_at(header, TIME_OFFSET),
            preamble_len: u32_at(header, PREAMBLE_LEN_OFFSET),
            preamble_crc: u32_at(header, PREAMBLE_CRC_OFFSET),
        };
        decoded.check_fields()?;
        Ok(decoded)
    }

    fn check_fields(&self) -> Result<(), FormatError> {
        let length = self.length as usize;
        if !(FRAME_HEADER_LEN..=FRAME_LEN_MAX).contains(&length)
            || !length.is_multiple_of(ALIGNMENT)
        {
            return Err(field(
                "length",
                u64::from(self.length),
                "a multiple of 8 in 48..=268,435,456",
            ));
        }
        if self.preamble_len as usize > length - FRAME_HEADER_LEN {
            return Err(field(
                "preamble length",
                u64::from(self.preamble_len),
                "within the frame",
            ));
        }
        // What lies behind the preamble of a kind that is not known is under no checksum we know.
        if self.kind.is_none() && align_up(FRAME_HEADER_LEN + self.preamble_len as usize) != length
        {
            return Err(field(
                "preamble length",
                u64::from(self.preamble_len),
                "the whole frame, in a frame of unknown kind",
            ));
        }
        if self.event_count > 0 && self.kind != Some(FrameKind::Batch) {
            return Err(field(
                "event count",
                u64::from(self.event_count),
                "0 in a frame that is no batch",
            ));
        }
        if !are_positions(self.base_position, u64::from(self.event_count)) {
            return Err(field(
                "base position",
                self.base_position,
                "1 or more, and positions up to 2^63",
            ));
        }
        if self.durable_upto >= self.base_position {
            return Err(field(
                "durable upto",
                self.durable_upto,
                "below the base position",
            ));
        }
        Ok(())
    }
}

/// Writes one frame at the end of a buffer.
///
/// `new` writes header and preamble; the caller then appends `event_count` encoded records (placed by
/// [`place_record`](super::record::place_record)) to the same buffer and calls [`FrameWriter::finish`].
#[derive(Debug)]
#[must_use = "a frame without finish has no header"]
pub struct FrameWriter {
    start: usize,
    kind: FrameKind,
    preamble_len: usize,
}

impl FrameWriter {
    /// Starts a frame at the end of `out`, with `preamble` as [`Preamble`] built it.
    pub fn new(kind: FrameKind, preamble: &Preamble, out: &mut Vec<u8>) -> Self {
        let start = out.len();
        out.resize(start + FRAME_HEADER_LEN, 0);
        out.extend_from_slice(&preamble.bytes);
        out.resize(start + align_up(out.len() - start), 0);
        Self {
            start,
            kind,
            preamble_len: preamble.bytes.len(),
        }
    }

    /// Offset in the buffer at which the frame starts.
    pub fn start(&self) -> usize {
        self.start
    }

    /// Fills in the header.
    ///
    /// # Panics
    /// When no reader would accept the frame: longer than [`FRAME_LEN_MAX`] or not padded, fields out
    /// of their ranges (see [`FrameHeader`]), or a batch of nothing. The engine checks batches first.
    pub fn finish(self, out: &mut [u8], fields: FrameFields, salt: u64) {
        let frame = &mut out[self.start..];
        let length = frame.len();
        assert!(length <= FRAME_LEN_MAX, "a frame of {length} bytes");
        assert!(
            length.is_multiple_of(ALIGNMENT),
            "a frame of {length} bytes is not padded"
        );
        assert!(fields.base_position > 0, "positions start at 1");
        assert!(
            fields.event_count == 0 || self.kind == FrameKind::Batch,
            "{} events in a {:?} frame",
            fields.event_count,
            self.kind
        );
        assert!(
            fields.event_count > 0 || self.kind != FrameKind::Batch || self.preamble_len > 0,
            "a batch of nothing"
        );
        assert!(
            are_positions(fields.base_position, u64::from(fields.event_count)),
            "{} events from position {} on",
            fields.event_count,
            fields.base_position
        );
        assert!(
            fields.durable_upto < fields.base_position,
            "durable upto {} is not below the base position {}",
            fields.durable_upto,
            fields.base_position
        );
        put(frame, LENGTH_OFFSET, (length as u32).to_le_bytes());
        frame[KIND_OFFSET] = self.kind as u8;
        put(frame, EVENT_COUNT_OFFSET, fields.event_count.to_le_bytes());
        put(
            frame,
            BASE_POSITION_OFFSET,
            fields.base_position.to_le_bytes(),
        );
        put(frame, DURABLE_OFFSET, fields.durable_upto.to_le_bytes());
        put(frame, TIME_OFFSET, fields.time_us.to_le_bytes());
        put(
            frame,
            PREAMBLE_LEN_OFFSET,
            (self.preamble_len as u32).to_le_bytes(),
        );
        let preamble = &frame[FRAME_HEADER_LEN..FRAME_HEADER_LEN + self.preamble_len];
        let preamble_crc = salted_crc(preamble, salt);
        put(frame, PREAMBLE_CRC_OFFSET, preamble_crc.to_le_bytes());
        let crc = header_crc(&frame[..FRAME_HEADER_LEN], salt);
        put(frame, CRC_OFFSET, crc.to_le_bytes());
    }
}

/// What the writer knows of a frame when it is finished; see [`FrameHeader`] for each.
#[derive(Clone, Copy, Debug)]
#[allow(
    missing_docs,
    reason = "the same fields as FrameHeader, documented there"
)]
pub struct FrameFields {
    pub event_count: u32,
    pub base_position: u64,
    pub durable_upto: u64,
    pub time_us: u64,
}

/// The entries of a preamble, encoded one behind the other.
#[derive(Clone, Debug, Default)]
pub struct Preamble {
    bytes: Vec<u8>,
}

impl Preamble {
    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Bytes of the entries without padding.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Forgets all entries and keeps the room.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Defines a topic: `number` stands for `name` in the records of this segment from here on.
    pub fn define_topic(&mut self, number: u32, name: &str) {
        assert!(
            (1..=TOPIC_LEN_MAX).contains(&name.len()),
            "a topic of {} bytes",
            name.len()
        );
        self.entry(ENTRY_TOPIC, &number.to_le_bytes(), name.as_bytes());
    }

    /// Says that everything of `name` up to `position` has been processed.
    pub fn advance_tracking(&mut self, name: &str, position: u64) {
        let len = name.len();
        assert!(
            (1..=TRACKING_NAME_LEN_MAX).contains(&len),
            "a tracking name of {len} bytes"
        );
        self.entry(ENTRY_TRACKING, &position.to_le_bytes(), name.as_bytes());
    }

    fn entry(&mut self, kind: u8, number: &[u8], name: &[u8]) {
        let len = u16::try_from(number.len() + name.len()).expect("names are at most 1,024 bytes");
        self.bytes.extend_from_slice(&[kind, 0]);
        self.bytes.extend_from_slice(&len.to_le_bytes());
        self.bytes.extend_from_slice(number);
        self.bytes.extend_from_slice(name);
    }
}

/// One entry of a preamble, as read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PreambleEntry<'a> {
    /// See [`Preamble::define_topic`].
    Topic {
        /// Number in the segment's dictionary, from 0 in order of first use.
        number: u32,
        /// Its name.
        name: &'a str,
    },
    /// See [`Preamble::advance_tracking`].
    Tracking {
        /// The upstream that is tracked.
        name: &'a str,
        /// Last position of it that has been processed.
        position: u64,
    },
}

/// A frame in place: its header verified, its preamble and records not yet.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// The verified header.
    pub header: FrameHeader,
    bytes: &'a [u8],
    salt: u64,
}

impl<'a> Frame<'a> {
    /// Reads the frame at the start of `bytes`; the header is verified, and the frame lies whole in `bytes`.
    pub fn parse(bytes: &'a [u8], salt: u64) -> Result<Self, FormatError> {
        let header = FrameHeader::decode(bytes, salt)?;
        check_len("frame", bytes, header.length as usize)?;
        Ok(Self {
            header,
            bytes: &bytes[..header.length as usize],
            salt,
        })
    }

    /// The whole frame.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Checks everything: preamble, every record, padding, and that the records fill the frame exactly.
    /// A batch is committed if and only if this succeeds.
    pub fn verify(&self) -> Result<(), FormatError> {
        for entry in self.preamble()? {
            entry?;
        }
        if is_planted(Bug::TrustTornFrame) {
            return Ok(());
        }
        if self.header.kind == Some(FrameKind::Batch)
            && self.header.event_count == 0
            && self.header.preamble_len == 0
        {
            return Err(field("event count", 0, "1 or more without a preamble"));
        }
        let mut count = 0;
        let mut end = self.records_start();
        check_zeros(
            STRUCTURE,
            "padding",
            &self.bytes[FRAME_HEADER_LEN + self.header.preamble_len as usize..end],
        )?;
        for (offset, record) in self.records() {
            // First, so that the position below cannot go past the last there is.
            if count == self.header.event_count {
                return Err(field(
                    "event count",
                    u64::from(count),
                    "the number of records",
                ));
            }
            let position = self.header.base_position + u64::from(count);
            let record =
                record.map_err(|error| told(error, &self.bytes[offset..], position, self.salt))?;
            record.verify(position, self.salt)?;
            let time_us = record.place().time_us;
            if time_us != self.header.time_us {
                return Err(field("time of a record", time_us, "that of the frame"));
            }
            count += 1;
            end = offset + record.as_bytes().len();
            check_zeros(STRUCTURE, "padding", record.padding())?;
        }
        if self.header.kind.is_some()
            && (count != self.header.event_count || end != self.bytes.len())
        {
            return Err(field(
                "event count",
                u64::from(count),
                "the number in the frame header",
            ));
        }
        Ok(())
    }

    /// The entries of the preamble, its checksum verified.
    pub fn preamble(
        &self,
    ) -> Result<impl Iterator<Item = Result<PreambleEntry<'a>, FormatError>> + use<'a>, FormatError>
    {
        let bytes =
            &self.bytes[FRAME_HEADER_LEN..FRAME_HEADER_LEN + self.header.preamble_len as usize];
        check_crc(
            "preamble",
            salted_crc(bytes, self.salt),
            self.header.preamble_crc,
        )?;
        let mut rest = bytes;
        Ok(std::iter::from_fn(move || {
            while !rest.is_empty() {
                match preamble_entry(&mut rest) {
                    Ok(Some(entry)) => return Some(Ok(entry)),
                    Ok(None) => {}
                    Err(error) => {
                        rest = &[];
                        return Some(Err(error));
                    }
                }
            }
            None
        }))
    }

    /// The records with their offsets in the frame: structure only, nothing verified. None for a
    /// kind this build does not know.
    pub fn records(
        &self,
    ) -> impl Iterator<Item = (usize, Result<Record<'a>, FormatError>)> + use<'a> {
        let start = self.records_start();
        let bytes = if self.header.kind.is_some() {
            &self.bytes[start..]
        } else {
            &[]
        };
        walk_records(bytes).map(move |(offset, record)| (start + offset, record))
    }

    /// Offset in the frame of its first record.
    #[inline]
    pub fn records_start(&self) -> usize {
        align_up(FRAME_HEADER_LEN + self.header.preamble_len as usize)
    }
}

/// Takes the next entry off `rest`; `None` when it is of an unknown kind that may be skipped.
fn preamble_entry<'a>(rest: &mut &'a [u8]) -> Result<Option<PreambleEntry<'a>>, FormatError> {
    check_len("preamble entry", rest, ENTRY_HEADER_LEN)?;
    let len = u16_at(rest, ENTRY_LEN_OFFSET) as usize;
    check_len("preamble entry", rest, ENTRY_HEADER_LEN + len)?;
    let (kind, flags) = (rest[ENTRY_KIND_OFFSET], rest[ENTRY_FLAGS_OFFSET]);
    let content = &rest[ENTRY_HEADER_LEN..ENTRY_HEADER_LEN + len];
    *rest = &rest[ENTRY_HEADER_LEN + len..];
    if flags & !FLAG_SKIPPABLE != 0 {
        return Err(FormatError::Feature {
            structure: "preamble entry",
            flags: u32::from(flags & !FLAG_SKIPPABLE),
        });
    }
    match kind {
        ENTRY_TOPIC => {
            check_len("topic definition", content, size_of::<u32>() + 1)?;
            let name = name_in(&content[size_of::<u32>()..], TOPIC_LEN_MAX)?;
            Ok(Some(PreambleEntry::Topic {
                number: u32_at(content, 0),
                name,
            }))
        }
        ENTRY_TRACKING => {
            check_len("tracking entry", content, size_of::<u64>() + 1)?;
            let name = name_in(&content[size_of::<u64>()..], TRACKING_NAME_LEN_MAX)?;
            Ok(Some(PreambleEntry::Tracking {
                name,
                position: u64_at(content, 0),
            }))
        }
        _ if flags & FLAG_SKIPPABLE != 0 => Ok(None),
        other => Err(FormatError::Feature {
            structure: "preamble entry",
            flags: u32::from(other),
        }),
    }
}

fn name_in(bytes: &[u8], len_max: usize) -> Result<&str, FormatError> {
    if bytes.len() > len_max {
        return Err(field("name length", bytes.len() as u64, "within its limit"));
    }
    std::str::from_utf8(bytes).map_err(|error| field("name", error.valid_up_to() as u64, "UTF-8"))
}

fn header_crc(header: &[u8], salt: u64) -> u32 {
    salted_crc(&header[LENGTH_OFFSET..], salt)
}

/// CRC over `bytes`, then the salt.
fn salted_crc(bytes: &[u8], salt: u64) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(bytes);
    hasher.update(&salt.to_le_bytes());
    hasher.finalize()
}

fn field(field: &'static str, found: u64, expected: &'static str) -> FormatError {
    FormatError::Field {
        structure: STRUCTURE,
        field,
        found,
        expected,
    }
}

const STRUCTURE: &str = "frame";
