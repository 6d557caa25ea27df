//! Counting what a log holds.

use std::collections::HashSet;

use annals_index::{KeyHash, KeyKind};
use annals_segments::format::FORMAT_VERSION;

use crate::error::Error;
use crate::log::Inner;
use crate::report::Stats;

/// What can be told without looking at a key: the directory is listed, no file is opened.
pub(crate) fn stats(inner: &Inner) -> Result<Stats, Error> {
    let view = inner.view();
    let listing = inner.directory.list()?;
    let mut stats = Stats {
        format_version: FORMAT_VERSION,
        first_position: view.first_position(),
        last_position: view.durable_head(),
        writes: inner.meter.stats(),
        ..Stats::default()
    };
    for segment in &view.set.segments {
        stats.segments += 1;
        match segment.sealed_entry() {
            Some(entry) => {
                stats.sealed_segments += 1;
                stats.log_bytes += entry.end;
            }
            None => stats.log_bytes += segment.file()?.published() as u64,
        }
        let (in_memory, mapped) = segment.index_bytes();
        stats.memory.tail_index_bytes += in_memory as u64;
        stats.memory.sealed_index_bytes += mapped as u64;
    }
    stats.events = (stats.last_position + 1).saturating_sub(stats.first_position);
    stats.index_bytes = listing
        .indexes
        .iter()
        .chain(&listing.heads)
        .map(|(_, len)| len)
        .sum();
    stats.bytes = stats.log_bytes + stats.index_bytes;
    let (entries, bytes) = inner.meter.version_cache_len();
    stats.memory.version_cache_entries = entries;
    stats.memory.version_cache_bytes = bytes;
    // Not through the check that the first lookup makes of it.
    let heads = view.set.heads.as_ref();
    stats.memory.heads_bytes = heads.map_or(0, |heads| heads.file_len()) as u64;
    let held = inner.directory.disk.held_bytes();
    stats.memory.held_bytes = held.map_or(0, |held| held.len);
    Ok(stats)
}

/// Aggregates that have events, by the keys in the indexes.
pub(crate) fn count_aggregates(inner: &Inner) -> Result<u64, Error> {
    let view = inner.view();
    let mut aggregates: HashSet<KeyHash> = HashSet::new();
    let is_aggregate =
        |key: &KeyHash| matches!(key.kind(), KeyKind::AggregateUuid | KeyKind::AggregateText);
    let covers = view.set.heads().map_or(0, |heads| heads.covers());
    if let Some(heads) = view.set.heads() {
        // The heads may still know keys of segments that were dropped.
        let first = view.set.segments.first().map_or(0, |first| first.number);
        let retained = heads.iter().filter(|(_, head)| head.last_segment >= first);
        aggregates.extend(retained.map(|(key, _)| key).filter(is_aggregate));
    }
    for segment in &view.set.segments {
        if segment.number > covers {
            segment.for_each_key(|key| {
                if is_aggregate(&key) {
                    aggregates.insert(key);
                }
            })?;
        }
    }
    Ok(aggregates.len() as u64)
}
