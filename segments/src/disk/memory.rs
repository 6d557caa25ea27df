//! A file system in memory: for logs that need not outlive the process, for Miri, and for tests.
//!
//! Invariants:
//! - It answers as [`RealDisk`](super::RealDisk) does, with the same kinds of error; one contract
//!   suite runs on both.
//! - A file is apart from its name: whoever has it open keeps it through rename and removal.
//! - Every change to the disk holds `tree`, changes of names exclusively and changes of bytes
//!   shared. So [`MemoryDisk::fork`], which holds it exclusively, sees one instant of the disk.
//! - Locks are taken in this order: `tree`, then the content of one file.
//!
//! Syncs succeed and do nothing, so this disk loses nothing a real one would: to test what a power
//! cut takes, put a disk that injects faults in between. Paths have no current directory (`/a` and
//! `a` are one name), no links and no permissions.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::path::{Component, Path};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::RwLock;

use super::region::Contents;
use super::{DirEntry, Disk, DiskFile, DiskLock, Mapping, OpenMode};

/// A file system in memory, at first just an empty root directory. A clone is the same disk.
///
/// A mapping sees later writes only while the file stays within the room it had when it was mapped.
/// A file that outgrows it moves, and older mappings keep the bytes they had: call
/// [`DiskFile::allocate`] first, then [`DiskFile::map`].
#[derive(Clone, Default)]
pub struct MemoryDisk {
    tree: Arc<RwLock<Directory>>,
}

impl MemoryDisk {
    /// A second disk with a copy of all files and directories as they are at this instant, and
    /// without any lock: what a killed process leaves behind.
    ///
    /// # Panics
    /// When there is no memory for the copy.
    #[must_use]
    pub fn fork(&self) -> MemoryDisk {
        let tree = self.tree.write();
        MemoryDisk {
            tree: Arc::new(RwLock::new(tree.duplicate())),
        }
    }
}

impl Disk for MemoryDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let inode = match mode {
            OpenMode::Read | OpenMode::ReadWrite => {
                let tree = self.tree.read();
                Arc::clone(tree.file(&names(path))?)
            }
            OpenMode::CreateNew => {
                let mut tree = self.tree.write();
                let names = names(path);
                let (directory, name) = tree.parent_mut(&names)?;
                if directory.entries.contains_key(name) {
                    return Err(io::ErrorKind::AlreadyExists.into());
                }
                directory.create_file(name)
            }
        };
        let disk = self.clone();
        Ok(Arc::new(MemoryFile {
            disk,
            inode,
            writable: mode != OpenMode::Read,
        }))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut tree = self.tree.write();
        let names = names(path);
        // A failure leaves nothing half made: below the first directory made here all is new, so a
        // file can stand in the way only before.
        let mut directory = &mut *tree;
        for (depth, name) in names.iter().enumerate() {
            let node = directory
                .entries
                .entry(name.to_os_string())
                .or_insert_with(|| Node::Directory(Directory::default()));
            directory = match node {
                Node::Directory(next) => next,
                Node::File(_) if depth + 1 == names.len() => {
                    return Err(io::ErrorKind::AlreadyExists.into());
                }
                Node::File(_) => return Err(io::ErrorKind::NotADirectory.into()),
            };
        }
        Ok(())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.tree.read().directory(&names(path)).map(|_| ())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        debug_assert_eq!(
            from.parent(),
            to.parent(),
            "a rename stays in its directory"
        );
        let mut tree = self.tree.write();
        let (from, to) = (names(from), names(to));
        let inode = Arc::clone(tree.file(&from)?);
        let (directory, name) = tree.parent_mut(&to)?;
        if let Some(Node::Directory(_)) = directory.entries.get(name) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        if let Some(Node::File(there)) = directory.entries.get(name)
            && Arc::ptr_eq(there, &inode)
        {
            // Of two names of one file neither goes, as POSIX has it.
            return Ok(());
        }
        directory
            .entries
            .insert(name.to_os_string(), Node::File(inode));
        let (directory, name) = tree.parent_mut(&from)?;
        directory.entries.remove(name);
        Ok(())
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut tree = self.tree.write();
        let (from, to) = (names(from), names(to));
        let inode = Arc::clone(tree.file(&from)?);
        let (directory, name) = tree.parent_mut(&to)?;
        if directory.entries.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        directory
            .entries
            .insert(name.to_os_string(), Node::File(inode));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut tree = self.tree.write();
        let names = names(path);
        tree.file(&names)?;
        let (directory, name) = tree.parent_mut(&names)?;
        directory.entries.remove(name);
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let tree = self.tree.read();
        let directory = tree.directory(&names(path))?;
        // The map is in the order of names already.
        let entry = |(name, node): (&OsString, &Node)| DirEntry {
            name: name.to_string_lossy().into_owned(),
            len: match node {
                Node::Directory(_) => 0,
                Node::File(inode) => inode.contents.len(),
            },
            is_dir: matches!(node, Node::Directory(_)),
        };
        Ok(directory.entries.iter().map(entry).collect())
    }

    fn try_lock(&self, path: &Path) -> io::Result<Option<Box<dyn DiskLock>>> {
        let mut tree = self.tree.write();
        let names = names(path);
        let (directory, name) = tree.parent_mut(&names)?;
        let inode = match directory.entries.get(name) {
            Some(Node::File(inode)) => Arc::clone(inode),
            Some(Node::Directory(_)) => return Err(io::ErrorKind::IsADirectory.into()),
            None => directory.create_file(name),
        };
        // Acquire, and Release in `drop`: what one holder did happens before the next one begins.
        if inode.locked.swap(true, Ordering::Acquire) {
            return Ok(None);
        }
        Ok(Some(Box::new(MemoryLock {
            disk: self.clone(),
            inode,
        })))
    }
}

// Neither names nor contents: a disk is printed inside of errors and logs.
impl fmt::Debug for MemoryDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryDisk").finish_non_exhaustive()
    }
}

/// One opening of a file.
struct MemoryFile {
    disk: MemoryDisk,
    inode: Arc<Inode>,
    writable: bool,
}

impl MemoryFile {
    fn check_writable(&self) -> io::Result<()> {
        if self.writable {
            Ok(())
        } else {
            Err(io::ErrorKind::PermissionDenied.into())
        }
    }
}

impl DiskFile for MemoryFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        Ok(self.inode.contents.read_at(buffer, offset))
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.check_writable()?;
        let _no_fork = self.disk.tree.read();
        self.inode.contents.write_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.check_writable()?;
        let _no_fork = self.disk.tree.read();
        self.inode.contents.allocate(len)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check_writable()?;
        let _no_fork = self.disk.tree.read();
        self.inode.contents.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.inode.contents.len())
    }

    fn map(&self, len: usize) -> io::Result<Arc<dyn Mapping>> {
        Ok(Arc::new(self.inode.contents.map(len)?))
    }
}

impl fmt::Debug for MemoryFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryFile")
            .field("len", &self.inode.contents.len())
            .field("writable", &self.writable)
            .finish_non_exhaustive()
    }
}

/// Clears the mark on its file when dropped.
struct MemoryLock {
    disk: MemoryDisk,
    inode: Arc<Inode>,
}

impl DiskLock for MemoryLock {
    fn set_message(&self, message: &str) -> io::Result<()> {
        let _no_fork = self.disk.tree.read();
        self.inode.contents.set_len(0)?;
        self.inode.contents.write_at(message.as_bytes(), 0)?;
        Ok(())
    }
}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        self.inode.locked.store(false, Ordering::Release);
    }
}

impl fmt::Debug for MemoryLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryLock").finish_non_exhaustive()
    }
}

/// A file apart from its name. The lock belongs to the file, as `flock` does, not to the name.
#[derive(Default)]
struct Inode {
    contents: Contents,
    locked: AtomicBool,
}

enum Node {
    Directory(Directory),
    File(Arc<Inode>),
}

#[derive(Default)]
struct Directory {
    entries: BTreeMap<OsString, Node>,
}

impl Directory {
    fn directory(&self, names: &[&OsStr]) -> io::Result<&Directory> {
        names
            .iter()
            .try_fold(self, |directory, name| match directory.entries.get(*name) {
                Some(Node::Directory(next)) => Ok(next),
                Some(Node::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
                None => Err(io::ErrorKind::NotFound.into()),
            })
    }

    /// The directory that holds the last of `names`, which need not exist itself.
    fn parent_mut<'names>(
        &mut self,
        names: &[&'names OsStr],
    ) -> io::Result<(&mut Directory, &'names OsStr)> {
        // Only the root has no name, and it is a directory.
        let (name, parents) = names.split_last().ok_or(io::ErrorKind::IsADirectory)?;
        let directory = parents.iter().try_fold(self, |directory, name| {
            match directory.entries.get_mut(*name) {
                Some(Node::Directory(next)) => Ok(next),
                Some(Node::File(_)) => Err(io::Error::from(io::ErrorKind::NotADirectory)),
                None => Err(io::ErrorKind::NotFound.into()),
            }
        })?;
        Ok((directory, name))
    }

    fn file(&self, names: &[&OsStr]) -> io::Result<&Arc<Inode>> {
        let (name, parents) = names.split_last().ok_or(io::ErrorKind::IsADirectory)?;
        match self.directory(parents)?.entries.get(*name) {
            Some(Node::File(inode)) => Ok(inode),
            Some(Node::Directory(_)) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn create_file(&mut self, name: &OsStr) -> Arc<Inode> {
        let inode = Arc::<Inode>::default();
        self.entries
            .insert(name.to_os_string(), Node::File(Arc::clone(&inode)));
        inode
    }

    fn duplicate(&self) -> Directory {
        let entry = |(name, node): (&OsString, &Node)| {
            let node = match node {
                Node::Directory(directory) => Node::Directory(directory.duplicate()),
                Node::File(inode) => Node::File(Arc::new(Inode {
                    contents: inode.contents.duplicate(),
                    locked: AtomicBool::new(false),
                })),
            };
            (name.clone(), node)
        };
        Directory {
            entries: self.entries.iter().map(entry).collect(),
        }
    }
}

/// The names from the root down. `.` is dropped; `..` takes back the name before it.
fn names(path: &Path) -> Vec<&OsStr> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => names.push(name),
            Component::ParentDir => {
                names.pop();
            }
            Component::Prefix(_) | Component::RootDir | Component::CurDir => {}
        }
    }
    names
}
