//! T3: long runs of anything a program may do, over a disk that fails, processes that end, files that rot if they can be
//! made anew, housekeeping that comes late, and a clock that jumps. What each seed does is told by the seed.

use annals_engine::Error;

use super::driver::{Draft, Driver, Stop};
use super::{Tally, Trouble, guarded, workloads};
use crate::SeededRandom;
use crate::invariants::{Kept, breach};
use crate::sim_disk::{
    EDQUOT, EIO, EMFILE, ENOSPC, EROFS, FailedSync, Failing, Fault, SimDisk, Spared, Step,
};

/// Runs `steps` steps of the seed. Adds to `tally` what was tried.
///
/// # Errors
/// The first promise that was broken, and how to see it again.
pub fn run(seed: u64, steps: u64, tally: &mut Tally) -> Result<(), Trouble> {
    let mut step = 0;
    guarded(|| Simulation::new(seed).run(steps, &mut step, tally)).map_err(|breach| Trouble {
        breach,
        again: format!("simulation seed {seed}, step {step} of {steps}"),
    })
}

struct Simulation {
    driver: Driver,
    random: SeededRandom,
    failed_sync: FailedSync,
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let random = SeededRandom::new(seed ^ 0x51ab);
        let failed_sync = match random.next_u64() % 4 {
            0 => FailedSync::RevertsCache,
            _ => FailedSync::KeepsCache,
        };
        let disk = SimDisk::default().on_failed_sync(failed_sync);
        let mut driver = Driver::on(disk, seed);
        driver.unsettle_clock();
        if random.next_u64().is_multiple_of(2) {
            driver.delay_housekeeping();
        }
        Self {
            driver,
            random,
            failed_sync,
        }
    }

    fn run(mut self, steps: u64, step: &mut u64, tally: &mut Tally) -> Kept {
        for number in 0..steps {
            *step = number;
            self.driver
                .disk
                .limit_calls(self.driver.disk.call_count() + CALLS_MAX);
            if self.below(24) == 0 {
                self.driver.disk.add_fault(self.fault());
            }
            let done = match self.driver.is_open() {
                true => workloads::any(&mut self.driver, &self.random),
                false => self.driver.open(),
            };
            tally.states += 1;
            let is_struck = self.driver.disk.struck() > tally.faults;
            match done {
                Ok(()) => {}
                Err(Stop::Failed(error)) => self.after(&error)?,
                // An open, or a read, was judged while reads failed.
                Err(Stop::Breach(breach))
                    if matches!(breach.invariant, "I5" | "I8") && self.has_faults() =>
                {
                    self.end();
                }
                Err(Stop::Breach(breach)) => return Err(breach),
            }
            if is_struck {
                tally.faults = self.driver.disk.struck();
            }
        }
        self.end();
        match self.driver.judge() {
            Ok(_) => Ok(()),
            Err(Stop::Breach(breach)) => Err(breach),
            Err(Stop::Failed(error)) => Err(breach("I8", format!("at the end: {error}"))),
        }
    }

    fn has_faults(&self) -> bool {
        self.driver.disk.has_faults()
    }

    /// A call has failed: nothing is acknowledged any more if that was said, and the next process goes on.
    fn after(&mut self, error: &Error) -> Kept {
        if !self.has_faults() {
            return Err(breach(
                "I8",
                format!("a call fails on a sound disk: {error}"),
            ));
        }
        self.driver.disk.heal();
        let is_over = matches!(error, Error::Indeterminate { .. } | Error::Poisoned { .. });
        if is_over && self.driver.is_open() {
            match self.driver.append(Draft::of("again", 3)) {
                Ok(()) => return Err(breach("I1", format!("acknowledged after: {error}"))),
                Err(Stop::Breach(breach)) => return Err(breach),
                Err(Stop::Failed(_)) => {}
            }
        }
        self.end();
        Ok(())
    }

    fn end(&mut self) {
        self.driver.disk.heal();
        if self.failed_sync == FailedSync::RevertsCache {
            // The system itself may have taken back what was only written.
            self.driver
                .history
                .power_cut(self.driver.disk.change_count());
        }
        match self.below(6) {
            0 => self.driver.cut_power(Spared::Nothing),
            1 | 2 => self.driver.cut_power(Spared::Some(&self.random)),
            3 => self.driver.spoil_derived(&self.random),
            _ => self.driver.kill(),
        }
    }

    fn fault(&self) -> Fault {
        let step = Step::ALL[self.below(Step::ALL.len() as u64) as usize];
        let errno = [EIO, ENOSPC, EDQUOT, EROFS, EMFILE][self.below(5) as usize];
        let failing = match (step, self.below(4)) {
            (Step::Read, 0) => Failing::Short,
            (Step::Write, 0) => Failing::Short,
            (Step::Write, 1) => Failing::Half(errno),
            _ => Failing::Errno(errno),
        };
        let count = if self.below(3) == 0 { u64::MAX } else { 1 };
        Fault {
            step: Some(step),
            skip: self.below(12),
            count,
            failing,
        }
    }

    fn below(&self, bound: u64) -> u64 {
        self.random.next_u64() % bound
    }
}

/// Calls that one step may make.
const CALLS_MAX: u64 = 50_000;
