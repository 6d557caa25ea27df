//! What a disk holds as plain data: files by name, their bytes in pages that copies share.
//!
//! A copy of an image costs a counter for each file, so that thousands of states of one disk can be kept
//! and spoilt. It knows nothing of what is durable and what is not.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use annals_segments::{Disk, DiskFile, MemoryDisk, OpenMode};

/// Bytes that the cache of a system takes to the disk together, unless a write is torn.
pub const PAGE_LEN: usize = 4096;

type Page = Arc<[u8; PAGE_LEN]>;

/// The bytes of one file. A copy shares its pages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct FileImage {
    len: u64,
    /// `None`: zeros. Behind the last page all is zero up to the length; behind the length there is none.
    pages: Vec<Option<Page>>,
}

impl FileImage {
    /// A file of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let mut image = Self::default();
        image.write(bytes, 0);
        image
    }

    /// Length in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether the file is empty.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.len as usize];
        for (offset, run) in self.runs() {
            bytes[offset as usize..][..run.len()].copy_from_slice(run);
        }
        bytes
    }

    /// Up to `len` bytes at `offset`.
    pub fn bytes_at(&self, offset: u64, len: usize) -> Vec<u8> {
        let end = self.len.min(offset + len as u64);
        let byte = |at: u64| {
            let page = self
                .pages
                .get(at as usize / PAGE_LEN)
                .and_then(Option::as_ref);
            page.map_or(0, |page| page[at as usize % PAGE_LEN])
        };
        (offset..end).map(byte).collect()
    }

    /// Writes at `offset`; a file that is shorter grows.
    pub fn write(&mut self, bytes: &[u8], offset: u64) {
        if bytes.is_empty() {
            return;
        }
        self.len = self.len.max(offset + bytes.len() as u64);
        let mut at = offset as usize;
        let mut rest = bytes;
        while !rest.is_empty() {
            let (number, start) = (at / PAGE_LEN, at % PAGE_LEN);
            let (now, later) = rest.split_at(rest.len().min(PAGE_LEN - start));
            at += now.len();
            rest = later;
            let is_zero = self.pages.get(number).is_none_or(Option::is_none);
            if is_zero && now.iter().all(|byte| *byte == 0) {
                continue;
            }
            self.page_mut(number)[start..start + now.len()].copy_from_slice(now);
        }
    }

    /// Cuts or extends; what is cut off is zero when the file grows again.
    pub fn set_len(&mut self, len: u64) {
        if len < self.len {
            let (number, start) = (len as usize / PAGE_LEN, len as usize % PAGE_LEN);
            self.pages.truncate(len.div_ceil(PAGE_LEN as u64) as usize);
            if start > 0 && self.pages.get(number).is_some_and(Option::is_some) {
                self.page_mut(number)[start..].fill(0);
            }
        }
        self.len = len;
    }

    fn page_mut(&mut self, number: usize) -> &mut [u8; PAGE_LEN] {
        if self.pages.len() <= number {
            self.pages.resize(number + 1, None);
        }
        Arc::make_mut(self.pages[number].get_or_insert_with(|| Arc::new([0; PAGE_LEN])))
    }

    /// The bytes that may differ from zero, each run with its offset.
    fn runs(&self) -> impl Iterator<Item = (u64, &[u8])> {
        self.pages.iter().enumerate().filter_map(|(number, page)| {
            let page = page.as_ref()?;
            let offset = (number * PAGE_LEN) as u64;
            let len = (self.len - offset).min(PAGE_LEN as u64) as usize;
            Some((offset, &page[..len]))
        })
    }
}

/// The files and directories of a disk. A copy shares them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Image {
    /// Directories, without the root.
    pub dirs: BTreeSet<PathBuf>,
    /// Files by path.
    pub files: BTreeMap<PathBuf, Arc<FileImage>>,
}

impl Image {
    /// All that lies on a disk below `dir`.
    pub fn of(memory: &MemoryDisk, dir: &Path) -> Self {
        let mut image = Self::default();
        image.collect(memory, dir);
        image
    }

    fn collect(&mut self, memory: &MemoryDisk, dir: &Path) {
        let Ok(entries) = memory.list(dir) else {
            return;
        };
        if dir.parent().is_some() {
            self.dirs.insert(dir.to_owned());
        }
        for entry in entries {
            let path = dir.join(entry.name);
            if entry.is_dir {
                self.collect(memory, &path);
            } else {
                let file = memory.open(&path, OpenMode::Read).expect("it was listed");
                self.files.insert(path, Arc::new(image_of(&*file)));
            }
        }
    }

    /// A disk in memory that holds this.
    pub fn to_memory(&self) -> MemoryDisk {
        let memory = MemoryDisk::default();
        for dir in &self.dirs {
            memory.create_dir(dir).expect(IN_MEMORY);
        }
        for (path, image) in &self.files {
            let file = memory.open(path, OpenMode::CreateNew).expect(IN_MEMORY);
            file.allocate(image.len).expect(IN_MEMORY);
            for (offset, run) in image.runs() {
                file.write_all_at(run, offset).expect(IN_MEMORY);
            }
        }
        memory
    }

    /// A number that differs between images that differ, but for chance; the same in every run.
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }

    /// The file of this name, to be changed; made when it is missing.
    pub fn file_mut(&mut self, path: &Path) -> &mut FileImage {
        Arc::make_mut(self.files.entry(path.to_owned()).or_default())
    }
}

/// The bytes of a file that a process sees, without pages of zeros.
fn image_of(file: &dyn DiskFile) -> FileImage {
    let bytes = file.read_up_to(u64::MAX).expect(IN_MEMORY);
    let mut image = FileImage::default();
    for (number, page) in bytes.chunks(PAGE_LEN).enumerate() {
        if page.iter().any(|byte| *byte != 0) {
            image.write(page, (number * PAGE_LEN) as u64);
        }
    }
    image.set_len(bytes.len() as u64);
    image
}

pub(super) const IN_MEMORY: &str = "a disk in memory refuses nothing";
