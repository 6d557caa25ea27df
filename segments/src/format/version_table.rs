//! The table of last versions: what the log still has to know of aggregates whose events were dropped.
//!
//! It is authoritative. No segment says any more which versions these aggregates had, and a version given
//! twice would make two histories of one. So it is believed whole or not at all: [`VersionTable::open`]
//! checks every byte before the first lookup, and whatever is wrong with it is damage to the log.
//!
//! It is written once, under a name that says how far the log was truncated, and never changed.

use super::record::IdKind;
use super::{
    AGGREGATE_ID_LEN_MAX, FORMAT_VERSION, FormatError, POSITION_MAX, SEGMENT_NUMBER_MAX, array_at,
    check_crc, check_len, check_magic, check_version, check_zeros, put, u16_at, u32_at, u64_at,
};

/// First bytes of every table.
pub const MAGIC: [u8; 8] = *b"ANNALVER";

const MAGIC_OFFSET: usize = 0;
const VERSION_OFFSET: usize = MAGIC_OFFSET + size_of_val(&MAGIC);
const RESERVED_OFFSET: usize = VERSION_OFFSET + size_of::<u16>();
const COUNT_OFFSET: usize = RESERVED_OFFSET + 2;
const INCOMPATIBLE_OFFSET: usize = COUNT_OFFSET + size_of::<u32>();
const COMPATIBLE_OFFSET: usize = INCOMPATIBLE_OFFSET + size_of::<u32>();
const LOG_ID_OFFSET: usize = COMPATIBLE_OFFSET + size_of::<u32>();
const LAST_SEGMENT_OFFSET: usize = LOG_ID_OFFSET + 16;
const FIRST_RETAINED_OFFSET: usize = LAST_SEGMENT_OFFSET + size_of::<u64>();
const BODY_LEN_OFFSET: usize = FIRST_RETAINED_OFFSET + size_of::<u64>();
const BODY_CRC_OFFSET: usize = BODY_LEN_OFFSET + size_of::<u64>();
const CRC_OFFSET: usize = BODY_CRC_OFFSET + size_of::<u32>();
/// Bytes before the body.
pub const VERSION_TABLE_HEADER_LEN: usize = CRC_OFFSET + size_of::<u32>();

const START_LEN: usize = size_of::<u64>();
const ENTRY_VERSION_OFFSET: usize = 0;
const ENTRY_KIND_OFFSET: usize = ENTRY_VERSION_OFFSET + size_of::<u64>();
/// Bytes of an entry before the id.
const ENTRY_HEADER_LEN: usize = ENTRY_KIND_OFFSET + size_of::<u8>();

const _: () = assert!(
    VERSION_OFFSET == 8 && CRC_OFFSET == 68 && VERSION_TABLE_HEADER_LEN == 72,
    "frozen for all format versions: a build checks the checksum before it knows the version"
);

/// What a table was made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VersionTableIdentity {
    /// Identity of the log.
    pub log_id: [u8; 16],
    /// Number of the last segment that was dropped.
    pub last_segment: u64,
    /// Position behind the last event that was dropped.
    pub first_retained_position: u64,
}

/// A table of last versions over the bytes of its file, checked.
pub struct VersionTable<B> {
    bytes: B,
    identity: VersionTableIdentity,
    count: usize,
}

impl<B: AsRef<[u8]>> VersionTable<B> {
    /// Opens the table in `bytes`, the whole file and nothing else, and checks all of it.
    ///
    /// Order of the checks: magic, checksum of the header, version, features, reserved bytes, fields,
    /// length, checksum of the body, entries.
    pub fn open(bytes: B) -> Result<Self, FormatError> {
        let file = bytes.as_ref();
        check_len(STRUCTURE, file, VERSION_TABLE_HEADER_LEN)?;
        check_magic(STRUCTURE, file, MAGIC)?;
        let crc = crc32fast::hash(&file[..CRC_OFFSET]);
        check_crc(STRUCTURE, crc, u32_at(file, CRC_OFFSET))?;
        check_version(
            STRUCTURE,
            u16_at(file, VERSION_OFFSET),
            u32_at(file, INCOMPATIBLE_OFFSET),
        )?;
        check_zeros(STRUCTURE, "reserved", &file[RESERVED_OFFSET..COUNT_OFFSET])?;
        let identity = VersionTableIdentity {
            log_id: array_at(file, LOG_ID_OFFSET),
            last_segment: u64_at(file, LAST_SEGMENT_OFFSET),
            first_retained_position: u64_at(file, FIRST_RETAINED_OFFSET),
        };
        if !(1..=SEGMENT_NUMBER_MAX).contains(&identity.last_segment) {
            let expected = "1..=4,294,967,294";
            return Err(field("last segment", identity.last_segment, expected));
        }
        if !(2..=POSITION_MAX).contains(&identity.first_retained_position) {
            let found = identity.first_retained_position;
            return Err(field("first retained position", found, "2..=2^63"));
        }
        let body = &file[VERSION_TABLE_HEADER_LEN..];
        let body_len = u64_at(file, BODY_LEN_OFFSET);
        if body_len != body.len() as u64 {
            let expected = "the bytes behind the header";
            return Err(field("body length", body_len, expected));
        }
        check_crc(
            STRUCTURE,
            crc32fast::hash(body),
            u32_at(file, BODY_CRC_OFFSET),
        )?;
        let count = u32_at(file, COUNT_OFFSET) as usize;
        if count > body.len() / START_LEN {
            return Err(field("count", count as u64, "the entries of the body"));
        }
        let table = Self {
            bytes,
            identity,
            count,
        };
        table.check_entries()?;
        Ok(table)
    }

    /// Every entry lies behind the one before, is whole, and ascends; together they fill the body.
    fn check_entries(&self) -> Result<(), FormatError> {
        let entries = self.entries();
        let mut last: Option<(u8, &[u8])> = None;
        for index in 0..self.count {
            let start = self.start(index);
            let end = self.start(index + 1);
            let range = usize::try_from(start)
                .ok()
                .zip(usize::try_from(end).ok())
                .filter(|_| index > 0 || start == 0);
            let entry = range.and_then(|(start, end)| entries.get(start..end));
            let entry = entry.filter(|entry| entry.len() > ENTRY_HEADER_LEN);
            let entry =
                entry.ok_or_else(|| field("start of an entry", start, "behind the one before"))?;
            let kind = entry[ENTRY_KIND_OFFSET];
            let id = &entry[ENTRY_HEADER_LEN..];
            let is_legal = match kind {
                UUID => id.len() == 16,
                TEXT => id.len() <= AGGREGATE_ID_LEN_MAX && std::str::from_utf8(id).is_ok(),
                _ => false,
            };
            if !is_legal {
                return Err(field(
                    "kind of an id",
                    u64::from(kind),
                    "1 and 16 bytes, or 2 and 1..=255 bytes of UTF-8",
                ));
            }
            if last.is_some_and(|last| last >= (kind, id)) {
                return Err(field("entry", index as u64, "ids that ascend"));
            }
            last = Some((kind, id));
        }
        match self.count == 0 && !entries.is_empty() {
            true => Err(field("count", 0, "the entries of the body")),
            false => Ok(()),
        }
    }

    /// What the table was made for.
    pub fn identity(&self) -> VersionTableIdentity {
        self.identity
    }

    /// Aggregates in it.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether no dropped event was of an aggregate.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Version of the last dropped event of an aggregate; `None` when no event of it was dropped.
    pub fn version(&self, kind: IdKind, id: &[u8]) -> Option<u64> {
        let wanted = (kind as u8, id);
        let (mut start, mut end) = (0, self.count);
        while start < end {
            let middle = start + (end - start) / 2;
            let (version, kind, id) = self.entry(middle)?;
            match (kind, id).cmp(&wanted) {
                std::cmp::Ordering::Less => start = middle + 1,
                std::cmp::Ordering::Greater => end = middle,
                std::cmp::Ordering::Equal => return Some(version),
            }
        }
        None
    }

    /// All aggregates and the version of the last dropped event of each, ascending by kind and id.
    pub fn iter(&self) -> impl Iterator<Item = (IdKind, &[u8], u64)> {
        (0..self.count)
            .filter_map(|index| self.entry(index))
            .filter_map(|(version, kind, id)| {
                let kind = match kind {
                    UUID => IdKind::Uuid,
                    TEXT => IdKind::Text,
                    _ => return None,
                };
                Some((kind, id, version))
            })
    }

    fn entries(&self) -> &[u8] {
        let start = VERSION_TABLE_HEADER_LEN + self.count * START_LEN;
        // `get`, although `open` checked the bounds: nothing obliges `B` to return the same slice again.
        self.bytes.as_ref().get(start..).unwrap_or_default()
    }

    /// Where an entry starts; of the one behind the last, where the entries end.
    fn start(&self, index: usize) -> u64 {
        if index >= self.count {
            return self.entries().len() as u64;
        }
        let at = VERSION_TABLE_HEADER_LEN + index * START_LEN;
        let bytes = self.bytes.as_ref().get(at..at + START_LEN);
        bytes.map_or(0, |bytes| u64_at(bytes, 0))
    }

    fn entry(&self, index: usize) -> Option<(u64, u8, &[u8])> {
        let (start, end) = (self.start(index) as usize, self.start(index + 1) as usize);
        let entry = self.entries().get(start..end)?;
        let (header, id) = entry.split_at_checked(ENTRY_HEADER_LEN)?;
        let version = u64_at(header, ENTRY_VERSION_OFFSET);
        Some((version, header[ENTRY_KIND_OFFSET], id))
    }
}

impl<B> std::fmt::Debug for VersionTable<B> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("VersionTable")
            .field("identity", &self.identity)
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}

/// The bytes of a table. `entries`: kind, id and last version, strictly ascending by kind and id.
///
/// # Panics
/// When an entry is out of order, has no id, or there are more than 2^32 - 1.
pub fn encode_version_table<'a>(
    identity: VersionTableIdentity,
    entries: impl ExactSizeIterator<Item = (IdKind, &'a [u8], u64)>,
) -> Vec<u8> {
    let count = u32::try_from(entries.len()).expect("2^32 aggregates are more than fit the memory");
    let body_start = VERSION_TABLE_HEADER_LEN + count as usize * START_LEN;
    let mut bytes = vec![0; body_start];
    let mut last: Option<(u8, &[u8])> = None;
    for (index, (kind, id, version)) in entries.enumerate() {
        assert!(
            kind != IdKind::Absent && !id.is_empty(),
            "an aggregate has an id"
        );
        let key = (kind as u8, id);
        assert!(last.is_none_or(|last| last < key), "entries ascend");
        last = Some(key);
        let start = (bytes.len() - body_start) as u64;
        let at = VERSION_TABLE_HEADER_LEN + index * START_LEN;
        put(&mut bytes, at, start.to_le_bytes());
        bytes.extend_from_slice(&version.to_le_bytes());
        bytes.push(kind as u8);
        bytes.extend_from_slice(id);
    }
    let body = &bytes[VERSION_TABLE_HEADER_LEN..];
    let (body_len, body_crc) = (body.len() as u64, crc32fast::hash(body));
    put(&mut bytes, MAGIC_OFFSET, MAGIC);
    put(&mut bytes, VERSION_OFFSET, FORMAT_VERSION.to_le_bytes());
    put(&mut bytes, COUNT_OFFSET, count.to_le_bytes());
    put(&mut bytes, LOG_ID_OFFSET, identity.log_id);
    put(
        &mut bytes,
        LAST_SEGMENT_OFFSET,
        identity.last_segment.to_le_bytes(),
    );
    put(
        &mut bytes,
        FIRST_RETAINED_OFFSET,
        identity.first_retained_position.to_le_bytes(),
    );
    put(&mut bytes, BODY_LEN_OFFSET, body_len.to_le_bytes());
    put(&mut bytes, BODY_CRC_OFFSET, body_crc.to_le_bytes());
    let crc = crc32fast::hash(&bytes[..CRC_OFFSET]);
    put(&mut bytes, CRC_OFFSET, crc.to_le_bytes());
    bytes
}

fn field(field: &'static str, found: u64, expected: &'static str) -> FormatError {
    FormatError::Field {
        structure: STRUCTURE,
        field,
        found,
        expected,
    }
}

const UUID: u8 = IdKind::Uuid as u8;
const TEXT: u8 = IdKind::Text as u8;
const STRUCTURE: &str = "table of last versions";
