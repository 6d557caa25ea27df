//! The child that writes: threads that append, read and follow, and tell the parent each step.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use annals_engine::{Batch, Direction, Durability, Error, Expected, Log, NewEvent, Query, ReadIo};
use annals_tests::SeededRandom;
use annals_tests::history::{self, Append, Notification, Outcome, Read, Reading};

use crate::content;
use crate::now_ns;
use crate::oracle;
use crate::report::Line;
use crate::work::Work;

/// Does the work, in this process.
pub(crate) fn run(work: &Work) {
    run_telling(work, &|line| line.tell());
}

/// As [`run`]; each line goes to `tell`.
pub(crate) fn run_telling(work: &Work, tell: &(dyn Fn(Line) + Sync)) {
    let log = match options(work).open(&work.dir) {
        Ok(log) => log,
        Err(error @ (Error::Io { .. } | Error::Full { .. } | Error::NotWritable { .. })) => {
            return tell(Line::Failed(error.to_string()));
        }
        Err(error) => return tell(Line::Wrong(format!("cannot be opened: {error}"))),
    };
    tell(Line::Opened(log.head()));
    let is_over = AtomicBool::new(false);
    if (work.threads, work.followers) == (1, 0) {
        // On the one thread there is, so that each run makes the same calls.
        Session::new(&log, work, 0, tell).run();
        return close(&log, tell);
    }
    std::thread::scope(|scope| {
        let followers: Vec<_> = (0..work.followers)
            .map(|follower| {
                let (log, is_over) = (log.clone(), &is_over);
                scope.spawn(move || follow(&log, work, follower, is_over, tell))
            })
            .collect();
        let writers: Vec<_> = (0..work.threads)
            .map(|thread| {
                let log = &log;
                scope.spawn(move || Session::new(log, work, thread, tell).run())
            })
            .collect();
        writers.into_iter().for_each(|writer| {
            let _ = writer
                .join()
                .map_err(|_| tell(Line::Wrong("a panic".into())));
        });
        is_over.store(true, Ordering::SeqCst);
        drop(followers);
    });
    close(&log, tell);
}

fn close(log: &Log, tell: &(dyn Fn(Line) + Sync)) {
    match log.close() {
        Ok(()) => tell(Line::Done),
        Err(error) => tell(Line::Failed(error.to_string())),
    }
}

pub(crate) fn options(work: &Work) -> annals_engine::LogOptions {
    Log::options()
        .segment_len(work.segment_len)
        .background(work.background)
        .buffered_sync_after(Duration::from_millis(5))
        .read_io(match work.pread {
            true => ReadIo::Pread,
            false => ReadIo::Mapped,
        })
}

/// One thread that appends and reads.
pub(crate) struct Session<'a> {
    log: &'a Log,
    work: &'a Work,
    random: SeededRandom,
    next: u64,
    tell: &'a (dyn Fn(Line) + Sync),
}

impl<'a> Session<'a> {
    pub(crate) fn new(
        log: &'a Log,
        work: &'a Work,
        thread: u64,
        tell: &'a (dyn Fn(Line) + Sync),
    ) -> Self {
        Self {
            log,
            work,
            random: SeededRandom::new(work.seed ^ (work.incarnation << 20) ^ (thread << 50)),
            next: work.incarnation << 40 | thread << 32,
            tell,
        }
    }

    /// As many steps as the work has, or until the log takes no more.
    pub(crate) fn run(&mut self) {
        let mut steps = 0;
        while work_left(self.work.steps, steps) {
            steps += 1;
            let is_open = match self.random.next_u64() % 20 {
                0..14 => self.append(),
                // Its own log would make the calls of a run differ.
                14 if (self.work.threads, self.work.followers) != (1, 0) => self.snapshot(),
                14..17 => self.read_aggregate(),
                17..19 => self.read_durable(),
                _ => self.sync(),
            };
            if !is_open {
                // What is there stays readable.
                self.read_aggregate();
                self.read_durable();
                return;
            }
        }
    }

    /// Appends one batch; answers whether the log takes more.
    fn append(&mut self) -> bool {
        let number = self.next;
        self.next += 1;
        let count = match self.random.next_u64() % 8 {
            0..5 => 1,
            few => few - 4,
        };
        let aggregates: Vec<u32> = (0..count).map(|_| self.aggregate()).collect();
        let first = content::aggregate_id(aggregates[0]);
        let expected = match self.random.next_u64() % 3 {
            0 => None,
            _ => match self.log.version(&first) {
                Ok(version) => Some(version.unwrap_or(0)),
                Err(error) => {
                    // Where there are no maps, or the disk fails to be read.
                    (self.tell)(Line::Failed(error.to_string()));
                    None
                }
            },
        };
        let is_synced = self.random.next_u64() % 100 >= self.work.buffered;
        let mut batch = Batch::new().durability(match is_synced {
            true => Durability::Sync,
            false => Durability::Buffered,
        });
        if let Some(expected) = expected {
            let expected = match expected {
                0 => Expected::NoEvents,
                version => Expected::Exactly(version),
            };
            batch = batch.expect(first, expected);
        }
        for (aggregate, ordinal) in aggregates.iter().zip(0..) {
            batch.push(content::event((number, ordinal), *aggregate));
        }
        let (upstream, position) = content::tracking(number);
        batch = batch.tracking(upstream, position);
        let has_ticket = self.work.background && self.random.next_u64().is_multiple_of(6);
        (self.tell)(Line::Begins(Append {
            number,
            begun: now_ns(),
            ended: None,
            aggregates,
            expected,
            is_synced,
            outcome: Outcome::Unknown,
        }));
        let appended = match has_ticket {
            true => self.log.submit(batch).and_then(annals_engine::Ticket::wait),
            false => self.log.append(batch),
        };
        let ended = now_ns();
        let outcome = match &appended {
            Ok(appended) => Outcome::Acknowledged(appended.first, appended.last),
            Err(Error::VersionConflict { found, .. }) => Outcome::Conflict(found.unwrap_or(0)),
            Err(Error::Indeterminate { .. }) => Outcome::Unknown,
            Err(_) => Outcome::Refused,
        };
        (self.tell)(Line::Ends(number, ended, outcome));
        match appended {
            Ok(_) | Err(Error::VersionConflict { .. }) => true,
            Err(Error::Indeterminate { reason }) => {
                (self.tell)(Line::Failed(reason));
                self.check_poisoned()
            }
            Err(error @ Error::Full { .. }) => {
                (self.tell)(Line::Failed(error.to_string()));
                std::thread::sleep(Duration::from_millis(2));
                true
            }
            Err(error @ Error::Poisoned { .. }) => {
                (self.tell)(Line::Failed(error.to_string()));
                false
            }
            // The disk was asked for something before anything was at stake.
            Err(error @ Error::Io { .. }) => {
                (self.tell)(Line::Failed(error.to_string()));
                true
            }
            Err(error) => {
                (self.tell)(Line::Wrong(format!("append {number}: {error}")));
                false
            }
        }
    }

    /// After an unknown outcome nothing is taken any more.
    fn check_poisoned(&self) -> bool {
        let after = self.log.append(content::event((u64::MAX, 0), 0));
        if !matches!(after, Err(Error::Poisoned { .. })) {
            (self.tell)(Line::Wrong(format!("goes on after a failure: {after:?}")));
        }
        false
    }

    fn aggregate(&self) -> u32 {
        (self.random.next_u64() % self.work.aggregates) as u32
    }

    fn read_aggregate(&mut self) -> bool {
        let of = Reading::Aggregate(self.aggregate());
        read(self.log, of, now_ns(), self.tell);
        true
    }

    /// Takes a snapshot of an aggregate, and looks at the newest. It is a cache: that it cannot be stored is no matter.
    fn snapshot(&mut self) -> bool {
        let aggregate = self.aggregate();
        let id = content::aggregate_id(aggregate);
        if let Ok(Some(version)) = self.log.version(&id) {
            let snapshot = NewEvent::new("State", content::snapshot(aggregate, version));
            let put = self.log.snapshots().put(id, version, snapshot);
            if let Err(error @ (Error::SnapshotAhead { .. } | Error::Corrupt { .. })) = put {
                (self.tell)(Line::Wrong(format!("snapshot: {error}")));
            }
            if let Err(wrong) = oracle::check_snapshot(self.log, aggregate) {
                (self.tell)(Line::Wrong(wrong));
            }
        }
        true
    }

    fn read_durable(&mut self) -> bool {
        read(self.log, Reading::Durable, now_ns(), self.tell);
        true
    }

    fn sync(&mut self) -> bool {
        match self.log.sync() {
            Ok(_) => true,
            Err(error) => {
                (self.tell)(Line::Failed(error.to_string()));
                false
            }
        }
    }
}

fn work_left(steps: u64, done: u64) -> bool {
    steps == 0 || done < steps
}

/// Reads an aggregate, or the newest of everything. What was acknowledged before `begun` has to be there.
pub(crate) fn read(log: &Log, of: Reading, begun: u64, tell: &(dyn Fn(Line) + Sync)) {
    match read_names(log, of) {
        Ok((from, upto, names)) => tell(Line::Read(Read {
            begun,
            ended: now_ns(),
            of,
            from,
            upto,
            names,
        })),
        Err(line) => tell(line),
    }
}

fn read_names(log: &Log, of: Reading) -> Result<(u64, u64, u64), Line> {
    let (from, events) = match of {
        Reading::Durable => {
            let from = log.durable_head().saturating_sub(60).max(1);
            (from, log.read(from.., &Query::all(), Direction::Forward))
        }
        Reading::Aggregate(aggregate) | Reading::DurableAggregate(aggregate) => {
            let id = content::aggregate_id(aggregate);
            (1, log.read_aggregate(&id, .., Direction::Forward))
        }
    };
    let (mut upto, mut names) = (from - 1, history::FINGERPRINT_OF_NOTHING);
    for event in events {
        let event = event.map_err(|error| match error {
            Error::Io { .. } => Line::Failed(error.to_string()),
            _ => Line::Wrong(format!("reading {of:?} behind {upto}: {error}")),
        })?;
        let stored = content::stored(&event).map_err(Line::Wrong)?;
        let (place, is_of) = match of {
            Reading::Durable => (stored.position, true),
            Reading::Aggregate(aggregate) | Reading::DurableAggregate(aggregate) => {
                (stored.version, stored.aggregate == aggregate)
            }
        };
        if place != upto + 1 || !is_of {
            return Err(Line::Wrong(format!("{stored:?} behind {upto} of {of:?}")));
        }
        (upto, names) = (place, history::extended(names, stored.name));
    }
    Ok((from, upto, names))
}

/// Follows the log from where it is, until it ends or all is done.
pub(crate) fn follow(
    log: &Log,
    work: &Work,
    follower: u64,
    is_over: &AtomicBool,
    tell: &(dyn Fn(Line) + Sync),
) {
    let follower = (work.incarnation * 64 + follower) as u32;
    let mut subscription = log.subscribe(log.durable_head(), Query::all());
    loop {
        match subscription.next_timeout(Duration::from_millis(20)) {
            None if is_over.load(Ordering::SeqCst) => return,
            None => {}
            Some(Ok(event)) => {
                let durable = log.durable_head();
                match content::stored(&event) {
                    Ok(stored) => tell(Line::Shown(Notification {
                        follower,
                        at: now_ns(),
                        position: stored.position,
                        name: stored.name,
                        durable,
                    })),
                    Err(wrong) => return tell(Line::Wrong(wrong)),
                }
            }
            Some(Err(error @ Error::Io { .. })) => return tell(Line::Failed(error.to_string())),
            Some(Err(error)) => return tell(Line::Wrong(format!("following: {error}"))),
        }
    }
}
