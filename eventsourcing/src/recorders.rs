//! The doors to stores, one a file. Each knows `persistence` and its store, and no other recorder.

#[cfg(feature = "encryption")]
mod key_directory;
mod log;
mod memory;
mod memory_snapshots;
mod memory_view;

#[cfg(feature = "encryption")]
pub use key_directory::KeyDirectory;
pub use log::{LogModelSnapshots, LogRecorder};
pub use memory::MemoryRecorder;
pub use memory_snapshots::MemorySnapshots;
pub use memory_view::{MemoryRows, MemoryView};

#[cfg(feature = "sqlite")]
mod sqlite;
#[cfg(feature = "sqlite")]
pub use sqlite::{SqliteError, SqliteOptions, SqliteRecorder, SqliteView};
