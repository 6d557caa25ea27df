//! Aggregates' own keys in a directory, a file each: small, and easily forgotten.
//!
//! ```text
//! <SHA-256 of the aggregate's id>.key    kind of id (1 byte) | length of the key (1) | key, encrypted | id
//! ```
//!
//! - A file of zeros is a key that was erased. Zeros take the place of the key where it lies, so that nothing of it is
//!   left in the file system's hands that the file system does not keep for itself.
//! - Erasing and replacing hold a lock: a key that is erased does not come back in its new wrapping. That one is written
//!   to a name of its own, `….rewrapped`, where whoever erases finds what a crash has left there.
//! - A file gets its name when its content is durable. The first one to take a name wins; a name is never given back.
//! - Whoever finds a key that another instance has put there syncs the directory before it is used, and remembers that.
//! - What takes the place of a key in its old wrapping is no zeros: who has opened that file has to look again, not to
//!   take the key for erased.
//! - The directory is its owner's alone, if it was made here. Keys lie in it encrypted all the same.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use annals_segments::{Disk, DiskFile, DiskLock, OpenMode, Random, RealDisk, SystemRandom};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::domain::AggregateId;
use crate::persistence::{KeptKey, KeyStore, PersistenceError, TranscodeError, WrappedKey};

/// Keeps keys in a directory of its own, durably. Several processes may use it at once.
///
/// It belongs neither into the directory of a log nor into backups that outlive an erasure. What a device keeps of
/// overwritten blocks is beyond reach; whoever finds that still needs the key of the ring.
#[derive(Debug)]
pub struct KeyDirectory {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    /// Names of files that are being written: this instance's own, and one after the other.
    instance: u64,
    written: AtomicU64,
    changes: Mutex<()>,
    /// Files whose names are known to be durable.
    synced: Mutex<HashSet<PathBuf>>,
}

impl KeyDirectory {
    /// Opens a directory, and creates it when it is missing.
    ///
    /// # Errors
    /// [`PersistenceError::Store`].
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, PersistenceError> {
        Self::open_on(Arc::new(RealDisk), dir)
    }

    /// As [`KeyDirectory::open`], on a disk of your choice.
    ///
    /// # Errors
    /// [`PersistenceError::Store`].
    pub fn open_on(disk: Arc<dyn Disk>, dir: impl AsRef<Path>) -> Result<Self, PersistenceError> {
        let dir = dir.as_ref().to_owned();
        disk.create_private_dir(&dir)
            .map_err(|error| PersistenceError::Store {
                doing: "create the directory of keys",
                source: error.into(),
            })?;
        let mut instance = [0; 8];
        SystemRandom::default().fill(&mut instance);
        Ok(Self {
            disk,
            dir,
            instance: u64::from_le_bytes(instance),
            written: AtomicU64::new(0),
            changes: Mutex::new(()),
            synced: Mutex::default(),
        })
    }

    fn path(&self, aggregate: &AggregateId) -> PathBuf {
        let (kind, id) = spelled(aggregate);
        let name: String = Sha256::new_with_prefix([kind])
            .chain_update(id)
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        self.dir.join(name).with_extension(EXTENSION)
    }

    fn find(&self, path: &Path, mode: OpenMode) -> io::Result<Option<Arc<dyn DiskFile>>> {
        match self.disk.open(path, mode) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            file => file.map(Some),
        }
    }

    /// Calls `change` while nobody else changes a key, in this process or in another.
    fn change<T>(
        &self,
        change: impl FnOnce() -> Result<T, TranscodeError>,
    ) -> Result<T, TranscodeError> {
        let _changes = self.changes.lock();
        match self.lock()? {
            Some(_lock) => change(),
            None => Err("somebody else has been changing keys for a second; try again".into()),
        }
    }

    /// `None` when somebody else does not let go of it.
    fn lock(&self) -> io::Result<Option<Box<dyn DiskLock>>> {
        let path = self.dir.join("LOCK");
        for _ in 0..LOCK_ATTEMPTS {
            if let Some(lock) = self.disk.try_lock(&path)? {
                return Ok(Some(lock));
            }
            thread::sleep(LOCK_INTERVAL);
        }
        self.disk.try_lock(&path)
    }

    /// Has the name of a file synced, unless it is known to be.
    fn sync_name(&self, path: &Path) -> io::Result<()> {
        if !self.synced.lock().contains(path) {
            self.disk.sync_dir(&self.dir)?;
            self.remember(path);
        }
        Ok(())
    }

    fn remember(&self, path: &Path) {
        let mut synced = self.synced.lock();
        if synced.len() >= SYNCED_MAX {
            synced.clear();
        }
        synced.insert(path.to_owned());
    }

    fn write(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let file = self.disk.open(path, OpenMode::CreateNew)?;
        file.write_all_at(content, 0)?;
        file.sync_data()
    }

    /// What the file of a key holds.
    fn read(&self, path: &Path) -> Result<Option<Kept>, TranscodeError> {
        for _ in 0..LOOKS_MAX {
            let Some(file) = self.find(path, OpenMode::Read)? else {
                return Ok(None);
            };
            match Kept::parse(&file.read_all(LEN_MAX)?)? {
                // The file that was opened is no longer the one of that name.
                Kept::Replaced => continue,
                kept => return Ok(Some(kept)),
            }
        }
        Err(DAMAGED.into())
    }

    /// Overwrites and removes what is left of a wrapping that never got its name.
    fn forget(&self, path: &Path) -> io::Result<()> {
        let Some(left) = self.find(path, OpenMode::ReadWrite)? else {
            return Ok(());
        };
        overwrite(&*left, ERASED)?;
        self.disk.remove(path)
    }

    /// Gives `content` its name, unless that is taken.
    fn create(&self, path: &Path, content: &[u8]) -> io::Result<bool> {
        // Under a name that nobody looks for.
        let (instance, number) = (self.instance, self.written.fetch_add(1, Ordering::Relaxed));
        let beside = self.dir.join(format!("{instance:016x}-{number}.new"));
        self.write(&beside, content)?;
        let is_first = match self.disk.hard_link(&beside, path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
            linked => linked.map(|()| true)?,
        };
        self.disk.remove(&beside)?;
        // Also when somebody else was faster: what is answered has to be durable.
        self.disk.sync_dir(&self.dir)?;
        self.remember(path);
        Ok(is_first)
    }
}

impl KeyStore for KeyDirectory {
    fn load(&self, aggregate: &AggregateId) -> Result<KeptKey, TranscodeError> {
        match self.read(&self.path(aggregate))? {
            None => Ok(KeptKey::Absent),
            Some(Kept::Key(key, of)) if of == *aggregate => Ok(KeptKey::Key(key)),
            Some(Kept::Key(_, other)) => {
                Err(format!("the file of {aggregate} holds a key of {other}").into())
            }
            Some(Kept::Erased | Kept::Replaced) => Ok(KeptKey::Erased),
        }
    }

    fn insert(&self, aggregate: &AggregateId, key: &WrappedKey) -> Result<KeptKey, TranscodeError> {
        let path = self.path(aggregate);
        match self.find(&path, OpenMode::Read)? {
            // By somebody who may not have come to this yet.
            Some(_) => self.sync_name(&path)?,
            None => drop(self.create(&path, &content(aggregate, key)?)?),
        }
        self.load(aggregate)
    }

    fn replace(&self, aggregate: &AggregateId, key: &WrappedKey) -> Result<(), TranscodeError> {
        let path = self.path(aggregate);
        self.change(|| {
            let Some(old) = self.find(&path, OpenMode::ReadWrite)? else {
                return Ok(());
            };
            if Kept::parse(&old.read_all(LEN_MAX)?)? == Kept::Erased {
                return Ok(());
            }
            let rewrapped = path.with_extension(REWRAPPED);
            self.forget(&rewrapped)?;
            self.write(&rewrapped, &content(aggregate, key)?)?;
            self.disk.rename(&rewrapped, &path)?;
            self.disk.sync_dir(&self.dir)?;
            // The key under the old one of the ring: nobody may find it once this file is erased.
            Ok(overwrite(&*old, REPLACED)?)
        })
    }

    fn erase(&self, aggregate: &AggregateId) -> Result<bool, TranscodeError> {
        let path = self.path(aggregate);
        self.change(|| {
            self.forget(&path.with_extension(REWRAPPED))?;
            if self.create(&path, &[ERASED; TOMBSTONE_LEN])? {
                return Ok(false);
            }
            let Some(file) = self.find(&path, OpenMode::ReadWrite)? else {
                return Err("the file of the key is gone".into());
            };
            // Damaged or not.
            let had_key = Kept::parse(&file.read_all(LEN_MAX)?).ok() != Some(Kept::Erased);
            overwrite(&*file, ERASED)?;
            Ok(had_key)
        })
    }

    fn aggregates(&self) -> Result<Vec<AggregateId>, TranscodeError> {
        let mut aggregates = Vec::new();
        for entry in self.disk.list(&self.dir)? {
            let path = self.dir.join(&entry.name);
            if path.extension().is_none_or(|found| found != EXTENSION) {
                continue;
            }
            if let Some(Kept::Key(_, aggregate)) = self.read(&path)? {
                aggregates.push(aggregate);
            }
        }
        Ok(aggregates)
    }
}

/// What a file holds.
#[derive(Debug, PartialEq)]
enum Kept {
    Erased,
    /// Its key is in another file now, which has its name.
    Replaced,
    Key(WrappedKey, AggregateId),
}

impl Kept {
    fn parse(bytes: &[u8]) -> Result<Self, TranscodeError> {
        for (byte, kept) in [(ERASED, Self::Erased), (REPLACED, Self::Replaced)] {
            if !bytes.is_empty() && bytes.iter().all(|found| *found == byte) {
                return Ok(kept);
            }
        }
        let parts = || {
            let ([kind, key_len], rest) = bytes.split_first_chunk::<2>()?;
            let (key, id) = rest.split_at_checked(usize::from(*key_len))?;
            let aggregate = match kind {
                1 => Uuid::from_slice(id).ok()?.into(),
                2 => AggregateId::text(str::from_utf8(id).ok()?).ok()?,
                _ => return None,
            };
            Some(Self::Key(WrappedKey::from_bytes(key), aggregate))
        };
        parts().ok_or_else(|| DAMAGED.into())
    }
}

fn content(aggregate: &AggregateId, key: &WrappedKey) -> Result<Vec<u8>, TranscodeError> {
    let (kind, id) = spelled(aggregate);
    let key_len = u8::try_from(key.as_bytes().len()).map_err(|_| "the key is longer than a key")?;
    Ok([&[kind, key_len], key.as_bytes(), &id].concat())
}

fn spelled(aggregate: &AggregateId) -> (u8, Vec<u8>) {
    match aggregate.as_uuid() {
        Some(uuid) => (1, uuid.as_bytes().to_vec()),
        None => (2, aggregate.as_text().unwrap_or_default().into()),
    }
}

fn overwrite(file: &dyn DiskFile, byte: u8) -> io::Result<()> {
    let len = file.len()?.clamp(TOMBSTONE_LEN as u64, LEN_MAX);
    let bytes = vec![byte; usize::try_from(len).map_err(|_| io::ErrorKind::FileTooLarge)?];
    file.write_all_at(&bytes, 0)?;
    file.sync_data()
}

const EXTENSION: &str = "key";
const REWRAPPED: &str = "rewrapped";
const DAMAGED: &str =
    "the file of the key is damaged, expected one that was written here; restore it";
/// What a file is full of whose key was erased.
const ERASED: u8 = 0;
/// What a file is full of that has lost its name to the same key in another wrapping.
const REPLACED: u8 = 0xff;
/// Each look after the first means that somebody has replaced the key meanwhile.
const LOOKS_MAX: usize = 8;
/// About a second: a change takes some syncs.
const LOCK_ATTEMPTS: u32 = 200;
const LOCK_INTERVAL: Duration = Duration::from_millis(5);
/// Names that are remembered: some 10 MB. Forgetting them costs a sync each.
const SYNCED_MAX: usize = 1 << 16;
const TOMBSTONE_LEN: usize = 2;
/// Bytes of the longest file: lengths in one byte each, and two of them.
const LEN_MAX: u64 = 2 + 2 * u8::MAX as u64;

#[cfg(test)]
mod tests {
    use annals_segments::MemoryDisk;

    use super::*;

    fn key(byte: u8) -> WrappedKey {
        WrappedKey::from_bytes([byte; 73])
    }

    fn ids() -> [AggregateId; 3] {
        let uuid = Uuid::from_u128(7);
        let text = |text: &str| AggregateId::text(text).unwrap();
        [uuid.into(), text(&uuid.to_string()), text(&"é".repeat(127))]
    }

    fn bytes_of(disk: &MemoryDisk) -> Vec<u8> {
        let dir = Path::new("/keys");
        let read = |entry: annals_segments::DirEntry| {
            let file = disk.open(&dir.join(entry.name), OpenMode::Read).unwrap();
            file.read_all(LEN_MAX).unwrap()
        };
        let entries = disk.list(dir).unwrap().into_iter();
        entries
            .filter(|entry| entry.name != "LOCK")
            .flat_map(read)
            .collect()
    }

    #[test]
    fn keys_are_kept_replaced_listed_and_erased_for_whoever_opens_the_directory() {
        let disk = Arc::new(MemoryDisk::default());
        let open = || KeyDirectory::open_on(disk.clone(), "/keys").unwrap();
        for id in ids() {
            assert_eq!(open().load(&id).unwrap(), KeptKey::Absent);
            assert_eq!(open().insert(&id, &key(1)).unwrap(), KeptKey::Key(key(1)));
            assert_eq!(
                open().insert(&id, &key(2)).unwrap(),
                KeptKey::Key(key(1)),
                "the first counts"
            );
            open().replace(&id, &key(3)).unwrap();
            assert_eq!(open().load(&id).unwrap(), KeptKey::Key(key(3)));
        }
        let mut listed = open().aggregates().unwrap();
        listed.sort();
        let mut expected = ids();
        expected.sort();
        assert_eq!(listed, expected);

        let [erased, ..] = ids();
        for expected in [true, false] {
            assert_eq!(open().erase(&erased).unwrap(), expected);
            open().replace(&erased, &key(4)).unwrap();
            assert_eq!(open().insert(&erased, &key(5)).unwrap(), KeptKey::Erased);
        }
        assert_eq!(open().aggregates().unwrap().len(), 2);
        assert!(!open().erase(&AggregateId::text("nobody").unwrap()).unwrap());
    }

    #[test]
    fn nothing_of_an_erased_key_is_left() {
        let disk = Arc::new(MemoryDisk::default());
        let keys = KeyDirectory::open_on(disk.clone(), "/keys").unwrap();
        let id = AggregateId::text("ann").unwrap();
        keys.insert(&id, &key(0xab)).unwrap();
        assert!(bytes_of(&disk).contains(&0xab));
        keys.replace(&id, &key(0xcd)).unwrap();
        keys.erase(&id).unwrap();
        assert!(bytes_of(&disk).iter().all(|byte| *byte == 0));
    }

    #[test]
    fn an_id_is_no_path() {
        let disk = Arc::new(MemoryDisk::default());
        let keys = KeyDirectory::open_on(disk.clone(), "/keys").unwrap();
        let before = disk.list(Path::new("/")).unwrap();
        for id in ["../ann", "/ann", "..", "a/b", "LOCK", "nul\0", "\u{202e}"] {
            let id = AggregateId::text(id).unwrap();
            keys.insert(&id, &key(1)).unwrap();
            assert_eq!(keys.load(&id).unwrap(), KeptKey::Key(key(1)));
            let path = keys.path(&id);
            assert_eq!(path.parent(), Some(Path::new("/keys")));
            let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap();
            assert!(name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit()));
        }
        assert_eq!(disk.list(Path::new("/")).unwrap(), before);
    }

    #[test]
    fn who_holds_a_file_that_was_replaced_does_not_take_its_key_for_erased() {
        let disk = Arc::new(MemoryDisk::default());
        let keys = KeyDirectory::open_on(disk.clone(), "/keys").unwrap();
        let id = AggregateId::text("ann").unwrap();
        keys.insert(&id, &key(1)).unwrap();
        let held = disk.open(&keys.path(&id), OpenMode::Read).unwrap();
        keys.replace(&id, &key(2)).unwrap();
        let found = Kept::parse(&held.read_all(LEN_MAX).unwrap()).unwrap();
        assert_eq!(found, Kept::Replaced);
        // A file that stays like that is no sign of anything but damage.
        let file = disk.open(&keys.path(&id), OpenMode::ReadWrite).unwrap();
        overwrite(&*file, REPLACED).unwrap();
        assert!(keys.load(&id).is_err());
    }

    #[test]
    fn a_new_wrapping_that_a_crash_has_left_is_erased_too() {
        let disk = Arc::new(MemoryDisk::default());
        let keys = KeyDirectory::open_on(disk.clone(), "/keys").unwrap();
        let id = AggregateId::text("ann").unwrap();
        keys.insert(&id, &key(0xab)).unwrap();
        let left = keys.path(&id).with_extension(REWRAPPED);
        let leave = || {
            keys.write(&left, &content(&id, &key(0xcd)).unwrap())
                .unwrap()
        };
        leave();
        keys.replace(&id, &key(0xef)).unwrap();
        assert_eq!(keys.load(&id).unwrap(), KeptKey::Key(key(0xef)));
        leave();
        let held = disk.open(&left, OpenMode::Read).unwrap();
        assert!(keys.erase(&id).unwrap());
        assert!(bytes_of(&disk).iter().all(|byte| *byte == 0));
        let held = held.read_all(LEN_MAX).unwrap();
        assert!(
            held.iter().all(|byte| *byte == 0),
            "overwritten, not only removed"
        );
    }

    #[test]
    fn a_damaged_file_is_told_and_can_be_erased() {
        let disk = Arc::new(MemoryDisk::default());
        let keys = KeyDirectory::open_on(disk.clone(), "/keys").unwrap();
        let id = AggregateId::text("ann").unwrap();
        keys.insert(&id, &key(1)).unwrap();
        let file = disk.open(&keys.path(&id), OpenMode::ReadWrite).unwrap();
        for (offset, byte) in [(0, 9), (1, 255), (0, 1)] {
            file.write_all_at(&[byte], offset).unwrap();
            assert!(keys.load(&id).is_err());
        }
        file.set_len(0).unwrap();
        assert!(keys.load(&id).is_err(), "empty is not erased");
        file.write_all_at(&[2, 1, 7], 0).unwrap();
        assert!(keys.load(&id).is_err());
        assert!(keys.erase(&id).unwrap());
        assert_eq!(keys.load(&id).unwrap(), KeptKey::Erased);
    }

    #[test]
    fn a_change_waits_for_that_of_another_instance() {
        let disk = Arc::new(MemoryDisk::default());
        let keys = KeyDirectory::open_on(disk.clone(), "/keys").unwrap();
        let id = AggregateId::text("ann").unwrap();
        keys.insert(&id, &key(1)).unwrap();
        let hold = || disk.try_lock(Path::new("/keys/LOCK")).unwrap().unwrap();
        let held = hold();
        assert!(keys.erase(&id).is_err(), "it is never let go");
        assert_eq!(keys.load(&id).unwrap(), KeptKey::Key(key(1)));
        thread::scope(|scope| {
            let erased = scope.spawn(|| keys.erase(&id).unwrap());
            thread::sleep(Duration::from_millis(50));
            drop(held);
            assert!(erased.join().unwrap());
        });
    }

    #[test]
    fn a_name_is_synced_once_by_each_instance() {
        let disk = Arc::new(CountedSyncs::default());
        let open = || KeyDirectory::open_on(disk.clone(), "/keys").unwrap();
        let syncs = || disk.syncs.load(Ordering::Relaxed);
        let (first, other, id) = (open(), open(), AggregateId::text("ann").unwrap());
        let opened = syncs();
        for _ in 0..3 {
            first.insert(&id, &key(1)).unwrap();
            assert_eq!(syncs(), opened + 1, "it has put it there");
        }
        for _ in 0..3 {
            other.insert(&id, &key(2)).unwrap();
            assert_eq!(
                syncs(),
                opened + 2,
                "who put it there may not have come to it"
            );
        }
    }

    #[derive(Debug, Default)]
    struct CountedSyncs {
        disk: MemoryDisk,
        syncs: AtomicU64,
    }

    impl Disk for CountedSyncs {
        fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
            self.disk.open(path, mode)
        }

        fn create_dir(&self, path: &Path) -> io::Result<()> {
            self.disk.create_dir(path)
        }

        fn sync_dir(&self, path: &Path) -> io::Result<()> {
            self.syncs.fetch_add(1, Ordering::Relaxed);
            self.disk.sync_dir(path)
        }

        fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
            self.disk.rename(from, to)
        }

        fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
            self.disk.hard_link(from, to)
        }

        fn remove(&self, path: &Path) -> io::Result<()> {
            self.disk.remove(path)
        }

        fn list(&self, path: &Path) -> io::Result<Vec<annals_segments::DirEntry>> {
            self.disk.list(path)
        }

        fn try_lock(&self, path: &Path) -> io::Result<Option<Box<dyn DiskLock>>> {
            self.disk.try_lock(path)
        }
    }
}
