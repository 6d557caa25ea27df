//! T2: the n-th call of each kind fails, once or from then on, with each error it may have; then the disk is well again,
//! the process ends in one way or another, and the next one opens what is there.
//!
//! Until then and after it all promises are kept. What is only interrupted or short must not even be noticed, and once a
//! call has answered that nobody knows, nothing is acknowledged any more.

use annals_engine::Error;

use super::driver::{Draft, Driver, Stop};
use super::workloads::Workload;
use super::{Tally, Trouble, guarded};
use crate::invariants::{Breach, Kept, breach, keep};
use crate::sim_disk::{
    EDQUOT, EIO, EMFILE, ENOSPC, EROFS, FailedSync, Failing, Fault, SimDisk, Spared, Step,
};
use crate::{SeededRandom, without_maps};

/// How many of the calls of each kind are tried, for each way to fail.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// At most so many, spread over the run.
    pub calls_max: u64,
}

impl Effort {
    /// For every day.
    pub const QUICK: Self = Self { calls_max: 2 };
    /// For a release.
    pub const FULL: Self = Self { calls_max: 24 };
}

/// Tries every fault on a workload. Adds to `tally` what was tried.
///
/// # Errors
/// The first promise that was broken, and how to see it again.
pub fn run(
    workload: Workload,
    seed: u64,
    effort: Effort,
    tally: &mut Tally,
) -> Result<(), Trouble> {
    let random = SeededRandom::new(seed ^ 0xfa01);
    for reads_by_map in [true, false] {
        let counts = counts(workload, seed, reads_by_map);
        for step in Step::ALL {
            // Reads are few where files are mapped, and the only way to their bytes where they are not.
            if !reads_by_map && step != Step::Read {
                continue;
            }
            let count = counts[step as usize];
            let every = count.div_ceil(effort.calls_max).max(1);
            for failing in failings(step, random.next_u64()) {
                let mut call = random.next_u64() % every;
                while call < count {
                    let lasts = match failing {
                        // Whoever goes on for ever after interruptions without end does what is asked of it.
                        Failing::Interrupted => 3,
                        _ if random.next_u64().is_multiple_of(2) => 1,
                        _ => u64::MAX,
                    };
                    let fault = Fault {
                        step: Some(step),
                        skip: call,
                        count: lasts,
                        failing,
                    };
                    let case = Case {
                        workload,
                        seed,
                        fault,
                        end: random.next_u64(),
                        reads_by_map,
                    };
                    let tried = guarded(|| case.run(tally));
                    tried.map_err(|breach| Trouble {
                        breach,
                        again: format!("io-faults {case:?}"),
                    })?;
                    call += every;
                }
            }
        }
    }
    Ok(())
}

/// How often each step is called when nothing fails.
fn counts(workload: Workload, seed: u64, reads_by_map: bool) -> Vec<u64> {
    let mut driver = Driver::new(seed);
    // That it succeeds is what another harness is for.
    with_maps(reads_by_map, || {
        let _ = (workload.run)(&mut driver, &SeededRandom::new(seed));
    });
    Step::ALL
        .iter()
        .map(|step| driver.disk.count_of(*step))
        .collect()
}

fn with_maps(reads_by_map: bool, run: impl FnOnce()) {
    match reads_by_map {
        true => run(),
        false => without_maps(run),
    }
}

/// The ways in which a step may fail.
fn failings(step: Step, which: u64) -> Vec<Failing> {
    let errnos = |numbers: &[i32]| {
        numbers
            .iter()
            .map(|number| Failing::Errno(*number))
            .collect::<Vec<_>>()
    };
    let mut failings = match step {
        Step::OpenToRead | Step::Len | Step::Map | Step::List | Step::Lock => {
            errnos(&[EIO, EMFILE])
        }
        Step::OpenToWrite | Step::Create | Step::CreateDir => errnos(&[EIO, EMFILE, ENOSPC, EROFS]),
        Step::Read => errnos(&[EIO]),
        Step::Write | Step::Sync | Step::Allocate | Step::SetLen => {
            errnos(&[EIO, ENOSPC, EDQUOT, EROFS])
        }
        Step::SyncDir | Step::Rename | Step::Remove | Step::Link => errnos(&[EIO, ENOSPC, EROFS]),
    };
    match step {
        Step::Read => failings.extend([
            Failing::Short,
            Failing::Interrupted,
            Failing::BitFlip(which),
            Failing::Stale(which),
            Failing::Misdirected,
        ]),
        Step::Write => failings.extend([
            Failing::Short,
            Failing::Interrupted,
            Failing::Half(EIO),
            Failing::Half(ENOSPC),
        ]),
        _ => {}
    }
    failings
}

#[derive(Clone, Copy, Debug)]
struct Case {
    workload: Workload,
    seed: u64,
    fault: Fault,
    /// Chooses how the process ends, and what failed syncs leave.
    end: u64,
    reads_by_map: bool,
}

impl Case {
    fn run(self, tally: &mut Tally) -> Kept {
        let mut done = Ok(());
        with_maps(self.reads_by_map, || done = self.run_so(tally));
        done
    }

    fn run_so(self, tally: &mut Tally) -> Kept {
        let failed_sync = match self.end & 8 {
            0 => FailedSync::KeepsCache,
            _ => FailedSync::RevertsCache,
        };
        let disk = SimDisk::default().on_failed_sync(failed_sync);
        disk.add_fault(self.fault);
        disk.limit_calls(CALLS_MAX);
        let mut driver = Driver::on(disk, self.seed);
        let run = (self.workload.run)(&mut driver, &SeededRandom::new(self.seed));
        let struck = driver.disk.struck();
        if struck == 0 {
            return Ok(());
        }
        tally.faults += struck.min(1);
        tally.states += 1;
        driver.disk.heal();
        match run {
            Ok(()) => {}
            // So it is with snapshots, whose log is opened, for writing, when it is first asked.
            Err(Stop::Breach(breach)) if breach.what.starts_with("snapshots: ") => {}
            // An open was judged while reads failed: what cannot be read cannot be compared.
            Err(Stop::Breach(breach))
                if self.hits_reads() && matches!(breach.invariant, "I5" | "I8") => {}
            Err(Stop::Breach(breach)) if self.is_told_or_unwitnessed(&breach) => {}
            Err(Stop::Breach(breach)) => return Err(breach),
            Err(Stop::Failed(error)) => self.check_error(&mut driver, &error)?,
        }
        if failed_sync == FailedSync::RevertsCache && self.fault.step == Some(Step::Sync) {
            // The system itself has taken back what was only written.
            driver.history.power_cut(driver.disk.change_count());
        }
        let random = SeededRandom::new(self.end);
        match self.end % 4 {
            0 => driver.cut_power(Spared::Nothing),
            1 => driver.cut_power(Spared::Some(&random)),
            _ => driver.kill(),
        }
        match driver.judge() {
            Ok(_) => Ok(()),
            // A disk that went on answering wrong had an open write by its answers: what that cost is told.
            Err(Stop::Failed(error)) if self.reads_wrong() && error.is_corrupt() => Ok(()),
            Err(Stop::Breach(breach)) if self.is_told_or_unwitnessed(&breach) => Ok(()),
            Err(Stop::Breach(breach)) => Err(breach),
            Err(Stop::Failed(error)) => Err(breach(
                "I8",
                format!("on the disk that is well again: {error}"),
            )),
        }
    }

    /// Whether this is what reads may do that answer wrong. Where no witness lies beside what they hide, it is taken for
    /// torn and kept aside; what was derived from it is told, and made anew. Never is anything else shown, or stored.
    fn is_told_or_unwitnessed(&self, breach: &Breach) -> bool {
        let is_shorter = breach.what.starts_with("head ")
            || breach.what.starts_with("tracking ")
            || breach.what.starts_with("follower ");
        self.reads_wrong() && (is_shorter || breach.invariant == "I5")
    }

    fn reads_wrong(&self) -> bool {
        matches!(
            self.fault.failing,
            Failing::BitFlip(_) | Failing::Stale(_) | Failing::Misdirected
        )
    }

    fn hits_reads(&self) -> bool {
        self.fault.step.is_some_and(|step| !step.is_change())
    }

    fn check_error(&self, driver: &mut Driver, error: &Error) -> Kept {
        let is_transparent = matches!(self.fault.failing, Failing::Short)
            || matches!(self.fault.failing, Failing::Interrupted);
        keep!("I8", !is_transparent, "noticed, and failed for: {error}");
        let is_read_wrong = self.reads_wrong();
        let is_damage = error.is_corrupt() || matches!(error, Error::UnsupportedFormat { .. });
        keep!(
            "I8",
            !is_damage || is_read_wrong,
            "takes a fault for damage: {error}"
        );
        if !driver.is_open() {
            return Ok(());
        }
        let again = driver.append(Draft::of("again", 3));
        match (error, again) {
            (_, Err(Stop::Breach(breach))) => Err(breach),
            (Error::Indeterminate { .. } | Error::Poisoned { .. }, Ok(())) => {
                Err(breach("I1", format!("acknowledged after: {error}")))
            }
            // Whatever else failed has harmed nothing, or is told again.
            _ => Ok(()),
        }
    }
}

/// Calls that a workload and all that follows may make.
const CALLS_MAX: u64 = 50_000;
