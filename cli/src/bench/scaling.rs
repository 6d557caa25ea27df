//! W10: the same on ten times as many events, and what grows with the number of segments.
//!
//! The large log has ten windows of the small one's events: aggregates of each live within it, as most aggregates
//! of a growing log do. One event in a hundred belongs to aggregates that live everywhere; they show what the
//! worst case costs. Small and large are measured in turns.

use std::path::{Path, PathBuf};
use std::time::Duration;

use annals_engine::{AggregateId, Durability, Log};

use crate::bench::appends::Target;
use crate::bench::error::BenchError;
use crate::bench::footprint::{bytes_line, counted_load, heap_line, stored_bytes_per_event};
use crate::bench::generator::Generator;
use crate::bench::line::{Line, rounded};
use crate::bench::loaded::{EVENTS_PER_COMMIT, load};
use crate::bench::measure::{Measured, Slice};
use crate::bench::opens::Opened;
use crate::bench::reads::{ABOUT_TEN, Readers};
use crate::bench::session::Session;
use crate::bench::{RAW_LEN, SEED};

pub(crate) fn run(session: &mut Session<'_>) -> Result<(), BenchError> {
    let of_large = [
        "W10.W1",
        "W10.W3a",
        "W10.W4",
        "W10.scattered",
        "W10.W6killed",
        "W10.W6killed_buffered",
        "W10.W6clean",
        "W10.W7bytes",
        "W10.W7heap",
    ];
    if of_large.iter().any(|name| session.wants(name)) {
        let home = session.new_dir("w10")?;
        let large = Large::load(session, home.path())?;
        large.reads(session)?;
        large.appends(session)?;
        let opened = Opened {
            name: "W10.W6",
            dir: large.dir.clone(),
            window: session.events(),
            scattered: large.generator.scattered_count(),
        };
        opened.run(session)?;
    }
    if session.begins("W10.new_version_check", "versions of new aggregates") {
        version_check(session)?;
    }
    Ok(())
}

/// The large log.
struct Large {
    dir: PathBuf,
    generator: Generator,
    events: u64,
    /// Events that a segment holds: all are alike, so all segments hold as many.
    per_segment: f64,
}

impl Large {
    fn load(session: &mut Session<'_>, home: &Path) -> Result<Self, BenchError> {
        let (dir, events) = (home.join("log"), TIMES * session.events());
        let scattered = (events / 1_000).max(1);
        let generator = Generator::windowed(SEED, session.events(), scattered);
        // As many segments as ten million events fill, whatever the number.
        let segment_len = (events * crate::bench::EVENT_BYTES / 50).clamp(64 << 10, RAW_LEN);
        // The first of the two, so that the load counts as its time.
        let wants_bytes = session.begins("W10.W7bytes", "loading");
        let wants_heap = session.begins("W10.W7heap", "loading");
        let bar = session.loading(events);
        // A commit has at most a quarter of a segment.
        let per_commit = EVENTS_PER_COMMIT.min(segment_len / 4 / (2 * crate::bench::EVENT_BYTES));
        let work = || {
            let log = Log::options().segment_len(segment_len).open(&dir)?;
            load(&log, &generator, (0, events), per_commit, &bar)?;
            Ok(log.close()?)
        };
        let peak = match wants_heap {
            true => Some(counted_load(work)?),
            false => work().map(|()| None)?,
        };
        bar.finish_and_clear();
        let bytes_per_event = stored_bytes_per_event(&dir, events)?;
        if wants_bytes {
            session.emit(bytes_line("W10.W7bytes", bytes_per_event).with("events", events))?;
        }
        if let Some(peak) = peak {
            session.emit(heap_line("W10.W7heap", peak).with("events", events))?;
        }
        let log_bytes = Log::open_read_only(&dir)?.stats()?.log_bytes;
        Ok(Self {
            dir,
            generator,
            events,
            per_segment: events as f64 * segment_len as f64 / log_bytes as f64,
        })
    }

    fn appends(&self, session: &mut Session<'_>) -> Result<(), BenchError> {
        let kinds = [
            ("W10.W1", "W1", Durability::Sync, "commits/s"),
            ("W10.W3a", "W3a", Durability::Buffered, "events/s"),
        ];
        for (name, base, durability, unit) in kinds {
            if !session.begins(name, "appends to a large log") {
                continue;
            }
            let small = session.open_loaded()?;
            let large = session.open(&self.dir)?;
            let bar = session.slices(2);
            let most = RAW_LEN / crate::bench::EVENT_BYTES;
            let small = Target::new(&small, session.generator(), small.head());
            let large = Target::new(&large, &self.generator, large.head());
            let slice = |target: &Target<'_>, limit| {
                bar.inc(1);
                target.slice(1, durability, limit, most)
            };
            let turns = session.pace();
            let (own, other) =
                turns.in_turns(|limit| slice(&large, limit), |limit| slice(&small, limit))?;
            let line = Line::more_is_better(name, own.rate(), unit)
                .latency(&own)
                .beside(base, &own, &other)
                .with("events", self.events)
                .with("base_events", session.events())
                .with("runs", own.runs());
            session.emit(line)?;
        }
        Ok(())
    }

    fn reads(&self, session: &mut Session<'_>) -> Result<(), BenchError> {
        let compact = self.generator.scattered_count()..self.generator.aggregate_count(self.events);
        let large = session.open(&self.dir)?;
        if session.begins("W10.W4", "reads of a large log") {
            let small = session.open_loaded()?;
            let (generator, events) = (session.generator(), session.events());
            let all = 0..generator.aggregate_count(events);
            let mut of_small = Readers::of_about_ten(generator, events, all);
            let of_large = Readers::of_about_ten(&self.generator, self.events, compact.clone());
            // As many of the one as of the other: they want as much of the processor's caches.
            let mut of_large = of_large.at_most(of_small.len());
            let bar = session.slices(2);
            let (own, other) = session.pace().in_turns(
                |limit| {
                    bar.inc(1);
                    of_large.slice(&large, limit)
                },
                |limit| {
                    bar.inc(1);
                    of_small.slice(&small, limit)
                },
            )?;
            let line = Line::more_is_better("W10.W4", own.rate(), "aggregates/s")
                .latency(&own)
                .beside("W4", &own, &other)
                .with("base_p50_us", rounded(other.p50_us()))
                .with(
                    "mean_segments",
                    rounded(self.mean_segments(&large, &of_large)?),
                )
                .with("events", self.events)
                .with("base_events", session.events())
                .with("runs", own.runs());
            session.emit(line)?;
        }
        if session.begins("W10.scattered", "reads of scattered aggregates") {
            let scattered = 0..self.generator.scattered_count();
            let readers = |among| Readers::of_about_ten(&self.generator, self.events, among);
            let mut scattered = readers(scattered);
            let mut compact = readers(compact).at_most(scattered.len());
            scattered = scattered.at_most(compact.len());
            let bar = session.slices(2);
            let (own, other) = session.pace().in_turns(
                |limit| {
                    bar.inc(1);
                    scattered.slice(&large, limit)
                },
                |limit| {
                    bar.inc(1);
                    compact.slice(&large, limit)
                },
            )?;
            let segments = self.mean_segments(&large, &scattered)?;
            let base_segments = self.mean_segments(&large, &compact)?;
            let more = segments - base_segments;
            // In a log of one segment there is nothing to tell.
            let each = if more > 0.01 {
                (own.p50_us() - other.p50_us()) / more
            } else {
                0.0
            };
            let line = Line::less_is_better("W10.scattered", each, "us/segment")
                .latency(&own)
                .with("mean_segments", rounded(segments))
                .with("mean_events", rounded(scattered.mean_events()))
                .with("base", "W10.W4")
                .with("base_p50_us", rounded(other.p50_us()))
                .with("base_mean_segments", rounded(base_segments))
                .with("base_mean_events", rounded(compact.mean_events()))
                .with("events", self.events)
                .with("runs", own.runs());
            session.emit(line)?;
        }
        Ok(())
    }

    /// In how many segments an aggregate has events, on the average.
    fn mean_segments(&self, log: &Log, readers: &Readers) -> Result<f64, BenchError> {
        let view = log.view();
        let (mut segments, mut aggregates) = (0, 0);
        for id in readers.ids().take(1_000) {
            let mut last = None;
            for event in view.read_aggregate(id, .., annals_engine::Direction::Forward) {
                let segment = (event?.position() as f64 / self.per_segment) as u64;
                segments += u64::from(last.replace(segment) != Some(segment));
            }
            aggregates += 1;
        }
        Ok(segments as f64 / f64::from(aggregates))
    }
}

/// How long it takes to learn that an aggregate is new, by the number of segments.
fn version_check(session: &mut Session<'_>) -> Result<(), BenchError> {
    let dir = session.new_dir("w10")?;
    let generator = session.generator();
    let most = (session.events() / 1_000).clamp(4, 1_000);
    let middle = ((most as f64).sqrt() as u64).max(2);
    let log = Log::options()
        .segment_len(SMALL_SEGMENT_LEN)
        .open(dir.path())?;
    let mut checks = Vec::new();
    let bar = session.steps(most);
    for wanted in [1, middle, most] {
        // Rolls are counted, and each one costs a sync: asked for now and then.
        let (mut head, mut segments) = (log.head(), log.stats()?.segments);
        while segments < wanted || head == 0 {
            load(
                &log,
                generator,
                (head, head + SMALL_COMMIT),
                SMALL_COMMIT,
                &indicatif::ProgressBar::hidden(),
            )?;
            head += SMALL_COMMIT;
            if head.is_multiple_of(5 * SMALL_COMMIT) || segments + 20 > wanted {
                segments = log.stats()?.segments;
                bar.set_position(segments.min(most));
            }
        }
        // The last segments are folded once it has been quiet for a while.
        std::thread::sleep(FOLDED_AFTER);
        checks.push((segments, version_check_slices(session, &log)?));
    }
    let [(_, few), (_, _), (segments, many)] = &checks[..] else {
        unreachable!("three are measured");
    };
    let ns = |measured: &Measured| rounded(1e9 / measured.rate());
    let by_segments: Vec<serde_json::Value> = checks
        .iter()
        .map(|(segments, measured)| serde_json::json!({"segments": segments, "ns": ns(measured)}))
        .collect();
    let line = Line::less_is_better("W10.new_version_check", ns(many), "ns")
        .with("segments", *segments)
        .with("by_segments", by_segments)
        .with("base", "1 segment")
        .with("base_value", ns(few))
        .with("ratio_to_base", rounded(ns(many) / ns(few)))
        .with("events", log.head())
        .with("runs", many.runs());
    session.emit(line)
}

fn version_check_slices(session: &Session<'_>, log: &Log) -> Result<Measured, BenchError> {
    let mut measured = Measured::default();
    let mut number = 0;
    for _ in 0..session.pace().rounds {
        // New ones, all of them: so many, that what a hit or a guess would save does not show.
        let ids: Vec<AggregateId> = (number..number + CHECKS)
            .map(|number| uuid::Uuid::from_u128(u128::from(number) << 64 | 0xabcd).into())
            .collect();
        number += CHECKS;
        let clock = crate::stopwatch::Stopwatch::start();
        for id in &ids {
            let version = log.version(id)?;
            BenchError::check("W10", "versions of new aggregates", version.unwrap_or(0), 0)?;
        }
        measured.push(Slice::of_whole(CHECKS, clock.elapsed()));
    }
    Ok(measured)
}

/// The large log has so many times the events of the small one.
pub(crate) const TIMES: u64 = 10;
const SMALL_SEGMENT_LEN: u64 = 64 << 10;
/// Events of a commit that is not more than a quarter of a small segment.
const SMALL_COMMIT: u64 = 40;
const CHECKS: u64 = 20_000;
/// More than a log waits for before it folds what is left.
const FOLDED_AFTER: Duration = Duration::from_millis(600);
const _: () = assert!(*ABOUT_TEN.start() <= 10 && *ABOUT_TEN.end() >= 10);
