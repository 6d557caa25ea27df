//! A run: round after round, in each workload after workload, in each engine after engine.
//!
//! So whatever else happens on the machine meets all of them. The order of engines turns by one each round.

use std::path::{Path, PathBuf};
use std::time::Duration;

use annals_cli::bench::CpuMeter;

use crate::conformance::CONFORMANCE;
use crate::engine::{Failure, Form, Kind};
use crate::engines;
use crate::job::{Figures, Job};
use crate::results::{Measurement, Results};
use crate::table::{engine_name, figure};
use crate::workloads::{self, RAW, Store, Workload};

/// What to run.
pub(crate) struct Plan {
    /// Events of a loaded store.
    pub(crate) events: u64,
    /// Rounds.
    pub(crate) rounds: usize,
    /// Length of a slice.
    pub(crate) slice: Duration,
    /// Engines.
    pub(crate) kinds: Vec<&'static Kind>,
    /// Workloads that are asked for.
    pub(crate) only: Vec<&'static Workload>,
    /// Where the stores are.
    pub(crate) home: PathBuf,
    /// Cores that may be busy for others; beyond them it waits, and measures again what can be.
    pub(crate) quiet: Option<f64>,
}

/// One contestant: an engine, perhaps behind a group commit, or the raw limits.
#[derive(Clone, Copy)]
struct Contestant {
    kind: Option<&'static Kind>,
    is_grouped: bool,
}

impl Plan {
    /// Runs it.
    pub(crate) fn run(&self) -> Result<Results, Failure> {
        for kind in &self.kinds {
            let new = tempfile::tempdir_in(&self.home)?;
            let contestant = Contestant {
                kind: Some(kind),
                is_grouped: false,
            };
            self.job(contestant, CONFORMANCE, new.path()).run()?;
        }
        let mut results = Results::new(
            &self.home,
            self.events,
            self.rounds,
            self.slice.as_secs_f64(),
        );
        let whole = CpuMeter::start();
        for round in 1..=self.rounds {
            self.round(round, &mut results)?;
        }
        if let Some(foreign) = whole.foreign_cores() {
            eprintln!("over the whole run {foreign:.2} cores were busy for others");
        }
        Ok(results)
    }

    fn round(&self, round: usize, results: &mut Results) -> Result<(), Failure> {
        let loaded = tempfile::tempdir_in(&self.home)?;
        for workload in self.wanted() {
            let mut contestants = self.contestants(workload);
            let len = contestants.len();
            contestants.rotate_left((round - 1) % len.max(1));
            for contestant in contestants {
                let engine = contestant.name();
                let figures = self.measured(workload, contestant, loaded.path())?;
                let foreign = figures
                    .foreign_cpu
                    .map_or("?".to_owned(), |cores| format!("{cores:.2}"));
                eprintln!(
                    "round {round} {:9} {engine:13} {:>12} {:9} foreign {foreign}",
                    workload.name,
                    figure(figures.value),
                    workload.unit,
                );
                results.measurements.push(Measurement {
                    round,
                    workload: workload.name.to_owned(),
                    engine,
                    figures,
                });
            }
        }
        Ok(())
    }

    /// Of several tries, if it comes to that, the one that others disturbed least.
    fn measured(
        &self,
        workload: &Workload,
        contestant: Contestant,
        loaded: &Path,
    ) -> Result<Figures, Failure> {
        let Some(quiet) = self.quiet else {
            return self.measure(workload, contestant, loaded);
        };
        wait_for_quiet(quiet);
        let mut best = self.measure(workload, contestant, loaded)?;
        // What a kill left behind is there to be opened once.
        let tries = if workload.name == "W6killed" {
            1
        } else {
            TRIES
        };
        for _ in 1..tries {
            if disturbance(&best) <= quiet {
                break;
            }
            wait_for_quiet(quiet);
            let again = self.measure(workload, contestant, loaded)?;
            if disturbance(&again) < disturbance(&best) {
                best = again;
            }
        }
        Ok(best)
    }

    fn measure(
        &self,
        workload: &Workload,
        contestant: Contestant,
        loaded: &Path,
    ) -> Result<Figures, Failure> {
        let new = tempfile::tempdir_in(&self.home)?;
        let dir = match (workload.store, contestant.kind) {
            (Store::New, _) | (_, None) => new.path().to_owned(),
            (Store::ToLoad | Store::Loaded, Some(kind)) => loaded.join(kind.name),
        };
        if workload.store == Store::ToLoad && dir.exists() {
            std::fs::remove_dir_all(&dir)?;
        }
        std::fs::create_dir_all(&dir)?;
        let job = self.job(contestant, workload.name, &dir);
        match (workload.store, contestant.kind) {
            (Store::ToLoad, Some(_)) => job.run_and_kill(),
            _ => job.run(),
        }
    }

    fn job(&self, contestant: Contestant, workload: &str, dir: &Path) -> Job {
        Job {
            engine: contestant.kind.map_or(RAW, |kind| kind.name).to_owned(),
            workload: workload.to_owned(),
            is_grouped: contestant.is_grouped,
            dir: dir.to_owned(),
            events: self.events,
            slice: self.slice,
        }
    }

    /// What was asked for, and what that needs: a store has to be loaded, and to be closed after the kill.
    fn wanted(&self) -> impl Iterator<Item = &'static Workload> {
        let needs_store = self
            .only
            .iter()
            .any(|workload| workload.store == Store::Loaded);
        workloads::ALL.iter().filter(move |workload| {
            let is_needed = needs_store && ["W3b", "W6killed"].contains(&workload.name);
            is_needed || self.only.iter().any(|wanted| wanted.name == workload.name)
        })
    }

    fn contestants(&self, workload: &Workload) -> Vec<Contestant> {
        let mut contestants = Vec::new();
        if workload.has_raw() {
            contestants.push(Contestant {
                kind: None,
                is_grouped: false,
            });
        }
        for kind in self.kinds.iter().filter(|kind| workload.suits(kind)) {
            contestants.push(Contestant {
                kind: Some(kind),
                is_grouped: false,
            });
            if workload.has_groups() && kind.form == Form::Database {
                contestants.push(Contestant {
                    kind: Some(kind),
                    is_grouped: true,
                });
            }
        }
        contestants
    }
}

impl Contestant {
    fn name(&self) -> String {
        self.kind
            .map_or(RAW.to_owned(), |kind| engine_name(kind, self.is_grouped))
    }
}

/// Waits until others keep fewer cores busy than that, a minute at most.
fn wait_for_quiet(cores: f64) {
    for _ in 0..60 {
        let meter = CpuMeter::start();
        std::thread::sleep(Duration::from_secs(1));
        if meter.foreign_cores().is_none_or(|foreign| foreign <= cores) {
            break;
        }
    }
}

/// What was too short to say is taken for quiet, since it began in quiet.
fn disturbance(figures: &Figures) -> f64 {
    figures.foreign_cpu.unwrap_or(0.0)
}

/// Times that something is measured at most, if it is disturbed each time.
const TRIES: usize = 4;

/// The engines of these names; all when there are none. Annals is always among them.
pub(crate) fn kinds(names: &[String]) -> Result<Vec<&'static Kind>, Failure> {
    let known = || {
        engines::ALL
            .iter()
            .map(|kind| kind.name)
            .collect::<Vec<_>>()
            .join(" ")
    };
    for name in names {
        engines::named(name)
            .ok_or_else(|| Failure::broken(format!("no engine {name:?}; there are {}", known())))?;
    }
    let is_wanted = |kind: &&Kind| {
        names.is_empty() || kind.name == "annals" || names.iter().any(|name| name == kind.name)
    };
    Ok(engines::ALL.iter().filter(is_wanted).collect())
}

/// The workloads of these names; all when there are none. A part such as W2 stands for all of it.
pub(crate) fn only(names: &[String]) -> Result<Vec<&'static Workload>, Failure> {
    let stands_for = |name: &str, workload: &Workload| {
        let rest = workload.name.strip_prefix(name);
        rest.is_some_and(|rest| !rest.starts_with(|next: char| next.is_ascii_digit()))
    };
    let known = || {
        workloads::ALL
            .iter()
            .map(|workload| workload.name)
            .collect::<Vec<_>>()
            .join(" ")
    };
    for name in names {
        if name.is_empty()
            || !workloads::ALL
                .iter()
                .any(|workload| stands_for(name, workload))
        {
            return Err(Failure::broken(format!(
                "no workload {name:?}; there are {}",
                known()
            )));
        }
    }
    let is_wanted = |workload: &&Workload| {
        names.is_empty() || names.iter().any(|name| stands_for(name, workload))
    };
    Ok(workloads::ALL.iter().filter(is_wanted).collect())
}
