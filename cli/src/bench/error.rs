//! Why a benchmark stopped.

use std::io;
use std::path::PathBuf;

use crate::figures::size;

/// What can go wrong while benchmarks run. None of them leaves a result behind that could be believed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BenchError {
    /// The log refused something.
    #[error("{0}")]
    Log(#[from] annals_engine::Error),

    /// A file of the raw limits could not be made or written.
    #[error("{path}: cannot {doing}; the raw limits need {len} there", path = path.display(), len = size(crate::bench::RAW_LEN))]
    Raw {
        /// The file.
        path: PathBuf,
        /// What failed.
        doing: &'static str,
        /// What the system says.
        source: io::Error,
    },

    /// No workload has this name.
    #[error("no workload {name:?}; there are {known}, and a part such as W2 or W10 stands for all of it", known = crate::bench::WORKLOADS.join(" "))]
    UnknownWorkload {
        /// What was asked for.
        name: String,
    },

    /// An answer is not what was written: what was measured is worth nothing.
    #[error(
        "{workload}: {what}: found {found}, expected {expected}; this is a bug, please report it"
    )]
    Wrong {
        /// The workload.
        workload: String,
        /// What was counted.
        what: &'static str,
        /// What was found.
        found: u64,
        /// What was written.
        expected: u64,
    },

    /// An event is not what was written: what was measured is worth nothing.
    #[error(
        "{workload}: position {position}: found another event than was written there, or in another order; \
         this is a bug, please report it"
    )]
    WrongEvent {
        /// The workload.
        workload: String,
        /// Where it was found.
        position: u64,
    },

    /// Too few events for what is rare among them to be there.
    #[error("{found} events, at least {min} are needed; give more --events")]
    TooFewEvents {
        /// What was asked for.
        found: u64,
        /// What is needed.
        min: u64,
    },

    /// There is not enough room, which is asked before anything is written.
    #[error(
        "{dir}: {free} are free and about {needed} are needed; give a --dir with more room, fewer --events, \
         or leave out what is large with --only",
        dir = dir.display(), free = size(*.free), needed = size(*.needed)
    )]
    NoRoom {
        /// Where.
        dir: PathBuf,
        /// Bytes that are free.
        free: u64,
        /// Bytes that are needed at most at one time.
        needed: u64,
    },

    /// A directory cannot be used.
    #[error("{dir}: cannot {doing}; give a --dir that exists and can be written to", dir = dir.display())]
    Directory {
        /// The directory.
        dir: PathBuf,
        /// What failed.
        doing: &'static str,
        /// What the system says.
        source: io::Error,
    },

    /// The process that is to be killed did not come so far.
    #[error("{program}: cannot {doing}, which opening after a kill needs", program = program.display())]
    Child {
        /// The program that was started.
        program: PathBuf,
        /// What failed.
        doing: &'static str,
        /// What the system says.
        source: io::Error,
    },

    /// A result could not be handed over.
    #[error("stdout: cannot write")]
    Output(#[source] io::Error),

    /// The heap was to be counted and nothing counts it.
    #[error(
        "W7heap: no allocator counts the heap; install annals_cli::bench::CountingAllocator in the program, or leave W7heap out with --only"
    )]
    NothingCounts,
}

impl BenchError {
    /// Compares what was found with what was written.
    pub(crate) fn check(
        workload: &str,
        what: &'static str,
        found: u64,
        expected: u64,
    ) -> Result<(), Self> {
        if found == expected {
            return Ok(());
        }
        Err(Self::Wrong {
            workload: workload.to_owned(),
            what,
            found,
            expected,
        })
    }
}
