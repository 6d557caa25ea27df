//! W9, WC: appends with conditions, beside appends without.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use annals_engine::{Batch, Direction, Durability, Log, NewEvent, Query, QueryItem};
use indicatif::ProgressBar;

use crate::bench::appends::Target;
use crate::bench::error::BenchError;
use crate::bench::generator::mix;
use crate::bench::line::{Line, rounded};
use crate::bench::loaded::EVENTS_PER_COMMIT;
use crate::bench::measure::{Laps, Measured, Slice};
use crate::bench::session::Session;
use crate::stopwatch::Stopwatch;

pub(crate) fn run(session: &mut Session<'_>) -> Result<(), BenchError> {
    for (name, tags) in [("W9.1", 1), ("W9.8", 8)] {
        if session.begins(name, "conditional appends, 64 threads") {
            conditional(session, name, tags)?;
        }
    }
    if session.begins("WC", "64 threads beside one with heavy conditions") {
        beside_heavy(session)?;
    }
    Ok(())
}

/// Each append asks that no event of its type with all of its tags lie behind the head it saw.
fn conditional(session: &mut Session<'_>, name: &str, tags: u64) -> Result<(), BenchError> {
    let (generator, pace) = (session.generator(), session.pace());
    let plain_dir = session.new_dir("w9")?;
    let dir = session.new_dir("w9")?;
    let (plain, log) = (session.open(plain_dir.path())?, session.open(dir.path())?);
    let plain = Target::new(&plain, generator, 0);
    // The tags are met again and again, so that their postings are searched and not only missed.
    let loaded = session.events() / 10;
    // Made ahead, like the payloads: what is measured is not the making of texts.
    let all: Vec<Vec<u8>> = (0..TAGS)
        .map(|number| format!("customer:{number:06}").into_bytes())
        .collect();
    let chosen = |chance: u64| {
        let all = &all;
        (0..tags).map(move |place| all[(mix(chance ^ place << 50) % TAGS) as usize].as_slice())
    };
    load_events(&log, loaded, &session.loading(loaded), |number| {
        generator.event(number).tags(chosen(number))
    })?;
    let (target, conflicts) = (Target::new(&log, generator, loaded), AtomicU64::new(0));
    let bar = session.slices(2);
    let (own, base) = pace.in_turns(
        |limit| {
            bar.inc(1);
            let (slice, found) = target.threads_slice(THREADS, limit, &|state, event| {
                *state = mix(state.wrapping_add(1));
                let item = QueryItem::new().topic(CONDITION_TOPIC);
                let item = chosen(*state).fold(item, QueryItem::tag);
                Batch::from(event.tags(chosen(*state))).fail_if_match(item.into(), log.head())
            })?;
            conflicts.fetch_add(found, Ordering::Relaxed);
            Ok::<_, BenchError>(slice)
        },
        |limit| {
            bar.inc(1);
            Ok(plain
                .threads_slice(THREADS, limit, &|_, event| event.into())?
                .0)
        },
    )?;
    let line = Line::more_is_better(name, own.rate(), "events/s")
        .latency(&own)
        .beside("W2.64", &own, &base)
        .with("tags", tags)
        .with("tags_in_all", TAGS)
        .with("conflicts", conflicts.into_inner())
        .with("threads", THREADS)
        .with("runs", own.runs());
    session.emit(line)
}

/// One client's condition is over two lists of a million postings each that have nothing in common; the others append
/// without any. A third kind of slice, with a client that only reads what that condition asks for, tells
/// what the client's use of a core costs the others from what its conditions cost them.
fn beside_heavy(session: &mut Session<'_>) -> Result<(), BenchError> {
    let (generator, pace) = (session.generator(), session.pace());
    let dir = session.new_dir("wc")?;
    let log = session.open(dir.path())?;
    let loaded = 2 * session.events();
    load_events(&log, loaded, &session.loading(loaded), |number| {
        let sample = generator.sample(number);
        let side = (number % 2) as usize;
        NewEvent::new(SIDE_TOPICS[side], sample.payload.as_slice())
            .aggregate(sample.id)
            .tag(SIDE_TAGS[side])
    })?;
    let target = Target::new(&log, generator, loaded);
    let heavy = Query::from(QueryItem::new().topic(SIDE_TOPICS[0]).tag(SIDE_TAGS[1]));
    let bar = session.slices(3);
    let kinds = [Client::None, Client::Reads, Client::Appends];
    let mut measured = [(); 3].map(|()| (Measured::default(), Measured::default()));
    for round in 0..pace.rounds {
        for turn in 0..kinds.len() {
            let kind = (turn + round) % kinds.len();
            let (writers, client) = kinds[kind].beside(&target, &log, &heavy, pace.slice)?;
            measured[kind].0.push(writers);
            measured[kind].1.push(client);
            bar.inc(1);
            pace.rest();
        }
    }
    let [(alone, _), (beside_reads, _), (beside_appends, client)] = &measured;
    let ratio = beside_appends.rate() / beside_reads.rate();
    let line = Line::more_is_better("WC", beside_appends.rate(), "events/s")
        .latency(beside_appends)
        .beside("W2.64", beside_appends, alone)
        .with("beside_a_reader", rounded(beside_reads.rate()))
        .with("ratio_to_beside_a_reader", rounded(ratio))
        .with("client_p50_us", rounded(client.p50_us()))
        .with("client_commits", client.operations())
        .with("postings", loaded)
        .with("threads", THREADS)
        .with("runs", alone.runs());
    session.emit(line)
}

/// What the one client does beside the others.
#[derive(Clone, Copy, Debug)]
enum Client {
    None,
    Reads,
    Appends,
}

impl Client {
    /// The slice of the others, and that of the client.
    fn beside(
        self,
        target: &Target<'_>,
        log: &Log,
        heavy: &Query,
        limit: Duration,
    ) -> Result<(Slice, Slice), BenchError> {
        let (is_over, start) = (AtomicBool::new(false), Stopwatch::start());
        let (others, client) = std::thread::scope(|scope| {
            let client = scope.spawn(|| {
                let (mut laps, mut clock) = (Laps::default(), Stopwatch::start());
                while !is_over.load(Ordering::Relaxed) {
                    match self {
                        Self::None => break,
                        Self::Reads => {
                            let found = log.view().read(.., heavy, Direction::Forward).count();
                            BenchError::check("WC", "matches", found as u64, 0)?;
                        }
                        Self::Appends => {
                            let batch = target.batch(1, Durability::Sync);
                            let _ = log.append(batch.fail_if_match(heavy.clone(), 0))?;
                        }
                    }
                    laps.push(clock.lap());
                }
                Ok::<_, BenchError>(laps.into_slice(start.elapsed()))
            });
            let others = target.threads_slice_unsettled(THREADS, limit, &|_, event| event.into());
            is_over.store(true, Ordering::Relaxed);
            (
                others,
                client
                    .join()
                    .expect("a thread of a benchmark does not panic"),
            )
        });
        let slices = (others?.0, client?);
        target.settle()?;
        Ok(slices)
    }
}

/// Appends events of the caller's making to a new log, buffered, and syncs them.
fn load_events(
    log: &Log,
    events: u64,
    bar: &ProgressBar,
    make: impl Fn(u64) -> NewEvent,
) -> Result<(), BenchError> {
    for first in (0..events).step_by(EVENTS_PER_COMMIT as usize) {
        let numbers = first..events.min(first + EVENTS_PER_COMMIT);
        bar.inc(numbers.end - numbers.start);
        let batch = Batch::new().durability(Durability::Buffered);
        let _ = log.append(numbers.map(&make).fold(batch, Batch::event))?;
    }
    BenchError::check("load", "durable head", log.sync()?, events)
}

const THREADS: usize = 64;

/// Tags to choose from.
const TAGS: u64 = 100_000;

/// The type that conditions name: one of the generator's, so that some events have it.
const CONDITION_TOPIC: &str = "sales.order.LineWasAdded";

const SIDE_TOPICS: [&str; 2] = ["sales.order.LineWasAdded", "sales.order.WasDelivered"];
const SIDE_TAGS: [&str; 2] = ["region:east", "region:west"];
