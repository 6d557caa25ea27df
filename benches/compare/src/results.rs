//! Every measurement of a run, and the medians over its rounds.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::engine::Failure;
use crate::job::Figures;
use crate::machine::{self, Machine};

/// A run; `results.json` is one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Results {
    /// When it started, UTC.
    pub(crate) date: String,
    /// Commit of Annals.
    pub(crate) commit: String,
    /// Where it ran.
    pub(crate) machine: Machine,
    /// Events of a loaded store.
    pub(crate) events: u64,
    /// Rounds.
    pub(crate) rounds: usize,
    /// Length of a slice, seconds.
    pub(crate) slice_s: f64,
    /// Version of each engine, by name.
    pub(crate) versions: BTreeMap<String, String>,
    /// Every measurement, in the order in which they were made.
    pub(crate) measurements: Vec<Measurement>,
}

/// One measurement.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Measurement {
    /// Round, from 1.
    pub(crate) round: usize,
    /// Name of the workload.
    pub(crate) workload: String,
    /// Name of the engine, or `raw`; with `+group` behind it, the application's group commit is in front.
    pub(crate) engine: String,
    /// What was measured.
    #[serde(flatten)]
    pub(crate) figures: Figures,
}

impl Results {
    /// A run without measurements yet.
    pub(crate) fn new(dir: &Path, events: u64, rounds: usize, slice_s: f64) -> Self {
        let mut packages = machine::packages();
        let version = |kind: &crate::engine::Kind| {
            let version = packages.remove(kind.package).unwrap_or_default();
            (kind.name.to_owned(), version)
        };
        Self {
            date: jiff::Zoned::now()
                .with_time_zone(jiff::tz::TimeZone::UTC)
                .strftime("%Y-%m-%d %H:%M")
                .to_string(),
            commit: machine::commit(),
            machine: Machine::of(dir),
            events,
            rounds,
            slice_s,
            versions: crate::engines::ALL.iter().map(version).collect(),
            measurements: Vec::new(),
        }
    }

    /// Reads them back.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        Ok(serde_json::from_slice(&std::fs::read(path)?)?)
    }

    /// Median over the rounds; `None` when there is no measurement.
    pub(crate) fn median(&self, workload: &str, engine: &str) -> Option<Median> {
        let of = |figure: &dyn Fn(&Figures) -> Option<f64>| {
            let measurements = self.measurements.iter();
            let ours = measurements.filter(|one| one.workload == workload && one.engine == engine);
            median(ours.filter_map(|one| figure(&one.figures)).collect())
        };
        Some(Median {
            value: of(&|figures| Some(figures.value))?,
            p50_us: of(&|figures| figures.p50_us),
            p99_us: of(&|figures| figures.p99_us),
            more: self
                .more_names()
                .map(|name| {
                    let figure = of(&|figures| figures.more.get(name).copied());
                    (name.to_owned(), figure)
                })
                .filter_map(|(name, figure)| Some((name, figure?)))
                .collect(),
        })
    }

    /// The greatest and the median number of cores that were busy for others.
    pub(crate) fn foreign_cpu(&self) -> Option<(f64, f64)> {
        let foreign = self
            .measurements
            .iter()
            .filter_map(|one| one.figures.foreign_cpu);
        let foreign: Vec<f64> = foreign.collect();
        let greatest = foreign.iter().copied().reduce(f64::max)?;
        Some((greatest, median(foreign)?))
    }

    fn more_names(&self) -> impl Iterator<Item = &str> {
        let names = self
            .measurements
            .iter()
            .flat_map(|one| one.figures.more.keys());
        names
            .map(String::as_str)
            .collect::<std::collections::BTreeSet<_>>()
            .into_iter()
    }
}

/// Medians of the figures of one workload and engine.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Median {
    /// Of the figure.
    pub(crate) value: f64,
    /// Of the median latencies.
    pub(crate) p50_us: Option<f64>,
    /// Of the 99th percentiles.
    pub(crate) p99_us: Option<f64>,
    /// Of what else was counted.
    pub(crate) more: BTreeMap<String, f64>,
}

fn median(mut numbers: Vec<f64>) -> Option<f64> {
    numbers.sort_unstable_by(f64::total_cmp);
    let middle = numbers.len() / 2;
    match numbers.len() {
        0 => None,
        len if len % 2 == 1 => Some(numbers[middle]),
        _ => Some(f64::midpoint(numbers[middle - 1], numbers[middle])),
    }
}
