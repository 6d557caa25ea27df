//! A clock that goes back: time is data, positions are the order, and stored times never run backwards.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use annals_engine::{Batch, Direction, Durability, Log, Query};
use annals_segments::{Clock, MemoryDisk};
use annals_tests::log_files::{DIR, exists};
use annals_tests::{event, small_log};

#[derive(Clone, Debug)]
struct SetClock(Arc<AtomicU64>);

impl Clock for SetClock {
    fn now_us(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

const START_US: u64 = 1_700_000_000_000_000;

fn times(log: &Log) -> Vec<u64> {
    let events = log.read(.., &Query::all(), Direction::Forward);
    events.map(|event| event.unwrap().time_us).collect()
}

#[test]
fn stored_times_never_run_backwards_whatever_the_clock_does() {
    let disk = MemoryDisk::default();
    let now = Arc::new(AtomicU64::new(START_US));
    let open = |disk: &MemoryDisk| {
        let options = small_log(disk.clone(), 1).clock(SetClock(now.clone()));
        options.open(DIR).unwrap()
    };
    let mut disk = disk;
    let mut expected = 0;
    // Forward, back by an hour, to the epoch, and on: across rolls, closes, kills with and without what is buffered.
    let steps = [
        60_000_000_i64,
        -3_600_000_000,
        1,
        -(START_US as i64),
        5,
        0,
        i64::MAX / 4,
    ];
    for (round, step) in steps.into_iter().cycle().take(28).enumerate() {
        let log = open(&disk);
        let before = times(&log);
        assert_eq!(before.len(), expected, "round {round}");
        let _ = now.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |now| {
            Some(now.saturating_add_signed(step).min(START_US * 2))
        });
        for number in 0..6 {
            let durability = match number % 2 {
                0 => Durability::Sync,
                _ => Durability::Buffered,
            };
            let batch = Batch::from(event("a", "Was", vec![7; 2000]));
            let _ = log.append(batch.durability(durability)).unwrap();
            expected += 1;
        }
        assert_eq!(log.sync().unwrap(), expected as u64);
        let after = times(&log);
        assert!(after.is_sorted(), "round {round}: {after:?}");
        assert_eq!(after[..before.len()], before, "round {round}");
        assert_eq!(log.verify(|_, _| {}).unwrap().damages, [], "round {round}");
        let last = SystemTime::UNIX_EPOCH + Duration::from_micros(after[after.len() - 1]);
        let found = log.view().position_at(last).unwrap().unwrap();
        assert_eq!(after[found as usize - 1], after[after.len() - 1]);
        match round % 3 {
            0 => log.close().unwrap(),
            // Killed.
            1 => disk = disk.fork(),
            _ => {}
        }
    }
    assert!(exists(&disk, "0000000004.seg"));
}
