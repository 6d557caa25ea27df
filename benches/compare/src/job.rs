//! One measurement: what a process of its own is told to do, and what it answers.
//!
//! A process for each, so that no engine meets what another left in memory, and so that one can be killed.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use annals_cli::bench::{CpuMeter, Measured, Slice};
use serde::{Deserialize, Serialize};

use crate::engine::Failure;

/// What to measure.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Job {
    /// Name of the engine, or of the raw limits.
    pub(crate) engine: String,
    /// Name of the workload.
    pub(crate) workload: String,
    /// Whether the engine stands behind a group commit of the application's.
    pub(crate) is_grouped: bool,
    /// Directory of the store.
    pub(crate) dir: PathBuf,
    /// Events of a loaded store; at most so many are written elsewhere.
    pub(crate) events: u64,
    /// How long a slice lasts.
    pub(crate) slice: Duration,
}

/// What was measured.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Figures {
    /// The figure, in the unit of the workload.
    pub(crate) value: f64,
    /// Median latency of one operation, microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) p50_us: Option<f64>,
    /// 99th percentile of the latency of one operation, microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) p99_us: Option<f64>,
    /// Cores that were busy for others meanwhile; `None` when it was too short to say.
    pub(crate) foreign_cpu: Option<f64>,
    /// What else was counted.
    #[serde(flatten)]
    pub(crate) more: BTreeMap<String, f64>,
}

impl Figures {
    /// A single number.
    pub(crate) fn of(value: f64, meter: CpuMeter) -> Self {
        Self {
            value,
            foreign_cpu: meter.foreign_cores(),
            ..Self::default()
        }
    }

    /// A rate, `scale` times that of a slice, with the latencies of the slice.
    pub(crate) fn of_slice(slice: Slice, scale: f64, meter: CpuMeter) -> Self {
        let foreign_cpu = meter.foreign_cores();
        let operations = slice.operations();
        let mut measured = Measured::default();
        measured.push(slice);
        let figures = Self {
            value: measured.rate() * scale,
            p50_us: Some(measured.p50_us()),
            p99_us: Some(measured.p99_us()),
            foreign_cpu,
            more: BTreeMap::new(),
        };
        figures.with("operations", operations as f64)
    }

    /// With another number.
    pub(crate) fn with(mut self, name: &str, value: f64) -> Self {
        self.more.insert(name.to_owned(), value);
        self
    }
}

impl Job {
    /// Lets a process of its own do it.
    pub(crate) fn run(&self) -> Result<Figures, Failure> {
        let (figures, mut process) = self.start()?;
        match process.wait()?.success() {
            true => Ok(figures),
            false => Err(Failure::broken(format!(
                "{self}: its process failed at the end"
            ))),
        }
    }

    /// As [`Job::run`]; the process is killed as soon as it has answered.
    pub(crate) fn run_and_kill(&self) -> Result<Figures, Failure> {
        let (figures, mut process) = self.start()?;
        process.kill()?;
        process.wait()?;
        Ok(figures)
    }

    /// The answer of the process, which may still run.
    fn start(&self) -> Result<(Figures, Child), Failure> {
        let mut process = Command::new(std::env::current_exe()?)
            .arg(JOB)
            .arg(serde_json::to_string(self)?)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = process.stdout.take().expect("asked for above");
        for line in BufReader::new(output).lines() {
            // Engines may say things of their own.
            if let Some(answer) = line?.strip_prefix(ANSWER) {
                return Ok((serde_json::from_str(answer)?, process));
            }
        }
        process.wait()?;
        Err(Failure::broken(format!(
            "{self}: it gave no figures; see above"
        )))
    }

    /// Answers from within such a process.
    pub(crate) fn answer(figures: &Figures) -> Result<(), Failure> {
        let mut output = std::io::stdout().lock();
        writeln!(output, "{ANSWER}{}", serde_json::to_string(figures)?)?;
        Ok(output.flush()?)
    }
}

impl std::fmt::Display for Job {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let group = if self.is_grouped { "+group" } else { "" };
        write!(formatter, "{} {}{group}", self.workload, self.engine)
    }
}

/// First argument of a process that does a job; the job is the second.
pub(crate) const JOB: &str = "job";

const ANSWER: &str = "figures: ";
