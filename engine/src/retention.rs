//! Keeping less than everything: dropping the oldest segments, and the followers that hold this up.
//!
//! What is dropped is dropped by the manifest; the files follow. The order is: last versions of the
//! aggregates into a table, the table synced under its name, both manifests synced, then the files
//! removed. So a crash leaves either a log that was not truncated, or one that was, with files that the next
//! open removes and nobody reads.

use std::collections::BTreeMap;
use std::sync::Arc;

use annals_segments::format::manifest::{Manifest, SealedSegment};
use annals_segments::format::version_table::{VersionTableIdentity, encode_version_table};
use annals_segments::format::{
    FOLLOWER_COUNT_MAX, FOLLOWER_NAME_LEN_MAX, checkpoint_file_name, heads_file_name,
    index_file_name, segment_file_name, versions_file_name,
};
use annals_segments::write_finished;

use crate::aggregate_id::AggregateId;
use crate::directory::Listing;
use crate::dropped::Dropped;
use crate::error::{Error, Limit};
use crate::housekeeping::name_sealed;
use crate::log::Inner;
use crate::query::{Direction, Query};
use crate::segment::Segment;
use crate::segment_set::SegmentSet;

/// What [`Log::truncate_before`](crate::Log::truncate_before) dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Truncated {
    /// Segments that were dropped; 0 when there was nothing to drop.
    pub segments: u64,
    /// Bytes of the log in them.
    pub bytes: u64,
    /// First position that is retained.
    pub first_position: u64,
}

/// Whether followers that are behind hold up a truncation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Force {
    No,
    Yes,
}

/// Drops the sealed segments all of whose events lie below `position`.
pub(crate) fn truncate(inner: &Inner, position: u64, force: Force) -> Result<Truncated, Error> {
    if let Some(refusal) = inner.refusal() {
        return Err(refusal);
    }
    // No index is written and nothing is folded meanwhile.
    let _working = inner.housekeeper.work()?;
    name_sealed(inner)?;
    let set = inner.set();
    let named = inner.manifest.lock().clone();
    let check_followers = |manifest: &Manifest| match force {
        Force::No => check_followers(manifest, position),
        Force::Yes => Ok(()),
    };
    check_followers(&named)?;
    let is_below = |segment: &&SealedSegment| segment.next_position() <= position;
    let count = named.segments.iter().take_while(is_below).count();
    // Segments without events are dropped with events before or behind them, not alone: the first retained
    // position is the name of the table.
    let first_position = set.first_position();
    let last = named.segments[..count].last().copied();
    let Some(last) = last.filter(|last| last.next_position() > first_position) else {
        return Ok(Truncated {
            segments: 0,
            bytes: 0,
            first_position,
        });
    };
    let (dropped_segments, _) = set.segments.split_at(count);
    assert_eq!(
        dropped_segments.last().map(|segment| segment.number),
        Some(last.number),
        "the set starts with the segments that the manifest names"
    );
    // The tracking positions in them stand again at the start of the segment being written: now durably.
    inner.sync()?;
    let first_position = last.next_position();
    let versions = last_versions(inner, &set, dropped_segments, first_position)?;
    let dropped = write_table(inner, &versions, last.number, first_position)?;

    let truncated = |manifest: &mut Manifest| {
        manifest.first_retained_position = first_position;
        manifest
            .segments
            .retain(|segment| segment.number > last.number);
        manifest
            .quarantined
            .retain(|damage| damage.segment > last.number);
        // Everything that such a table says is gone.
        if manifest.heads <= last.number {
            manifest.heads = 0;
        }
    };
    let mut manifest = inner.manifest.lock();
    // Again: one may have been named, or gone back, meanwhile.
    check_followers(&manifest)?;
    inner.write_locked_manifest(&mut manifest, truncated)?;
    inner.update_set(|set| {
        set.segments.drain(..count);
        set.dropped = Some(Arc::new(dropped));
        if manifest.heads == 0 {
            set.heads = None;
        }
    });
    // The other copy too: it names what is removed now.
    inner.write_locked_manifest(&mut manifest, truncated)?;
    remove_leftovers(inner, &manifest, last.number);
    Ok(Truncated {
        segments: count as u64,
        bytes: dropped_segments
            .iter()
            .filter_map(|segment| segment.sealed_entry())
            .map(|entry| entry.end)
            .sum(),
        first_position,
    })
}

fn check_followers(manifest: &Manifest, position: u64) -> Result<(), Error> {
    let behind = manifest
        .followers
        .iter()
        .filter(|(_, seen)| seen.saturating_add(1) < position)
        .min_by_key(|(_, seen)| **seen);
    match behind {
        None => Ok(()),
        Some((name, seen)) => Err(Error::FollowerBehind {
            name: name.to_string(),
            position: *seen,
            asked: position,
        }),
    }
}

/// The last version of every aggregate that has events below `first_position`, those dropped earlier
/// included. Every event is verified on the way: damaged ones cannot be dropped, since nobody could tell
/// any more what versions there were.
fn last_versions(
    inner: &Inner,
    set: &SegmentSet,
    dropped: &[Arc<Segment>],
    first_position: u64,
) -> Result<BTreeMap<AggregateId, u64>, Error> {
    let mut versions: BTreeMap<AggregateId, u64> = match &set.dropped {
        Some(dropped) => dropped.versions().collect(),
        None => BTreeMap::new(),
    };
    for segment in dropped {
        // Views that are alive read on in them when the names are gone: whatever is opened at first use
        // is opened now.
        match segment.file() {
            Err(Error::Corrupt { first, last, .. }) if segment.is_accepted(first, last) => continue,
            file => drop(file?),
        }
        segment.with_index(|_| ())?;
    }
    let view = inner.view();
    for event in view.read(..first_position, &Query::all(), Direction::Forward) {
        let event = match event {
            // Nobody can tell any more, and somebody has decided to go on.
            Err(Error::Quarantined { .. }) => continue,
            event => event?,
        };
        if let Some((id, version)) = event.aggregate_id().zip(event.version()) {
            versions.insert(id, version);
        }
    }
    Ok(versions)
}

/// Writes the table of last versions, durably, and reads it again.
fn write_table(
    inner: &Inner,
    versions: &BTreeMap<AggregateId, u64>,
    last_segment: u64,
    first_position: u64,
) -> Result<Dropped, Error> {
    let identity = VersionTableIdentity {
        log_id: inner.log.id,
        last_segment,
        first_retained_position: first_position,
    };
    let entries = versions
        .iter()
        .map(|(id, version)| (id.kind(), id.as_bytes(), *version));
    let bytes = encode_version_table(identity, entries);
    let directory = &inner.directory;
    let name = versions_file_name(first_position);
    write_finished(&*directory.disk, &directory.path, &name, &bytes).map_err(Error::io(
        directory.file(&name),
        "write the table of last versions",
    ))?;
    let dropped = Dropped::open(directory, &inner.log, first_position)?;
    dropped.check()?;
    Ok(dropped)
}

/// Removes the files of what is dropped. What cannot be removed is left to the next open.
fn remove_leftovers(inner: &Inner, manifest: &Manifest, last_segment: u64) {
    let directory = &inner.directory;
    let removed = directory.list().and_then(|listing| {
        for name in leftovers(&listing, manifest, last_segment) {
            let path = directory.file(&name);
            let removed = directory.disk.remove(&path);
            removed.map_err(Error::io(path, "remove the dropped file"))?;
        }
        directory.sync()
    });
    if let Err(error) = removed {
        tracing::warn!(%error, "a dropped file is left; the next open removes it");
    }
}

/// The files that belong to no part of the log any more: everything of the segments up to `last_segment`,
/// which were dropped, and every table of last versions but the one that the manifest names.
pub(crate) fn leftovers(listing: &Listing, manifest: &Manifest, last_segment: u64) -> Vec<String> {
    let number = |file: &(u64, u64)| file.0;
    let is_dropped = |number: &u64| *number <= last_segment;
    let segments = listing.segments.iter().map(number).filter(is_dropped);
    let indexes = listing.indexes.iter().map(number).filter(is_dropped);
    let checkpoints = listing.checkpoints.iter().copied().filter(is_dropped);
    let heads = listing.heads.iter().map(number).filter(is_dropped);
    let named = manifest.first_retained_position;
    let versions = listing.versions.iter().map(number);
    segments
        .map(segment_file_name)
        .chain(indexes.map(index_file_name))
        .chain(checkpoints.map(checkpoint_file_name))
        .chain(heads.map(heads_file_name))
        .chain(
            versions
                .filter(|first| *first != named)
                .map(versions_file_name),
        )
        .collect()
}

/// Whether the position of a follower may go back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Going {
    Forward,
    Anywhere,
}

/// Notes the position of a follower.
pub(crate) fn set_follower(
    inner: &Inner,
    name: &str,
    position: u64,
    going: Going,
) -> Result<(), Error> {
    Limit::FollowerName.check(name.len(), 1, FOLLOWER_NAME_LEN_MAX)?;
    if let Some(refusal) = inner.refusal() {
        return Err(refusal);
    }
    let durable = inner.durable_head();
    if position > durable {
        return Err(Error::Limit {
            limit: Limit::FollowerPosition,
            found: usize::try_from(position).unwrap_or(usize::MAX),
            min: 0,
            max: usize::try_from(durable).unwrap_or(usize::MAX),
        });
    }
    let mut manifest = inner.manifest.lock();
    let copies = match manifest.followers.get(name).copied() {
        Some(found) if found == position => return Ok(()),
        Some(found) if found > position && going == Going::Forward => {
            return Err(Error::FollowerConflict {
                name: name.into(),
                given: position,
                found,
            });
        }
        Some(_) => 1,
        // In both copies: without the newer position more is retained, without the name less.
        None => {
            Limit::FollowerCount.check(manifest.followers.len() + 1, 0, FOLLOWER_COUNT_MAX)?;
            2
        }
    };
    for _ in 0..copies {
        inner.write_locked_manifest(&mut manifest, |manifest| {
            manifest.followers.insert(name.into(), position);
        })?;
    }
    Ok(())
}

/// Forgets a follower; answers whether there was one.
pub(crate) fn remove_follower(inner: &Inner, name: &str) -> Result<bool, Error> {
    if let Some(refusal) = inner.refusal() {
        return Err(refusal);
    }
    let mut manifest = inner.manifest.lock();
    if !manifest.followers.contains_key(name) {
        return Ok(false);
    }
    inner.write_locked_manifest(&mut manifest, |manifest| {
        manifest.followers.remove(name);
    })?;
    Ok(true)
}
