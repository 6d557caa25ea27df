//! The workloads: what each measures, who can take part, and what does it.

mod appends;
mod conditional;
mod mixed;
mod opens;
mod raw;
mod reads;

use annals_cli::bench::CpuMeter;

use crate::conformance::{self, CONFORMANCE};
use crate::engine::{Buffered, Durability, Engine, Failure, Form, Kind, Seen};
use crate::engines;
use crate::grouped::Grouped;
use crate::job::{Figures, Job};
use crate::source::Tally;

/// A workload.
pub(crate) struct Workload {
    /// Its name.
    pub(crate) name: &'static str,
    /// What it does, for tables and plots.
    pub(crate) what: &'static str,
    /// Of its figure.
    pub(crate) unit: &'static str,
    /// Whether a greater figure is a better one.
    pub(crate) higher_is_better: bool,
    /// The plot it belongs to.
    pub(crate) plot: Plot,
    /// The store that it starts with.
    pub(crate) store: Store,
    run: fn(&Job, &Kind) -> Result<Figures, Failure>,
    raw: Option<Raw>,
}

type Raw = fn(&Job) -> Result<Figures, Failure>;

/// A plot of several workloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plot {
    /// W1, W2.
    Durable,
    /// W3.
    Buffered,
    /// W4, W5.
    Reads,
    /// W6, W7.
    OpenAndSize,
    /// W8, W9.
    Together,
}

/// The store that a workload starts with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Store {
    /// A new one, removed afterwards.
    New,
    /// A new one, which is filled, killed and kept for those below.
    ToLoad,
    /// The one that was loaded.
    Loaded,
}

/// All of them, in the order in which they are run.
pub(crate) static ALL: [Workload; 15] = [
    Workload {
        name: "W1",
        what: "durable appends, one thread, one event a commit",
        unit: "commits/s",
        higher_is_better: true,
        plot: Plot::Durable,
        store: Store::New,
        run: appends::durable,
        raw: Some(|job| raw::durable(job, 1)),
    },
    Workload {
        name: "W2.16",
        what: "durable appends, 16 threads",
        unit: "events/s",
        higher_is_better: true,
        plot: Plot::Durable,
        store: Store::New,
        run: |job, kind| appends::threads(job, kind, 16),
        raw: Some(|job| raw::durable(job, 16)),
    },
    Workload {
        name: "W2.64",
        what: "durable appends, 64 threads",
        unit: "events/s",
        higher_is_better: true,
        plot: Plot::Durable,
        store: Store::New,
        run: |job, kind| appends::threads(job, kind, 64),
        raw: Some(|job| raw::durable(job, 64)),
    },
    Workload {
        name: "W2.submit",
        what: "durable appends, one thread, 1,000 in flight",
        unit: "events/s",
        higher_is_better: true,
        plot: Plot::Durable,
        store: Store::New,
        run: appends::in_flight,
        raw: Some(|job| raw::durable(job, appends::IN_FLIGHT)),
    },
    Workload {
        name: "W3a",
        what: "buffered appends, one event a commit",
        unit: "events/s",
        higher_is_better: true,
        plot: Plot::Buffered,
        store: Store::New,
        run: appends::buffered,
        raw: Some(|job| raw::buffered(job, 1)),
    },
    Workload {
        name: "W3b",
        what: "loading a store, 100 events a commit",
        unit: "events/s",
        higher_is_better: true,
        plot: Plot::Buffered,
        store: Store::ToLoad,
        run: appends::load,
        raw: Some(|job| raw::buffered(job, appends::EVENTS_PER_COMMIT)),
    },
    Workload {
        name: "W6killed",
        what: "open after kill -9, to the first read",
        unit: "ms",
        higher_is_better: false,
        plot: Plot::OpenAndSize,
        store: Store::Loaded,
        run: opens::after_kill,
        raw: None,
    },
    Workload {
        name: "W6clean",
        what: "open after a close, to the first read",
        unit: "ms",
        higher_is_better: false,
        plot: Plot::OpenAndSize,
        store: Store::Loaded,
        run: opens::after_close,
        raw: None,
    },
    Workload {
        name: "W7bytes",
        what: "bytes on disk per event",
        unit: "bytes",
        higher_is_better: false,
        plot: Plot::OpenAndSize,
        store: Store::Loaded,
        run: opens::bytes,
        raw: Some(raw::bytes),
    },
    Workload {
        name: "W4",
        what: "reading a random aggregate of about ten events (p50)",
        unit: "us",
        higher_is_better: false,
        plot: Plot::Reads,
        store: Store::Loaded,
        run: reads::aggregates,
        raw: None,
    },
    Workload {
        name: "W4hot",
        what: "reading the hot aggregate (p50)",
        unit: "ms",
        higher_is_better: false,
        plot: Plot::Reads,
        store: Store::Loaded,
        run: reads::hot_aggregate,
        raw: None,
    },
    Workload {
        name: "W5",
        what: "replay of everything",
        unit: "events/s",
        higher_is_better: true,
        plot: Plot::Reads,
        store: Store::Loaded,
        run: reads::replay,
        raw: None,
    },
    Workload {
        name: "W8",
        what: "one durable writer beside four readers",
        unit: "commits/s",
        higher_is_better: true,
        plot: Plot::Together,
        store: Store::Loaded,
        run: mixed::writer_and_readers,
        raw: Some(|job| raw::durable(job, 1)),
    },
    Workload {
        name: "W9.1",
        what: "conditional appends, 64 threads, one tag of 100,000",
        unit: "events/s",
        higher_is_better: true,
        plot: Plot::Together,
        store: Store::New,
        run: |job, kind| conditional::threads(job, kind, 1),
        raw: None,
    },
    Workload {
        name: "W9.8",
        what: "conditional appends, 64 threads, eight tags of 100,000",
        unit: "events/s",
        higher_is_better: true,
        plot: Plot::Together,
        store: Store::New,
        run: |job, kind| conditional::threads(job, kind, 8),
        raw: None,
    },
];

impl Workload {
    /// The one of this name.
    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        ALL.iter().find(|workload| workload.name == name)
    }

    /// Whether an engine has what it takes.
    pub(crate) fn suits(&self, kind: &Kind) -> bool {
        match self.name {
            "W2.submit" | "W9.1" | "W9.8" => kind.form == Form::EventStore,
            "W3a" => kind.buffered != Buffered::Never,
            _ => true,
        }
    }

    /// Whether a group commit in front of a database changes it.
    pub(crate) fn has_groups(&self) -> bool {
        ["W2.16", "W2.64"].contains(&self.name)
    }

    /// Whether the machine has a limit of its own to put beside it.
    pub(crate) fn has_raw(&self) -> bool {
        self.raw.is_some()
    }
}

/// Does a job, in a process of its own.
pub(crate) fn run(job: &Job) -> Result<(), Failure> {
    if let (CONFORMANCE, Some(kind)) = (job.workload.as_str(), engines::named(&job.engine)) {
        conformance::check(job, kind)?;
        return Job::answer(&Figures::default());
    }
    let unknown = || Failure::broken(format!("{job}: there is no such thing"));
    let workload = Workload::named(&job.workload).ok_or_else(unknown)?;
    let figures = match engines::named(&job.engine) {
        Some(kind) => (workload.run)(job, kind)?,
        None if job.engine == RAW => workload.raw.ok_or_else(unknown)?(job)?,
        None => return Err(unknown()),
    };
    Job::answer(&figures)?;
    if workload.store == Store::ToLoad && job.engine != RAW {
        // Killed here, by whoever asked.
        let _ = std::io::stdin().read_line(&mut String::new());
    }
    Ok(())
}

/// Name of the raw limits where an engine's name stands.
pub(crate) const RAW: &str = "raw";

fn open(job: &Job, kind: &Kind, durability: Durability) -> Result<Box<dyn Engine>, Failure> {
    let engine = (kind.open)(&job.dir, durability, job.events)?;
    Ok(match job.is_grouped {
        true => Box::new(Grouped::new(engine)),
        false => engine,
    })
}

/// Reads everything: positions without gaps, versions without gaps, and nothing but what was written. What lies
/// at positions up to `before` was there before and is only counted.
fn audit(engine: &dyn Engine, before: u64, written: Tally) -> Result<(), Failure> {
    let (mut read, mut position, mut faults) = (Tally::default(), 0, 0_u64);
    let mut versions = std::collections::HashMap::new();
    engine.replay(&mut |seen: Seen<'_>| {
        position += 1;
        let version: &mut u64 = versions.entry(seen.aggregate).or_default();
        *version += 1;
        faults += u64::from(seen.position != position || seen.version != *version);
        if position > before {
            read.add_seen(&seen);
        }
    })?;
    let head = engine.head()?;
    if (read, faults, head) != (written, 0, position) {
        return Err(Failure::broken(format!(
            "what is read is not what was written: {} of {} events, {faults} out of order, the last at {position}, head {head}",
            read.events, written.events
        )));
    }
    Ok(())
}

fn meter() -> CpuMeter {
    CpuMeter::start()
}
