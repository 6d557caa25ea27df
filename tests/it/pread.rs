//! Goal: a log that is read without maps answers as one with maps does, and what a map answers with a
//! signal is an error.
//!
//! Method: scenarios of the other modules once more, over a disk that maps nothing; then disks that refuse
//! to be read, and files that are cut short under an open log.

use std::io;
use std::path::Path;

use annals_engine::{Batch, Direction, Durability, Error, Log, Query, QueryItem, ReadIo};
use annals_segments::{Disk, MemoryDisk, OpenMode, RealDisk};
use annals_tests::log_files::{DIR, FIRST_SEGMENT};
use annals_tests::sim_disk::{SimDisk, Step};
use annals_tests::{event, id, small_log, without_maps};

macro_rules! once_more {
    ($($module:ident { $($scenario:ident)* })*) => {
        $(mod $module {
            $(#[test]
            fn $scenario() {
                super::without_maps(crate::$module::$scenario);
            })*
        })*
    };
}

once_more! {
    append {
        positions_start_at_one_and_have_no_gaps
        every_field_comes_back_as_given
        an_expectation_holds_or_nothing_is_written
        tracking_advances_with_the_events_or_not_at_all
        threads_that_append_share_the_syncs_and_nothing_is_lost
        a_subscription_catches_up_then_follows_without_gap_or_duplicate
    }
    reopen {
        indexes_answer_as_a_full_scan_over_many_segments
        a_time_leads_to_the_first_event_stored_then_or_later
        a_clean_close_loses_nothing_and_appending_goes_on
        buffered_events_survive_a_kill_and_are_written_anew
        deleting_every_derived_file_changes_no_answer
        a_flipped_bit_in_acknowledged_data_is_reported_never_shortened
        a_torn_tail_is_quarantined_and_everything_acknowledged_stays
    }
    damage {
        rot_in_an_acknowledged_batch_without_events_is_refused
        a_rotten_index_changes_no_answer
        rot_under_a_lost_index_is_told_and_decides_nothing
        whatever_files_are_lost_an_open_answers_and_does_not_panic
    }
    retry {
        a_batch_that_expects_versions_is_recognised
        a_batch_under_a_condition_that_it_broke_itself_is_recognised
        other_ids_are_recognised_within_the_window_and_version_7_at_any_age
    }
    conditions {
        each_clause_has_its_own_reach_and_the_error_names_the_one_that_failed
        of_many_threads_that_want_the_same_name_one_gets_it
    }
}

fn fill(log: &Log, events: usize) {
    for first in (0..events).step_by(10) {
        let batch = (first..first + 10).fold(Batch::new(), |batch, number| {
            let tag = if number % 500 == 7 { "rare" } else { "often" };
            let aggregate = format!("aggregate-{}", number % 10);
            batch.event(event(&aggregate, "Happened", vec![7; 300]).tag(tag))
        });
        log.append(batch.durability(Durability::Buffered)).unwrap();
    }
}

/// How many events there are, and how many errors stand in the place of one.
fn count(log: &Log) -> (usize, usize) {
    let view = log.view();
    let read = view.read(.., &Query::all(), Direction::Forward);
    let mut counted = (0, 0);
    for event in read {
        match event {
            Ok(_) => counted.0 += 1,
            Err(error) => {
                assert!(matches!(error, Error::Io { .. }), "{error}");
                counted.1 += 1;
            }
        }
    }
    counted
}

#[test]
fn a_file_that_is_cut_short_is_an_error_in_the_place_of_each_event_it_held() {
    let dir = tempfile::tempdir().unwrap();
    let open = || {
        Log::options()
            .segment_len(256 << 10)
            .background(false)
            .read_io(ReadIo::Pread)
    };
    let log = open().open(dir.path()).unwrap();
    fill(&log, 3000);
    log.close().unwrap();
    for is_read_only in [false, true] {
        let log = match is_read_only {
            true => open().open_read_only(dir.path()).unwrap(),
            false => open().open(dir.path()).unwrap(),
        };
        // Opens the file: what is not held yet of it is read later.
        log.view()
            .read(1..=1, &Query::all(), Direction::Forward)
            .next();
        let path = dir.path().join(FIRST_SEGMENT);
        let file = RealDisk.open(&path, OpenMode::ReadWrite).unwrap();
        let whole = file.read_all(u64::MAX).unwrap();
        file.set_len(100 << 10).unwrap();
        let (found, failed) = count(&log);
        assert!(
            found > 2000 && failed > 100,
            "{found} events, {failed} errors"
        );
        assert_eq!(found + failed, 3000);
        let tail = log.read_aggregate(&id("aggregate-1"), .., Direction::Backward);
        assert!(
            tail.take(5).all(|event| event.is_ok()),
            "what is there is read"
        );
        file.write_all_at(&whole[100 << 10..], 100 << 10).unwrap();
        assert_eq!(count(&log), (3000, 0), "and is back with the file");
    }
}

#[test]
fn a_disk_that_refuses_to_be_read_is_an_error_until_it_gives_in() {
    let disk = SimDisk::default();
    without_maps(|| {
        let log = small_log(disk.clone(), 1).open(DIR).unwrap();
        fill(&log, 2000);
        log.close().unwrap();
        let log = small_log(disk.clone(), 2).open(DIR).unwrap();
        disk.fail(Step::Read, io::ErrorKind::HostUnreachable);
        let (found, failed) = count(&log);
        assert_eq!(found + failed, 2000);
        assert!(failed > 1500, "{found} events, {failed} errors");
        let rare = Query::all().or(QueryItem::new().tag("rare"));
        let rare = || log.read(.., &rare, Direction::Forward);
        assert!(rare().any(|event| matches!(event, Err(Error::Io { .. }))));
        disk.heal();
        assert_eq!(count(&log), (2000, 0));
        assert_eq!(rare().filter(|event| event.is_ok()).count(), 4);
        assert_eq!(log.view().version(&id("aggregate-3")).unwrap(), Some(200));
        assert_eq!(log.verify(|_, _| {}).unwrap().damages, []);
    });
}

/// What is read into memory is let go of: else each of these files would stay open.
#[test]
fn a_long_read_of_owned_events_holds_little() {
    without_maps(|| {
        let log = small_log(MemoryDisk::default(), 1)
            .open(Path::new(DIR))
            .unwrap();
        fill(&log, 20_000);
        let stats = log.stats().unwrap();
        assert!(stats.sealed_segments > 80, "{stats:?}");
        let mut held_max = 0;
        for (place, event) in log.read(.., &Query::all(), Direction::Forward).enumerate() {
            event.unwrap();
            if place % 100 == 0 {
                held_max = log.stats().unwrap().memory.held_bytes.max(held_max);
            }
        }
        assert!(
            (1 << 20..8 << 20).contains(&held_max),
            "{held_max} bytes held"
        );
    });
}
