//! What is left after a crash, looked at from outside: opened by this process, read whole, checked by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use annals_engine::{Direction, Error, Log, Query, RecordedEvent};
use annals_tests::history::{History, Stored, Survives, violations};

use crate::content;

/// Opens the log, as the next process would, and checks everything that can be. Answers what is wrong.
pub(crate) fn check(dir: &Path, history: &History, survives: Survives) -> Vec<String> {
    let log = match Log::options().segment_len(256 << 10).open(dir) {
        Ok(log) => log,
        Err(error) => return vec![format!("cannot be opened: {error}")],
    };
    let found = check_open(&log, history, survives);
    match log.close() {
        Ok(()) => found,
        Err(error) => [found, vec![format!("cannot be closed: {error}")]].concat(),
    }
}

/// As [`check`], of a log that is open and to which nobody appends.
pub(crate) fn check_open(log: &Log, history: &History, survives: Survives) -> Vec<String> {
    let stored = match stored(log) {
        Ok(stored) => stored,
        Err(wrong) => return vec![wrong],
    };
    let mut found = violations(history, &stored, survives);
    found.extend(check_indexes(log, &stored));
    found.extend(check_tracking(log, &stored));
    if log.dir().join("snapshots").exists() {
        let aggregates: BTreeSet<u32> = stored.iter().map(|event| event.aggregate).collect();
        let checked = aggregates.into_iter();
        found.extend(checked.filter_map(|aggregate| check_snapshot(log, aggregate).err()));
    }
    found
}

/// Whether the tracking positions are those of the appends that are there, neither more nor less: each was stored in one
/// commit with its events.
fn check_tracking(log: &Log, stored: &[Stored]) -> Vec<String> {
    let mut expected: BTreeMap<String, u64> = (0..THREADS_MAX)
        .map(|thread| (content::tracking_name(thread), 0))
        .collect();
    for event in stored {
        let (name, position) = content::tracking(event.name.0);
        let last = expected.entry(name).or_default();
        *last = position.max(*last);
    }
    let tracked = |name: &String| log.tracking(name).unwrap_or(0);
    let wrong = expected
        .iter()
        .filter(|(name, expected)| tracked(name) != **expected);
    wrong
        .map(|(name, expected)| format!("{name} is at {}, not {expected}", tracked(name)))
        .collect()
}

/// Whether the newest snapshot of an aggregate, if there is one, is what was put, and no newer than its events.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn check_snapshot(log: &Log, aggregate: u32) -> Result<(), String> {
    let id = content::aggregate_id(aggregate);
    let snapshot = match log.snapshots().latest(&id, None) {
        Ok(Some(snapshot)) => snapshot,
        // Nor is it a matter of this log when the disk refuses to hold or to read its snapshots.
        Ok(None) | Err(Error::Io { .. } | Error::Full { .. } | Error::NotWritable { .. }) => {
            return Ok(());
        }
        Err(error) => return Err(format!("snapshot of {id}: {error}")),
    };
    // Asked behind it: it may have grown.
    let last = log
        .version(&id)
        .map_err(|error| format!("version of {id}: {error}"))?;
    let put = content::snapshot(aggregate, snapshot.version);
    match snapshot.payload == put.into_bytes() && Some(snapshot.version) <= last {
        true => Ok(()),
        false => Err(format!(
            "snapshot of {id}, which is at {last:?}: {snapshot:?}"
        )),
    }
}

/// More than any harness has.
const THREADS_MAX: u64 = 64;

/// Every event of the log.
pub(crate) fn stored(log: &Log) -> Result<Vec<Stored>, String> {
    let mut all = Vec::new();
    for event in log.read(.., &Query::all(), Direction::Forward) {
        let event = event.map_err(|error| format!("cannot be read: {error}"))?;
        all.push(content::stored(&event)?);
    }
    match all.len() as u64 == log.head() && log.head() == log.durable_head() {
        true => Ok(all),
        false => Err(format!(
            "{} events, head {}, durable {}",
            all.len(),
            log.head(),
            log.durable_head()
        )),
    }
}

/// Whether the indexes answer as reading everything does.
fn check_indexes(log: &Log, stored: &[Stored]) -> Vec<String> {
    let mut found = Vec::new();
    let mut of_aggregate: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
    for event in stored {
        let positions = of_aggregate.entry(event.aggregate).or_default();
        positions.push(event.position);
    }
    for (aggregate, positions) in of_aggregate {
        let id = content::aggregate_id(aggregate);
        let read = log.read_aggregate(&id, .., Direction::Forward);
        let read: Result<Vec<RecordedEvent>, _> = read.collect();
        match read {
            Ok(read) if read.iter().map(|event| event.position).eq(positions) => {}
            other => found.push(format!("{id} by its index: {other:?}")),
        }
    }
    match log.verify(|_, _| {}) {
        Ok(report) if report.damages.is_empty() => {}
        other => found.push(format!("verified: {other:?}")),
    }
    found
}
