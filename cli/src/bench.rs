//! The workloads of `annals bench`: how fast the log is on a disk, beside what that disk does at most.
//!
//! [`Plan::run`] runs the chosen [`WORKLOADS`] and hands over a [`Line`] for each. For benchmarks of other engines,
//! the events ([`Generator`]), the raw limits ([`RawFile`]) and the way of measuring ([`Pace`], [`Slice`],
//! [`CpuMeter`]) are here too, so that everybody is measured alike.
//!
//! Every answer is checked against what was written; a wrong one ends the run with an error.

mod appends;
mod conditions;
mod error;
mod footprint;
mod generator;
mod heap;
mod line;
mod loaded;
mod machine;
mod measure;
mod mixed;
mod opens;
mod raw;
mod reads;
mod scaling;
mod selection;
mod session;

use std::path::PathBuf;

pub use appends::Target;
pub use error::BenchError;
pub use generator::{
    EVENTS_PER_AGGREGATE, Generator, PAYLOAD_LEN, RARE, RARE_TAG, RARE_TOPIC, Sample, mix,
};
pub use heap::{CountingAllocator, peak_heap};
pub use line::Line;
pub use loaded::{EVENTS_PER_COMMIT, batch, load, load_new, open};
pub use machine::{CpuMeter, cores, is_in_memory};
pub use measure::{Laps, Measured, Pace, Slice};
pub use opens::append_until_killed;
pub use raw::{RAW_LEN, RawFile};
pub use reads::Readers;
pub use selection::{Selection, WORKLOADS};

use self::session::Session;

/// What to run and where.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Events of a loaded log, at least [`EVENTS_MIN`]; other figures are scaled with it.
    pub events: u64,
    /// A directory of the disk that is meant. A directory is made in it, and removed at the end.
    pub dir: PathBuf,
    /// Which workloads.
    pub only: Selection,
    /// The `annals` program, which is started to be killed: that of this process, or another one.
    pub program: PathBuf,
}

impl Plan {
    /// Runs the workloads and hands each result to `emit` as soon as it is there.
    ///
    /// # Errors
    /// [`BenchError`], also that of `emit`.
    pub fn run(
        &self,
        emit: &mut dyn FnMut(Line) -> Result<(), BenchError>,
    ) -> Result<(), BenchError> {
        let mut session = Session::new(self, emit)?;
        appends::run(&mut session)?;
        reads::run(&mut session)?;
        opens::run(&mut session)?;
        footprint::run(&mut session)?;
        mixed::run(&mut session)?;
        conditions::run(&mut session)?;
        scaling::run(&mut session)
    }

    /// Bytes that the workloads need on the disk at one time, roughly and at most.
    pub fn bytes_needed(&self) -> u64 {
        let needed = self.only.names().map(|name| self.bytes_needed_by(name));
        needed
            .max()
            .unwrap_or(0)
            .saturating_add(self.loaded_bytes())
    }

    /// Of the log that several workloads read, which stays until the end.
    fn loaded_bytes(&self) -> u64 {
        self.events
            .saturating_mul(EVENT_BYTES)
            .saturating_add(LOG_BYTES)
    }

    fn bytes_needed_by(&self, workload: &str) -> u64 {
        // Appends last a number of slices, not of events; the buffered ones fill a raw file's length in each.
        let slices = Pace::of(self.events).rounds as u64 * RAW_LEN;
        let events = match workload {
            "WC" => self.events.saturating_mul(2),
            "W10.new_version_check" => self.events / 4,
            large if large.starts_with("W10.") => self.events.saturating_mul(scaling::TIMES),
            _ => self.events,
        };
        events
            .saturating_mul(EVENT_BYTES)
            .saturating_add(2 * slices + 3 * LOG_BYTES)
    }

    /// Whether there are events enough, and the directory is there and has the room; [`Plan::run`] asks too.
    ///
    /// # Errors
    /// [`BenchError::TooFewEvents`], [`BenchError::Directory`], [`BenchError::NoRoom`].
    pub fn check(&self) -> Result<(), BenchError> {
        if self.events < EVENTS_MIN {
            return Err(BenchError::TooFewEvents {
                found: self.events,
                min: EVENTS_MIN,
            });
        }
        let needed = self.bytes_needed();
        let free = machine::free_bytes(&self.dir).map_err(|source| BenchError::Directory {
            dir: self.dir.clone(),
            doing: "tell how much is free",
            source,
        })?;
        match free >= needed {
            true => Ok(()),
            false => Err(BenchError::NoRoom {
                dir: self.dir.clone(),
                free,
                needed,
            }),
        }
    }
}

/// Seed of the generator's events in [`Plan::run`]: any would do, a fixed one makes runs alike.
pub const SEED: u64 = 20_261_123;

/// With fewer events there may be none that is rare.
pub const EVENTS_MIN: u64 = RARE;

/// Bytes that an event takes in a log of ours, its part of the indexes included, rounded up.
const EVENT_BYTES: u64 = 350;

/// Bytes that a log takes beside its events: zeros prepared ahead, two segments of them.
const LOG_BYTES: u64 = 128 << 20;
