//! Whether a place may be opened at all: what is there, whether it can be written, and who has it.

use std::io;
use std::path::Path;
use std::time::Duration;

use annals_segments::planted::{Bug, is_planted};
use annals_segments::{DiskLock, OpenMode};

use crate::directory::Directory;
use crate::error::Error;

/// Refuses a place that holds something else, and makes the directory when there is nothing.
pub(crate) fn check_place(directory: &Directory, create: bool) -> Result<(), Error> {
    const EMPTY: &str = "an empty or new directory; give another path";
    const A_LOG: &str = "the directory of a log; check the path";
    let expected = if create { EMPTY } else { A_LOG };
    let path = &directory.path;
    let not_a_log = |found: String, expected| Error::NotALog {
        path: path.clone(),
        found,
        expected,
    };
    match directory.disk.list(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if !create {
                return Err(not_a_log("nothing is there".into(), A_LOG));
            }
            directory
                .disk
                .create_dir(path)
                .map_err(not_writable(path, "create the directory"))
        }
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            Err(not_a_log("this is a file".into(), expected))
        }
        Err(error) => Err(Error::io(path, "list the directory")(error)),
        Ok(_) => {
            let listing = directory.list()?;
            if listing.holds_a_log() {
                return Ok(());
            }
            if let Some(name) = listing.foreign.first() {
                let found = match listing.foreign.len() - 1 {
                    0 => format!("no log, but {name}"),
                    more => format!("no log, but {name} and {more} more"),
                };
                return Err(not_a_log(found, expected));
            }
            match create {
                true => Ok(()),
                false => Err(not_a_log("an empty directory".into(), A_LOG)),
            }
        }
    }
}

fn not_writable(dir: &Path, doing: &'static str) -> impl FnOnce(io::Error) -> Error {
    let dir = dir.to_owned();
    move |source| match source.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            Error::NotWritable { dir, source }
        }
        _ => Error::io(dir, doing)(source),
    }
}

pub(crate) fn take_lock(directory: &Directory) -> Result<Box<dyn DiskLock>, Error> {
    let path = match is_planted(Bug::SkipLock) {
        true => directory.file(&format!("LOCK-{}", std::process::id())),
        false => directory.lock(),
    };
    let mut attempt = 0;
    let lock = loop {
        let lock = directory
            .disk
            .try_lock(&path)
            .map_err(not_writable(&directory.path, "take the lock"))?;
        match lock {
            Some(lock) => break lock,
            // A reader that asks whether anybody writes holds the lock for an instant.
            None if attempt < LOCK_ATTEMPTS => {
                attempt += 1;
                std::thread::sleep(LOCK_PAUSE);
            }
            None => {
                let holder = directory
                    .disk
                    .open(&path, OpenMode::Read)
                    .and_then(|file| file.read_all(LOCK_MESSAGE_LEN_MAX));
                let holder = holder
                    .map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned())
                    .unwrap_or_default();
                return Err(Error::Locked {
                    dir: directory.path.clone(),
                    holder,
                });
            }
        }
    };
    let message = format!("process {}\n", std::process::id());
    lock.set_message(&message)
        .map_err(not_writable(&directory.path, "write the lock file"))?;
    Ok(lock)
}

/// Message of a lock file: at most this many bytes are shown.
const LOCK_MESSAGE_LEN_MAX: u64 = 256;
/// How often a lock that is held is tried again, and after which pause.
const LOCK_ATTEMPTS: u32 = 10;
const LOCK_PAUSE: Duration = Duration::from_millis(2);
