//! W6: opening a log whose writer was killed, and one that was closed.
//!
//! A child process opens the log, appends [`TAIL_EVENTS`] behind what was there, and goes on appending until it
//! is killed (`kill -9`). So each kill is a real one, of a process in the middle of an append, and each open
//! meets a fresh tail of about half a segment, which is what a kill at any moment leaves on the average. What
//! is timed is the open in this process, up to the head, which must not be below what the child has
//! acknowledged. The page cache is warm: the child has just written what is read. What earlier workloads have left
//! to be written back is written before: a sync of the open's waited tens of milliseconds for gigabytes of theirs.

use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use annals_engine::{Direction, Durability, Log, Query, RecoveryOutcome};
use indicatif::ProgressBar;

use crate::bench::appends::Target;
use crate::bench::error::BenchError;
use crate::bench::generator::Generator;
use crate::bench::line::{Line, rounded};
use crate::bench::loaded::{EVENTS_PER_COMMIT, load, load_new, open};
use crate::bench::machine::settle;
use crate::bench::measure::median;
use crate::bench::session::Session;
use crate::stopwatch::Stopwatch;

/// A log to be opened over and over, and what it was made of.
#[derive(Clone, Debug)]
pub(crate) struct Opened<'a> {
    /// `W6`, or what stands before it for a larger log.
    pub(crate) name: &'a str,
    pub(crate) dir: PathBuf,
    pub(crate) window: u64,
    pub(crate) scattered: u64,
}

pub(crate) fn run(session: &mut Session<'_>) -> Result<(), BenchError> {
    if !["W6killed", "W6killed_buffered", "W6clean"]
        .iter()
        .any(|name| session.wants(name))
    {
        return Ok(());
    }
    // A log of its own: it grows with every kill, and what others read has the events that were asked for.
    let home = session.new_dir("w6")?;
    let (dir, events) = (home.path().join("log"), session.events());
    load_new(&dir, session.generator(), events, &session.loading(events))?;
    let opened = Opened {
        name: "W6",
        dir,
        window: session.events(),
        scattered: 0,
    };
    opened.run(session)
}

/// What opens took.
#[derive(Clone, Debug, Default)]
struct Opens {
    millis: Vec<f64>,
    /// Most bytes of frames that one of them read.
    scanned_bytes_max: u64,
}

impl Opens {
    fn push(&mut self, log: &Log, millis: f64) {
        self.millis.push(millis);
        self.scanned_bytes_max = self.scanned_bytes_max.max(log.recovery().scanned_bytes);
    }
}

impl Opened<'_> {
    /// After kills of durable and of buffered appends, and after a close.
    pub(crate) fn run(&self, session: &mut Session<'_>) -> Result<(), BenchError> {
        let kinds = [
            ("killed", Durability::Sync),
            ("killed_buffered", Durability::Buffered),
        ];
        for (kind, durability) in kinds {
            let name = format!("{}{kind}", self.name);
            if session.begins(&name, "opening after a kill") {
                settle();
                let bar = session.steps(OPENS);
                let opens = self.killed(session, durability, &bar)?;
                self.emit(session, &name, opens)?;
            }
        }
        let name = format!("{}clean", self.name);
        if session.begins(&name, "opening after a close") {
            settle();
            let bar = session.steps(OPENS);
            let opens = self.clean(session, &bar)?;
            self.emit(session, &name, opens)?;
        }
        Ok(())
    }

    fn emit(&self, session: &mut Session<'_>, name: &str, opens: Opens) -> Result<(), BenchError> {
        let events = Log::open_read_only(&self.dir)?.head();
        let millis = opens.millis;
        let (least, most) = (
            millis.iter().copied().fold(f64::INFINITY, f64::min),
            millis.iter().copied().fold(0.0, f64::max),
        );
        let line = Line::less_is_better(name, median(millis), "ms")
            .with("events", events)
            .with("tail_events", self.tail_events())
            .with("min_ms", rounded(least))
            .with("max_ms", rounded(most))
            .with("scanned_bytes", opens.scanned_bytes_max)
            .with("runs", OPENS);
        session.emit(line)
    }

    fn tail_events(&self) -> u64 {
        TAIL_EVENTS.min(self.window)
    }

    fn killed(
        &self,
        session: &Session<'_>,
        durability: Durability,
        bar: &ProgressBar,
    ) -> Result<Opens, BenchError> {
        let mut opens = Opens::default();
        for _ in 0..OPENS {
            let acknowledged = self.append_and_kill(session.program(), durability)?;
            let (log, millis) = timed_open(session, &self.dir)?;
            let is_recovered = log.recovery().outcome == RecoveryOutcome::Recovered;
            BenchError::check(self.name, "opens that recover", is_recovered.into(), 1)?;
            let lost = acknowledged.saturating_sub(log.head());
            BenchError::check(self.name, "acknowledged events that are lost", lost, 0)?;
            self.check_last(session, &log)?;
            log.close()?;
            opens.push(&log, millis);
            bar.inc(1);
        }
        Ok(opens)
    }

    fn clean(&self, session: &Session<'_>, bar: &ProgressBar) -> Result<Opens, BenchError> {
        let log = session.open(&self.dir)?;
        let head = log.head();
        let to = head + self.tail_events();
        let generator = self.generator(session);
        load(
            &log,
            &generator,
            (head, to),
            EVENTS_PER_COMMIT,
            &ProgressBar::hidden(),
        )?;
        log.close()?;
        let mut opens = Opens::default();
        for _ in 0..OPENS {
            let (log, millis) = timed_open(session, &self.dir)?;
            let is_clean = log.recovery().outcome == RecoveryOutcome::Clean;
            BenchError::check(self.name, "opens that find it closed", is_clean.into(), 1)?;
            BenchError::check(self.name, "head", log.head(), to)?;
            self.check_last(session, &log)?;
            log.close()?;
            opens.push(&log, millis);
            bar.inc(1);
        }
        Ok(opens)
    }

    /// The newest event is the generator's, wherever the kill fell.
    fn check_last(&self, session: &Session<'_>, log: &Log) -> Result<(), BenchError> {
        let (view, head) = (log.view(), log.head());
        let last = view
            .read(head..=head, &Query::all(), Direction::Forward)
            .next()
            .transpose()?;
        let generator = self.generator(session);
        let sample = generator.sample(head - 1);
        let is_it = last.is_some_and(|event| {
            event.is_of(&sample.id.into()) && event.payload() == sample.payload.as_slice()
        });
        BenchError::check(
            self.name,
            "newest events that were written",
            is_it.into(),
            1,
        )
    }

    fn generator(&self, session: &Session<'_>) -> Generator {
        match self.scattered {
            0 => session.generator().clone(),
            scattered => Generator::windowed(crate::bench::SEED, self.window, scattered),
        }
    }

    /// Answers the last position that the child acknowledged before it was killed, or an earlier one.
    fn append_and_kill(&self, program: &Path, durability: Durability) -> Result<u64, BenchError> {
        let failed = |doing, source| BenchError::Child {
            program: program.to_owned(),
            doing,
            source,
        };
        let mut command = Command::new(program);
        command
            .arg("bench-append")
            .arg(&self.dir)
            .args(["--window", &self.window.to_string()])
            .args(["--scattered", &self.scattered.to_string()])
            .args(["--events", &self.tail_events().to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        if durability == Durability::Buffered {
            command.arg("--buffered");
        }
        let child = command
            .spawn()
            .map_err(|source| failed("start it", source))?;
        let mut child = Killed(child);
        let mut told = String::new();
        if let Some(stdout) = child.0.stdout.take() {
            let read = BufReader::new(stdout).read_line(&mut told);
            let _ = read.map_err(|source| failed("read what it acknowledges", source))?;
        }
        drop(child);
        let number = told.trim().parse();
        number.map_err(|_| {
            failed(
                "find a position in what it prints",
                io::ErrorKind::InvalidData.into(),
            )
        })
    }
}

/// A child that is killed, whatever happens, and waited for.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // Both fail only for a child that has ended and been waited for, which nobody else does.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn timed_open(session: &Session<'_>, dir: &Path) -> Result<(Log, f64), BenchError> {
    let clock = Stopwatch::start();
    let log = session.open(dir)?;
    let head = log.head();
    let millis = clock.elapsed().as_secs_f64() * 1e3;
    BenchError::check("W6", "heads above 0", head.min(1), 1)?;
    Ok((log, millis))
}

/// What the child does: appends `events` of the generator behind those that are there, tells how far it came, and
/// goes on until it is killed.
///
/// # Errors
/// What the log says; [`BenchError::Output`] when nobody listens.
pub fn append_until_killed(
    dir: &Path,
    generator: &Generator,
    events: u64,
    durability: Durability,
    out: &mut impl Write,
) -> Result<(), BenchError> {
    let log = open(dir, generator.window())?;
    let head = log.head();
    load(
        &log,
        generator,
        (head, head + events),
        EVENTS_PER_COMMIT,
        &ProgressBar::hidden(),
    )?;
    let target = Target::new(&log, generator, head + events);
    let told = std::cell::Cell::new(false);
    target.endless(durability, |position| {
        if position >= head + events + SINGLE_EVENTS && !told.replace(true) {
            return writeln!(out, "{position}")
                .and_then(|()| out.flush())
                .map_err(BenchError::Output);
        }
        Ok(())
    })
}

/// Events that a child appends before it is killed: about half a segment.
const TAIL_EVENTS: u64 = 100_000;

/// Of these, single appends of the kind that is meant, at the end.
const SINGLE_EVENTS: u64 = 50;

/// Kills and opens of each kind.
const OPENS: u64 = 5;

/// After so long without being killed the child ends: whoever started it is gone.
pub(crate) const ENDLESS: Duration = Duration::from_secs(30);
