//! File systems of our own: in memory, and in images on loop devices, whose power can be cut.
//!
//! Needs root and a kernel that mounts; where one refuses, a harness says so and is skipped. Everything lies in a
//! directory that removes itself, and is unmounted first.

#![expect(
    unsafe_code,
    reason = "the call that shuts a file system down takes a pointer"
)]

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A mounted file system. Dropped, it is unmounted.
#[derive(Debug)]
pub(crate) struct Mount {
    pub(crate) path: PathBuf,
    /// What it was mounted from.
    source: Source,
}

#[derive(Clone, Debug)]
enum Source {
    Memory { len: u64 },
    Image(PathBuf),
}

/// A file system for an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Ext4,
    /// Without a journal.
    PlainExt4,
    Xfs,
}

impl Mount {
    /// A file system in memory, of `len` bytes.
    pub(crate) fn memory(path: &Path, len: u64) -> Result<Self, String> {
        fs::create_dir_all(path).map_err(|error| error.to_string())?;
        let mount = Self {
            path: path.to_owned(),
            source: Source::Memory { len },
        };
        mount.mount()?;
        Ok(mount)
    }

    /// A new file system in an image of `len` bytes at `image`, of which only what is used takes room.
    pub(crate) fn image(path: &Path, image: &Path, kind: Kind, len: u64) -> Result<Self, String> {
        fs::create_dir_all(path).map_err(|error| error.to_string())?;
        let file = File::create(image).and_then(|file| file.set_len(len));
        file.map_err(|error| error.to_string())?;
        let image_name = image.to_string_lossy();
        match kind {
            Kind::Ext4 => run("mkfs.ext4", &["-q", "-F", &image_name])?,
            Kind::PlainExt4 => run(
                "mkfs.ext4",
                &["-q", "-F", "-O", "^has_journal", &image_name],
            )?,
            Kind::Xfs => run("mkfs.xfs", &["-q", "-f", &image_name])?,
        }
        let mount = Self {
            path: path.to_owned(),
            source: Source::Image(image.to_owned()),
        };
        mount.mount()?;
        Ok(mount)
    }

    fn mount(&self) -> Result<(), String> {
        let path = self.path.to_string_lossy();
        match &self.source {
            Source::Memory { len } => {
                let size = format!("size={len}");
                run("mount", &["-t", "tmpfs", "-o", &size, "tmpfs", &path])
            }
            Source::Image(image) => run("mount", &["-o", "loop", &image.to_string_lossy(), &path]),
        }
    }

    /// As a restart of the machine does: unmounted and mounted again, so that nothing is left in memory.
    pub(crate) fn remount(&self) -> Result<(), String> {
        self.unmount()?;
        self.mount()
    }

    /// What held files open may have been killed a moment ago.
    fn unmount(&self) -> Result<(), String> {
        let path = self.path.to_string_lossy();
        let mut result = Ok(());
        for _ in 0..100 {
            result = run("umount", &[&path]);
            if result.is_ok() {
                return result;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        result
    }

    /// Cuts the power: whatever the file system has not written yet is lost, its journal's newest part included, and
    /// nothing works any more until it is [mounted again](Mount::remount).
    pub(crate) fn cut_power(&self) -> io::Result<()> {
        let root = File::open(&self.path)?;
        // SAFETY: the operation reads one `u32` through the pointer it is given, which is what a `Setter` of a `u32`
        // hands it; both ext4 and XFS define it so.
        unsafe {
            let shutdown = rustix::ioctl::Setter::<SHUTDOWN, u32>::new(NO_LOG_FLUSH);
            rustix::ioctl::ioctl(&root, shutdown)?;
        }
        Ok(())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if let Err(error) = self.unmount() {
            println!("{}: stays mounted: {error}", self.path.display());
        }
    }
}

/// Whether this machine lets us mount what the harnesses need; why not, if not.
pub(crate) fn refusal() -> Option<String> {
    let dir = tempfile::tempdir().ok()?;
    Mount::memory(&dir.path().join("mounted"), 1 << 20).err()
}

fn run(program: &str, args: &[&str]) -> Result<(), String> {
    let output = Command::new(program)
        .args(args)
        .output()
        .map_err(|error| format!("{program}: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!(
            "{program} {}: {}",
            args.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        )),
    }
}

/// XFS_IOC_GOINGDOWN and EXT4_IOC_SHUTDOWN are one number: `_IOR('X', 125, u32)`.
const SHUTDOWN: rustix::ioctl::Opcode = 0x8004_587d;
/// Drops what is in memory, the journal's too.
const NO_LOG_FLUSH: u32 = 2;
