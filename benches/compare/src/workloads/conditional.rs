//! W9: conditional appends of event stores, from 64 threads.
//!
//! Every event has so many of 100,000 tags, and is only stored if nothing of its type that has all of its tags lies
//! behind the head that its writer has seen. Who is refused looks again and tries again, as an application does.
//! The store is not new to the tags: some events are there before it is measured, so that postings are searched and
//! not only missed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use annals_cli::bench::mix;
use parking_lot::Mutex;

use super::appends::in_threads;
use super::{audit, meter, open};
use crate::engine::{Durability, Failure, Kind, NewEvent};
use crate::job::{Figures, Job};
use crate::source::{Source, Tally, Writer};

pub(crate) fn threads(job: &Job, kind: &Kind, tags: u64) -> Result<Figures, Failure> {
    let sources: Vec<_> = (0..THREADS)
        .map(|thread| Source::of_writer(thread, THREADS, job.events))
        .collect();
    let engine = open(job, kind, Durability::Durable)?;
    let conditional = engine.conditional();
    let conditional = conditional.ok_or_else(|| Failure::broken("the engine has no conditions"))?;
    let refused = AtomicU64::new(0);
    let append = |mut event: NewEvent, number: u64| {
        event.tags = choose(number, tags);
        loop {
            let head = engine.head()?;
            match conditional.append_if(event.clone(), &event.tags, head) {
                Err(Failure::Conflict) => refused.fetch_add(1, Ordering::Relaxed),
                outcome => return outcome,
            };
        }
    };
    // Each thread writes its part of what is there before, and goes on behind it.
    let before = job.events / BEFORE_ONE_IN / THREADS;
    let most = job.events / THREADS;
    let writers: Vec<_> = (0..)
        .zip(&sources)
        .map(|(thread, source)| (thread << 40, Mutex::new(Writer::new(source, most))))
        .collect();
    let write =
        |first: &u64, writer: &mut Writer<'_>| append(writer.event().1, first | writer.count());
    in_threads(&writers, Duration::MAX, |(first, writer), _, _| {
        let mut writer = writer.lock();
        while writer.count() < before {
            write(first, &mut writer)?;
        }
        Ok(before)
    })?;
    let meter = meter();
    let (slice, counts) = in_threads(&writers, job.slice, |(first, writer), goes_on, timed| {
        let mut writer = writer.lock();
        while goes_on() && writer.count() < most {
            timed.time(|| write(first, &mut writer))?;
        }
        Ok(writer.count())
    })?;
    let figures = Figures::of_slice(slice, 1.0, meter).with("refused", refused.into_inner() as f64);
    audit(&*engine, 0, Tally::of_sources(sources.iter().zip(counts)))?;
    engine.close()?;
    Ok(figures)
}

/// Different tags, the same in every run.
fn choose(number: u64, tags: u64) -> Vec<String> {
    let start = mix(number);
    let mut chosen: Vec<_> = (0..tags).map(|tag| mix(start ^ tag) % TAGS).collect();
    chosen.sort_unstable();
    chosen.dedup();
    chosen
        .into_iter()
        .map(|tag| format!("t:{tag:06}"))
        .collect()
}

const THREADS: u64 = 64;
const TAGS: u64 = 100_000;

/// Of so many events that are written at most, one is there before.
const BEFORE_ONE_IN: u64 = 50;
