//! What no sync has covered: operations in the order of their issue, and what may become of each when the
//! power is cut.
//!
//! Names are kept strictly: a sync of a file says nothing of its name. What a system does that syncs names
//! along with files is one of the outcomes here, so that it needs no case of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::image::{FileImage, Image};
use crate::SeededRandom;

/// Number of a file, whatever its name is.
pub(super) type Inode = usize;

/// An operation that is not durable yet.
#[derive(Clone, Debug)]
pub enum PendingOp {
    /// Bytes written to a file at an offset.
    Write(u64, Arc<[u8]>),
    /// A file was given a length.
    SetLen(u64),
    /// A file was made at least so long.
    Extend(u64),
    /// A name was given to a file, new or not.
    Create(PathBuf),
    /// A file changed its name.
    Rename(PathBuf, PathBuf),
    /// A name was removed.
    Remove(PathBuf),
}

/// What becomes of one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It never reached the disk.
    Lost,
    /// All of it did.
    Kept,
    /// A part of a write did; of a rename: the new name, and the old one is still there.
    Torn(Tear, u64),
}

/// How a write is torn. Only bytes of the write itself are touched: what was durable beside them stays, as every
/// log has to assume of its device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tear {
    /// Each sector of 512 bytes by the toss of a coin.
    Sectors,
    /// Each page of 4 KiB by the toss of a coin.
    Pages,
    /// Its first bytes.
    Front,
    /// Its last bytes.
    Back,
    /// Its first bytes, then garbage to the end of a sector.
    Garbage,
    /// The length that it gives the file, and zeros.
    LengthOnly,
    /// The bytes that the file has room for without growing.
    WithoutLength,
}

impl Tear {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Sectors,
        Self::Pages,
        Self::Front,
        Self::Back,
        Self::Garbage,
        Self::LengthOnly,
        Self::WithoutLength,
    ];
}

/// One file: what is durable, and what is not yet.
#[derive(Clone, Debug, Default)]
pub(super) struct FileState {
    pub(super) durable: Arc<FileImage>,
    /// With the time of their issue, which is a number that only grows.
    pub(super) pending: Vec<(u64, PendingOp)>,
    /// What a process sees, once a failed sync has made it differ from what the above add up to.
    pub(super) diverged: Option<Arc<FileImage>>,
}

impl FileState {
    pub(super) fn push(&mut self, time: u64, op: PendingOp) {
        if let Some(seen) = &mut self.diverged {
            apply(&op, Fate::Kept, Arc::make_mut(seen));
        }
        self.pending.push((time, op));
    }

    /// All that was done is durable.
    pub(super) fn synced(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        let durable = Arc::make_mut(&mut self.durable);
        for (_, op) in &pending {
            apply(op, Fate::Kept, durable);
        }
        // What a process sees may still differ: pages that an earlier failed sync has marked clean.
        self.diverged.take_if(|seen| **seen == *durable);
    }

    /// A sync has failed. The system takes the written pages for clean: they are seen, and never written again.
    pub(super) fn forget_writes(&mut self) {
        let seen = self.seen();
        self.pending
            .retain(|(_, op)| !matches!(op, PendingOp::Write(..)));
        self.diverged = Some(Arc::new(seen));
    }

    /// A sync has failed, and the system has gone back to what is on the disk.
    pub(super) fn revert(&mut self) {
        self.pending.clear();
        self.diverged = None;
    }

    /// What a process sees.
    pub(super) fn seen(&self) -> FileImage {
        match &self.diverged {
            Some(seen) => (**seen).clone(),
            None => {
                let mut seen = (*self.durable).clone();
                for (_, op) in &self.pending {
                    apply(op, Fate::Kept, &mut seen);
                }
                seen
            }
        }
    }
}

/// A disk at one instant: what is durable, and what is not yet. A copy is cheap.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    pub(super) files: Vec<FileState>,
    pub(super) names: BTreeMap<PathBuf, Inode>,
    pub(super) durable_names: BTreeMap<PathBuf, Inode>,
    pub(super) pending_names: Vec<(u64, Inode, PendingOp)>,
    pub(super) dirs: BTreeSet<PathBuf>,
    pub(super) time: u64,
}

impl Snapshot {
    /// A disk on which all of this is durable.
    pub fn of(image: &Image) -> Self {
        let mut snapshot = Self {
            dirs: image.dirs.clone(),
            ..Self::default()
        };
        for (path, file) in &image.files {
            snapshot.names.insert(path.clone(), snapshot.files.len());
            snapshot.files.push(FileState {
                durable: file.clone(),
                ..FileState::default()
            });
        }
        snapshot.durable_names = snapshot.names.clone();
        snapshot
    }

    /// What is not durable, in the order of its issue; of files that no name leads to any more, nothing.
    pub fn pending(&self) -> Vec<&PendingOp> {
        self.ordered().into_iter().map(|(_, _, op)| op).collect()
    }

    fn ordered(&self) -> Vec<(u64, Inode, &PendingOp)> {
        let created = self.pending_names.iter().map(|(_, inode, _)| *inode);
        let reachable: BTreeSet<Inode> = self
            .durable_names
            .values()
            .copied()
            .chain(created)
            .collect();
        let names = self
            .pending_names
            .iter()
            .map(|(time, inode, op)| (*time, *inode, op));
        let of_files = reachable.iter().flat_map(|inode| {
            let pending = self.files[*inode].pending.iter();
            pending.map(|(time, op)| (*time, *inode, op))
        });
        let mut ordered: Vec<_> = names.chain(of_files).collect();
        ordered.sort_by_key(|(time, ..)| *time);
        ordered
    }

    /// What a power cut leaves, which of it is told by `fate`: called for each of [`Snapshot::pending`].
    pub fn left(&self, mut fate: impl FnMut(usize, &PendingOp) -> Fate) -> Image {
        let mut files: BTreeMap<Inode, FileImage> = BTreeMap::new();
        let mut names = self.durable_names.clone();
        for (place, (_, inode, op)) in self.ordered().into_iter().enumerate() {
            let fate = fate(place, op);
            if fate == Fate::Lost {
                continue;
            }
            match op {
                PendingOp::Write(..) | PendingOp::SetLen(_) | PendingOp::Extend(_) => {
                    let file = files
                        .entry(inode)
                        .or_insert_with(|| (*self.files[inode].durable).clone());
                    apply(op, fate, file);
                }
                PendingOp::Create(path) => {
                    names.insert(path.clone(), inode);
                }
                PendingOp::Rename(from, to) => {
                    if fate == Fate::Kept && names.get(from) == Some(&inode) {
                        names.remove(from);
                    }
                    names.insert(to.clone(), inode);
                }
                PendingOp::Remove(path) => {
                    if names.get(path) == Some(&inode) {
                        names.remove(path);
                    }
                }
            }
        }
        let image_of = |inode: Inode| match files.get(&inode) {
            Some(file) => Arc::new(file.clone()),
            None => self.files[inode].durable.clone(),
        };
        Image {
            dirs: self.dirs.clone(),
            files: names
                .iter()
                .map(|(path, inode)| (path.clone(), image_of(*inode)))
                .collect(),
        }
    }

    /// What a process sees.
    pub fn seen(&self) -> Image {
        let file =
            |(path, inode): (&PathBuf, &Inode)| (path.clone(), Arc::new(self.files[*inode].seen()));
        Image {
            dirs: self.dirs.clone(),
            files: self.names.iter().map(file).collect(),
        }
    }

    pub(super) fn next_time(&mut self) -> u64 {
        self.time += 1;
        self.time
    }

    pub(super) fn sync_dir(&mut self, dir: &Path) {
        self.pending_names.retain(|(_, inode, op)| {
            let (gone, new) = match op {
                PendingOp::Create(path) => (None, Some(path)),
                PendingOp::Rename(from, to) => (Some(from), Some(to)),
                PendingOp::Remove(path) => (Some(path), None),
                _ => (None, None),
            };
            let is_here = gone.or(new).is_some_and(|path| path.parent() == Some(dir));
            if is_here {
                if let Some(path) = gone
                    && self.durable_names.get(path) == Some(inode)
                {
                    self.durable_names.remove(path);
                }
                if let Some(path) = new {
                    self.durable_names.insert(path.clone(), *inode);
                }
            }
            !is_here
        });
    }
}

/// Does to a file what an operation does, or the part of it that survives.
fn apply(op: &PendingOp, fate: Fate, file: &mut FileImage) {
    match (op, fate) {
        (_, Fate::Lost) => {}
        (PendingOp::SetLen(len), _) => file.set_len(*len),
        (PendingOp::Extend(len), _) => file.set_len(file.len().max(*len)),
        (PendingOp::Write(offset, bytes), Fate::Kept) => file.write(bytes, *offset),
        (PendingOp::Write(offset, bytes), Fate::Torn(tear, seed)) => {
            tear_write(tear, seed, *offset, bytes, file);
        }
        (PendingOp::Create(_) | PendingOp::Rename(..) | PendingOp::Remove(_), _) => {}
    }
}

fn tear_write(tear: Tear, seed: u64, offset: u64, bytes: &[u8], file: &mut FileImage) {
    let random = SeededRandom::new(seed);
    let middle = random.next_u64() as usize % (bytes.len() + 1);
    let pieces = |len: usize| {
        // Where sectors and pages end in the file, not in the write.
        let first = len - offset as usize % len;
        let (first, rest) = bytes.split_at(first.min(bytes.len()));
        std::iter::once(first)
            .chain(rest.chunks(len))
            .scan(offset, |at, piece| {
                let here = *at;
                *at += piece.len() as u64;
                Some((here, piece))
            })
    };
    match tear {
        Tear::Sectors | Tear::Pages => {
            let len = if tear == Tear::Pages {
                4096
            } else {
                SECTOR_LEN
            };
            for (at, piece) in pieces(len) {
                if random.next_u64().is_multiple_of(2) {
                    file.write(piece, at);
                }
            }
        }
        Tear::Front => file.write(&bytes[..middle], offset),
        Tear::Back => file.write(&bytes[middle..], offset + middle as u64),
        Tear::Garbage => {
            file.write(&bytes[..middle], offset);
            let at = offset as usize + middle;
            let len = (SECTOR_LEN - at % SECTOR_LEN).min(bytes.len() - middle);
            let garbage: Vec<u8> = (0..len).map(|_| random.next_u64() as u8).collect();
            file.write(&garbage, at as u64);
        }
        Tear::LengthOnly => file.set_len(file.len().max(offset + bytes.len() as u64)),
        Tear::WithoutLength => {
            let room = file.len().saturating_sub(offset).min(bytes.len() as u64);
            file.write(&bytes[..room as usize], offset);
        }
    }
}

const SECTOR_LEN: usize = 512;
