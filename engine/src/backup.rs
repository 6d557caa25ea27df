//! Backup and restoration: a copy of the durable part of a log, made while it is written to.
//!
//! A backup is a directory with the segments of the log, up to the last event that was durable when it began, the table of
//! last versions, the quarantine files, and one file that lists them all, with lengths and checksums and the manifest
//! of that moment. That one is written last and replaced whole: so a backup that is cut short stays the one before, or
//! says that it is none yet. In its manifest every segment is sealed, the one being written up to where it was durable.
//!
//! - Sealed segments are linked when both directories lie in one file system, unless copies are asked for. That is safe
//!   since nothing in a sealed segment is ever written again: a seal cuts zeros off behind its end, which
//!   no backup counts; dropping a segment takes its name in the log; a repair puts another file in its place. But linked
//!   bytes are the same bytes of the same device: against a device that fails, copy, or link to where a copy is made from.
//! - What an earlier backup of the same log has already brought is read, and brought again only when it has rotted and the
//!   log has it sound; what is damaged in both is kept and told. So is a segment that the log has lost. What a segment
//!   being written had when it was brought stays in front of what the log has behind it, should the log's rot. What a later one finds there from one that was cut
//!   short is compared and kept.
//! - Nothing derived is in it: no index, no heads, no snapshots.
//! - A restored log has the id of the one that was backed up. They are one log in two states: only one of them may go on.
//!
//! Restoring marks the new directory first, checks each file as it is copied, writes both manifests last, and then takes
//! the mark away.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use annals_segments::format::backup::{Backup, BackupFile, BackupState};
use annals_segments::format::manifest::{Manifest, SealedSegment};
use annals_segments::format::segment_header::{SEGMENT_HEADER_LEN, SegmentHeader};
use annals_segments::format::{
    BACKUP_FILE, FormatError, LOCK_FILE, MANIFEST_FILES, SEGMENT_LEN_MAX, file_checksum,
    segment_file_name, versions_file_name,
};
use annals_segments::planted::{Bug, is_planted};
use annals_segments::{DiskLock, OpenMode, link_finished, write_filled, write_finished};

use crate::directory::{Directory, corrupt};
use crate::error::Error;
use crate::log::{Inner, Log};
use crate::options::LogOptions;
use crate::recovery::{damage_of, take_lock};
use crate::repair::{damaged_extents, lost_positions};
use crate::report::{Damage, RecoveryReport};
use crate::segment::{
    NOT_KNOWN, Segment, UNKNOWN_SALT, for_each_whole_frame, is_accepted, is_same_salt,
};
use crate::view::View;

/// How sealed segments come into a backup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BackupMode {
    /// By another name of the same file, where the file system can; else by a copy. Takes no room and no time. Keeps what
    /// the log drops or loses by mistake, and not what the device loses.
    #[default]
    Link,
    /// By a copy.
    Copy,
}

/// What a backup holds, and what was done for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackupReport {
    /// Last position in it; 0 without events.
    pub last_position: u64,
    /// First position in it.
    pub first_position: u64,
    /// Files in it.
    pub files: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// Files that were there already.
    pub kept_files: u64,
    /// Files that were linked.
    pub linked_files: u64,
    /// Files that were copied.
    pub copied_files: u64,
    /// Bytes that were copied.
    pub copied_bytes: u64,
    /// Damage met in what was linked, copied or kept now, quarantined or not, and what the log was opened with; it is in the
    /// backup as it is in the log, but for what an earlier backup has brought sound.
    pub damages: Vec<Damage>,
}

/// What was restored.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RestoreReport {
    /// Last position of the log; 0 without events.
    pub last_position: u64,
    /// Files that were checked and copied.
    pub files: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// When the backup was made, microseconds since the Unix epoch.
    pub created_us: u64,
    /// How the log was found when it was opened for writing afterwards, and closed again.
    pub recovery: RecoveryReport,
}

/// Makes a backup, or brings an earlier one up to date.
pub(crate) fn backup(
    inner: &Inner,
    to: &Path,
    mode: BackupMode,
    mut progress: impl FnMut(u64, u64),
) -> Result<BackupReport, Error> {
    if inner.is_closed() {
        return Err(Error::Closed);
    }
    let target = Directory::new(inner.options.disk.clone(), to.to_owned());
    check_apart(&target, &inner.directory)?;
    let (previous, _lock) = enter(&target, inner)?;
    let mut attempts = 0;
    loop {
        // A truncation may drop what is about to be copied: then from what it has left.
        attempts += 1;
        let mut bringing = Bringing {
            inner,
            target: &target,
            previous: &previous,
            mode,
            report: BackupReport::default(),
            files: Vec::new(),
            replacing: Vec::new(),
            progress: &mut progress,
            done: 0,
            all: 0,
        };
        match bringing.bring() {
            Err(error) if attempts < ATTEMPTS && is_gone(&error) => {}
            brought => return brought.map(|()| bringing.report),
        }
    }
}

/// Whether something was not there that may have been dropped meanwhile.
fn is_gone(error: &Error) -> bool {
    let is_not_found = |source: &io::Error| source.kind() == io::ErrorKind::NotFound;
    error.is_expired() || matches!(error, Error::Io { source, .. } if is_not_found(source))
}

/// What an earlier backup brought.
#[derive(Default)]
struct Previous {
    /// By name, its length, checksum, and what the manifest said of the segment.
    files: BTreeMap<String, (BackupFile, Option<SealedSegment>)>,
    /// Its last position; 0 without events.
    last_position: u64,
}

/// Refuses a directory inside that of the log: who drops or moves the log would take its backup along, and nothing that
/// looks at a log expects one there.
fn check_apart(target: &Directory, log: &Directory) -> Result<(), Error> {
    let (inside, of) = (
        target.disk.resolve(&target.path),
        log.disk.resolve(&log.path),
    );
    match inside.starts_with(&of) {
        true => Err(Error::NotALog {
            path: target.path.clone(),
            found: format!("a place inside the log {}", log.path.display()),
            expected: "a directory outside of it, for a backup; give another path",
        }),
        false => Ok(()),
    }
}

/// Checks that the directory is new, empty, or holds an earlier backup of this log, and marks it.
fn enter(target: &Directory, inner: &Inner) -> Result<(Previous, Box<dyn DiskLock>), Error> {
    let refuse = |found: String| Error::NotALog {
        path: target.path.clone(),
        found,
        expected: "a new or empty directory, or an earlier backup of this log; give another path",
    };
    let disk = &*target.disk;
    let list = || disk.list(&target.path);
    let entries = match list() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            disk.create_dir(&target.path)
                .map_err(Error::io(&target.path, "create the directory"))?;
            Vec::new()
        }
        entries => entries.map_err(Error::io(&target.path, "list the directory"))?,
    };
    let other = entries.iter().find(|entry| entry.name != LOCK_FILE);
    let is_backup = entries.iter().any(|entry| entry.name == BACKUP_FILE);
    // A mark that was being made is all there is then.
    let is_marking = |name: &str| name.starts_with(BACKUP_FILE);
    if let Some(other) = other.filter(|other| !is_backup && !is_marking(&other.name)) {
        return Err(refuse(format!("no backup, but {}", other.name)));
    }
    let lock = take_lock(target)?;
    let Some(backup) = target.read_backup()? else {
        mark(target, inner.log.id, BackupState::Unfinished)?;
        return Ok((Previous::default(), lock));
    };
    if backup.log_id != inner.log.id {
        return Err(refuse("a backup of another log".into()));
    }
    match backup.state {
        BackupState::Unfinished => Ok((Previous::default(), lock)),
        BackupState::Restoring => Err(refuse("a log whose restoration was cut short".into())),
        BackupState::Whole { manifest, files } => {
            check_earlier(&manifest, inner).map_err(|found| refuse(found.into()))?;
            let entry = |file: &BackupFile| {
                let mut entries = manifest.segments.iter();
                let entry = entries.find(|entry| segment_file_name(entry.number) == file.name);
                entry.copied()
            };
            let files = files.into_iter();
            let files = files.map(|file| (file.name.clone(), (file.clone(), entry(&file))));
            let previous = Previous {
                files: files.collect(),
                last_position: manifest.durable_position,
            };
            Ok((previous, lock))
        }
    }
}

/// Whether a backup is one of an earlier state of the log: nothing in it is newer, or something else.
fn check_earlier(before: &Manifest, inner: &Inner) -> Result<(), &'static str> {
    const LATER: &str = "a backup of a later state of this log";
    let view = {
        // A group is told as durable, and so in a backup, a moment before it is shown: not while nobody commits.
        let _idle = inner.writer.lock();
        inner.view()
    };
    let next = before
        .segments
        .last()
        .map_or(1, SealedSegment::next_position);
    if next.saturating_sub(1) > view.durable_head() {
        return Err(LATER);
    }
    let is_other = |entry: &SealedSegment| {
        let segment = view.set.segment(entry.number);
        segment.is_some_and(|segment| {
            let is_same = is_same_salt(segment.salt(), entry.salt);
            !is_same || segment.base_position != entry.base_position
        })
    };
    match before.segments.iter().any(is_other) {
        true => Err("a backup of another state of this log, which was restored since"),
        false => Ok(()),
    }
}

fn mark(target: &Directory, log_id: [u8; 16], state: BackupState) -> Result<(), Error> {
    let backup = Backup {
        log_id,
        created_us: 0,
        state,
    };
    write_finished(&*target.disk, &target.path, BACKUP_FILE, &backup.encode())
        .map_err(Error::io(target.file(BACKUP_FILE), "write the file"))
}

/// A backup under way.
struct Bringing<'a> {
    inner: &'a Inner,
    target: &'a Directory,
    previous: &'a Previous,
    mode: BackupMode,
    report: BackupReport,
    files: Vec<BackupFile>,
    /// Names of files that come in the place of those of the earlier backup with its list.
    replacing: Vec<String>,
    progress: &'a mut dyn FnMut(u64, u64),
    done: u64,
    all: u64,
}

impl<'a> Bringing<'a> {
    fn bring(&mut self) -> Result<(), Error> {
        let created_us = self.inner.options.clock.now_us();
        let (mut view, mut manifest) = self.moment()?;
        let (shown, kept) = (manifest.durable_position, self.previous.last_position);
        if shown < kept {
            // What is lost at its end may be in the backup only.
            return Err(Error::NotALog {
                path: self.target.path.clone(),
                found: format!(
                    "a backup of the events up to position {kept}, and the log has lost its end: it can be read up to \
                     position {shown}"
                ),
                expected: "a log with at least as many events, since the backup may be all that is left of the others \
                           and was not changed; restore it into a new directory, or repair the log and back it up to \
                           another path",
            });
        }
        let damages = self.inner.recovery.damages.iter();
        self.report.damages.extend(damages.cloned());
        self.all = manifest.segments.iter().map(|entry| entry.end).sum();
        let there = self.target.list()?;
        for place in 0..manifest.segments.len() {
            let entry = &manifest.segments[place];
            (self.progress)(self.done, self.all);
            let segment = view.set.segment(entry.number).cloned();
            let segment = segment.expect("the manifest was made of the view");
            let before = self.done;
            let quarantined = manifest.quarantined_in(entry.number);
            let there_len = there.segment_len(entry.number);
            let end = entry.end;
            // What lies in its place is no reason to give up what is left of it.
            let is_lost = segment.salt() == UNKNOWN_SALT && self.earlier(entry).is_some();
            if is_lost || is_missing(&segment, entry, quarantined) {
                if let Some(known) = self.lost_segment(&segment, entry, there_len)? {
                    // The log may have forgotten it.
                    if entry.salt == UNKNOWN_SALT {
                        manifest.segments[place].salt = known.salt;
                    }
                }
            } else {
                self.segment(&segment, entry, there_len)?;
            }
            self.done = before + end;
            view.let_go();
        }
        if manifest.first_retained_position > 1 {
            self.small(&versions_file_name(manifest.first_retained_position))?;
        }
        for damage in &manifest.quarantined {
            if let Some(name) = damage.file_name() {
                match self.small(&name) {
                    // Somebody needs it no more.
                    Err(error) if is_gone(&error) => {}
                    copied => copied?,
                }
            }
        }
        (self.progress)(self.done, self.all);
        // The names of the files, before the one that lists them.
        self.target.sync()?;
        let last = manifest.segments.last();
        let next = last.map_or(
            manifest.first_retained_position,
            SealedSegment::next_position,
        );
        self.report.first_position = manifest.first_retained_position;
        self.report.last_position = next - 1;
        self.report
            .damages
            .sort_by(|a, b| (&a.path, a.offset).cmp(&(&b.path, b.offset)));
        self.report
            .damages
            .dedup_by(|b, a| (&a.path, a.offset) == (&b.path, b.offset));
        self.report.files = self.files.len() as u64;
        self.report.bytes = self.files.iter().map(|file| file.len).sum();
        let files = std::mem::take(&mut self.files);
        let listed: Vec<String> = files.iter().map(|file| file.name.clone()).collect();
        let backup = Backup {
            log_id: self.inner.log.id,
            created_us,
            state: BackupState::Whole { manifest, files },
        };
        let target = self.target;
        for name in &self.replacing {
            let written = target.file(&format!("{name}{REPLACING_SUFFIX}"));
            let replaced = target.disk.rename(&written, &target.file(name));
            replaced.map_err(Error::io(written, "rename the file"))?;
        }
        if !self.replacing.is_empty() {
            self.target.sync()?;
        }
        write_finished(&*target.disk, &target.path, BACKUP_FILE, &backup.encode())
            .map_err(Error::io(target.file(BACKUP_FILE), "write the file"))?;
        self.remove_others(&listed);
        Ok(())
    }

    /// The log as it is now, and a manifest of what of it is durable: every segment sealed.
    fn moment(&self) -> Result<(View, Manifest), Error> {
        let inner = self.inner;
        // Before the view, which then shows at least what it vouches for.
        let watermark = inner.directory.read_watermark()?;
        let watermark = watermark.filter(|watermark| watermark.log_id == inner.log.id);
        let view = inner.view();
        let mut manifest = inner.manifest.lock().clone();
        manifest.segments = Vec::new();
        for segment in &view.set.segments {
            if let Some(entry) = segment.sealed_entry() {
                let salt = segment.salt();
                manifest.segments.push(SealedSegment { salt, ..*entry });
                continue;
            }
            let bytes = segment.bytes()?;
            let end = match watermark {
                // Who reads only shows nothing else.
                _ if inner.read_only || is_planted(Bug::BackUpUnsynced) => bytes.len(),
                Some(watermark) if watermark.segment == segment.number => {
                    bytes.len().min(watermark.end as usize)
                }
                _ => SEGMENT_HEADER_LEN,
            };
            if end > SEGMENT_HEADER_LEN {
                let before = manifest.segments.last().map(SealedSegment::next_position);
                let base_position = before.unwrap_or(segment.base_position);
                let entry = entry_up_to(segment, &bytes[..end], base_position);
                manifest.segments.push(entry);
            }
        }
        let last = manifest.segments.last();
        let next = last.map_or(view.first_position(), SealedSegment::next_position);
        let numbers: Vec<u64> = manifest.segments.iter().map(|entry| entry.number).collect();
        manifest.generation = 1;
        manifest.heads = 0;
        manifest.first_retained_position = view.first_position();
        manifest.durable_position = next - 1;
        manifest
            .quarantined
            .retain(|damage| numbers.binary_search(&damage.segment).is_ok());
        for position in manifest.followers.values_mut() {
            *position = (*position).min(next - 1);
        }
        Ok((view, manifest))
    }

    /// Brings a segment, unless it is there; `there_len`: the bytes of a file of its name.
    fn segment(
        &mut self,
        segment: &Segment,
        entry: &SealedSegment,
        there_len: u64,
    ) -> Result<(), Error> {
        let name = segment_file_name(entry.number);
        if let Some((file, Some(known))) = self.previous.files.get(&name)
            && known == entry
            && there_len >= file.len
            && self.is_best(file, segment, entry)?
        {
            self.files.push(file.clone());
            self.report.kept_files += 1;
            return Ok(());
        }
        let earlier = self.earlier(entry).filter(|_| there_len > 0);
        let bytes = match segment.bytes() {
            Err(error) if error.is_corrupt() && earlier.is_some() => &[],
            bytes => bytes?,
        };
        let bytes = &bytes[..bytes.len().min(entry.end as usize)];
        let damaged_from = self.look_for_damage(segment, entry, bytes);
        let mended = match (earlier, damaged_from) {
            (Some((file, _)), Some(from)) => self.mended(file, segment, bytes, from)?,
            _ => None,
        };
        let bytes = mended.as_deref().unwrap_or(bytes);
        let file = BackupFile {
            name,
            len: bytes.len() as u64,
            checksum: file_checksum(bytes),
        };
        if there_len >= file.len && self.is_there(&file)? {
            self.report.kept_files += 1;
            self.files.push(file);
            return Ok(());
        }
        let written = self.written_name(&file.name, bytes);
        let may_be_linked = self.mode == BackupMode::Link && mended.is_none();
        if may_be_linked && self.link(segment, &written) {
            self.report.linked_files += 1;
        } else {
            self.copy(&written, bytes)?;
        }
        self.files.push(file);
        Ok(())
    }

    /// A segment that is damaged in the log from `from` on, of which an earlier backup has something before its end: what
    /// that has, behind it what the log has, and every frame that is whole in either. `None` when it has nothing else.
    fn mended(
        &self,
        file: &BackupFile,
        segment: &Segment,
        bytes: &[u8],
        from: usize,
    ) -> Result<Option<Vec<u8>>, Error> {
        let mut mended = self.kept(file)?;
        if from >= mended.len() || bytes.starts_with(&mended) {
            return Ok(None);
        }
        // Nothing that was written in a segment is written again: so what verifies in either has always stood there.
        mended.extend_from_slice(bytes.get(mended.len()..).unwrap_or_default());
        let mut take = |offsets: Range<usize>| {
            mended[offsets.clone()].copy_from_slice(&bytes[offsets]);
        };
        if header_fault(bytes, segment.number, segment.salt()).is_none() {
            take(0..SEGMENT_HEADER_LEN);
        }
        for_each_whole_frame(
            bytes,
            SEGMENT_HEADER_LEN,
            segment.salt(),
            |offset, frame| {
                take(offset..offset + frame.as_bytes().len());
            },
        );
        Ok(Some(mended))
    }

    /// The name to write a file under: another one until the list is written, when what the list of the earlier backup
    /// says of it would not hold any more.
    fn written_name(&mut self, name: &str, bytes: &[u8]) -> String {
        let is_still = |file: &BackupFile| {
            let front = usize::try_from(file.len)
                .ok()
                .and_then(|len| bytes.get(..len));
            front.is_some_and(|front| file_checksum(front) == file.checksum)
        };
        let earlier = self.previous.files.get(name);
        if earlier.is_none_or(|(file, _)| is_still(file)) {
            return name.to_owned();
        }
        self.replacing.push(name.to_owned());
        format!("{name}{REPLACING_SUFFIX}")
    }

    /// Keeps what an earlier backup has brought of a segment that the log has lost and goes on without: it may be all that
    /// is left of it, to be put back. Answers what that backup said of it.
    fn lost_segment(
        &mut self,
        segment: &Segment,
        entry: &SealedSegment,
        there_len: u64,
    ) -> Result<Option<SealedSegment>, Error> {
        self.report.damages.push(match segment.file() {
            Err(error) => damage_of(&error),
            Ok(_) => no_event_of(&segment.path, 0, NOT_KNOWN.to_owned()),
        });
        let Some((file, known)) = self.earlier(entry).filter(|_| there_len > 0) else {
            return Ok(None);
        };
        let path = self.target.file(&file.name);
        let kept = self.kept(file)?;
        // As it is now: no list is to keep the rest from being restored.
        let listed = BackupFile {
            len: kept.len() as u64,
            checksum: file_checksum(&kept),
            ..file.clone()
        };
        if listed != *file {
            let what = not_as_listed(listed.checksum, file).to_string();
            self.report.damages.push(no_event_of(&path, 0, what));
        }
        let damages = damages_in(&path, known, known.salt, &kept);
        self.report.damages.extend(damages);
        self.files.push(listed);
        self.report.kept_files += 1;
        Ok(Some(*known))
    }

    /// What an earlier backup has brought of this very segment, and what it said of it.
    fn earlier(&self, entry: &SealedSegment) -> Option<(&'a BackupFile, &'a SealedSegment)> {
        let previous: &'a Previous = self.previous;
        let (file, known) = previous.files.get(&segment_file_name(entry.number))?;
        let known = known.as_ref().filter(|known| is_same(known, entry))?;
        Some((file, known))
    }

    /// What is in a file of an earlier backup.
    fn kept(&self, file: &BackupFile) -> Result<Vec<u8>, Error> {
        let path = self.target.file(&file.name);
        let kept = self.target.disk.open(&path, OpenMode::Read);
        let kept = kept.and_then(|kept| kept.read_up_to(file.len));
        kept.map_err(Error::io(path, "read the file"))
    }

    /// Whether what an earlier backup has brought of a segment is to be kept: it is as its list says and sound, or the log
    /// has nothing better, which is told.
    fn is_best(
        &mut self,
        file: &BackupFile,
        segment: &Segment,
        entry: &SealedSegment,
    ) -> Result<bool, Error> {
        let path = self.target.file(&file.name);
        let kept = self.kept(file)?;
        let damages = damages_in(&path, entry, segment.salt(), &kept);
        let found = file_checksum(&kept);
        if found == file.checksum && damages.is_empty() {
            return Ok(true);
        }
        let there = match segment.bytes() {
            Err(error) if error.is_corrupt() => &[],
            there => there?,
        };
        let there = &there[..there.len().min(entry.end as usize)];
        if damages_in(&segment.path, entry, segment.salt(), there).is_empty() {
            return Ok(false);
        }
        self.report.damages.extend(damages);
        if found != file.checksum {
            let what = not_as_listed(found, file).to_string();
            self.report.damages.push(no_event_of(&path, 0, what));
        }
        Ok(true)
    }

    /// Whether a file that an interrupted backup has brought is this one.
    fn is_there(&self, file: &BackupFile) -> Result<bool, Error> {
        let path = self.target.file(&file.name);
        let there = self.target.disk.open(&path, OpenMode::Read);
        let there = there.and_then(|there| there.read_up_to(file.len));
        let there = there.map_err(Error::io(path, "read the file"))?;
        Ok(there.len() as u64 == file.len && file_checksum(&there) == file.checksum)
    }

    /// Whether a sealed segment could be linked.
    fn link(&self, segment: &Segment, name: &str) -> bool {
        let target = self.target;
        segment.sealed_entry().is_some()
            && link_finished(&*target.disk, &segment.path, &target.path, name).is_ok()
    }

    fn copy(&mut self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let target = self.target;
        let (all, before) = (self.all, self.done);
        let progress = &mut *self.progress;
        let fill = |file: &dyn annals_segments::DiskFile| {
            let mut done = 0;
            for part in bytes.chunks(COPIED_LEN) {
                file.write_all_at(part, done)?;
                done += part.len() as u64;
                progress((before + done).min(all), all);
            }
            Ok(())
        };
        write_filled(&*target.disk, &target.path, name, fill)
            .map_err(Error::io(target.file(name), "write the copy"))?;
        self.report.copied_files += 1;
        self.report.copied_bytes += bytes.len() as u64;
        Ok(())
    }

    /// Copies a file that is no segment.
    fn small(&mut self, name: &str) -> Result<(), Error> {
        let path = self.inner.directory.file(name);
        let file = self.inner.directory.disk.open(&path, OpenMode::Read);
        let bytes = file.and_then(|file| file.read_all(SEGMENT_LEN_MAX));
        let bytes = bytes.map_err(Error::io(path, "read the file"))?;
        let file = BackupFile {
            name: name.to_owned(),
            len: bytes.len() as u64,
            checksum: file_checksum(&bytes),
        };
        let is_there = self
            .previous
            .files
            .get(name)
            .is_some_and(|(known, _)| *known == file);
        match is_there && self.is_there(&file)? {
            true => self.report.kept_files += 1,
            false => {
                let written = self.written_name(name, &bytes);
                self.copy(&written, &bytes)?;
            }
        }
        self.files.push(file);
        Ok(())
    }

    /// Tells the damage in the bytes of a segment of the log. Answers where it begins.
    fn look_for_damage(
        &mut self,
        segment: &Segment,
        entry: &SealedSegment,
        bytes: &[u8],
    ) -> Option<usize> {
        let mut from = None;
        for mut damage in damages_in(&segment.path, entry, segment.salt(), bytes) {
            from = from.or(usize::try_from(damage.offset).ok());
            let lost = lost_positions(segment, &(damage.first..damage.last + 1));
            (damage.first, damage.last) = (lost.start, lost.end.saturating_sub(1));
            self.report.damages.push(damage);
        }
        from
    }

    /// Removes what is in no backup any more. What cannot be removed is left to the next one.
    fn remove_others(&self, listed: &[String]) {
        let Ok(entries) = self.target.disk.list(&self.target.path) else {
            return;
        };
        for entry in entries {
            let is_needed = [BACKUP_FILE, LOCK_FILE].contains(&entry.name.as_str());
            if !is_needed && !entry.is_dir && !listed.contains(&entry.name) {
                let path = self.target.file(&entry.name);
                if let Err(error) = self.target.disk.remove(&path) {
                    tracing::warn!(path = %path.display(), %error, "left in the backup");
                }
            }
        }
    }
}

/// The damage in the bytes of a segment, as `path` has them.
fn damages_in(path: &Path, entry: &SealedSegment, salt: u64, bytes: &[u8]) -> Vec<Damage> {
    let positions = entry.base_position..entry.next_position();
    let extents = damaged_extents(bytes, SEGMENT_HEADER_LEN, salt, positions).into_iter();
    let fault = header_fault(bytes, entry.number, salt).filter(|_| !bytes.is_empty());
    let header = fault.map(|what| no_event_of(path, 0, what));
    let extents = extents.map(|extent| Damage {
        path: path.to_owned(),
        offset: extent.offsets.start as u64,
        first: extent.positions.start,
        last: extent.positions.end.saturating_sub(1),
        what: extent.fault.to_string(),
    });
    let mut damages: Vec<Damage> = header.into_iter().chain(extents).collect();
    let len = bytes.len() as u64;
    if damages.is_empty() && len < entry.end {
        // No event is missing, and yet the file is not what it was.
        let what = too_short(len, entry.end).to_string();
        damages.push(no_event_of(path, len, what));
    }
    damages
}

/// What is wrong with the header of a segment.
fn header_fault(bytes: &[u8], number: u64, salt: u64) -> Option<String> {
    match SegmentHeader::decode(bytes) {
        Ok(header) if header.number == number && header.salt == salt => None,
        Ok(_) => Some("the header of another segment".into()),
        Err(error) => Some(error.to_string()),
    }
}

/// Damage that takes no event.
fn no_event_of(path: &Path, offset: u64, what: String) -> Damage {
    Damage {
        path: path.to_owned(),
        offset,
        first: 1,
        last: 0,
        what,
    }
}

/// Whether both are states of one segment.
fn is_same(one: &SealedSegment, other: &SealedSegment) -> bool {
    let place = |entry: &SealedSegment| (entry.number, entry.base_position);
    place(one) == place(other) && is_same_salt(one.salt, other.salt)
}

/// Whether all of a segment is missing, and nobody expects it.
fn is_missing(
    segment: &Segment,
    entry: &SealedSegment,
    quarantined: &[annals_segments::format::quarantined::Quarantined],
) -> bool {
    let last = entry.next_position().saturating_sub(1);
    let is_all = entry.event_count == 0 || is_accepted(quarantined, entry.base_position, last);
    is_all && !quarantined.is_empty() && segment.file().is_err_and(|error| error.is_corrupt())
}

/// What the manifest of a backup says of the segment being written, of which these bytes are durable.
fn entry_up_to(segment: &Segment, bytes: &[u8], base_position: u64) -> SealedSegment {
    let mut entry = SealedSegment {
        number: segment.number,
        base_position,
        event_count: 0,
        end: bytes.len() as u64,
        salt: segment.salt(),
        first_time_us: 0,
        last_time_us: 0,
    };
    for_each_whole_frame(bytes, SEGMENT_HEADER_LEN, segment.salt(), |_, frame| {
        let header = frame.header;
        if header.event_count > 0 && header.next_position() > base_position {
            entry.event_count = header.next_position() - base_position;
            entry.last_time_us = header.time_us;
            if entry.first_time_us == 0 {
                entry.first_time_us = header.time_us;
            }
        }
    });
    entry
}

/// Makes a log of a backup.
pub(crate) fn restore(
    options: LogOptions,
    backup: &Path,
    dir: &Path,
    mut progress: impl FnMut(u64, u64),
) -> Result<RestoreReport, Error> {
    let place = |path: &Path| Directory::new(options.disk.clone(), path.to_owned());
    let (source, target) = (place(backup), place(dir));
    let found = source.read_backup()?;
    let Some(Backup {
        log_id,
        created_us,
        state: BackupState::Whole {
            mut manifest,
            files,
        },
    }) = found
    else {
        let found = match found {
            None => "no backup",
            Some(_) => "a backup that was cut short",
        };
        return Err(Error::NotALog {
            path: backup.to_owned(),
            found: found.into(),
            expected: "a whole one; check the path, or make the backup again",
        });
    };
    let lock = enter_to_restore(&target, log_id)?;
    let all: u64 = files.iter().map(|file| file.len).sum();
    let mut done = 0;
    for file in &files {
        progress(done, all);
        restore_file(&source, &target, file, &manifest, |part| {
            progress(done + part, all);
        })?;
        done += file.len;
    }
    progress(done, all);
    target.sync()?;
    for _ in MANIFEST_FILES {
        manifest.generation += 1;
        target
            .write_manifest(&manifest)
            .map_err(Error::io(dir, "write the manifest"))?;
    }
    let marked = target.file(BACKUP_FILE);
    target
        .disk
        .remove(&marked)
        .map_err(Error::io(marked, "remove the mark"))?;
    target.sync()?;
    drop(lock);
    let log = Log::open_with(dir, options)?;
    let recovery = log.recovery().clone();
    let last_position = log.head();
    log.close()?;
    Ok(RestoreReport {
        last_position,
        files: files.len() as u64,
        bytes: all,
        created_us,
        recovery,
    })
}

/// Checks that the directory is new, empty, or one into which this log was being restored, and marks it.
fn enter_to_restore(target: &Directory, log_id: [u8; 16]) -> Result<Box<dyn DiskLock>, Error> {
    let disk = &*target.disk;
    disk.create_dir(&target.path)
        .map_err(Error::io(&target.path, "create the directory"))?;
    let entries = disk
        .list(&target.path)
        .map_err(Error::io(&target.path, "list the directory"))?;
    let marked = target.read_backup()?;
    let is_ours =
        marked.is_some_and(|mark| mark.log_id == log_id && mark.state == BackupState::Restoring);
    let other = entries
        .iter()
        .find(|entry| entry.name != LOCK_FILE && !entry.name.starts_with(BACKUP_FILE));
    let is_backup = entries.iter().any(|entry| entry.name == BACKUP_FILE);
    let found = match other {
        _ if is_ours => None,
        Some(other) => Some(other.name.clone()),
        None => is_backup.then(|| BACKUP_FILE.to_owned()),
    };
    if let Some(found) = found {
        return Err(Error::NotALog {
            path: target.path.clone(),
            found: format!("no empty directory, but {found}"),
            expected: "an empty or new one; give another path",
        });
    }
    let lock = take_lock(target)?;
    mark(target, log_id, BackupState::Restoring)?;
    Ok(lock)
}

/// Copies one file, and checks it before it gets its name.
fn restore_file(
    source: &Directory,
    target: &Directory,
    file: &BackupFile,
    manifest: &Manifest,
    mut progress: impl FnMut(u64),
) -> Result<(), Error> {
    let path = source.file(&file.name);
    let damaged = |fault| {
        let mut entries = manifest.segments.iter();
        let entry = entries.find(|entry| segment_file_name(entry.number) == file.name);
        let (first, last) = entry.map_or((1, 0), |entry| {
            (entry.base_position, entry.next_position().saturating_sub(1))
        });
        corrupt(&path, 0, first, last, fault)
    };
    let from = match source.disk.open(&path, OpenMode::Read) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(damaged(too_short(0, file.len)));
        }
        from => from.map_err(Error::io(&path, "open the file"))?,
    };
    let len = from.len().map_err(Error::io(&path, "read the file"))?;
    if len < file.len {
        return Err(damaged(too_short(len, file.len)));
    }
    let mut checksum = file_checksum(&[]);
    let fill = |to: &dyn annals_segments::DiskFile| {
        let mut whole = annals_segments::format::Checksum::default();
        let mut buffer = vec![0; COPIED_LEN.min(file.len as usize)];
        let mut offset = 0;
        while offset < file.len {
            let part_len = (file.len - offset).min(COPIED_LEN as u64) as usize;
            let part = &mut buffer[..part_len];
            from.read_exact_at(part, offset)?;
            whole.update(part);
            to.write_all_at(part, offset)?;
            offset += part_len as u64;
            progress(offset);
        }
        checksum = whole.finish();
        match checksum == file.checksum {
            true => Ok(()),
            false => Err(io::ErrorKind::InvalidData.into()),
        }
    };
    let written = write_filled(&*target.disk, &target.path, &file.name, fill);
    if checksum != file.checksum && written.as_ref().is_err_and(is_invalid) {
        return Err(damaged(not_as_listed(checksum, file)));
    }
    written.map_err(Error::io(target.file(&file.name), "write the copy"))
}

fn is_invalid(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::InvalidData
}

/// What is wrong with the files of a backup: each that is not as its list says, and what. Nothing in a directory that is
/// none.
pub(crate) fn damaged_files(directory: &Directory) -> Result<Vec<(PathBuf, String)>, Error> {
    let Some(Backup {
        state: BackupState::Whole { files, .. },
        ..
    }) = directory.read_backup()?
    else {
        return Ok(Vec::new());
    };
    let mut damaged = Vec::new();
    for file in files {
        let path = directory.file(&file.name);
        let bytes = match directory.disk.open(&path, OpenMode::Read) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            opened => opened.and_then(|opened| opened.read_up_to(file.len)),
        };
        let bytes = bytes.map_err(Error::io(&path, "read the file"))?;
        if bytes.len() as u64 != file.len {
            damaged.push((path, too_short(bytes.len() as u64, file.len).to_string()));
        } else if file_checksum(&bytes) != file.checksum {
            let fault = not_as_listed(file_checksum(&bytes), &file);
            damaged.push((path, fault.to_string()));
        }
    }
    Ok(damaged)
}

fn not_as_listed(found: u32, file: &BackupFile) -> FormatError {
    FormatError::Checksum {
        structure: "file of a backup",
        found,
        expected: file.checksum,
    }
}

fn too_short(found: u64, expected: u64) -> FormatError {
    FormatError::TooShort {
        structure: "file of a backup",
        found: found as usize,
        expected: expected as usize,
    }
}

/// Of a file that takes the place of another with the list.
const REPLACING_SUFFIX: &str = ".new";
/// Bytes that are copied at a time.
const COPIED_LEN: usize = 1 << 20;
/// How often a backup begins again because a truncation was faster.
const ATTEMPTS: u32 = 5;
