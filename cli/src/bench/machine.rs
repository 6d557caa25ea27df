//! What the machine is: cores, how busy others keep them, the room on a disk.

#![expect(
    clippy::disallowed_methods,
    reason = "what the system says of itself stands in files of its own"
)]

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use crate::stopwatch::Stopwatch;

/// Cores that this process may use; 1 when the system does not tell.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Bytes that are free on the file system of a directory, for whoever asks.
///
/// # Errors
/// What the system says.
pub(crate) fn free_bytes(dir: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(dir)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Whether a directory lies in memory, where a sync costs nothing. False where that cannot be told.
pub fn is_in_memory(dir: &Path) -> bool {
    #[cfg(target_os = "linux")]
    {
        rustix::fs::statfs(dir)
            .is_ok_and(|stat| [TMPFS_MAGIC, RAMFS_MAGIC].contains(&(stat.f_type as u64)))
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = dir;
        false
    }
}

/// Has the system write what it still keeps in memory, so that what is measured next does not wait for it.
pub(crate) fn settle() {
    rustix::fs::sync();
}

/// Bytes of the files in a directory whose names do not end so.
///
/// # Errors
/// What the system says.
pub(crate) fn bytes_of_other_files(dir: &Path, suffix: &str) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if !entry.file_name().to_string_lossy().ends_with(suffix) {
            bytes += entry.metadata()?.len();
        }
    }
    Ok(bytes)
}

/// Tells how many cores were busy for others while something ran.
#[derive(Clone, Copy, Debug)]
pub struct CpuMeter {
    clock: Stopwatch,
    at_start: Option<Ticks>,
}

#[derive(Clone, Copy, Debug)]
struct Ticks {
    busy: u64,
    own: u64,
}

impl CpuMeter {
    /// Starts now.
    pub fn start() -> Self {
        Self {
            clock: Stopwatch::start(),
            at_start: Ticks::read(),
        }
    }

    /// Cores that other processes, the kernel's own threads and the host kept busy since the start; `None` where
    /// the system does not tell, or when it was too short to say.
    pub fn foreign_cores(&self) -> Option<f64> {
        let elapsed = self.clock.elapsed();
        let (start, end) = (self.at_start?, Ticks::read()?);
        if elapsed < Duration::from_millis(100) {
            return None;
        }
        let busy = end.busy.saturating_sub(start.busy);
        let own = end.own.saturating_sub(start.own);
        let seconds = busy.saturating_sub(own) as f64 / TICKS_PER_SECOND;
        Some((seconds / elapsed.as_secs_f64() * 100.0).round() / 100.0)
    }
}

impl Ticks {
    fn read() -> Option<Self> {
        Some(Self {
            busy: busy_ticks(&fs::read_to_string("/proc/stat").ok()?)?,
            own: own_ticks(&fs::read_to_string("/proc/self/stat").ok()?)?,
        })
    }
}

/// Of the line over all cores: everything but idle, waiting for a disk, and guests (counted in user).
fn busy_ticks(stat: &str) -> Option<u64> {
    let numbers = stat.lines().next()?.strip_prefix("cpu ")?;
    let numbers: Vec<u64> = numbers
        .split_whitespace()
        .map_while(|number| number.parse().ok())
        .collect();
    let [user, nice, system, _idle, _iowait, irq, softirq, steal] = numbers.get(..8)? else {
        return None;
    };
    Some(user + nice + system + irq + softirq + steal)
}

/// Of this process and the children it has waited for.
fn own_ticks(stat: &str) -> Option<u64> {
    // The name in parentheses may hold anything.
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    let numbers = fields.get(11..15)?;
    numbers
        .iter()
        .map(|number| number.parse::<u64>().ok())
        .sum()
}

/// `USER_HZ`, the same on every Linux that Rust runs on.
const TICKS_PER_SECOND: f64 = 100.0;
#[cfg(target_os = "linux")]
const TMPFS_MAGIC: u64 = 0x0102_1994;
#[cfg(target_os = "linux")]
const RAMFS_MAGIC: u64 = 0x8584_58f6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_read_from_what_linux_writes() {
        let stat = "cpu  10 20 30 1000 500 1 2 3 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n";
        assert_eq!(busy_ticks(stat), Some(66));
        assert_eq!(busy_ticks("cpu  1 2"), None);
        let own = "77 (a ) b) S 1 2 3 4 5 6 7 8 9 10 100 20 3 4 20 0 1";
        assert_eq!(own_ticks(own), Some(127));
        assert_eq!(own_ticks(""), None);
    }

    #[test]
    fn files_of_one_kind_are_left_out() {
        let dir = tempfile::tempdir().unwrap();
        for (name, len) in [("a.seg", 100), ("a.idx", 20), ("heads-a", 3)] {
            fs::write(dir.path().join(name), vec![0; len]).unwrap();
        }
        assert_eq!(bytes_of_other_files(dir.path(), ".seg").unwrap(), 23);
    }

    #[test]
    fn there_is_room_somewhere() {
        assert!(free_bytes(Path::new(".")).unwrap() > 0);
        assert!(free_bytes(Path::new("no such directory")).is_err());
        assert!(cores() >= 1);
    }
}
