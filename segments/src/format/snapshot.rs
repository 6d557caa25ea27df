//! The head of a snapshot: what stands before its payload in the log of snapshots.

use super::{put, u64_at};

/// Tag of an event that makes the snapshots of its aggregate before it void.
pub const DELETION_TAG: &[u8] = b"deletion";

const VERSION_OFFSET: usize = 0;
const BEFORE_OFFSET: usize = VERSION_OFFSET + size_of::<u64>();
/// Bytes before the payload as given.
pub const SNAPSHOT_HEAD_LEN: usize = BEFORE_OFFSET + size_of::<u64>();

/// The head of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotHead {
    /// Version of the last event that the state rests on.
    pub version: u64,
    /// No snapshot of the aggregate that was stored before has a greater version; 0 when there is none.
    pub before: u64,
}

impl SnapshotHead {
    /// The bytes of the head.
    pub fn encode(&self) -> [u8; SNAPSHOT_HEAD_LEN] {
        let mut head = [0; SNAPSHOT_HEAD_LEN];
        put(&mut head, VERSION_OFFSET, self.version.to_le_bytes());
        put(&mut head, BEFORE_OFFSET, self.before.to_le_bytes());
        head
    }

    /// The head of a stored payload, and the payload as it was given; `None` when it is too short for that.
    pub fn decode(stored: &[u8]) -> Option<(Self, &[u8])> {
        let (head, payload) = stored.split_at_checked(SNAPSHOT_HEAD_LEN)?;
        let head = Self {
            version: u64_at(head, VERSION_OFFSET),
            before: u64_at(head, BEFORE_OFFSET),
        };
        Some((head, payload))
    }
}
