//! Power cuts of real file systems under load: ext4 and XFS in images, shut down without a last word while threads
//! append, read and follow and another process reads along; then mounted again, so that the journal is replayed.
//!
//! What was acknowledged as durable, and what any reader was shown as durable, has to be there afterwards.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::time::Duration;

use annals_tests::SeededRandom;
use annals_tests::history::{History, Survives};

use crate::child::Child;
use crate::mounts::{self, Kind, Mount};
use crate::report;
use crate::work::{self, Work};
use crate::{Counts, Tier, lanes, oracle};

pub(crate) fn run(tier: Tier, seed: u64) -> Counts {
    if let Some(why) = mounts::refusal() {
        return Counts::skipped(why);
    }
    let series = 2 * tier.of(1, 6);
    lanes(series, |number| {
        let kind = [Kind::Ext4, Kind::Xfs][number as usize % 2];
        one_series(kind, seed * 1_000_003 + number).unwrap_or_else(|error| Counts {
            found: vec![format!("{kind:?} cannot be set up: {error}")],
            ..Counts::default()
        })
    })
}

/// One file system whose power is cut again and again, with one log on it.
fn one_series(kind: Kind, seed: u64) -> Result<Counts, String> {
    let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
    let image = dir.path().join("image");
    let mount = Mount::image(&dir.path().join("mounted"), &image, kind, IMAGE_LEN)?;
    let log = mount.path.join("log");
    let random = SeededRandom::new(seed);
    let mut counts = Counts::default();
    let mut history = History::default();
    for incarnation in 0..CUTS_OF_A_SERIES {
        let work = Work {
            incarnation: 2 * incarnation,
            threads: 2,
            followers: 2,
            segment_len: (64 << 10) << (random.next_u64() % 4),
            pread: random.next_u64().is_multiple_of(2),
            ..Work::new(work::WRITE, &log, seed)
        };
        let writer = Child::start(&work);
        let reader = Child::start(&Work {
            role: work::READ,
            incarnation: 2 * incarnation + 1,
            ..work.clone()
        });
        std::thread::sleep(Duration::from_micros(20_000 + random.next_u64() % 150_000));
        mount.cut_power().map_err(|error| error.to_string())?;
        // Time enough to acknowledge what is not there.
        std::thread::sleep(Duration::from_millis(10));
        counts.faults += 1;
        for child in [writer, reader] {
            let ended = child.kill();
            // A page that can be read no more ends whoever has mapped it, as it is documented.
            if work.pread || ended.status.signal() != Some(SIGBUS) {
                counts.found.extend(ended.wrong());
            }
            report::add(&mut history, ended.told.history);
        }
        mount.remount()?;
        counts.states += 1;
        counts.found.extend(check(&log, &history));
        if !counts.found.is_empty() {
            counts
                .found
                .push(format!("{kind:?}, series {seed}, cut {incarnation}"));
            break;
        }
    }
    counts
        .notes
        .push(format!("{kind:?}: {} appends", history.appends.len()));
    Ok(counts)
}

fn check(log: &Path, history: &History) -> Vec<String> {
    oracle::check(log, history, Survives::Power)
}

const SIGBUS: i32 = 7;
const CUTS_OF_A_SERIES: u64 = 10;
/// XFS wants no smaller one.
const IMAGE_LEN: u64 = 320 << 20;
