//! The manifest: what the log is made of, in two files of which the older is overwritten and synced.
//!
//! It lies off the commit path: segments describe themselves, and a manifest that is behind is
//! caught up by reading them. It is authoritative for five things only: the end of a sealed segment,
//! the first retained position, the named followers, the damage that was accepted, and the identity of the log.

use std::collections::BTreeMap;

use super::quarantined::{QUARANTINED_LEN, Quarantined};
use super::record::RECORD_LEN_MIN;
use super::segment_header::SEGMENT_HEADER_LEN;
use super::{
    ALIGNMENT, FOLLOWER_COUNT_MAX, FOLLOWER_NAME_LEN_MAX, FORMAT_VERSION, FormatError,
    GENERATION_MAX, POSITION_MAX, QUARANTINED_COUNT_MAX, SEGMENT_LEN_MAX, SEGMENT_NUMBER_MAX,
    are_positions, array_at, check_crc, check_len, check_magic, check_version, put, u16_at, u32_at,
    u64_at,
};

/// First bytes of every manifest.
pub const MAGIC: [u8; 8] = *b"ANNALMAN";

/// Incompatible feature: events were truncated away, and the last versions of their aggregates stand in
/// the table that is named by the first retained position. Set if and only if that is above 1.
pub const FLAG_TRUNCATED: u32 = 1;
/// Incompatible feature: behind the segments stand named followers. Set if and only if there are any.
pub const FLAG_FOLLOWERS: u32 = 2;
/// Incompatible feature: behind the segments stand damaged places that somebody has decided to go on without. Set if
/// and only if there are any.
pub const FLAG_QUARANTINED: u32 = 4;
const FLAGS_KNOWN: u32 = FLAG_TRUNCATED | FLAG_FOLLOWERS | FLAG_QUARANTINED;

const MAGIC_OFFSET: usize = 0;
const VERSION_OFFSET: usize = MAGIC_OFFSET + size_of_val(&MAGIC);
const QUARANTINED_COUNT_OFFSET: usize = VERSION_OFFSET + size_of::<u16>();
const LENGTH_OFFSET: usize = QUARANTINED_COUNT_OFFSET + size_of::<u16>();
const INCOMPATIBLE_OFFSET: usize = LENGTH_OFFSET + size_of::<u32>();
const COMPATIBLE_OFFSET: usize = INCOMPATIBLE_OFFSET + size_of::<u32>();
const LOG_ID_OFFSET: usize = COMPATIBLE_OFFSET + size_of::<u32>();
const GENERATION_OFFSET: usize = LOG_ID_OFFSET + 16;
const FIRST_RETAINED_OFFSET: usize = GENERATION_OFFSET + size_of::<u64>();
const DURABLE_OFFSET: usize = FIRST_RETAINED_OFFSET + size_of::<u64>();
const HEADS_OFFSET: usize = DURABLE_OFFSET + size_of::<u64>();
const SEGMENT_COUNT_OFFSET: usize = HEADS_OFFSET + size_of::<u64>();
const CRC_OFFSET: usize = SEGMENT_COUNT_OFFSET + size_of::<u32>();
/// Bytes before the first segment entry.
pub const MANIFEST_HEADER_LEN: usize = CRC_OFFSET + size_of::<u32>();

const ENTRY_NUMBER_OFFSET: usize = 0;
const ENTRY_BASE_OFFSET: usize = ENTRY_NUMBER_OFFSET + size_of::<u64>();
const ENTRY_EVENTS_OFFSET: usize = ENTRY_BASE_OFFSET + size_of::<u64>();
const ENTRY_END_OFFSET: usize = ENTRY_EVENTS_OFFSET + size_of::<u64>();
const ENTRY_SALT_OFFSET: usize = ENTRY_END_OFFSET + size_of::<u64>();
const ENTRY_FIRST_TIME_OFFSET: usize = ENTRY_SALT_OFFSET + size_of::<u64>();
const ENTRY_LAST_TIME_OFFSET: usize = ENTRY_FIRST_TIME_OFFSET + size_of::<u64>();
/// Bytes of one segment entry.
pub const MANIFEST_ENTRY_LEN: usize = ENTRY_LAST_TIME_OFFSET + size_of::<u64>();

const FOLLOWER_POSITION_OFFSET: usize = 0;
const FOLLOWER_NAME_LEN_OFFSET: usize = FOLLOWER_POSITION_OFFSET + size_of::<u64>();
/// Bytes of a follower before its name.
const FOLLOWER_HEADER_LEN: usize = FOLLOWER_NAME_LEN_OFFSET + size_of::<u8>();

/// Sealed segments in one manifest: at most this. At 64 MiB a segment, 64 TiB.
pub const SEGMENT_COUNT_MAX: usize = 1 << 20;
/// Bytes of a manifest file: at most this.
pub const MANIFEST_LEN_MAX: u64 = (MANIFEST_HEADER_LEN
    + SEGMENT_COUNT_MAX * MANIFEST_ENTRY_LEN
    + QUARANTINED_COUNT_MAX * QUARANTINED_LEN
    + FOLLOWER_COUNT_MAX * (FOLLOWER_HEADER_LEN + FOLLOWER_NAME_LEN_MAX))
    as u64;

const _: () = assert!(
    VERSION_OFFSET == 8 && LENGTH_OFFSET == 12 && CRC_OFFSET == 76 && MANIFEST_HEADER_LEN == 80,
    "frozen for all format versions: a build checks the checksum before it knows the version"
);
const _: () = assert!(MANIFEST_LEN_MAX <= u32::MAX as u64);
const _: () = assert!(FOLLOWER_NAME_LEN_MAX <= u8::MAX as usize);
const _: () = assert!(
    MANIFEST_LEN_MAX == 58_984_528
        && SEGMENT_HEADER_LEN == 4096
        && SEGMENT_LEN_MAX == 2_147_483_648,
    "the texts of the range errors name them"
);

/// What the manifest says of one sealed segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealedSegment {
    /// Number, from 1.
    pub number: u64,
    /// Position of its first event, or the position the next event would have had when it holds none.
    pub base_position: u64,
    /// Events in it.
    pub event_count: u64,
    /// Offset behind its last frame, a multiple of 8: what lies behind is not part of the log.
    pub end: u64,
    /// Salt of its header.
    pub salt: u64,
    /// Time of its first frame of events, microseconds since the epoch; 0 without events.
    pub first_time_us: u64,
    /// Time of its last frame of events; 0 without events.
    pub last_time_us: u64,
}

impl SealedSegment {
    /// The position behind its last event.
    pub fn next_position(&self) -> u64 {
        self.base_position + self.event_count
    }

    fn check_ranges(&self) -> Result<(), FormatError> {
        if !(1..=SEGMENT_NUMBER_MAX).contains(&self.number) {
            return Err(field("segment number", self.number, "1..=4,294,967,294"));
        }
        if self.base_position == 0 {
            return Err(field("base position", 0, "1 or more"));
        }
        if !(SEGMENT_HEADER_LEN as u64..=SEGMENT_LEN_MAX).contains(&self.end)
            || !self.end.is_multiple_of(ALIGNMENT as u64)
        {
            return Err(field(
                "end",
                self.end,
                "a multiple of 8 in 4,096..=2,147,483,648",
            ));
        }
        let fits = self.event_count <= self.end / RECORD_LEN_MIN as u64;
        if !fits || !are_positions(self.base_position, self.event_count) {
            return Err(field(
                "event count",
                self.event_count,
                "no more than fit the segment, and positions up to 2^63",
            ));
        }
        Ok(())
    }
}

/// The fields of a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Random identity of the log, in every file of it.
    pub log_id: [u8; 16],
    /// Counts writings; the higher of the two files counts.
    pub generation: u64,
    /// First position that has not been truncated away, from 1; 1 in a log that never was.
    pub first_retained_position: u64,
    /// Every event up to this position was durable when the manifest was written.
    pub durable_position: u64,
    /// Last segment folded into the heads table, a sealed one; 0 when there is none.
    pub heads: u64,
    /// The sealed segments, ascending and contiguous in number and position, from the first retained
    /// position on.
    pub segments: Vec<SealedSegment>,
    /// Damage that somebody has decided to go on without, ascending by segment and position.
    pub quarantined: Vec<Quarantined>,
    /// Followers by name: up to this position each has seen everything.
    pub followers: BTreeMap<Box<str>, u64>,
}

impl Manifest {
    /// The bytes of a manifest file.
    pub fn encode(&self) -> Vec<u8> {
        assert!(
            self.segments.len() <= SEGMENT_COUNT_MAX,
            "{} segments",
            self.segments.len()
        );
        assert!(
            self.quarantined.len() <= QUARANTINED_COUNT_MAX,
            "{} damaged places",
            self.quarantined.len()
        );
        let segments_end = MANIFEST_HEADER_LEN + self.segments.len() * MANIFEST_ENTRY_LEN;
        let followers_start = segments_end + self.quarantined.len() * QUARANTINED_LEN;
        let mut bytes = vec![0; followers_start];
        for (name, position) in &self.followers {
            let len = u8::try_from(name.len()).expect("a follower has a name of legal length");
            bytes.extend_from_slice(&position.to_le_bytes());
            bytes.push(len);
            bytes.extend_from_slice(name.as_bytes());
        }
        put(&mut bytes, MAGIC_OFFSET, MAGIC);
        put(&mut bytes, VERSION_OFFSET, FORMAT_VERSION.to_le_bytes());
        let quarantined_count = self.quarantined.len() as u16;
        put(
            &mut bytes,
            QUARANTINED_COUNT_OFFSET,
            quarantined_count.to_le_bytes(),
        );
        let length = bytes.len() as u32;
        put(&mut bytes, LENGTH_OFFSET, length.to_le_bytes());
        put(&mut bytes, INCOMPATIBLE_OFFSET, self.flags().to_le_bytes());
        put(&mut bytes, LOG_ID_OFFSET, self.log_id);
        put(&mut bytes, GENERATION_OFFSET, self.generation.to_le_bytes());
        put(
            &mut bytes,
            FIRST_RETAINED_OFFSET,
            self.first_retained_position.to_le_bytes(),
        );
        put(
            &mut bytes,
            DURABLE_OFFSET,
            self.durable_position.to_le_bytes(),
        );
        put(&mut bytes, HEADS_OFFSET, self.heads.to_le_bytes());
        put(
            &mut bytes,
            SEGMENT_COUNT_OFFSET,
            (self.segments.len() as u32).to_le_bytes(),
        );
        let entries = bytes[segments_end..followers_start].chunks_exact_mut(QUARANTINED_LEN);
        for (entry, quarantined) in entries.zip(&self.quarantined) {
            quarantined.encode(entry);
        }
        let entries = bytes[MANIFEST_HEADER_LEN..segments_end].chunks_exact_mut(MANIFEST_ENTRY_LEN);
        for (entry, segment) in entries.zip(&self.segments) {
            put(entry, ENTRY_NUMBER_OFFSET, segment.number.to_le_bytes());
            put(
                entry,
                ENTRY_BASE_OFFSET,
                segment.base_position.to_le_bytes(),
            );
            put(
                entry,
                ENTRY_EVENTS_OFFSET,
                segment.event_count.to_le_bytes(),
            );
            put(entry, ENTRY_END_OFFSET, segment.end.to_le_bytes());
            put(entry, ENTRY_SALT_OFFSET, segment.salt.to_le_bytes());
            put(
                entry,
                ENTRY_FIRST_TIME_OFFSET,
                segment.first_time_us.to_le_bytes(),
            );
            put(
                entry,
                ENTRY_LAST_TIME_OFFSET,
                segment.last_time_us.to_le_bytes(),
            );
        }
        let crc = checksum(&bytes);
        put(&mut bytes, CRC_OFFSET, crc.to_le_bytes());
        bytes
    }

    /// Reads a manifest file. Bytes behind its stated length are left over from a longer one and ignored.
    ///
    /// Order of the checks: magic, length, checksum, version, features, reserved bytes, fields. The
    /// places of the length and the checksum are frozen for all versions, so that a damaged version
    /// reads as damage and a later one, whole, as unsupported.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        check_len(STRUCTURE, bytes, MANIFEST_HEADER_LEN)?;
        check_magic(STRUCTURE, bytes, MAGIC)?;
        let length = u32_at(bytes, LENGTH_OFFSET);
        if !(MANIFEST_HEADER_LEN as u64..=MANIFEST_LEN_MAX).contains(&u64::from(length)) {
            return Err(field("length", u64::from(length), "80..=58,984,528"));
        }
        check_len(STRUCTURE, bytes, length as usize)?;
        let bytes = &bytes[..length as usize];
        check_crc(STRUCTURE, checksum(bytes), u32_at(bytes, CRC_OFFSET))?;
        let flags = u32_at(bytes, INCOMPATIBLE_OFFSET);
        check_version(
            STRUCTURE,
            u16_at(bytes, VERSION_OFFSET),
            flags & !FLAGS_KNOWN,
        )?;
        let segment_count = u64::from(u32_at(bytes, SEGMENT_COUNT_OFFSET));
        let has_followers = flags & FLAG_FOLLOWERS != 0;
        let segments_end = MANIFEST_HEADER_LEN as u64 + segment_count * MANIFEST_ENTRY_LEN as u64;
        let quarantined_count = usize::from(u16_at(bytes, QUARANTINED_COUNT_OFFSET));
        if quarantined_count > QUARANTINED_COUNT_MAX {
            return Err(field(
                "damaged places",
                quarantined_count as u64,
                "up to 4,096",
            ));
        }
        let fixed_end = segments_end + (quarantined_count * QUARANTINED_LEN) as u64;
        let is_filled = match has_followers {
            true => fixed_end < u64::from(length),
            false => fixed_end == u64::from(length),
        };
        if !is_filled || segment_count > SEGMENT_COUNT_MAX as u64 {
            return Err(field(
                "segment count",
                segment_count,
                "the entries that fill the length, up to the followers",
            ));
        }
        let (fixed, followers) = bytes.split_at(fixed_end as usize);
        let followers = decode_followers(followers)?;
        let (segments, quarantined) = fixed.split_at(segments_end as usize);
        let quarantined = quarantined
            .chunks_exact(QUARANTINED_LEN)
            .map(Quarantined::decode)
            .collect::<Result<Vec<_>, _>>()?;
        let segments = segments[MANIFEST_HEADER_LEN..]
            .chunks_exact(MANIFEST_ENTRY_LEN)
            .map(|entry| SealedSegment {
                number: u64_at(entry, ENTRY_NUMBER_OFFSET),
                base_position: u64_at(entry, ENTRY_BASE_OFFSET),
                event_count: u64_at(entry, ENTRY_EVENTS_OFFSET),
                end: u64_at(entry, ENTRY_END_OFFSET),
                salt: u64_at(entry, ENTRY_SALT_OFFSET),
                first_time_us: u64_at(entry, ENTRY_FIRST_TIME_OFFSET),
                last_time_us: u64_at(entry, ENTRY_LAST_TIME_OFFSET),
            });
        let manifest = Self {
            log_id: array_at(bytes, LOG_ID_OFFSET),
            generation: u64_at(bytes, GENERATION_OFFSET),
            first_retained_position: u64_at(bytes, FIRST_RETAINED_OFFSET),
            durable_position: u64_at(bytes, DURABLE_OFFSET),
            heads: u64_at(bytes, HEADS_OFFSET),
            segments: segments.collect(),
            quarantined,
            followers,
        };
        if flags & FLAGS_KNOWN != manifest.flags() {
            return Err(field(
                "features",
                u64::from(flags),
                "those of what the manifest holds",
            ));
        }
        manifest.check_ranges()?;
        manifest.check_contiguous()?;
        manifest.check_quarantined()?;
        Ok(manifest)
    }

    /// The damaged places of one segment.
    pub fn quarantined_in(&self, segment: u64) -> &[Quarantined] {
        let first = self
            .quarantined
            .partition_point(|damage| damage.segment < segment);
        let rest = &self.quarantined[first..];
        &rest[..rest.partition_point(|damage| damage.segment == segment)]
    }

    fn flags(&self) -> u32 {
        let truncated = match self.first_retained_position {
            0 | 1 => 0,
            _ => FLAG_TRUNCATED,
        };
        let followers = match self.followers.is_empty() {
            true => 0,
            false => FLAG_FOLLOWERS,
        };
        let quarantined = match self.quarantined.is_empty() {
            true => 0,
            false => FLAG_QUARANTINED,
        };
        truncated | followers | quarantined
    }

    fn check_ranges(&self) -> Result<(), FormatError> {
        if self.generation > GENERATION_MAX {
            return Err(field("generation", self.generation, "at most 2^63"));
        }
        if self.durable_position >= POSITION_MAX {
            return Err(field(
                "durable position",
                self.durable_position,
                "below 2^63",
            ));
        }
        if !(1..=POSITION_MAX).contains(&self.first_retained_position) {
            return Err(field(
                "first retained position",
                self.first_retained_position,
                "1..=2^63",
            ));
        }
        for segment in &self.segments {
            segment.check_ranges()?;
        }
        let last = self.segments.last().map_or(0, |segment| segment.number);
        if self.heads > last {
            return Err(field(
                "heads",
                self.heads,
                "0 or the number of a sealed segment",
            ));
        }
        Ok(())
    }

    fn check_contiguous(&self) -> Result<(), FormatError> {
        if let Some(first) = self.segments.first()
            && first.base_position != self.first_retained_position
        {
            return Err(field(
                "first retained position",
                self.first_retained_position,
                "the base position of the first segment",
            ));
        }
        for pair in self.segments.windows(2) {
            if pair[0].number.checked_add(1) != Some(pair[1].number) {
                return Err(field(
                    "segment number",
                    pair[1].number,
                    "one more than the one before",
                ));
            }
            if pair[1].base_position != pair[0].next_position() {
                return Err(field(
                    "base position",
                    pair[1].base_position,
                    "the end of the segment before",
                ));
            }
        }
        Ok(())
    }
}

/// See [`Manifest::decode`].
impl Manifest {
    /// Damaged places lie in segments that are named, within their positions, in order.
    fn check_quarantined(&self) -> Result<(), FormatError> {
        let mut before = (0, 0);
        for damage in &self.quarantined {
            let place = self
                .segments
                .binary_search_by_key(&damage.segment, |segment| segment.number);
            let is_within = place.is_ok_and(|place| {
                let segment = &self.segments[place];
                segment.base_position <= damage.first && damage.next <= segment.next_position()
            });
            let here = (damage.segment, damage.first);
            if !is_within || here < before {
                return Err(field(
                    "damaged place",
                    damage.first,
                    "positions of a segment that is named, ascending and apart",
                ));
            }
            before = (damage.segment, damage.next);
        }
        Ok(())
    }
}

/// The followers that fill `bytes`: names ascend, so each has one place.
fn decode_followers(mut bytes: &[u8]) -> Result<BTreeMap<Box<str>, u64>, FormatError> {
    let mut followers = BTreeMap::new();
    while !bytes.is_empty() {
        let malformed = |found: usize| {
            let expected = "1..=255 bytes of UTF-8 that fit, ascending, 256 of them at most";
            field("follower", found as u64, expected)
        };
        if bytes.len() < FOLLOWER_HEADER_LEN {
            return Err(malformed(bytes.len()));
        }
        let position = u64_at(bytes, FOLLOWER_POSITION_OFFSET);
        let len = usize::from(bytes[FOLLOWER_NAME_LEN_OFFSET]);
        let name = bytes[FOLLOWER_HEADER_LEN..].get(..len);
        let name = name.and_then(|name| std::str::from_utf8(name).ok());
        let name = name.filter(|name| !name.is_empty() && followers.len() < FOLLOWER_COUNT_MAX);
        let name = name.ok_or_else(|| malformed(len))?;
        if let Some((last, _)) = followers.last_key_value()
            && name <= AsRef::<str>::as_ref(last)
        {
            return Err(malformed(len));
        }
        followers.insert(name.into(), position);
        bytes = &bytes[FOLLOWER_HEADER_LEN + len..];
    }
    Ok(followers)
}

/// Over everything but the checksum itself; `bytes` end where the manifest does.
fn checksum(bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&bytes[..CRC_OFFSET]);
    hasher.update(&bytes[MANIFEST_HEADER_LEN..]);
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

const STRUCTURE: &str = "manifest";
