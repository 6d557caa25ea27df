//! Bytes and files of the Annals event store.
//!
//! This crate owns the [disk](Disk), the [file format](mod@format) and the [segment file](SegmentFile):
//! framing, checksums, the recovery scan. It is the only crate that touches the file system. It sees
//! an event as a record with fields and knows no rule about versions, tags or aggregates; that is
//! the engine's part.

mod clock;
pub mod disk;
pub mod format;
mod frozen_file;
#[doc(hidden)]
pub mod planted;
mod process;
mod scan;
mod segment_file;
#[doc(hidden)]
pub mod sync;

pub use clock::{Clock, Random, SystemClock, SystemRandom};
pub use disk::{
    DirEntry, Disk, DiskFile, DiskLock, HeldBytes, Mapping, MemoryDisk, OpenMode, PreadDisk,
    RealDisk,
};
pub use frozen_file::{FrozenFile, link_finished, write_filled, write_finished, write_unsynced};
pub use process::ForkGuard;
pub use scan::{LaterFrame, ScanEnd, ScanStop, find_later_frame, last_written_byte, scan_frames};
pub use segment_file::{Room, SegmentFile};
