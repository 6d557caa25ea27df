//! One run of some workloads: what they share, and where their results go.

use std::path::{Path, PathBuf};

use annals_engine::Log;
use indicatif::ProgressBar;
use tempfile::TempDir;

use crate::bench::error::BenchError;
use crate::bench::generator::Generator;
use crate::bench::line::Line;
use crate::bench::loaded::{load_new, open};
use crate::bench::machine::{CpuMeter, cores};
use crate::bench::measure::Pace;
use crate::bench::{Plan, SEED};
use crate::progress;

/// What the workloads share.
pub(crate) struct Session<'a> {
    plan: &'a Plan,
    home: TempDir,
    generator: Generator,
    emit: &'a mut dyn FnMut(Line) -> Result<(), BenchError>,
    meter: CpuMeter,
    workload: String,
    doing: String,
    loaded: Option<PathBuf>,
}

impl<'a> Session<'a> {
    pub(crate) fn new(
        plan: &'a Plan,
        emit: &'a mut dyn FnMut(Line) -> Result<(), BenchError>,
    ) -> Result<Self, BenchError> {
        plan.check()?;
        let home = tempfile::Builder::new()
            .prefix("annals-bench-")
            .tempdir_in(&plan.dir)
            .map_err(|source| failed(&plan.dir, "make a directory in it", source))?;
        Ok(Self {
            plan,
            home,
            generator: Generator::new(SEED, plan.events),
            emit,
            meter: CpuMeter::start(),
            workload: String::new(),
            doing: String::new(),
            loaded: None,
        })
    }

    /// Whether a workload was asked for.
    pub(crate) fn wants(&self, workload: &str) -> bool {
        self.plan.only.contains(workload)
    }

    /// As [`Session::wants`], and starts to count what else the machine does meanwhile.
    pub(crate) fn begins(&mut self, workload: &str, doing: &str) -> bool {
        let wants = self.wants(workload);
        if wants {
            self.meter = CpuMeter::start();
            self.workload = workload.to_owned();
            self.doing = format!("{workload} {doing}");
        }
        wants
    }

    /// Hands a result over, with what the machine is and did.
    pub(crate) fn emit(&mut self, line: Line) -> Result<(), BenchError> {
        let mut line = line.with("cores", cores());
        if !line.more.contains_key("events") {
            line = line.with("events", self.plan.events);
        }
        if let Some(foreign) = self.meter.foreign_cores() {
            line = line.with("foreign_cpu", foreign);
        }
        (self.emit)(line)
    }

    /// Events that were asked for.
    pub(crate) fn events(&self) -> u64 {
        self.plan.events
    }

    pub(crate) fn generator(&self) -> &Generator {
        &self.generator
    }

    pub(crate) fn pace(&self) -> Pace {
        Pace::of(self.plan.events)
    }

    /// A directory that goes when it is dropped.
    pub(crate) fn new_dir(&self, name: &str) -> Result<TempDir, BenchError> {
        tempfile::Builder::new()
            .prefix(name)
            .tempdir_in(self.home.path())
            .map_err(|source| failed(self.home.path(), "make a directory in it", source))
    }

    /// A bar over the slices of the workload that began, so many `kinds` in turns.
    pub(crate) fn slices(&self, kinds: u64) -> ProgressBar {
        progress::of_slices(kinds * self.pace().rounds as u64, self.doing.clone())
    }

    /// A bar over other steps.
    pub(crate) fn steps(&self, total: u64) -> ProgressBar {
        progress::of_slices(total, self.doing.clone())
    }

    /// The program whose children are killed.
    pub(crate) fn program(&self) -> &Path {
        &self.plan.program
    }

    /// A bar over events.
    pub(crate) fn loading(&self, events: u64) -> ProgressBar {
        progress::of_events(events, format!("{} loading", self.workload))
    }

    /// The log of the generator's first events, and perhaps more of them behind, closed; made at the first call
    /// and kept to the end.
    pub(crate) fn loaded(&mut self) -> Result<PathBuf, BenchError> {
        if let Some(dir) = &self.loaded {
            return Ok(dir.clone());
        }
        let dir = self.home.path().join("loaded");
        let events = self.plan.events;
        load_new(&dir, &self.generator, events, &self.loading(events))?;
        Ok(self.loaded.insert(dir).clone())
    }

    /// That log, open.
    pub(crate) fn open_loaded(&mut self) -> Result<Log, BenchError> {
        let dir = self.loaded()?;
        self.open(&dir)
    }

    /// Opens a log, or makes it.
    pub(crate) fn open(&self, dir: &Path) -> Result<Log, BenchError> {
        open(dir, self.plan.events)
    }
}

fn failed(dir: &Path, doing: &'static str, source: std::io::Error) -> BenchError {
    BenchError::Directory {
        dir: dir.to_owned(),
        doing,
        source,
    }
}
