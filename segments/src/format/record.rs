//! A record: one event on disk, readable and verifiable on its own.
//!
//! A record is written by two hands. The caller's thread encodes the *body* (everything from the
//! length on, up to the trailer) and runs the checksum over it, outside any lock. The leader of the
//! commit then fills the *trailer* (time, version, topic number), continues the checksum over its 20
//! bytes, and folds in the *binding*: a hash of what the record does not state, its position and segment. So
//! a reader runs one checksum over one range and knows that the record is whole, is this event, and lies where
//! it belongs; of its frame it needs nothing, which most often lies on another page.

use std::iter;

use super::{
    AGGREGATE_ID_LEN_MAX, ALIGNMENT, FRAME_LEN_MAX, FormatError, METADATA_KEY_LEN_MAX,
    METADATA_LEN_MAX, TAG_COUNT_MAX, TAG_LEN_MAX, align_up, array_at, check_crc, check_zeros, put,
    u16_at, u32_at, u64_at,
};
use crate::planted::{Bug, is_planted};

const CRC_OFFSET: usize = 0;
/// Where the body starts, and what the CRC covers.
const BODY_OFFSET: usize = CRC_OFFSET + size_of::<u32>();
const LENGTH_OFFSET: usize = BODY_OFFSET;
const FLAGS_OFFSET: usize = LENGTH_OFFSET + size_of::<u32>();
const ID_LEN_OFFSET: usize = FLAGS_OFFSET + size_of::<u8>();
const TAG_COUNT_OFFSET: usize = ID_LEN_OFFSET + size_of::<u8>();
const METADATA_COUNT_OFFSET: usize = TAG_COUNT_OFFSET + size_of::<u8>();
const EVENT_ID_OFFSET: usize = METADATA_COUNT_OFFSET + size_of::<u8>();
/// Bytes before the variable part: id, encoding, digest, tags, metadata, payload.
pub const RECORD_FRONT_LEN: usize = EVENT_ID_OFFSET + 16;

const TIME_OFFSET: usize = 0;
const VERSION_OFFSET: usize = TIME_OFFSET + size_of::<u64>();
const TOPIC_OFFSET: usize = VERSION_OFFSET + size_of::<u64>();
/// Bytes of the trailer, the last of a record, behind the padding.
const TRAILER_LEN: usize = TOPIC_OFFSET + size_of::<u32>();
/// Bytes of a record without a variable part.
pub const RECORD_LEN_MIN: usize = RECORD_FRONT_LEN + TRAILER_LEN;

const CODEC_OFFSET: usize = 0;
const ENCODING_RESERVED_OFFSET: usize = CODEC_OFFSET + size_of::<u8>();
const KEY_ID_OFFSET: usize = ENCODING_RESERVED_OFFSET + 3;
const PLAIN_LEN_OFFSET: usize = KEY_ID_OFFSET + size_of::<u32>();
const ENCODING_LEN: usize = PLAIN_LEN_OFFSET + size_of::<u32>();
const DIGEST_LEN: usize = size_of::<u64>();
const METADATA_ENTRY_HEADER_LEN: usize = size_of::<u8>() + size_of::<u16>();

const _: () = assert!(RECORD_LEN_MIN.is_multiple_of(ALIGNMENT));
const _: () = assert!(FRAME_LEN_MAX.is_multiple_of(ALIGNMENT));
const _: () = assert!(AGGREGATE_ID_LEN_MAX <= u8::MAX as usize);
const _: () = assert!(TAG_COUNT_MAX <= u8::MAX as usize);
const _: () = assert!(METADATA_LEN_MAX <= u16::MAX as usize);

/// What kind of aggregate id a record carries. Persisted: two bits of the flags, never renumbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum IdKind {
    /// The event belongs to no aggregate and has no version.
    Absent = 0,
    /// 16 bytes of a UUID.
    Uuid = 1,
    /// 1..=255 bytes of UTF-8 text.
    Text = 2,
}

const FLAG_ID_KIND: u8 = 0b0000_0011;
const FLAG_ENCODING: u8 = 0b0000_0100;
const FLAG_DIGEST: u8 = 0b0000_1000;
const FLAGS_KNOWN: u8 = FLAG_ID_KIND | FLAG_ENCODING | FLAG_DIGEST;

/// How the payload was changed on its way in. Absent from the record when the payload is as given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Encoding {
    /// Compression and cipher, numbered by the layer above; 0 = none.
    pub codec: u8,
    /// Which key the payload is sealed with, numbered by the layer above; 0 = none.
    pub key_id: u32,
    /// Bytes of the payload before compression and encryption.
    pub plain_len: u32,
}

/// The caller's part of a record, still in its own fields.
#[derive(Clone, Copy, Debug)]
pub struct RecordBody<'a> {
    /// Kind of aggregate id.
    pub id_kind: IdKind,
    /// The id; empty exactly when the kind is [`IdKind::Absent`].
    pub id: &'a [u8],
    /// The event's own UUID.
    pub event_id: [u8; 16],
    /// `None` when the payload is as given.
    pub encoding: Option<Encoding>,
    /// Keyed digest of the payload before encryption, for recognising a retry.
    pub digest: Option<u64>,
    /// Sorted ascending, without duplicates, 1..=255 bytes each.
    pub tags: &'a [Vec<u8>],
    /// Sorted by key, without duplicate keys, keys of 1..=255 bytes.
    pub metadata: &'a [(String, String)],
    /// As stored.
    pub payload: &'a [u8],
}

impl RecordBody<'_> {
    /// Bytes of the record without padding.
    #[inline]
    pub fn record_len(&self) -> usize {
        RECORD_LEN_MIN
            + self.id.len()
            + self.encoding.map_or(0, |_| ENCODING_LEN)
            + self.digest.map_or(0, |_| DIGEST_LEN)
            + self.tags.iter().map(|tag| 1 + tag.len()).sum::<usize>()
            + metadata_len(self.metadata)
            + self.payload.len()
    }

    /// Appends the record, padded, to `out`, with checksum and leader's part zero.
    ///
    /// # Panics
    /// When a field is outside the limits of [`format`](super): the engine checks them first.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        let len = self.record_len();
        assert!(len <= FRAME_LEN_MAX, "a record of {len} bytes");
        assert!(
            self.id.len() <= AGGREGATE_ID_LEN_MAX,
            "an id of {} bytes",
            self.id.len()
        );
        assert_eq!(self.id.is_empty(), self.id_kind == IdKind::Absent);
        assert!(
            self.id_kind != IdKind::Uuid || self.id.len() == 16,
            "a UUID of {} bytes",
            self.id.len()
        );
        assert!(self.tags.len() <= TAG_COUNT_MAX, "{} tags", self.tags.len());
        for tag in self.tags {
            let len = tag.len();
            assert!((1..=TAG_LEN_MAX).contains(&len), "a tag of {len} bytes");
        }
        assert!(metadata_len(self.metadata) <= METADATA_LEN_MAX);
        for (key, _) in self.metadata {
            let len = key.len();
            assert!(
                (1..=METADATA_KEY_LEN_MAX).contains(&len),
                "a metadata key of {len} bytes"
            );
        }
        // No reader relies on the order, so tests look for a breach and appends do not pay for it.
        debug_assert!(
            self.tags.is_sorted_by(|before, after| before < after),
            "tags are not ascending and distinct"
        );
        debug_assert!(
            self.metadata
                .is_sorted_by(|(before, _), (after, _)| before < after),
            "metadata keys are not ascending and distinct"
        );

        let mut front = [0; RECORD_FRONT_LEN];
        put(&mut front, LENGTH_OFFSET, (len as u32).to_le_bytes());
        front[FLAGS_OFFSET] = self.id_kind as u8
            | if self.encoding.is_some() {
                FLAG_ENCODING
            } else {
                0
            }
            | if self.digest.is_some() {
                FLAG_DIGEST
            } else {
                0
            };
        front[ID_LEN_OFFSET] = self.id.len() as u8;
        front[TAG_COUNT_OFFSET] = self.tags.len() as u8;
        front[METADATA_COUNT_OFFSET] =
            u8::try_from(self.metadata.len()).expect("the engine checks METADATA_COUNT_MAX");
        put(&mut front, EVENT_ID_OFFSET, self.event_id);
        out.reserve(align_up(len));
        out.extend_from_slice(&front);
        out.extend_from_slice(self.id);
        if let Some(encoding) = self.encoding {
            out.extend_from_slice(&[encoding.codec, 0, 0, 0]);
            out.extend_from_slice(&encoding.key_id.to_le_bytes());
            out.extend_from_slice(&encoding.plain_len.to_le_bytes());
        }
        if let Some(digest) = self.digest {
            out.extend_from_slice(&digest.to_le_bytes());
        }
        for tag in self.tags {
            out.push(u8::try_from(tag.len()).expect("the engine checks TAG_LEN_MAX"));
            out.extend_from_slice(tag);
        }
        for (key, value) in self.metadata {
            out.push(u8::try_from(key.len()).expect("the engine checks METADATA_KEY_LEN_MAX"));
            let value_len = u16::try_from(value.len()).expect("the engine checks METADATA_LEN_MAX");
            out.extend_from_slice(&value_len.to_le_bytes());
            out.extend_from_slice(key.as_bytes());
            out.extend_from_slice(value.as_bytes());
        }
        out.extend_from_slice(self.payload);
        assert_eq!(
            out.len() - start + TRAILER_LEN,
            len,
            "record_len and encode disagree"
        );
        out.resize(start + align_up(len), 0);
    }
}

/// Bytes that `metadata` takes in a record.
pub fn metadata_len(metadata: &[(String, String)]) -> usize {
    metadata
        .iter()
        .map(|(key, value)| METADATA_ENTRY_HEADER_LEN + key.len() + value.len())
        .sum()
}

/// Sets the event id of an encoded record whose checksum has not been taken yet.
pub fn set_event_id(record: &mut [u8], event_id: [u8; 16]) {
    put(record, EVENT_ID_OFFSET, event_id);
}

/// The length an encoded record states, without padding; `record` is at least [`RECORD_FRONT_LEN`] bytes.
#[inline]
pub fn record_len(record: &[u8]) -> usize {
    u32_at(record, LENGTH_OFFSET) as usize
}

/// Where the trailer of an encoded record starts.
#[inline]
fn trailer_offset(record: &[u8]) -> usize {
    align_up(record_len(record)) - TRAILER_LEN
}

/// Bytes of the record at the start of `bytes` with its padding, unverified: behind them lies the next record or
/// frame. `None` when `bytes` is too short for the front of a record, or the length is none.
#[inline]
pub fn peek_padded_len(bytes: &[u8]) -> Option<usize> {
    let len = (bytes.len() >= RECORD_FRONT_LEN).then(|| record_len(bytes))?;
    (RECORD_LEN_MIN..=FRAME_LEN_MAX)
        .contains(&len)
        .then(|| align_up(len))
}

/// The caller's part of the checksum: over the body of an encoded record and its padding.
#[inline]
pub fn body_crc(record: &[u8]) -> u32 {
    crc32fast::hash(&record[BODY_OFFSET..trailer_offset(record)])
}

/// The leader's part of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordPlace {
    /// Time of its batch in microseconds since the epoch.
    pub time_us: u64,
    /// Version of the event in its aggregate; 0 when it has no aggregate.
    pub version: u64,
    /// Number of the topic in the segment's dictionary.
    pub topic: u32,
}

/// Fills the leader's part of an encoded record and its checksum.
///
/// `body_crc` is what [`body_crc`] returned; `position` is the event's, `salt` the segment's.
#[inline]
pub fn place_record(
    record: &mut [u8],
    place: RecordPlace,
    body_crc: u32,
    position: u64,
    salt: u64,
) {
    let start = trailer_offset(record);
    let trailer = &mut record[start..start + TRAILER_LEN];
    put(trailer, TIME_OFFSET, place.time_us.to_le_bytes());
    put(trailer, VERSION_OFFSET, place.version.to_le_bytes());
    put(trailer, TOPIC_OFFSET, place.topic.to_le_bytes());
    let mut hasher = crc32fast::Hasher::new_with_initial(body_crc);
    hasher.update(trailer);
    let crc = hasher.finalize() ^ binding(position, salt);
    put(record, CRC_OFFSET, crc.to_le_bytes());
}

/// What the checksum of a record is XOR-ed with, so that it fits in one place only.
///
/// In the right place it is a constant, so that the CRC notices all that a CRC notices. Any other place is told
/// with a probability of 1 - 2^-32.
#[inline]
fn binding(position: u64, salt: u64) -> u32 {
    mixed(mixed(salt).wrapping_add(position)) as u32
}

/// A bijection in which every bit of the number has a say in every bit of the result.
/// Source: the finalizer of SplitMix64, Steele, Lea and Flood, "Fast Splittable Pseudorandom Number
/// Generators", OOPSLA 2014, with the constants of Stafford's variant 13.
#[inline]
fn mixed(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// A record in place, its structure checked: every field can be read, none is believed before
/// [`Record::verify`].
#[derive(Clone, Copy)]
pub struct Record<'a> {
    /// All of it, padding and trailer included.
    bytes: &'a [u8],
    tags_start: u32,
    payload_start: u32,
}

impl std::fmt::Debug for Record<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Record")
            .field("place", &self.place())
            .field("len", &self.bytes.len())
            .finish()
    }
}

impl<'a> Record<'a> {
    /// Reads the record at the start of `bytes`, which may reach far beyond it.
    ///
    /// Every length is checked against what is there; no byte outside the record is looked at. An
    /// unsupported flag may be damage as long as nothing is verified: [`Frame::verify`](super::frame::Frame::verify)
    /// tells the two apart.
    #[inline(always)] // Called, it hands its result over through memory, which costs a replay a tenth.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, FormatError> {
        super::check_len(STRUCTURE, bytes, RECORD_LEN_MIN)?;
        let len = record_len(bytes);
        if !(RECORD_LEN_MIN..=FRAME_LEN_MAX).contains(&len) {
            return Err(field("length", len as u64, "48..=268,435,456"));
        }
        super::check_len(STRUCTURE, bytes, align_up(len))?;
        let bytes = &bytes[..align_up(len)];
        let flags = bytes[FLAGS_OFFSET];
        if flags & !FLAGS_KNOWN != 0 {
            return Err(unknown_flags(flags));
        }
        let id_len = bytes[ID_LEN_OFFSET] as usize;
        let id_fits = match flags & FLAG_ID_KIND {
            0 => id_len == 0,
            1 => id_len == 16,
            2 => id_len > 0,
            _ => false,
        };
        if !id_fits {
            return Err(field(
                "aggregate id length",
                id_len as u64,
                "one that fits its kind",
            ));
        }
        let mut tags_start = RECORD_FRONT_LEN + id_len;
        if flags & FLAG_ENCODING != 0 {
            tags_start += ENCODING_LEN;
        }
        if flags & FLAG_DIGEST != 0 {
            tags_start += DIGEST_LEN;
        }
        let content = &bytes[..len - TRAILER_LEN];
        let counts = (bytes[TAG_COUNT_OFFSET], bytes[METADATA_COUNT_OFFSET]);
        let payload_start = match counts {
            (0, 0) => Some(tags_start),
            (tags, metadata) => behind_sections(content, tags_start, tags, metadata),
        };
        let Some(payload_start) = payload_start.filter(|start| *start <= content.len()) else {
            return Err(field(
                "variable part",
                len as u64,
                "within the record's length",
            ));
        };
        Ok(Self {
            bytes,
            tags_start: tags_start as u32,
            payload_start: payload_start as u32,
        })
    }

    /// Checks the checksum: these are the bytes that were written, and they lie where they belong.
    ///
    /// Only records written with the same position and segment salt verify. Then reserved bytes
    /// must be zero too.
    #[inline(always)] // See `parse`.
    pub fn verify(&self, position: u64, salt: u64) -> Result<(), FormatError> {
        verify_unparsed(self.bytes, position, salt)?;
        match self.encoding_section() {
            Some(section) => check_reserved(section),
            None => Ok(()),
        }
    }

    /// As [`Record::parse`] and [`Record::verify`]. An unsupported flag is one only where the record verifies: else it is
    /// damage.
    ///
    /// # Errors
    /// As those.
    #[inline]
    pub fn read(bytes: &'a [u8], position: u64, salt: u64) -> Result<Self, FormatError> {
        let record = Self::parse(bytes).map_err(|error| told(error, bytes, position, salt))?;
        record.verify(position, salt)?;
        Ok(record)
    }

    /// The whole record, checksum first, trailer last.
    #[inline]
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The leader's part.
    #[inline]
    pub fn place(&self) -> RecordPlace {
        let trailer = &self.bytes[self.bytes.len() - TRAILER_LEN..];
        RecordPlace {
            time_us: u64_at(trailer, TIME_OFFSET),
            version: u64_at(trailer, VERSION_OFFSET),
            topic: u32_at(trailer, TOPIC_OFFSET),
        }
    }

    /// Kind of aggregate id.
    #[inline]
    pub fn id_kind(&self) -> IdKind {
        match self.bytes[FLAGS_OFFSET] & FLAG_ID_KIND {
            0 => IdKind::Absent,
            1 => IdKind::Uuid,
            _ => IdKind::Text,
        }
    }

    /// The aggregate id; empty when absent.
    #[inline]
    pub fn id(&self) -> &'a [u8] {
        let id_len = self.bytes[ID_LEN_OFFSET] as usize;
        &self.bytes[RECORD_FRONT_LEN..RECORD_FRONT_LEN + id_len]
    }

    /// The event's own UUID.
    #[inline]
    pub fn event_id(&self) -> [u8; 16] {
        array_at(self.bytes, EVENT_ID_OFFSET)
    }

    /// How the payload was changed on its way in; `None` when it is as given.
    pub fn encoding(&self) -> Option<Encoding> {
        self.encoding_section().map(|section| Encoding {
            codec: section[CODEC_OFFSET],
            key_id: u32_at(section, KEY_ID_OFFSET),
            plain_len: u32_at(section, PLAIN_LEN_OFFSET),
        })
    }

    #[inline]
    fn encoding_section(&self) -> Option<&'a [u8]> {
        (self.bytes[FLAGS_OFFSET] & FLAG_ENCODING != 0).then(|| {
            let start = RECORD_FRONT_LEN + self.bytes[ID_LEN_OFFSET] as usize;
            &self.bytes[start..start + ENCODING_LEN]
        })
    }

    /// Keyed digest of the payload before encryption.
    pub fn digest(&self) -> Option<u64> {
        let present = self.bytes[FLAGS_OFFSET] & FLAG_DIGEST != 0;
        present.then(|| u64_at(self.bytes, self.tags_start as usize - DIGEST_LEN))
    }

    /// The tags, ascending.
    #[inline]
    pub fn tags(&self) -> impl ExactSizeIterator<Item = &'a [u8]> + use<'a> {
        let mut rest = &self.bytes[self.tags_start as usize..];
        // The walk was checked in `parse`.
        (0..self.bytes[TAG_COUNT_OFFSET]).map(move |_| {
            let (tag, after) = rest[1..].split_at(rest[0] as usize);
            rest = after;
            tag
        })
    }

    /// The metadata as key and value bytes, ascending by key.
    pub fn metadata(&self) -> impl ExactSizeIterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        let tags_len: usize = self.tags().map(|tag| 1 + tag.len()).sum();
        let mut rest = &self.bytes[self.tags_start as usize + tags_len..];
        (0..self.bytes[METADATA_COUNT_OFFSET]).map(move |_| {
            let (header, after) = rest.split_at(METADATA_ENTRY_HEADER_LEN);
            let (key, after) = after.split_at(header[0] as usize);
            let (value, after) = after.split_at(u16_at(header, 1) as usize);
            rest = after;
            (key, value)
        })
    }

    /// The payload as stored.
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        &self.bytes[self.payload_start as usize..self.content_end()]
    }

    /// Where the payload ends and padding begins.
    #[inline]
    fn content_end(&self) -> usize {
        record_len(self.bytes) - TRAILER_LEN
    }

    /// The bytes between payload and trailer. Under the checksum too; zero is what a writer has to put there.
    pub(super) fn padding(&self) -> &'a [u8] {
        &self.bytes[self.content_end()..self.bytes.len() - TRAILER_LEN]
    }
}

/// Where tags and metadata end, the tags starting at `cursor`; beyond `content` or `None` when they do not lie
/// in it.
fn behind_sections(content: &[u8], mut cursor: usize, tags: u8, metadata: u8) -> Option<usize> {
    for _ in 0..tags {
        cursor += 1 + *content.get(cursor)? as usize;
    }
    for _ in 0..metadata {
        let header = content.get(cursor..cursor + METADATA_ENTRY_HEADER_LEN)?;
        cursor += METADATA_ENTRY_HEADER_LEN + header[0] as usize + u16_at(header, 1) as usize;
    }
    Some(cursor)
}

/// [`Record::verify`] for a record of which only the length has been checked: legal, and with its padding at
/// most the bytes there are.
#[inline(always)] // See `Record::parse`.
pub(super) fn verify_unparsed(bytes: &[u8], position: u64, salt: u64) -> Result<(), FormatError> {
    let covered = &bytes[BODY_OFFSET..align_up(record_len(bytes))];
    let found = crc32fast::hash(covered) ^ binding(position, salt);
    if is_planted(Bug::SkipRecordChecksum) {
        return Ok(());
    }
    check_crc(STRUCTURE, found, u32_at(bytes, CRC_OFFSET))
}

/// What is to be told of the record at the start of `bytes`, which did not parse: only one that is as written can need a
/// newer release, else it is damaged. Its lengths were checked before its flags.
#[cold]
pub(super) fn told(error: FormatError, bytes: &[u8], position: u64, salt: u64) -> FormatError {
    match error.is_unsupported() {
        true => verify_unparsed(bytes, position, salt)
            .err()
            .unwrap_or(error),
        false => error,
    }
}

/// The records in the part of a frame behind its preamble: structure only, nothing verified.
///
/// Yields each record with its offset in `bytes`; ends after the first error or when `bytes` ends.
pub fn walk_records(
    bytes: &[u8],
) -> impl Iterator<Item = (usize, Result<Record<'_>, FormatError>)> {
    let mut offset = 0;
    let mut failed = false;
    iter::from_fn(move || {
        if failed || offset >= bytes.len() {
            return None;
        }
        let at = offset;
        let record = Record::parse(&bytes[at..]);
        match &record {
            Ok(record) => offset += record.bytes.len(),
            Err(_) => failed = true,
        }
        Some((at, record))
    })
}

fn check_reserved(encoding: &[u8]) -> Result<(), FormatError> {
    let reserved = &encoding[ENCODING_RESERVED_OFFSET..KEY_ID_OFFSET];
    check_zeros(STRUCTURE, "reserved", reserved)
}

#[cold]
fn unknown_flags(flags: u8) -> FormatError {
    FormatError::Feature {
        structure: STRUCTURE,
        flags: u32::from(flags & !FLAGS_KNOWN),
    }
}

#[cold]
fn field(field: &'static str, found: u64, expected: &'static str) -> FormatError {
    FormatError::Field {
        structure: STRUCTURE,
        field,
        found,
        expected,
    }
}

const STRUCTURE: &str = "record";
const _: () = assert!(METADATA_KEY_LEN_MAX <= u8::MAX as usize);
const _: () = assert!(
    FRAME_LEN_MAX == 268_435_456,
    "the text of the length error names it"
);
