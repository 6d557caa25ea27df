//! What a backup is made of: the manifest of the log at that moment, and each file with length and checksum.
//!
//! A directory with this file is a backup, or one that is being made or restored, and no log to be written to. It is
//! replaced whole, once everything that it lists is durable: so a backup that was cut short is the one before, or says
//! that it is none yet.

use super::manifest::{MANIFEST_LEN_MAX, Manifest};
use super::{
    FORMAT_VERSION, FormatError, POSITION_MAX, QUARANTINE_PREFIX, SEGMENT_LEN_MAX, array_at,
    check_crc, check_len, check_magic, check_version, file_checksum, parse_segment_file_name,
    parse_versions_file_name, put, u16_at, u32_at, u64_at,
};

/// First bytes of every such file.
pub const MAGIC: [u8; 8] = *b"ANNALBAK";

const MAGIC_OFFSET: usize = 0;
const VERSION_OFFSET: usize = MAGIC_OFFSET + size_of_val(&MAGIC);
const STATE_OFFSET: usize = VERSION_OFFSET + size_of::<u16>();
const FILE_COUNT_OFFSET: usize = STATE_OFFSET + size_of::<u16>();
const INCOMPATIBLE_OFFSET: usize = FILE_COUNT_OFFSET + size_of::<u32>();
const COMPATIBLE_OFFSET: usize = INCOMPATIBLE_OFFSET + size_of::<u32>();
const LOG_ID_OFFSET: usize = COMPATIBLE_OFFSET + size_of::<u32>();
const CREATED_OFFSET: usize = LOG_ID_OFFSET + 16;
const POSITION_OFFSET: usize = CREATED_OFFSET + size_of::<u64>();
const MANIFEST_LEN_OFFSET: usize = POSITION_OFFSET + size_of::<u64>();
const BODY_LEN_OFFSET: usize = MANIFEST_LEN_OFFSET + size_of::<u64>();
const BODY_CRC_OFFSET: usize = BODY_LEN_OFFSET + size_of::<u64>();
const CRC_OFFSET: usize = BODY_CRC_OFFSET + size_of::<u32>();
/// Bytes before the manifest.
pub const BACKUP_HEADER_LEN: usize = CRC_OFFSET + size_of::<u32>();

const FILE_LEN_OFFSET: usize = 0;
const FILE_CHECKSUM_OFFSET: usize = FILE_LEN_OFFSET + size_of::<u64>();
const FILE_NAME_LEN_OFFSET: usize = FILE_CHECKSUM_OFFSET + size_of::<u32>();
/// Bytes of a file before its name.
const FILE_HEADER_LEN: usize = FILE_NAME_LEN_OFFSET + size_of::<u8>();

/// Files of a backup: at most this.
const FILE_COUNT_MAX: usize = (1 << 20) + (1 << 16);
const FILE_NAME_LEN_MAX: usize = 64;
/// Bytes of the whole file: at most this.
pub const BACKUP_LEN_MAX: u64 = BACKUP_HEADER_LEN as u64
    + MANIFEST_LEN_MAX
    + (FILE_COUNT_MAX * (FILE_HEADER_LEN + FILE_NAME_LEN_MAX)) as u64;

const _: () = assert!(
    VERSION_OFFSET == 8 && CRC_OFFSET == 76 && BACKUP_HEADER_LEN == 80,
    "frozen for all format versions: a build checks the checksum before it knows the version"
);

/// How far a backup is. Persisted: values are never renumbered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BackupState {
    /// The first backup into this directory is under way, or was cut short: 1.
    Unfinished,
    /// All of it is there: 2.
    Whole {
        /// The manifest of the log, every segment of the backup sealed.
        manifest: Manifest,
        /// Every file.
        files: Vec<BackupFile>,
    },
    /// A log is being restored into this directory, or that was cut short: 3.
    Restoring,
}

/// A file of a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupFile {
    /// Its name in the directory.
    pub name: String,
    /// Its first bytes count; what lies behind them is not part of the backup.
    pub len: u64,
    /// CRC-32 of these bytes.
    pub checksum: u32,
}

/// The fields of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// The log.
    pub log_id: [u8; 16],
    /// When it was made, microseconds since the epoch.
    pub created_us: u64,
    /// How far it is, and what it holds.
    pub state: BackupState,
}

impl Backup {
    /// The bytes of the file.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; BACKUP_HEADER_LEN];
        put(&mut bytes, MAGIC_OFFSET, MAGIC);
        put(&mut bytes, VERSION_OFFSET, FORMAT_VERSION.to_le_bytes());
        put(&mut bytes, LOG_ID_OFFSET, self.log_id);
        put(&mut bytes, CREATED_OFFSET, self.created_us.to_le_bytes());
        let state: u16 = match &self.state {
            BackupState::Unfinished => UNFINISHED,
            BackupState::Restoring => RESTORING,
            BackupState::Whole { manifest, files } => {
                let encoded = manifest.encode();
                let last = manifest.segments.last();
                let next = last.map_or(manifest.first_retained_position, |last| {
                    last.next_position()
                });
                put(&mut bytes, POSITION_OFFSET, (next - 1).to_le_bytes());
                let manifest_len = encoded.len() as u64;
                put(&mut bytes, MANIFEST_LEN_OFFSET, manifest_len.to_le_bytes());
                let count = files.len() as u32;
                put(&mut bytes, FILE_COUNT_OFFSET, count.to_le_bytes());
                bytes.extend_from_slice(&encoded);
                for file in files {
                    let len =
                        u8::try_from(file.name.len()).expect("a file of ours has a short name");
                    bytes.extend_from_slice(&file.len.to_le_bytes());
                    bytes.extend_from_slice(&file.checksum.to_le_bytes());
                    bytes.push(len);
                    bytes.extend_from_slice(file.name.as_bytes());
                }
                WHOLE
            }
        };
        put(&mut bytes, STATE_OFFSET, state.to_le_bytes());
        let body_len = (bytes.len() - BACKUP_HEADER_LEN) as u64;
        put(&mut bytes, BODY_LEN_OFFSET, body_len.to_le_bytes());
        let body = file_checksum(&bytes[BACKUP_HEADER_LEN..]);
        put(&mut bytes, BODY_CRC_OFFSET, body.to_le_bytes());
        let header = file_checksum(&bytes[..CRC_OFFSET]);
        put(&mut bytes, CRC_OFFSET, header.to_le_bytes());
        bytes
    }

    /// Reads the file.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        check_len(STRUCTURE, bytes, BACKUP_HEADER_LEN)?;
        check_magic(STRUCTURE, bytes, MAGIC)?;
        check_crc(
            STRUCTURE,
            file_checksum(&bytes[..CRC_OFFSET]),
            u32_at(bytes, CRC_OFFSET),
        )?;
        check_version(
            STRUCTURE,
            u16_at(bytes, VERSION_OFFSET),
            u32_at(bytes, INCOMPATIBLE_OFFSET),
        )?;
        let body = &bytes[BACKUP_HEADER_LEN..];
        let body_len = u64_at(bytes, BODY_LEN_OFFSET);
        if body_len != body.len() as u64 {
            return Err(field(
                "body length",
                body_len,
                "that of the rest of the file",
            ));
        }
        check_crc(
            STRUCTURE,
            file_checksum(body),
            u32_at(bytes, BODY_CRC_OFFSET),
        )?;
        let manifest_len = u64_at(bytes, MANIFEST_LEN_OFFSET);
        let state = match u16_at(bytes, STATE_OFFSET) {
            UNFINISHED if body.is_empty() => BackupState::Unfinished,
            RESTORING if body.is_empty() => BackupState::Restoring,
            WHOLE if manifest_len <= body_len => {
                let (manifest, files) = body.split_at(manifest_len as usize);
                let count = u32_at(bytes, FILE_COUNT_OFFSET) as usize;
                BackupState::Whole {
                    manifest: Manifest::decode(manifest)?,
                    files: decode_files(files, count)?,
                }
            }
            state => return Err(field("state", u64::from(state), "1, 2 or 3, and its body")),
        };
        let log_id = array_at(bytes, LOG_ID_OFFSET);
        if let BackupState::Whole { manifest, .. } = &state
            && (manifest.log_id != log_id || u64_at(bytes, POSITION_OFFSET) >= POSITION_MAX)
        {
            return Err(field(
                "log id",
                u64::from(log_id[0]),
                "that of the manifest",
            ));
        }
        Ok(Self {
            log_id,
            created_us: u64_at(bytes, CREATED_OFFSET),
            state,
        })
    }
}

/// As many files as are said to fill `bytes`. A name is one of a segment, of a table of last versions or of a quarantine
/// file: none leads out of the directory.
fn decode_files(mut bytes: &[u8], count: usize) -> Result<Vec<BackupFile>, FormatError> {
    // As many as there can be, whatever the count says.
    if count > FILE_COUNT_MAX || count > bytes.len() / FILE_HEADER_LEN {
        return Err(field("file count", count as u64, "no more than fit"));
    }
    let mut files = Vec::with_capacity(count);
    for _ in 0..count {
        check_len(STRUCTURE, bytes, FILE_HEADER_LEN)?;
        let name_len = usize::from(bytes[FILE_NAME_LEN_OFFSET]);
        let name = bytes[FILE_HEADER_LEN..].get(..name_len);
        let name = name.and_then(|name| std::str::from_utf8(name).ok());
        let name = name.filter(|name| is_name_of_ours(name));
        let len = u64_at(bytes, FILE_LEN_OFFSET);
        let Some(name) = name.filter(|_| len <= SEGMENT_LEN_MAX.max(MANIFEST_LEN_MAX)) else {
            return Err(field("file", len, "a name and a length of a file of a log"));
        };
        files.push(BackupFile {
            name: name.to_owned(),
            len,
            checksum: u32_at(bytes, FILE_CHECKSUM_OFFSET),
        });
        bytes = &bytes[FILE_HEADER_LEN + name_len..];
    }
    match bytes.is_empty() {
        true => Ok(files),
        false => Err(field(
            "file count",
            count as u64,
            "those that fill the body",
        )),
    }
}

fn is_name_of_ours(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
    name.len() <= FILE_NAME_LEN_MAX
        && name.bytes().all(is_plain)
        && (parse_segment_file_name(name).is_some()
            || parse_versions_file_name(name).is_some()
            || name.starts_with(QUARANTINE_PREFIX))
}

fn field(field: &'static str, found: u64, expected: &'static str) -> FormatError {
    FormatError::Field {
        structure: STRUCTURE,
        field,
        found,
        expected,
    }
}

const UNFINISHED: u16 = 1;
const WHOLE: u16 = 2;
const RESTORING: u16 = 3;
const STRUCTURE: &str = "backup";
