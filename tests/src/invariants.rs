//! What must hold of a log after anything that may happen to it: one oracle, asked by every harness.
//!
//! A [`History`] notes what was handed to a log, in order, what was acknowledged and when, and what readers saw. From it
//! follows what a log may hold that is opened later, and must:
//!
//! - I1 every event acknowledged as durable is there, equal in every byte, at its position and version;
//! - I2 the log is a prefix of what was handed over: no hole, and each batch whole or not at all;
//! - I3 nothing is invented, nothing is there twice;
//! - I4 nothing that a reader or subscriber saw is missing;
//! - I5 what an index answers is what a full scan answers;
//! - I6 recovery again, or cut short and begun again, comes to the same;
//! - I7 rot in acknowledged bytes is told: never wrong data, never a log that is shorter in silence;
//! - I8 what a crash alone has done opens without an operator;
//! - I9 no position and no version is used again for something else that was seen;
//! - I10 opening is bounded, in calls and in memory;
//! - I11 no panic, whatever the bytes.
//!
//! I9 is I4 of a later opening: what was seen stays where it was. I6, I7, I10 and I11 are about how a harness opens;
//! the harnesses check them with the means of this file.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use annals_engine::{AggregateId, Direction, Error, Log, Query, QueryItem, RecordedEvent};
use uuid::Uuid;

/// A promise that was not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breach {
    /// Which one: `I1` to `I11`.
    pub invariant: &'static str,
    /// What was found, and what was expected.
    pub what: String,
}

impl fmt::Display for Breach {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.invariant, self.what)
    }
}

/// Whether a promise holds.
pub type Kept<T = ()> = Result<T, Breach>;

/// The breach of an invariant.
pub fn breach(invariant: &'static str, what: impl Into<String>) -> Breach {
    Breach {
        invariant,
        what: what.into(),
    }
}

/// Breaks off with a breach unless it holds.
macro_rules! keep {
    ($invariant:literal, $holds:expr, $($what:tt)+) => {
        if !$holds {
            return Err($crate::invariants::breach($invariant, format!($($what)+)));
        }
    };
}
pub(crate) use keep;

/// An event as it must be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// Its aggregate, if it has one.
    pub aggregate: Option<AggregateId>,
    /// The version that it must have got.
    pub version: Option<u64>,
    /// Its topic.
    pub topic: String,
    /// Its id; `None` when the log was to make one.
    pub id: Option<Uuid>,
    /// Its tags, ascending.
    pub tags: Vec<Vec<u8>>,
    /// Its payload.
    pub payload: Arc<[u8]>,
}

impl Fact {
    /// Whether this is what was read.
    pub fn is(&self, event: &RecordedEvent) -> bool {
        event.aggregate_id == self.aggregate
            && event.version == self.version
            && event.topic == self.topic
            && self.id.is_none_or(|id| id == event.event_id)
            && event.tags == self.tags
            && *event.payload == *self.payload
    }
}

/// What became of a batch, as far as who appended it knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// Nothing yet, or that nobody knows: it may be there.
    Nothing,
    /// It is there.
    Acknowledged,
}

/// A batch that was handed to the log and not refused.
#[derive(Clone, Debug)]
pub struct Issued {
    /// When: the count of changes of the disk.
    pub at: u64,
    /// Its events.
    pub facts: Vec<Fact>,
    /// The tracking position it advances.
    pub tracking: Option<(String, u64)>,
    /// What is known of it.
    pub told: Told,
}

/// A truncation that was asked for.
#[derive(Clone, Copy, Debug)]
pub struct Truncation {
    /// When.
    pub at: u64,
    /// No event from here on was to be dropped.
    pub before: u64,
    /// When it was done, and the first position then.
    pub done: Option<(u64, u64)>,
}

/// A change of a follower.
#[derive(Clone, Debug)]
pub struct Following {
    /// When it was asked for.
    pub at: u64,
    /// When it was done.
    pub done: Option<u64>,
    /// The follower.
    pub name: String,
    /// Its position; `None` when it was removed.
    pub position: Option<u64>,
}

/// A copy of the log in a directory of its own, a backup or what was restored from one, that was asked for.
#[derive(Clone, Copy, Debug)]
pub struct Copied {
    /// Where.
    pub dir: &'static str,
    /// When.
    pub at: u64,
    /// When it was done, and the last position in it.
    pub done: Option<(u64, u64)>,
}

/// How a process ended: what was acknowledged as buffered survives the one and not the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With the system.
    PowerCut,
    /// Alone.
    Kill,
}

/// What was handed to a log, and what was heard of it. Times are counts of changes of the disk.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Batches in the order of their issue, those refused left out.
    pub batches: Vec<Issued>,
    /// From then on so many batches had to survive a loss of power.
    durable: Vec<(u64, usize)>,
    /// From then on so many batches had to survive a kill.
    written: Vec<(u64, usize)>,
    /// When the power was cut: what was only written is no promise from then on.
    cuts: Vec<u64>,
    /// From then on events up to this position had been seen by somebody to whom only what is durable is shown.
    seen: Vec<(u64, u64)>,
    is_derived_spoilt: bool,
    /// Truncations.
    pub truncations: Vec<Truncation>,
    /// Changes of followers.
    pub followings: Vec<Following>,
    /// Snapshots put: aggregate, version, payload.
    pub snapshots: Vec<(AggregateId, u64, Vec<u8>)>,
    /// Copies of the log.
    pub copies: Vec<Copied>,
}

impl History {
    /// Notes that all batches so far are acknowledged as durable.
    pub fn all_durable(&mut self, at: u64) {
        self.durable.push((at, self.batches.len()));
        self.all_written(at);
    }

    /// Notes that all batches so far are acknowledged, buffered or not.
    pub fn all_written(&mut self, at: u64) {
        self.written.push((at, self.batches.len()));
    }

    /// Notes that the power was cut.
    pub fn power_cut(&mut self, at: u64) {
        self.cuts.push(at);
    }

    /// Forgets what must be there: what was told to be torn may be missing.
    pub fn forget_promises(&mut self) {
        self.durable.clear();
        self.written.clear();
        self.seen.clear();
    }

    /// Notes that derived files have been spoilt: what is wrong with them may be told.
    pub fn spoil_derived(&mut self) {
        self.is_derived_spoilt = true;
    }

    /// Notes that somebody saw the events up to `position`.
    pub fn saw(&mut self, at: u64, position: u64) {
        self.seen.push((at, position));
    }

    /// How many batches must be there, and may be, of what was issued before `at`.
    fn bounds(&self, at: u64, end: End) -> (usize, usize) {
        let upto = |marks: &[(u64, usize)], after: u64| {
            let known = marks.iter().filter(|(time, _)| (after..=at).contains(time));
            known.map(|(_, count)| *count).max().unwrap_or(0)
        };
        let cut = self.cuts.iter().filter(|cut| **cut <= at).max();
        let written = match (end, cut) {
            (End::PowerCut, _) => 0,
            (End::Kill, None) => upto(&self.written, 0),
            (End::Kill, Some(cut)) => upto(&self.written, cut + 1),
        };
        let known = upto(&self.durable, 0).max(written);
        let issued = self
            .batches
            .iter()
            .take_while(|batch| batch.at <= at)
            .count();
        (known.min(issued), issued)
    }

    /// How many batches must survive a loss of power at `at`, what was seen until then, and what of it must be in copies:
    /// the demands on a state.
    pub fn least(&self, at: u64) -> usize {
        let copies = self.copies.iter().filter_map(|copied| copied.done);
        let copied = copies.filter(|(done, _)| *done <= at);
        let copied: u64 = copied.map(|(_, last)| last).sum();
        self.bounds(at, End::PowerCut).0 + (self.seen_upto(at) + copied) as usize
    }

    fn seen_upto(&self, at: u64) -> u64 {
        let before = self.seen.iter().filter(|(time, _)| *time <= at);
        before.map(|(_, position)| *position).max().unwrap_or(0)
    }

    /// All events of the first `count` batches.
    pub fn facts(&self, count: usize) -> impl Iterator<Item = &Fact> {
        self.batches[..count].iter().flat_map(|batch| &batch.facts)
    }

    /// Position of the last event of all batches.
    pub fn head(&self) -> u64 {
        self.batches
            .iter()
            .map(|batch| batch.facts.len() as u64)
            .sum()
    }

    /// Last version of each aggregate after the first `count` batches.
    pub fn versions(&self, count: usize) -> BTreeMap<&AggregateId, u64> {
        let facts = self.facts(count);
        let versions = facts.filter_map(|fact| Some((fact.aggregate.as_ref()?, fact.version?)));
        versions.collect()
    }

    /// Tracking positions after the first `count` batches.
    pub fn tracking(&self, count: usize) -> BTreeMap<&str, u64> {
        let advanced = self.batches[..count].iter();
        let advanced = advanced.filter_map(|batch| batch.tracking.as_ref());
        advanced
            .map(|(name, position)| (&**name, *position))
            .collect()
    }

    /// What was found is what there is: batches that were not found are forgotten, the others are durable, since an
    /// open has shown them, and what was asked for of truncations and followers is settled.
    pub fn settle(&mut self, at: u64, found: &Found, log: &Log) {
        self.batches.truncate(found.batches);
        for batch in &mut self.batches {
            batch.told = Told::Acknowledged;
        }
        let count = self.batches.len();
        self.durable
            .iter_mut()
            .for_each(|(_, durable)| *durable = count.min(*durable));
        self.written
            .iter_mut()
            .for_each(|(_, written)| *written = count.min(*written));
        self.all_durable(at);
        let first = log.first_position();
        self.truncations.clear();
        self.truncations.push(Truncation {
            at,
            before: first,
            done: Some((at, first)),
        });
        self.followings.clear();
        for (name, position) in log.followers() {
            let position = Some(position);
            self.followings.push(Following {
                at,
                done: Some(at),
                name,
                position,
            });
        }
    }

    /// Copies of the log, of which `head` events were found behind an end at time `at`: each is whole, as far as it was
    /// done, and holds nothing that is not in the log; or it is none, and says so, and was never done.
    ///
    /// # Errors
    /// The promise that is broken.
    pub fn check_copies(
        &self,
        at: u64,
        head: u64,
        open: impl Fn(&str) -> Result<Log, Error>,
    ) -> Kept {
        let asked: Vec<&Copied> = self.copies.iter().filter(|one| one.at <= at).collect();
        for dir in asked.iter().map(|one| one.dir).collect::<BTreeSet<_>>() {
            let of_it = asked.iter().filter(|one| one.dir == dir);
            let done = of_it.filter_map(|one| one.done.filter(|(done, _)| *done <= at));
            let least = done.map(|(_, last)| last).max();
            let log = match open(dir) {
                Ok(log) => log,
                Err(Error::NotALog { .. }) if least.is_none() => continue,
                Err(error) => return Err(breach("I8", format!("{dir} does not open: {error}"))),
            };
            let found = self.check_read_only(&log, at)?;
            keep!(
                "I1",
                least.is_none_or(|least| found >= least),
                "{dir} ends at {found}, expected {least:?}"
            );
            keep!(
                "I4",
                found <= head,
                "{dir} ends at {found}, the log at {head}"
            );
        }
        Ok(())
    }

    /// Opened over what an end at time `at` has left: what is there, when all promises are kept.
    ///
    /// # Errors
    /// The promise that is broken.
    pub fn check(&self, log: &Log, at: u64, end: End) -> Kept<Found> {
        let first = self.check_first_position(log, at)?;
        let mut found = self.check_events(log, at, end, first)?;
        found.batches = self.check_tracking(log, &found)?;
        self.check_followers(log, at)?;
        self.check_indexes(log, &found)?;
        self.check_snapshots(log)?;
        Ok(found)
    }

    fn check_first_position(&self, log: &Log, at: u64) -> Kept<u64> {
        let first = log.first_position();
        let asked = self.truncations.iter().filter(|one| one.at <= at);
        let bound = asked
            .clone()
            .map(|one| one.before)
            .max()
            .unwrap_or(1)
            .max(1);
        let done = asked
            .filter_map(|one| one.done)
            .filter(|(done, _)| *done <= at);
        let least = done.map(|(_, first)| first).max().unwrap_or(1);
        keep!(
            "I1",
            first <= bound,
            "starts at {first}, though only what is below {bound} was to go"
        );
        keep!(
            "I2",
            first >= least,
            "starts at {first}, though {least} was acknowledged"
        );
        Ok(first)
    }

    /// The events are those of a prefix of the batches.
    fn check_events(&self, log: &Log, at: u64, end: End, first: u64) -> Kept<Found> {
        let (least, most) = self.bounds(at, end);
        let head = log.head();
        keep!(
            "I1",
            log.durable_head() == head,
            "durable {} of {head}",
            log.durable_head()
        );
        let (mut count, mut last) = (0, 0);
        for batch in &self.batches[..most] {
            let next = last + batch.facts.len() as u64;
            if next > head {
                break;
            }
            (count, last) = (count + 1, next);
        }
        let needed: u64 = self.batches[..least]
            .iter()
            .map(|batch| batch.facts.len() as u64)
            .sum();
        keep!("I1", head >= needed, "head {head}, acknowledged {needed}");
        keep!(
            "I4",
            head >= self.seen_upto(at),
            "head {head}, seen {}",
            self.seen_upto(at)
        );
        keep!(
            "I2",
            last == head,
            "head {head} is not where a batch ends: {count} of {most} batches end at {last}"
        );
        let facts = self.facts(count).skip(first as usize - 1);
        let mut facts = (first..).zip(facts);
        let mut ids = BTreeSet::new();
        let mut time_us = 0;
        for event in log.read(first.., &Query::all(), Direction::Forward) {
            let event =
                event.map_err(|error| breach("I8", format!("of {head} events: {error}")))?;
            let Some((position, fact)) = facts.next() else {
                return Err(breach(
                    "I3",
                    format!("an event at {} behind head {head}", event.position),
                ));
            };
            keep!(
                "I2",
                event.position == position,
                "position {}, expected {position}",
                event.position
            );
            keep!(
                "I1",
                fact.is(&event),
                "position {position}: {event:?}, expected {fact:?}"
            );
            keep!(
                "I3",
                ids.insert(event.event_id),
                "position {position}: id {} twice",
                event.event_id
            );
            keep!(
                "I2",
                event.time_us >= time_us,
                "position {position}: time {} runs back",
                event.time_us
            );
            time_us = event.time_us;
        }
        keep!(
            "I1",
            facts.next().is_none(),
            "a read ends before head {head}"
        );
        Ok(Found {
            batches: count,
            least,
            first,
            head,
        })
    }

    /// Tracking positions are those behind a prefix of the batches with the same events; answers how many.
    fn check_tracking(&self, log: &Log, found: &Found) -> Kept<usize> {
        // A batch without events moves no head: how many of those are there only their tracking tells.
        let mut fewest = found.batches;
        while fewest > found.least && self.batches[fewest - 1].facts.is_empty() {
            fewest -= 1;
        }
        let names: BTreeSet<&str> = self.tracking(self.batches.len()).into_keys().collect();
        let there: BTreeMap<&str, u64> = names
            .iter()
            .filter_map(|name| Some((*name, log.tracking(name)?)))
            .collect();
        let mut counts = (fewest..=found.batches).rev();
        let fits = counts.find(|count| self.tracking(*count) == there);
        fits.ok_or_else(|| {
            let expected = self.tracking(found.batches);
            breach("I2", format!("tracking {there:?}, expected {expected:?}"))
        })
    }

    fn check_followers(&self, log: &Log, at: u64) -> Kept {
        let mut there: BTreeMap<String, u64> = log.followers().into_iter().collect();
        let names: BTreeSet<&String> = self.followings.iter().map(|one| &one.name).collect();
        for name in names {
            let of_name = self
                .followings
                .iter()
                .filter(|one| one.name == *name && one.at <= at);
            let mut may_be = vec![None];
            for one in of_name {
                if one.done.is_some_and(|done| done <= at) {
                    may_be.clear();
                }
                may_be.push(one.position);
            }
            let found = there.remove(name);
            keep!(
                "I1",
                may_be.contains(&found),
                "follower {name} at {found:?}, expected one of {may_be:?}"
            );
        }
        keep!("I3", there.is_empty(), "followers {there:?} nobody has set");
        Ok(())
    }

    /// What the indexes answer is what the facts say.
    fn check_indexes(&self, log: &Log, found: &Found) -> Kept {
        let report = log
            .verify(|_, _| {})
            .map_err(|error| breach("I8", error.to_string()))?;
        let is_derived = |path: &Path| {
            let name = path
                .file_name()
                .map(|name| name.to_string_lossy().into_owned());
            name.is_some_and(|name| {
                name.ends_with(".idx") || name.ends_with(".tail") || name.starts_with("heads-")
            })
        };
        let mut damages = report.damages;
        damages.retain(|damage| !(self.is_derived_spoilt && is_derived(&damage.path)));
        keep!("I5", damages.is_empty(), "verify finds {damages:?}");
        let retained = found.head + 1 - found.first;
        keep!(
            "I5",
            report.events == retained,
            "verify counts {}, expected {retained}",
            report.events
        );
        let facts: Vec<(u64, &Fact)> = (1..).zip(self.facts(found.batches)).collect();
        for (aggregate, last) in self.versions(found.batches) {
            let version = log
                .version(aggregate)
                .map_err(|error| breach("I8", error.to_string()))?;
            keep!(
                "I1",
                version == Some(last),
                "{aggregate} at {version:?}, expected {last}"
            );
            let of_it = facts
                .iter()
                .filter(|(_, fact)| fact.aggregate.as_ref() == Some(aggregate));
            let expected: Vec<u64> = of_it.map(|(position, _)| *position).collect();
            if expected[0] < found.first {
                continue;
            }
            let read = log.read_aggregate(aggregate, .., Direction::Forward);
            let read = read.map(|event| event.map(|event| event.position));
            let read: Vec<u64> = read
                .collect::<Result<_, _>>()
                .map_err(|error| breach("I8", error.to_string()))?;
            keep!(
                "I5",
                read == expected,
                "{aggregate} at {read:?}, expected {expected:?}"
            );
        }
        let retained = &facts[found.first as usize - 1..];
        let tags: BTreeSet<&Vec<u8>> = retained.iter().flat_map(|(_, fact)| &fact.tags).collect();
        for tag in tags {
            let of_it = retained.iter().filter(|(_, fact)| fact.tags.contains(tag));
            let expected: Vec<u64> = of_it.map(|(position, _)| *position).collect();
            let query = Query::default().or(QueryItem::new().tag(tag.clone()));
            let read = log.read(found.first.., &query, Direction::Forward);
            let read = read.map(|event| event.map(|event| event.position));
            let read: Vec<u64> = read
                .collect::<Result<_, _>>()
                .map_err(|error| breach("I8", error.to_string()))?;
            keep!(
                "I5",
                read == expected,
                "tag {tag:?} at {read:?}, expected {expected:?}"
            );
        }
        let ends = [retained.first(), retained.last()];
        for (position, fact) in ends.into_iter().flatten() {
            let Some(id) = fact.id else { continue };
            let event = log
                .get(id)
                .map_err(|error| breach("I8", error.to_string()))?;
            let there = event.map(|event| event.position);
            keep!(
                "I5",
                there == Some(*position),
                "id {id} at {there:?}, expected {position}"
            );
        }
        Ok(())
    }

    /// A snapshot that is shown was put, and is not ahead of its aggregate. All of them may be lost.
    fn check_snapshots(&self, log: &Log) -> Kept {
        let aggregates: BTreeSet<&AggregateId> = self.snapshots.iter().map(|(id, ..)| id).collect();
        for aggregate in aggregates {
            let latest = log.snapshots().latest(aggregate, None);
            let latest = latest.map_err(|error| breach("I8", format!("snapshots: {error}")))?;
            let Some(latest) = latest else { continue };
            let last = log.version(aggregate).ok().flatten();
            keep!(
                "I2",
                Some(latest.version) <= last,
                "{aggregate}: snapshot {} ahead of {last:?}",
                latest.version
            );
            let was_put = self.snapshots.iter().any(|(id, version, payload)| {
                id == aggregate && *version == latest.version && *payload == latest.payload
            });
            keep!(
                "I3",
                was_put,
                "{aggregate}: snapshot {} nobody put",
                latest.version
            );
        }
        Ok(())
    }

    /// A log opened read-only over what an end has left, before anything is recovered: what it shows is a prefix, and
    /// all of it is durable. Answers its head.
    ///
    /// # Errors
    /// The promise that is broken.
    pub fn check_read_only(&self, log: &Log, at: u64) -> Kept<u64> {
        let (_, most) = self.bounds(at, End::Kill);
        let first = log.first_position();
        let head = log.head();
        let facts: Vec<&Fact> = self.facts(most).collect();
        keep!(
            "I3",
            head <= facts.len() as u64,
            "read-only head {head} of {}",
            facts.len()
        );
        let mut position = first - 1;
        for event in log.read(first.., &Query::all(), Direction::Forward) {
            let event = event
                .map_err(|error| breach("I8", format!("read-only, of {head} events: {error}")))?;
            position += 1;
            keep!(
                "I2",
                event.position == position,
                "position {}, expected {position}",
                event.position
            );
            let fact = facts[position as usize - 1];
            keep!(
                "I1",
                fact.is(&event),
                "read-only position {position}: {event:?}, expected {fact:?}"
            );
        }
        keep!(
            "I1",
            position == head.max(first - 1),
            "a read-only read ends at {position} before head {head}"
        );
        Ok(head)
    }
}

/// What was found in a log that keeps its promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Batches that are there.
    pub batches: usize,
    /// Batches that had to be.
    pub least: usize,
    /// First position.
    pub first: u64,
    /// Last position.
    pub head: u64,
}

/// How an open that failed is to be judged when nothing but a crash has happened.
pub fn not_opened(error: &Error) -> Breach {
    breach("I8", format!("does not open: {error}"))
}
