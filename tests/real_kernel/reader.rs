//! The child that reads a log which another process writes, and tells the parent what it sees.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use annals_engine::{Error, Log};
use annals_tests::SeededRandom;
use annals_tests::history::Reading;

use crate::failed_syncs::PATIENCE;
use crate::now_ns;
use crate::report::Line;
use crate::work::Work;
use crate::writer;

/// Follows and reads until it is killed, or all steps are done.
pub(crate) fn run(work: &Work) {
    let tell = |line: Line| line.tell();
    let until = now_ns() + PATIENCE.as_nanos() as u64;
    let log = loop {
        match writer::options(work).open_read_only(&work.dir) {
            Ok(log) => break log,
            // Not there yet, or in the midst of being made.
            Err(Error::NotALog { .. } | Error::Io { .. }) if now_ns() < until => {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(error) => return tell(Line::Wrong(format!("cannot be opened to read: {error}"))),
        }
    };
    tell(Line::Opened(log.head()));
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| writer::follow(&log, work, 0, &is_over, &tell));
        read(&log, work);
        is_over.store(true, Ordering::SeqCst);
    });
    tell(Line::Done);
}

fn read(log: &Log, work: &Work) {
    let tell = |line: Line| line.tell();
    let random = SeededRandom::new(work.seed ^ work.incarnation);
    for step in 0.. {
        if work.steps > 0 && step >= work.steps {
            return;
        }
        // Whoever asks sees what was acknowledged before; who cannot ask may see less.
        let asked = now_ns();
        let begun = match log.refresh() {
            Ok(_) => asked,
            Err(error @ Error::Io { .. }) => {
                tell(Line::Failed(error.to_string()));
                0
            }
            Err(error) => {
                tell(Line::Wrong(format!("refreshing: {error}")));
                0
            }
        };
        let of = match random.next_u64() % (3 * work.aggregates) {
            aggregate if aggregate < work.aggregates => Reading::DurableAggregate(aggregate as u32),
            _ => Reading::Durable,
        };
        writer::read(log, of, begun, &tell);
        std::thread::sleep(Duration::from_micros(300));
    }
}
