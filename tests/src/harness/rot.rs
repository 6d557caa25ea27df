//! T11: every bit of sample stores flipped, bytes and sectors zeroed, sectors repeated and swapped, files cut and gone.
//!
//! Each case is told by somebody - the open, a read, or `verify` - or it harms nothing. What is shown is right, and the log
//! is never shorter in silence: everything in a sample was acknowledged, and a witness says so.

use std::path::Path;
use std::sync::OnceLock;

use annals_engine::{Direction, Error, Log, Query, QueryItem, RecoveryOutcome};

use super::driver::{DIR, Draft, Driver, Step};
use super::{Tally, Trouble, guarded};
use crate::counting_allocator::peak_of;
use crate::invariants::{Fact, History, Kept, breach, keep};
use crate::sim_disk::{Image, SimDisk, Spared};
use crate::small_log;

/// A store to be spoilt.
#[derive(Debug)]
pub struct Sample {
    /// What it is.
    pub name: &'static str,
    image: Image,
    history: History,
}

/// All of them, made once.
pub fn samples() -> &'static [Sample] {
    static SAMPLES: OnceLock<Vec<Sample>> = OnceLock::new();
    SAMPLES.get_or_init(|| {
        let sample = |name, run: fn(&mut Driver) -> Step| {
            let mut driver = Driver::new(1);
            assert!(run(&mut driver).is_ok(), "the sample {name} cannot be made");
            let image = driver.disk.snapshot().power_cut(Spared::Everything);
            let _ = driver.disk.end(None);
            Sample {
                name,
                image,
                history: driver.history.clone(),
            }
        };
        vec![
            sample("closed", closed),
            sample("killed", killed),
            sample("sealed", sealed),
            sample("truncated", truncated),
        ]
    })
}

fn closed(run: &mut Driver) -> Step {
    run.open()?;
    for number in 0..6 {
        run.append(Draft::of("a", 40 + number).event(Some("b"), "Tagged", Some("t"), 300))?;
        run.append(Draft::of("c", 10).tracking("up", number as u64 + 1))?;
    }
    run.close()
}

fn killed(run: &mut Driver) -> Step {
    run.open()?;
    for number in 0..6 {
        run.append(Draft::of("a", 40 + number).event(None, "Tagged", Some("t"), 300))?;
    }
    run.kill();
    Ok(())
}

fn sealed(run: &mut Driver) -> Step {
    run.open()?;
    for number in 0..11 {
        run.append(
            Draft::of("a", 12_000)
                .event(Some("b"), "Tagged", Some("t"), 30)
                .tracking("up", number + 1),
        )?;
    }
    run.close()
}

fn truncated(run: &mut Driver) -> Step {
    run.open()?;
    for _ in 0..11 {
        run.append(Draft::of("a", 12_000).event(Some("b"), "Tagged", Some("t"), 30))?;
    }
    run.truncate(9)?;
    run.append(Draft::of("c", 100))?;
    run.close()
}

/// What rot has done.
#[derive(Clone, Copy, Debug)]
pub enum Rot {
    /// A bit is another.
    Bit(u64),
    /// A byte is zero.
    ByteZeroed(u64),
    /// A sector of 512 bytes is zeros.
    SectorZeroed(u64),
    /// A sector holds what the one before holds.
    SectorRepeated(u64),
    /// A sector and the one before have changed places.
    SectorsSwapped(u64),
    /// The file ends here.
    Cut(u64),
    /// The file is gone.
    Gone,
}

const SECTOR_LEN: usize = 512;

impl Rot {
    /// Spoils a file; `false` when that changes nothing.
    fn spoil(self, image: &mut Image, path: &Path) -> bool {
        let Self::Gone = self else {
            let file = image.file_mut(path);
            let before = file.clone();
            let sector = |at: u64| {
                let mut bytes = file.bytes_at(at, SECTOR_LEN);
                bytes.resize(SECTOR_LEN.min((file.len() - at) as usize), 0);
                bytes
            };
            match self {
                Self::Bit(bit) => {
                    let byte = file.bytes_at(bit / 8, 1)[0];
                    file.write(&[byte ^ 1 << (bit % 8)], bit / 8);
                }
                Self::ByteZeroed(at) => file.write(&[0], at),
                Self::SectorZeroed(at) => {
                    let len = sector(at).len();
                    file.write(&vec![0; len], at);
                }
                Self::SectorRepeated(at) => {
                    let len = sector(at).len();
                    let other = sector(at - SECTOR_LEN as u64);
                    file.write(&other[..len], at);
                }
                Self::SectorsSwapped(at) => {
                    let (this, other) = (sector(at), sector(at - SECTOR_LEN as u64));
                    file.write(&other[..this.len()], at);
                    file.write(&this, at - SECTOR_LEN as u64);
                }
                Self::Cut(len) => file.set_len(len),
                Self::Gone => unreachable!("it has been dealt with"),
            }
            return *file != before;
        };
        image.files.remove(path).is_some()
    }
}

/// Spoils one file of a sample in each way, at every `stride`-th place from `start` on. Adds to `tally` what was tried.
///
/// # Errors
/// The first promise that was broken, and how to see it again.
pub fn run(
    sample: &Sample,
    file: usize,
    stride: u64,
    start: u64,
    tally: &mut Tally,
) -> Result<(), Trouble> {
    let Some((path, content)) = sample.image.files.iter().nth(file) else {
        return Ok(());
    };
    let len = content.len();
    let places =
        |end: u64, step: u64| (start % stride * step..end).step_by((stride * step) as usize);
    let sectors = || places(len, SECTOR_LEN as u64);
    let rots = places(len * 8, 1)
        .map(Rot::Bit)
        .chain(places(len, 1).map(Rot::ByteZeroed))
        .chain(places(len, 1).map(Rot::Cut))
        .chain(sectors().map(Rot::SectorZeroed))
        .chain(sectors().filter(|at| *at > 0).map(Rot::SectorRepeated))
        .chain(sectors().filter(|at| *at > 0).map(Rot::SectorsSwapped))
        .chain([Rot::Gone]);
    for rot in rots {
        let mut image = sample.image.clone();
        if !rot.spoil(&mut image, path) {
            continue;
        }
        tally.states += 1;
        tally.faults += 1;
        let judged = guarded(|| {
            let (judged, peak) = peak_of(|| sample.judge(&image, path));
            judged?;
            keep!("I10", peak <= PEAK_MAX, "{peak} bytes are held at once");
            Ok(())
        });
        judged.map_err(|breach| Trouble {
            breach,
            again: format!("rot {} {} {rot:?}", sample.name, path.display()),
        })?;
    }
    Ok(())
}

/// How many files the samples have, all together.
pub fn file_count() -> u64 {
    samples()
        .iter()
        .map(|sample| sample.image.files.len() as u64)
        .sum()
}

/// The sample and the place of the file of this number, of all.
pub fn file(number: u64) -> Option<(&'static Sample, usize)> {
    let mut rest = number as usize;
    for sample in samples() {
        match rest.checked_sub(sample.image.files.len()) {
            None => return Some((sample, rest)),
            Some(more) => rest = more,
        }
    }
    None
}

impl Sample {
    fn judge(&self, image: &Image, spoilt: &Path) -> Kept {
        let disk = SimDisk::of(image);
        disk.limit_calls(CALLS_MAX);
        match small_log(disk.clone(), 5).open(DIR) {
            Ok(log) => {
                let is_told = self.judge_log(&log, spoilt)?;
                if !is_told {
                    self.check_whole(&log, spoilt)?;
                }
            }
            // The lock says nothing and is not looked at.
            Err(Error::Corrupt { .. } | Error::UnsupportedFormat { .. }) => {}
            Err(error) => return Err(breach("I7", format!("refused for another reason: {error}"))),
        }
        let _ = disk.end(None);
        let disk = SimDisk::of(image);
        match small_log(disk.clone(), 5).open_read_only(DIR) {
            Ok(log) => {
                let _ = self.judge_log(&log, spoilt)?;
            }
            Err(
                Error::Corrupt { .. } | Error::UnsupportedFormat { .. } | Error::NotALog { .. },
            ) => {}
            Err(error) => {
                return Err(breach(
                    "I7",
                    format!("not readable for another reason: {error}"),
                ));
            }
        }
        Ok(())
    }

    /// What is shown is right; answers whether something was told.
    fn judge_log(&self, log: &Log, spoilt: &Path) -> Kept<bool> {
        let facts: Vec<&Fact> = self.history.facts(self.history.batches.len()).collect();
        let (first, head) = (log.first_position(), log.head());
        let report = log.recovery();
        // Before it is recovered a log shows what is proven, and says that there may be more.
        let mut is_told = !report.damages.is_empty()
            || matches!(
                report.outcome,
                RecoveryOutcome::NeedsRecovery | RecoveryOutcome::InUse
            );
        let shown = |event: &annals_engine::RecordedEvent| {
            let fact = facts.get(event.position as usize - 1);
            match fact.is_some_and(|fact| fact.is(event)) {
                true => Ok(()),
                false => Err(breach(
                    "I7",
                    format!("wrong data: {event:?}, expected {fact:?}"),
                )),
            }
        };
        let mut last = first - 1;
        for event in log.read(first.., &Query::all(), Direction::Forward) {
            match event {
                Ok(event) => {
                    shown(&event)?;
                    keep!(
                        "I7",
                        is_told || event.position == last + 1,
                        "{} follows {last} in silence",
                        event.position
                    );
                    last = event.position;
                }
                Err(error) => {
                    keep!("I7", is_damage(&error), "{error}");
                    is_told = true;
                }
            }
        }
        keep!(
            "I7",
            is_told || last == head,
            "a read ends at {last} of {head} in silence"
        );
        let whole = self.history.head();
        keep!(
            "I7",
            is_told || head == whole,
            "head {head} of {whole} in silence, {} spoilt",
            spoilt.display()
        );
        for (aggregate, version) in self.history.versions(self.history.batches.len()) {
            match log.version(aggregate) {
                Ok(found) => keep!(
                    "I7",
                    is_told || found == Some(version),
                    "{aggregate} at {found:?} of {version} in silence"
                ),
                Err(error) => {
                    keep!("I7", is_damage(&error), "{error}");
                    is_told = true;
                }
            }
            let (mut count, mut is_hole) = (0, false);
            for event in log.read_aggregate(aggregate, .., Direction::Forward) {
                match event {
                    Ok(event) => {
                        shown(&event)?;
                        count += 1;
                    }
                    Err(error) => {
                        keep!("I7", is_damage(&error) || error.is_expired(), "{error}");
                        is_hole = true;
                    }
                }
            }
            let expected = facts
                .iter()
                .filter(|fact| fact.aggregate.as_ref() == Some(aggregate))
                .count();
            keep!(
                "I7",
                is_told || is_hole || count == expected,
                "{count} of {expected} events of {aggregate} in silence"
            );
            is_told |= is_hole && first == 1;
        }
        let tagged = Query::default().or(QueryItem::new().tag("t"));
        let (mut count, mut is_hole) = (0, false);
        for event in log.read(first.., &tagged, Direction::Forward) {
            match event {
                Ok(event) => {
                    shown(&event)?;
                    count += 1;
                }
                Err(error) => {
                    keep!("I7", is_damage(&error), "{error}");
                    is_hole = true;
                }
            }
        }
        let retained = facts.iter().skip(first as usize - 1);
        let expected = retained
            .filter(|fact| fact.tags.iter().any(|tag| tag == b"t"))
            .count();
        keep!(
            "I7",
            is_told || is_hole || count == expected,
            "{count} of {expected} tagged events in silence"
        );
        Ok(is_told || is_hole)
    }

    /// Nothing was told: then nothing is missing, and what was rotten is mended or of no account.
    fn check_whole(&self, log: &Log, spoilt: &Path) -> Kept {
        let tracking = self.history.tracking(self.history.batches.len());
        for (name, position) in tracking {
            let found = log.tracking(name);
            keep!(
                "I7",
                found == Some(position),
                "tracking {name} at {found:?} of {position} in silence"
            );
        }
        let first = self
            .history
            .truncations
            .iter()
            .filter_map(|one| one.done)
            .map(|(_, first)| first)
            .max();
        let first = first.unwrap_or(1);
        keep!(
            "I7",
            log.first_position() == first,
            "starts at {}, expected {first}, {} spoilt",
            log.first_position(),
            spoilt.display()
        );
        Ok(())
    }
}

fn is_damage(error: &Error) -> bool {
    matches!(
        error,
        Error::Corrupt { .. } | Error::UnsupportedFormat { .. }
    )
}

/// Bytes that a log of a few segments of 64 KiB may make a process hold, the disk included.
const PEAK_MAX: usize = 16 << 20;
/// Calls that an open and all that follows may make.
const CALLS_MAX: u64 = 10_000;
