//! The doors to stores, one a file. Each knows `persistence` and its store, and no other recorder.

mod log;
mod memory;

pub use log::LogRecorder;
pub use memory::MemoryRecorder;
