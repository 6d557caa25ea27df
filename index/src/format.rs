#![doc = include_str!("../FORMAT.md")]

use std::ops::Range;

use crate::error::{Error, Section};
use crate::{Head, HeadsIdentity, IdTimes, Identity, KeyHash, Previous};

// ---- Both kinds of file ----

/// First bytes of a sealed index.
pub(crate) const SEALED_MAGIC: [u8; 8] = *b"ANNALIDX";
/// First bytes of a heads file.
pub(crate) const HEADS_MAGIC: [u8; 8] = *b"ANNALHED";
/// Newest format version of a sealed index that this build reads, and the one it writes.
pub const SEALED_FORMAT_VERSION: u16 = 1;
/// Newest format version of a heads file that this build reads, and the one it writes.
pub const HEADS_FORMAT_VERSION: u16 = 1;

/// Greatest segment number that an index can name: the word above it means "unknown".
pub const SEGMENT_NUMBER_MAX: u64 = PREVIOUS_UNKNOWN as u64 - 1;
/// Every so many events the time is sampled, starting with ordinal 0.
pub const SAMPLE_INTERVAL: u32 = 1024;

/// About as many keys are in a bucket of the key directory.
pub(crate) const KEYS_PER_BUCKET: u32 = 4;
/// About as many ids are in a bucket of the id directory.
pub(crate) const IDS_PER_BUCKET: u32 = 2;
/// Most bits of a directory: an id is known by the upper 32 bits of its hash.
pub(crate) const DIRECTORY_BITS_MAX: u8 = 31;

/// Incompatible features of which this build can make sense: none exist yet.
const INCOMPATIBLE_KNOWN: u32 = 0;
/// Compatible features that this build knows: none exist yet.
const COMPATIBLE_KNOWN: u32 = 0;

const WORD: usize = size_of::<u32>();
const HASH: usize = size_of::<u64>();

// The common front of both headers. It may never move: a build must be able to read it in files of the
// future, in order to refuse them by their version.
const MAGIC_OFFSET: usize = 0;
const VERSION_OFFSET: usize = MAGIC_OFFSET + size_of_val(&SEALED_MAGIC);
const KEY_DIRECTORY_BITS_OFFSET: usize = VERSION_OFFSET + size_of::<u16>();
const ID_DIRECTORY_BITS_OFFSET: usize = KEY_DIRECTORY_BITS_OFFSET + size_of::<u8>();
const INCOMPATIBLE_OFFSET: usize = ID_DIRECTORY_BITS_OFFSET + size_of::<u8>();
const COMPATIBLE_OFFSET: usize = INCOMPATIBLE_OFFSET + size_of::<u32>();
const KEY_COUNT_OFFSET: usize = COMPATIBLE_OFFSET + size_of::<u32>();
const LOG_ID_OFFSET: usize = KEY_COUNT_OFFSET + size_of::<u32>();
const FRONT_END: usize = LOG_ID_OFFSET + 16;

// ---- Sealed index ----

const SEGMENT_OFFSET: usize = FRONT_END;
const SALT_OFFSET: usize = SEGMENT_OFFSET + size_of::<u64>();
const BASE_POSITION_OFFSET: usize = SALT_OFFSET + size_of::<u64>();
const EVENT_COUNT_OFFSET: usize = BASE_POSITION_OFFSET + size_of::<u64>();
const POSTING_COUNT_OFFSET: usize = EVENT_COUNT_OFFSET + size_of::<u32>();
const ID_MS_MIN_OFFSET: usize = POSTING_COUNT_OFFSET + size_of::<u32>();
const ID_MS_MAX_OFFSET: usize = ID_MS_MIN_OFFSET + size_of::<u64>();
const ID_KINDS_OFFSET: usize = ID_MS_MAX_OFFSET + size_of::<u64>();
const BODY_CRC_OFFSET: usize = ID_KINDS_OFFSET + size_of::<u32>();
const BODY_LEN_OFFSET: usize = BODY_CRC_OFFSET + size_of::<u32>();
const SEALED_RESERVED_OFFSET: usize = BODY_LEN_OFFSET + size_of::<u64>();
/// Length of the header of a sealed index in bytes.
pub(crate) const SEALED_HEADER_SIZE: usize = 128;
const SEALED_CHECKSUM_OFFSET: usize = SEALED_HEADER_SIZE - size_of::<u32>();
const _: () = assert!(SEALED_RESERVED_OFFSET <= SEALED_CHECKSUM_OFFSET);
const _: () = assert!(
    SEALED_HEADER_SIZE.is_multiple_of(WORD),
    "sections are aligned to words"
);

/// Some ids are v7: the range of times is valid.
const ID_KIND_V7: u32 = 1 << 0;
/// Some ids are not v7.
const ID_KIND_OTHER: u32 = 1 << 1;

// A key entry.
const KEY_HASH_OFFSET: usize = 0;
const KEY_START_OFFSET: usize = KEY_HASH_OFFSET + HASH;
const KEY_POSTINGS_OFFSET: usize = KEY_START_OFFSET + size_of::<u32>();
const KEY_PREVIOUS_OFFSET: usize = KEY_POSTINGS_OFFSET + size_of::<u32>();
/// Length of a key entry in bytes.
pub(crate) const KEY_ENTRY_SIZE: usize = KEY_PREVIOUS_OFFSET + size_of::<u32>();
const _: () = assert!(KEY_ENTRY_SIZE == 20);

const PREVIOUS_NONE: u32 = 0;
const PREVIOUS_UNKNOWN: u32 = u32::MAX;

// A time sample.
const SAMPLE_TIME_OFFSET: usize = 0;
const SAMPLE_ORDINAL_OFFSET: usize = SAMPLE_TIME_OFFSET + size_of::<u64>();
/// Length of a time sample in bytes.
pub(crate) const SAMPLE_SIZE: usize = SAMPLE_ORDINAL_OFFSET + size_of::<u32>();
const _: () = assert!(SAMPLE_SIZE == 12);

// ---- Heads ----

const COVERS_OFFSET: usize = FRONT_END;
const HEADS_BODY_LEN_OFFSET: usize = COVERS_OFFSET + size_of::<u64>();
const HEADS_BODY_CRC_OFFSET: usize = HEADS_BODY_LEN_OFFSET + size_of::<u64>();
const HEADS_RESERVED_OFFSET: usize = HEADS_BODY_CRC_OFFSET + size_of::<u32>();
/// Length of the header of a heads file in bytes.
pub(crate) const HEADS_HEADER_SIZE: usize = 64;
const HEADS_CHECKSUM_OFFSET: usize = HEADS_HEADER_SIZE - size_of::<u32>();
const _: () = assert!(HEADS_RESERVED_OFFSET <= HEADS_CHECKSUM_OFFSET);
const _: () = assert!(
    HEADS_HEADER_SIZE.is_multiple_of(WORD),
    "sections are aligned to words"
);

// A heads entry.
const HEAD_HASH_OFFSET: usize = 0;
const HEAD_VERSION_OFFSET: usize = HEAD_HASH_OFFSET + HASH;
const HEAD_POSITION_OFFSET: usize = HEAD_VERSION_OFFSET + size_of::<u64>();
const HEAD_SEGMENT_OFFSET: usize = HEAD_POSITION_OFFSET + size_of::<u64>();
const HEAD_EARLIER_OFFSET: usize = HEAD_SEGMENT_OFFSET + size_of::<u32>();
/// Length of a heads entry in bytes.
pub(crate) const HEAD_ENTRY_SIZE: usize = HEAD_EARLIER_OFFSET + size_of::<u32>();
const _: () = assert!(HEAD_ENTRY_SIZE == 32);
const _: () = assert!(
    KEY_HASH_OFFSET == HEAD_HASH_OFFSET,
    "one search serves both tables"
);

/// What the header of a sealed index says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SealedHeader {
    pub(crate) identity: Identity,
    pub(crate) key_count: u32,
    pub(crate) posting_count: u32,
    pub(crate) key_directory_bits: u8,
    pub(crate) id_directory_bits: u8,
    pub(crate) id_times: IdTimes,
    pub(crate) body_crc: u32,
    pub(crate) body_len: u64,
}

impl SealedHeader {
    pub(crate) fn encode(&self) -> [u8; SEALED_HEADER_SIZE] {
        let (v7_kind, (id_ms_min, id_ms_max)) = self
            .id_times
            .v7_ms
            .map_or((0, (0, 0)), |range| (ID_KIND_V7, range));
        let other_kind = if self.id_times.has_others {
            ID_KIND_OTHER
        } else {
            0
        };

        let mut bytes = [0; SEALED_HEADER_SIZE];
        put(&mut bytes, MAGIC_OFFSET, SEALED_MAGIC);
        put(
            &mut bytes,
            VERSION_OFFSET,
            SEALED_FORMAT_VERSION.to_le_bytes(),
        );
        put(
            &mut bytes,
            KEY_DIRECTORY_BITS_OFFSET,
            [self.key_directory_bits],
        );
        put(
            &mut bytes,
            ID_DIRECTORY_BITS_OFFSET,
            [self.id_directory_bits],
        );
        put(&mut bytes, KEY_COUNT_OFFSET, self.key_count.to_le_bytes());
        put(&mut bytes, LOG_ID_OFFSET, self.identity.log_id);
        put(
            &mut bytes,
            SEGMENT_OFFSET,
            self.identity.segment.to_le_bytes(),
        );
        put(&mut bytes, SALT_OFFSET, self.identity.salt.to_le_bytes());
        put(
            &mut bytes,
            BASE_POSITION_OFFSET,
            self.identity.base_position.to_le_bytes(),
        );
        put(
            &mut bytes,
            EVENT_COUNT_OFFSET,
            self.identity.event_count.to_le_bytes(),
        );
        put(
            &mut bytes,
            POSTING_COUNT_OFFSET,
            self.posting_count.to_le_bytes(),
        );
        put(&mut bytes, ID_MS_MIN_OFFSET, id_ms_min.to_le_bytes());
        put(&mut bytes, ID_MS_MAX_OFFSET, id_ms_max.to_le_bytes());
        put(
            &mut bytes,
            ID_KINDS_OFFSET,
            (v7_kind | other_kind).to_le_bytes(),
        );
        put(&mut bytes, BODY_CRC_OFFSET, self.body_crc.to_le_bytes());
        put(&mut bytes, BODY_LEN_OFFSET, self.body_len.to_le_bytes());
        seal_header(&mut bytes);
        bytes
    }

    /// Decodes and checks the header at the front of `file`, rules 1 to 8 of `FORMAT.md`.
    pub(crate) fn decode(file: &[u8]) -> Result<Self, Error> {
        let bytes = check_front::<SEALED_HEADER_SIZE>(
            file,
            SEALED_MAGIC,
            SEALED_FORMAT_VERSION,
            SEALED_RESERVED_OFFSET,
        )?;
        let id_kinds = u32::from_le_bytes(field(bytes, ID_KINDS_OFFSET));
        expect_at_most("id kinds", id_kinds, ID_KIND_V7 | ID_KIND_OTHER)?;
        let id_ms_min = u64::from_le_bytes(field(bytes, ID_MS_MIN_OFFSET));
        let id_ms_max = u64::from_le_bytes(field(bytes, ID_MS_MAX_OFFSET));
        expect_at_most("least time of a v7 id", id_ms_min, id_ms_max)?;

        let header = Self {
            identity: Identity {
                log_id: field(bytes, LOG_ID_OFFSET),
                segment: u64::from_le_bytes(field(bytes, SEGMENT_OFFSET)),
                salt: u64::from_le_bytes(field(bytes, SALT_OFFSET)),
                base_position: u64::from_le_bytes(field(bytes, BASE_POSITION_OFFSET)),
                event_count: u32::from_le_bytes(field(bytes, EVENT_COUNT_OFFSET)),
            },
            key_count: u32::from_le_bytes(field(bytes, KEY_COUNT_OFFSET)),
            posting_count: u32::from_le_bytes(field(bytes, POSTING_COUNT_OFFSET)),
            key_directory_bits: bytes[KEY_DIRECTORY_BITS_OFFSET],
            id_directory_bits: bytes[ID_DIRECTORY_BITS_OFFSET],
            id_times: IdTimes {
                v7_ms: (id_kinds & ID_KIND_V7 != 0).then_some((id_ms_min, id_ms_max)),
                has_others: id_kinds & ID_KIND_OTHER != 0,
            },
            body_crc: u32::from_le_bytes(field(bytes, BODY_CRC_OFFSET)),
            body_len: u64::from_le_bytes(field(bytes, BODY_LEN_OFFSET)),
        };
        expect_at_most(
            "key directory bits",
            header.key_directory_bits,
            DIRECTORY_BITS_MAX,
        )?;
        expect_at_most(
            "id directory bits",
            header.id_directory_bits,
            DIRECTORY_BITS_MAX,
        )?;
        expect_at_most(
            "segment number",
            header.identity.segment,
            SEGMENT_NUMBER_MAX,
        )?;
        expect_at_least("segment number", header.identity.segment, 1_u64)?;
        expect_at_most(
            "base position",
            header.identity.base_position,
            BASE_POSITION_MAX,
        )?;
        Ok(header)
    }
}

/// Greatest base position, so that adding an ordinal never overflows.
pub(crate) const BASE_POSITION_MAX: u64 = u64::MAX - u32::MAX as u64;

/// Where the sections of a sealed index lie, in bytes from the start of the file.
#[derive(Clone, Debug)]
pub(crate) struct SealedLayout {
    pub(crate) offsets: Range<usize>,
    pub(crate) key_directory: Range<usize>,
    pub(crate) key_entries: Range<usize>,
    pub(crate) postings: Range<usize>,
    pub(crate) id_directory: Range<usize>,
    pub(crate) ids: Range<usize>,
    pub(crate) samples: Range<usize>,
}

impl SealedLayout {
    /// Lays the sections out behind the header and checks that the body ends where they do and the file
    /// where the body does: rules 9 and 10 of `FORMAT.md`.
    pub(crate) fn of(header: &SealedHeader, file_len: usize) -> Result<Self, Error> {
        check_body_len(SEALED_HEADER_SIZE, header.body_len, file_len)?;
        let events = header.identity.event_count;
        let mut sections = Sections {
            end: SEALED_HEADER_SIZE,
            limit: file_len,
        };
        let layout = Self {
            offsets: sections.next(events.into(), WORD)?,
            key_directory: sections.next(directory_len(header.key_directory_bits), WORD)?,
            key_entries: sections.next(header.key_count.into(), KEY_ENTRY_SIZE)?,
            postings: sections.next(header.posting_count.into(), WORD)?,
            id_directory: sections.next(directory_len(header.id_directory_bits), WORD)?,
            ids: sections.next(events.into(), WORD)?,
            samples: sections.next(sample_count(events).into(), SAMPLE_SIZE)?,
        };
        sections.finish()?;
        Ok(layout)
    }
}

/// Count of time samples for a count of events.
pub(crate) fn sample_count(event_count: u32) -> u32 {
    event_count.div_ceil(SAMPLE_INTERVAL)
}

/// A key and where its ordinals are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyEntry {
    pub(crate) key: KeyHash,
    /// The ordinal itself if `count` is 1, else an index into the postings.
    pub(crate) start: u32,
    pub(crate) count: u32,
    pub(crate) previous: Previous,
}

impl KeyEntry {
    pub(crate) fn encode(&self) -> [u8; KEY_ENTRY_SIZE] {
        let previous = match self.previous {
            Previous::None => PREVIOUS_NONE,
            Previous::Segment(segment) => {
                assert!(
                    (1..=SEGMENT_NUMBER_MAX).contains(&segment),
                    "no segment is numbered {segment}"
                );
                segment as u32
            }
            Previous::Unknown => PREVIOUS_UNKNOWN,
        };
        let mut bytes = [0; KEY_ENTRY_SIZE];
        put(
            &mut bytes,
            KEY_HASH_OFFSET,
            self.key.to_bits().to_le_bytes(),
        );
        put(&mut bytes, KEY_START_OFFSET, self.start.to_le_bytes());
        put(&mut bytes, KEY_POSTINGS_OFFSET, self.count.to_le_bytes());
        put(&mut bytes, KEY_PREVIOUS_OFFSET, previous.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8; KEY_ENTRY_SIZE]) -> Self {
        Self {
            key: entry_key(bytes),
            start: u32::from_le_bytes(field(bytes, KEY_START_OFFSET)),
            count: u32::from_le_bytes(field(bytes, KEY_POSTINGS_OFFSET)),
            previous: match u32::from_le_bytes(field(bytes, KEY_PREVIOUS_OFFSET)) {
                PREVIOUS_NONE => Previous::None,
                PREVIOUS_UNKNOWN => Previous::Unknown,
                segment => Previous::Segment(segment.into()),
            },
        }
    }
}

/// The key of a key entry or of a heads entry: both start with it.
#[inline]
pub(crate) fn entry_key<const N: usize>(bytes: &[u8; N]) -> KeyHash {
    KeyHash::from_bits(u64::from_le_bytes(field(bytes, KEY_HASH_OFFSET)))
}

/// The ordinal of a key that has one, as a list: it stands where a longer list's start does.
#[inline]
pub(crate) fn only_ordinal(bytes: &[u8; KEY_ENTRY_SIZE]) -> &[[u8; 4]] {
    bytes[KEY_START_OFFSET..KEY_POSTINGS_OFFSET].as_chunks().0
}

/// The time of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sample {
    pub(crate) time_us: u64,
    pub(crate) ordinal: u32,
}

impl Sample {
    pub(crate) fn encode(&self) -> [u8; SAMPLE_SIZE] {
        let mut bytes = [0; SAMPLE_SIZE];
        put(&mut bytes, SAMPLE_TIME_OFFSET, self.time_us.to_le_bytes());
        put(
            &mut bytes,
            SAMPLE_ORDINAL_OFFSET,
            self.ordinal.to_le_bytes(),
        );
        bytes
    }

    pub(crate) fn decode(bytes: &[u8; SAMPLE_SIZE]) -> Self {
        Self {
            time_us: u64::from_le_bytes(field(bytes, SAMPLE_TIME_OFFSET)),
            ordinal: u32::from_le_bytes(field(bytes, SAMPLE_ORDINAL_OFFSET)),
        }
    }
}

/// What the header of a heads file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HeadsHeader {
    pub(crate) identity: HeadsIdentity,
    pub(crate) key_count: u32,
    pub(crate) directory_bits: u8,
    pub(crate) body_crc: u32,
    pub(crate) body_len: u64,
}

impl HeadsHeader {
    pub(crate) fn encode(&self) -> [u8; HEADS_HEADER_SIZE] {
        let mut bytes = [0; HEADS_HEADER_SIZE];
        put(&mut bytes, MAGIC_OFFSET, HEADS_MAGIC);
        put(
            &mut bytes,
            VERSION_OFFSET,
            HEADS_FORMAT_VERSION.to_le_bytes(),
        );
        put(&mut bytes, KEY_DIRECTORY_BITS_OFFSET, [self.directory_bits]);
        put(&mut bytes, KEY_COUNT_OFFSET, self.key_count.to_le_bytes());
        put(&mut bytes, LOG_ID_OFFSET, self.identity.log_id);
        put(
            &mut bytes,
            COVERS_OFFSET,
            self.identity.covers.to_le_bytes(),
        );
        put(
            &mut bytes,
            HEADS_BODY_LEN_OFFSET,
            self.body_len.to_le_bytes(),
        );
        put(
            &mut bytes,
            HEADS_BODY_CRC_OFFSET,
            self.body_crc.to_le_bytes(),
        );
        seal_header(&mut bytes);
        bytes
    }

    /// Decodes and checks the header at the front of `file`, rules 1 to 8 of `FORMAT.md`.
    pub(crate) fn decode(file: &[u8]) -> Result<Self, Error> {
        let bytes = check_front::<HEADS_HEADER_SIZE>(
            file,
            HEADS_MAGIC,
            HEADS_FORMAT_VERSION,
            HEADS_RESERVED_OFFSET,
        )?;
        let header = Self {
            identity: HeadsIdentity {
                log_id: field(bytes, LOG_ID_OFFSET),
                covers: u64::from_le_bytes(field(bytes, COVERS_OFFSET)),
            },
            key_count: u32::from_le_bytes(field(bytes, KEY_COUNT_OFFSET)),
            directory_bits: bytes[KEY_DIRECTORY_BITS_OFFSET],
            body_crc: u32::from_le_bytes(field(bytes, HEADS_BODY_CRC_OFFSET)),
            body_len: u64::from_le_bytes(field(bytes, HEADS_BODY_LEN_OFFSET)),
        };
        expect_at_most(
            "key directory bits",
            header.directory_bits,
            DIRECTORY_BITS_MAX,
        )?;
        // A heads file has no ids.
        expect_at_most("id directory bits", bytes[ID_DIRECTORY_BITS_OFFSET], 0)?;
        expect_at_most(
            "last segment covered",
            header.identity.covers,
            SEGMENT_NUMBER_MAX,
        )?;
        Ok(header)
    }
}

/// Where the sections of a heads file lie, in bytes from the start of the file.
#[derive(Clone, Debug)]
pub(crate) struct HeadsLayout {
    pub(crate) directory: Range<usize>,
    pub(crate) entries: Range<usize>,
}

impl HeadsLayout {
    /// As [`SealedLayout::of`].
    pub(crate) fn of(header: &HeadsHeader, file_len: usize) -> Result<Self, Error> {
        check_body_len(HEADS_HEADER_SIZE, header.body_len, file_len)?;
        let mut sections = Sections {
            end: HEADS_HEADER_SIZE,
            limit: file_len,
        };
        let layout = Self {
            directory: sections.next(directory_len(header.directory_bits), WORD)?,
            entries: sections.next(header.key_count.into(), HEAD_ENTRY_SIZE)?,
        };
        sections.finish()?;
        Ok(layout)
    }
}

pub(crate) fn encode_head(key: KeyHash, head: &Head) -> [u8; HEAD_ENTRY_SIZE] {
    let segment =
        u32::try_from(head.last_segment).expect("segment numbers are checked when an index opens");
    let mut bytes = [0; HEAD_ENTRY_SIZE];
    put(&mut bytes, HEAD_HASH_OFFSET, key.to_bits().to_le_bytes());
    put(
        &mut bytes,
        HEAD_VERSION_OFFSET,
        head.last_version.to_le_bytes(),
    );
    put(
        &mut bytes,
        HEAD_POSITION_OFFSET,
        head.last_position.to_le_bytes(),
    );
    put(&mut bytes, HEAD_SEGMENT_OFFSET, segment.to_le_bytes());
    put(&mut bytes, HEAD_EARLIER_OFFSET, head.earlier.to_le_bytes());
    bytes
}

pub(crate) fn decode_head(bytes: &[u8; HEAD_ENTRY_SIZE]) -> Head {
    Head {
        last_version: u64::from_le_bytes(field(bytes, HEAD_VERSION_OFFSET)),
        last_position: u64::from_le_bytes(field(bytes, HEAD_POSITION_OFFSET)),
        last_segment: u32::from_le_bytes(field(bytes, HEAD_SEGMENT_OFFSET)).into(),
        earlier: u32::from_le_bytes(field(bytes, HEAD_EARLIER_OFFSET)),
    }
}

/// The checksum of both kinds of file: CRC-32/ISO-HDLC.
pub(crate) fn checksum(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes)
}

/// Compares the checksum of everything behind the header, rule 12 of `FORMAT.md`.
pub(crate) fn check_body(file: &[u8], header_size: usize, expected: u32) -> Result<(), Error> {
    let found = checksum(file.get(header_size..).unwrap_or_default());
    expect_checksum(Section::Body, found, expected)
}

/// `Malformed` unless `found` equals `expected`.
pub(crate) fn expect_equal<T: Into<u64>>(
    what: &'static str,
    found: T,
    expected: T,
) -> Result<(), Error> {
    let (found, expected) = (found.into(), expected.into());
    if found == expected {
        Ok(())
    } else {
        Err(Error::Malformed {
            what,
            found,
            expected,
        })
    }
}

/// `Malformed` unless `found <= expected`.
pub(crate) fn expect_at_most<T: Into<u64>>(
    what: &'static str,
    found: T,
    expected: T,
) -> Result<(), Error> {
    let (found, expected) = (found.into(), expected.into());
    if found <= expected {
        Ok(())
    } else {
        Err(Error::Malformed {
            what,
            found,
            expected,
        })
    }
}

/// `Malformed` unless `found >= expected`.
pub(crate) fn expect_at_least<T: Into<u64>>(
    what: &'static str,
    found: T,
    expected: T,
) -> Result<(), Error> {
    let (found, expected) = (found.into(), expected.into());
    if found >= expected {
        Ok(())
    } else {
        Err(Error::Malformed {
            what,
            found,
            expected,
        })
    }
}

/// Rules 1 to 6: what both headers have in common.
fn check_front<const N: usize>(
    file: &[u8],
    magic: [u8; 8],
    supported: u16,
    reserved_offset: usize,
) -> Result<&[u8; N], Error> {
    let header: &[u8; N] = file.first_chunk().ok_or(Error::TooShort {
        found: file.len() as u64,
        needed: N as u64,
    })?;
    let found = field(header, MAGIC_OFFSET);
    if found != magic {
        return Err(Error::NotAnIndex {
            found,
            expected: magic,
        });
    }
    let checksum_offset = N - size_of::<u32>();
    let expected = u32::from_le_bytes(field(header, checksum_offset));
    expect_checksum(
        Section::Header,
        checksum(&header[..checksum_offset]),
        expected,
    )?;

    let found = u16::from_le_bytes(field(header, VERSION_OFFSET));
    if found == 0 || found > supported {
        return Err(Error::UnsupportedFormat { found, supported });
    }
    let found = u32::from_le_bytes(field(header, INCOMPATIBLE_OFFSET));
    if found & !INCOMPATIBLE_KNOWN != 0 {
        return Err(Error::UnsupportedFeatures {
            found,
            supported: INCOMPATIBLE_KNOWN,
        });
    }
    // A compatible feature may give the reserved bytes a meaning that this build does not need.
    let compatible = u32::from_le_bytes(field(header, COMPATIBLE_OFFSET));
    if compatible & !COMPATIBLE_KNOWN == 0 {
        let reserved = &header[reserved_offset..checksum_offset];
        let nonzero = reserved.iter().filter(|&&byte| byte != 0).count();
        expect_equal("reserved bytes that are not zero", nonzero as u64, 0)?;
    }
    Ok(header)
}

fn expect_checksum(section: Section, found: u32, expected: u32) -> Result<(), Error> {
    if found == expected {
        Ok(())
    } else {
        Err(Error::Checksum {
            section,
            expected,
            found,
        })
    }
}

/// Rule 9: the file ends where its body does.
fn check_body_len(header_size: usize, body_len: u64, file_len: usize) -> Result<(), Error> {
    let (found, needed) = (file_len as u64, body_len.saturating_add(header_size as u64));
    if found < needed {
        return Err(Error::TooShort { found, needed });
    }
    expect_equal("file length", found, needed)
}

/// Cuts one section after the other from a file, never past its end.
struct Sections {
    end: usize,
    limit: usize,
}

impl Sections {
    fn next(&mut self, count: u64, width: usize) -> Result<Range<usize>, Error> {
        let len = count.saturating_mul(width as u64);
        expect_at_most(
            "end of a section",
            len.saturating_add(self.end as u64),
            self.limit as u64,
        )?;
        let start = self.end;
        self.end += len as usize;
        Ok(start..self.end)
    }

    /// Rule 10: the last section ends where the body does.
    fn finish(self) -> Result<(), Error> {
        expect_equal(
            "end of the last section",
            self.end as u64,
            self.limit as u64,
        )
    }
}

pub(crate) fn directory_len(bits: u8) -> u64 {
    (1 << bits) + 1
}

fn seal_header<const N: usize>(header: &mut [u8; N]) {
    let checksum_offset = N - size_of::<u32>();
    let crc = checksum(&header[..checksum_offset]);
    put(header, checksum_offset, crc.to_le_bytes());
}

/// Makes both checksums of a sealed index right again that a test has changed.
#[cfg(test)]
pub(crate) fn reseal_sealed(file: &mut [u8]) {
    reseal::<SEALED_HEADER_SIZE>(file, BODY_CRC_OFFSET);
}

/// Makes both checksums of a heads file right again that a test has changed.
#[cfg(test)]
pub(crate) fn reseal_heads(file: &mut [u8]) {
    reseal::<HEADS_HEADER_SIZE>(file, HEADS_BODY_CRC_OFFSET);
}

#[cfg(test)]
fn reseal<const N: usize>(file: &mut [u8], body_crc_offset: usize) {
    let (header, body) = file
        .split_first_chunk_mut::<N>()
        .expect("tests change whole files");
    put(header, body_crc_offset, checksum(body).to_le_bytes());
    seal_header(header);
}

fn put<const N: usize, const M: usize>(bytes: &mut [u8; N], offset: usize, value: [u8; M]) {
    bytes[offset..offset + M].copy_from_slice(&value);
}

#[inline]
fn field<const N: usize, const M: usize>(bytes: &[u8; N], offset: usize) -> [u8; M] {
    let mut value = [0; M];
    value.copy_from_slice(&bytes[offset..offset + M]);
    value
}
