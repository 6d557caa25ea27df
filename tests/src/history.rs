//! Whether what callers saw could have happened: a checker of recorded histories.
//!
//! Events carry ids, positions and versions, so nothing has to be searched for: the log that is left says in which
//! order everything happened, and each answer is held against it. Checked are:
//! - positions have no gap, ids and versions are given once, versions of an aggregate are 1..n;
//! - what was acknowledged is there, where it was said to be; what was refused is not; what is of unknown outcome
//!   is there once and whole, or not at all;
//! - an append that expected a version got the next one; a conflict names a version that was the last one at some
//!   moment of the call;
//! - whoever begins after another has ended comes behind it in the log;
//! - a read holds what was acknowledged before it began and nothing begun after it ended, is a prefix of what there
//!   is in the end, and never goes back;
//! - a follower meets every position once, in order, and none that is not durable.
//!
//! Times are of one clock that never runs backwards, in nanoseconds. Takes n log n steps.

use std::collections::{BTreeMap, HashMap};

/// Everything that callers did and saw.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Appends, in any order.
    pub appends: Vec<Append>,
    /// Reads, in any order.
    pub reads: Vec<Read>,
    /// What followers were shown, each follower's in its order.
    pub notifications: Vec<Notification>,
}

/// Names one event: the append, and its place in the batch.
pub type EventName = (u64, u32);

/// One append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    /// Its number, given once in a history.
    pub number: u64,
    /// When it began.
    pub begun: u64,
    /// When it answered; `None` when it never did.
    pub ended: Option<u64>,
    /// The aggregate of each of its events.
    pub aggregates: Vec<u32>,
    /// The last version that it expected the aggregate of its first event to have; 0 for no events.
    pub expected: Option<u64>,
    /// Whether it asked to be durable.
    pub is_synced: bool,
    /// The answer.
    pub outcome: Outcome,
}

/// What an append answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done, with the positions of the first and the last event.
    Acknowledged(u64, u64),
    /// Refused, because the aggregate of the first event had this last version; 0 for no events.
    Conflict(u64),
    /// Refused for another reason: nothing was written.
    Refused,
    /// Nobody knows.
    Unknown,
}

/// A read that went up to the newest event it could see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Read {
    /// When it began.
    pub begun: u64,
    /// When it had read everything.
    pub ended: u64,
    /// What was read.
    pub of: Reading,
    /// First version or position that was read.
    pub from: u64,
    /// Last version or position that was read; one below `from` when nothing was.
    pub upto: u64,
    /// [`fingerprint`] of the names of the events, in order.
    pub names: u64,
}

/// What is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// One aggregate, buffered events too; by version.
    Aggregate(u32),
    /// What is durable of one aggregate; by version.
    DurableAggregate(u32),
    /// Everything that is durable; by position.
    Durable,
}

/// An event as it was shown to a follower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notification {
    /// The follower; each starts at any position and goes on without a gap.
    pub follower: u32,
    /// When.
    pub at: u64,
    /// Position of the event.
    pub position: u64,
    /// The event.
    pub name: EventName,
    /// How far the log said to be durable, asked after that.
    pub durable: u64,
}

/// An event of the log that is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its position.
    pub position: u64,
    /// Which it is.
    pub name: EventName,
    /// Its aggregate.
    pub aggregate: u32,
    /// Its version.
    pub version: u64,
}

/// What the crashes of a history may have taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Survives {
    /// Processes died: whatever was acknowledged is there.
    Process,
    /// Power was lost: what was acknowledged as buffered may be gone, the newest first.
    Power,
}

/// A number for a sequence of names.
pub fn fingerprint(names: impl IntoIterator<Item = EventName>) -> u64 {
    names.into_iter().fold(FINGERPRINT_OF_NOTHING, extended)
}

/// The fingerprint of a sequence that goes on with `name`.
pub fn extended(before: u64, name: EventName) -> u64 {
    let mixed = (before ^ name.0).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ (mixed >> 29) ^ u64::from(name.1)).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}

/// Where fingerprints start.
pub const FINGERPRINT_OF_NOTHING: u64 = 0x5eed;

/// What could not have happened, at most a few; empty for a sound history. `stored` is all that is left in the end,
/// ascending by position.
pub fn violations(history: &History, stored: &[Stored], survives: Survives) -> Vec<String> {
    let mut checker = Checker::new(history, stored, survives);
    checker.check_stored();
    checker.check_appends();
    checker.check_order();
    checker.check_reads();
    checker.check_notifications();
    checker.found
}

struct Checker<'a> {
    history: &'a History,
    stored: &'a [Stored],
    survives: Survives,
    by_number: HashMap<u64, &'a Append>,
    /// Position of the first stored event of an append.
    first_of: HashMap<u64, u64>,
    /// Places in `stored` of each aggregate's events, by version.
    of_aggregate: HashMap<u32, Vec<usize>>,
    found: Vec<String>,
}

impl<'a> Checker<'a> {
    fn new(history: &'a History, stored: &'a [Stored], survives: Survives) -> Self {
        let appends = history.appends.iter();
        Self {
            history,
            stored,
            survives,
            by_number: appends.map(|append| (append.number, append)).collect(),
            first_of: HashMap::new(),
            of_aggregate: HashMap::new(),
            found: Vec::new(),
        }
    }

    fn say(&mut self, what: String) {
        if self.found.len() < FOUND_MAX {
            self.found.push(what);
        }
    }

    fn at(&self, position: u64) -> Option<&'a Stored> {
        let first = self.stored.first()?.position;
        let place = usize::try_from(position.checked_sub(first)?).ok()?;
        self.stored.get(place)
    }

    /// What is left is whole by itself, and nothing in it was made up.
    fn check_stored(&mut self) {
        let mut next = None;
        let mut open: Option<(u64, u32)> = None;
        for (place, event) in self.stored.iter().enumerate() {
            if next.is_some_and(|next| next != event.position) {
                self.say(format!("expected position {next:?}, found {event:?}"));
            }
            next = Some(event.position + 1);
            let (number, ordinal) = event.name;
            if open.is_some_and(|open| open != event.name) || (open.is_none() && ordinal != 0) {
                self.say(format!("a batch in parts: {open:?}, found {event:?}"));
            }
            open = None;
            let Some(append) = self.by_number.get(&number).copied() else {
                self.say(format!("nobody appended {event:?}"));
                continue;
            };
            if append.aggregates.get(ordinal as usize) != Some(&event.aggregate) {
                self.say(format!("{event:?} is not what was appended: {append:?}"));
            }
            if ordinal as usize + 1 < append.aggregates.len() {
                open = Some((number, ordinal + 1));
            }
            if ordinal == 0 && self.first_of.insert(number, event.position).is_some() {
                self.say(format!("there twice: {event:?}"));
            }
            let versions = self.of_aggregate.entry(event.aggregate).or_default();
            versions.push(place);
            if versions.len() as u64 != event.version {
                self.say(format!("version out of order: {event:?}"));
            }
        }
        if let Some(open) = open {
            self.say(format!("a batch in parts: {open:?} is missing at the end"));
        }
    }

    fn check_appends(&mut self) {
        for append in &self.history.appends {
            let first = self.first_of.get(&append.number).copied();
            let is_lost_lawfully = self.survives == Survives::Power && !append.is_synced;
            match append.outcome {
                Outcome::Acknowledged(given, last) => {
                    let count = append.aggregates.len() as u64;
                    let is_lost = first.is_none() && is_lost_lawfully;
                    if !is_lost && (first != Some(given) || last + 1 - given != count) {
                        self.say(format!("acknowledged, and is at {first:?}: {append:?}"));
                    }
                }
                Outcome::Conflict(_) | Outcome::Refused if first.is_some() => {
                    self.say(format!("refused, and is at {first:?}: {append:?}"));
                }
                Outcome::Conflict(version) => self.check_conflict(append, version),
                Outcome::Refused | Outcome::Unknown => {}
            }
            if let (Some(expected), Some(first)) = (append.expected, first)
                && self.at(first).map(|event| event.version) != Some(expected + 1)
            {
                self.say(format!(
                    "accepted at {first} in spite of a conflict: {append:?}"
                ));
            }
        }
    }

    /// The version that is named was the last one at some moment of the call.
    fn check_conflict(&mut self, append: &Append, version: u64) {
        if append.expected == Some(version) {
            self.say(format!("a conflict with what was expected: {append:?}"));
        }
        // What a loss of power took may have been what was in the way.
        if self.survives == Survives::Power {
            return;
        }
        let aggregate = append.aggregates[0];
        if version > 0 && !self.may_be_there(aggregate, version, append.ended.unwrap_or(u64::MAX)) {
            self.say(format!("version {version} was not there yet: {append:?}"));
        }
        let next = self.append_of(aggregate, version + 1);
        if next.is_some_and(|next| next.is_done_before(append.begun)) {
            self.say(format!(
                "version {version} was not the last one: {append:?}"
            ));
        }
    }

    /// The append that stored a version.
    fn append_of(&self, aggregate: u32, version: u64) -> Option<&'a Append> {
        let places = self.of_aggregate.get(&aggregate)?;
        let place = places.get(usize::try_from(version.checked_sub(1)?).ok()?)?;
        self.by_number.get(&self.stored[*place].name.0).copied()
    }

    /// Last version of an aggregate at or below a position.
    fn version_at(&self, aggregate: u32, position: u64) -> u64 {
        let places = self.of_aggregate.get(&aggregate);
        places.map_or(0, |places| {
            places.partition_point(|place| self.stored[*place].position <= position) as u64
        })
    }

    fn position_of(&self, aggregate: u32, version: u64) -> u64 {
        let places = self.of_aggregate.get(&aggregate);
        let place = places.and_then(|places| places.get((version as usize).checked_sub(1)?));
        place.map_or(0, |place| self.stored[*place].position)
    }

    fn may_be_there(&self, aggregate: u32, version: u64, at: u64) -> bool {
        let append = self.append_of(aggregate, version);
        append.is_some_and(|append| append.begun < at)
    }

    /// Who begins after another has ended comes behind it.
    fn check_order(&mut self) {
        let mut latest_begin = 0;
        for event in self.stored {
            let Some(append) = self.by_number.get(&event.name.0).copied() else {
                continue;
            };
            latest_begin = latest_begin.max(append.begun);
            if append.is_done_before(latest_begin) {
                self.say(format!("{event:?} lies behind one begun after its end"));
            }
        }
    }

    fn check_reads(&mut self) {
        let mut moments = Vec::new();
        for append in &self.history.appends {
            if let (Outcome::Acknowledged(_, last), Some(ended)) = (append.outcome, append.ended) {
                moments.push((ended, Moment::Acknowledged(append, last)));
            }
        }
        for read in &self.history.reads {
            moments.push((read.begun, Moment::Begins(read)));
            moments.push((read.ended, Moment::Ends(read)));
        }
        // Of one instant: begins first, so that what ends then promises nothing to them.
        moments.sort_by_key(|(at, moment)| (*at, !matches!(moment, Moment::Begins(_))));
        let prefixes = Prefixes::new(self);
        // What every later read has to show.
        let mut durable = 0;
        let mut versions: HashMap<u32, u64> = HashMap::new();
        for (_, moment) in moments {
            match moment {
                Moment::Acknowledged(append, last) => {
                    if append.is_synced {
                        durable = durable.max(last);
                    }
                    let first = self.first_of.get(&append.number).copied();
                    for place in 0..append.aggregates.len() as u64 {
                        if let Some(event) = first.and_then(|first| self.at(first + place)) {
                            let seen = versions.entry(event.aggregate).or_default();
                            *seen = event.version.max(*seen);
                        }
                    }
                }
                Moment::Begins(read) => {
                    let least = match read.of {
                        Reading::Durable => durable,
                        Reading::DurableAggregate(aggregate) => self.version_at(aggregate, durable),
                        Reading::Aggregate(aggregate) => {
                            versions.get(&aggregate).copied().unwrap_or(0)
                        }
                    };
                    if read.upto < least {
                        self.say(format!("{least} had been shown or acknowledged: {read:?}"));
                    }
                }
                Moment::Ends(read) => {
                    self.check_content(read, &prefixes);
                    match read.of {
                        Reading::Durable => durable = durable.max(read.upto),
                        Reading::DurableAggregate(aggregate) => {
                            durable = durable.max(self.position_of(aggregate, read.upto));
                        }
                        Reading::Aggregate(_) if self.survives == Survives::Power => {}
                        Reading::Aggregate(aggregate) => {
                            let seen = versions.entry(aggregate).or_default();
                            *seen = read.upto.max(*seen);
                        }
                    }
                }
            }
        }
    }

    /// What was read is what is there in the end, and had been begun.
    fn check_content(&mut self, read: &Read, prefixes: &Prefixes) {
        let (names, newest) = match read.of {
            // Buffered events may have been read and lost.
            Reading::Aggregate(_) if self.survives == Survives::Power => return,
            Reading::Aggregate(aggregate) | Reading::DurableAggregate(aggregate) => (
                prefixes.of_aggregate(aggregate, read.from, read.upto),
                self.append_of(aggregate, read.upto),
            ),
            Reading::Durable => {
                let events = (read.from..=read.upto).map(|position| self.at(position));
                let names: Option<Vec<_>> = events.map(|event| Some(event?.name)).collect();
                let newest = self.at(read.upto).map(|event| event.name.0);
                (
                    names.map(fingerprint),
                    newest.and_then(|number| self.by_number.get(&number).copied()),
                )
            }
        };
        if names != Some(read.names) {
            self.say(format!("other events than are there in the end: {read:?}"));
        }
        if read.upto >= read.from && newest.is_none_or(|newest| newest.begun >= read.ended) {
            self.say(format!("saw what had not begun: {read:?}"));
        }
    }

    fn check_notifications(&mut self) {
        let mut seen: BTreeMap<u32, u64> = BTreeMap::new();
        for shown in &self.history.notifications {
            let before = seen.insert(shown.follower, shown.position);
            if before.is_some_and(|before| before + 1 != shown.position) {
                self.say(format!("shown behind {before:?}: {shown:?}"));
            }
            if shown.durable < shown.position {
                self.say(format!("shown before it was durable: {shown:?}"));
            }
            match self.at(shown.position) {
                Some(event) if event.name == shown.name => {}
                other => self.say(format!("{shown:?}, and there is {other:?}")),
            }
            let append = self.by_number.get(&shown.name.0);
            if append.is_none_or(|append| append.begun >= shown.at) {
                self.say(format!("shown before it began: {shown:?}"));
            }
        }
    }
}

impl Append {
    fn is_done_before(&self, at: u64) -> bool {
        let is_acknowledged = matches!(self.outcome, Outcome::Acknowledged(..));
        is_acknowledged && self.ended.is_some_and(|ended| ended < at)
    }
}

enum Moment<'a> {
    Begins(&'a Read),
    Ends(&'a Read),
    Acknowledged(&'a Append, u64),
}

/// Fingerprints of every first part of every aggregate.
struct Prefixes(HashMap<u32, Vec<u64>>);

impl Prefixes {
    fn new(checker: &Checker<'_>) -> Self {
        let of_all = checker.of_aggregate.iter().map(|(aggregate, places)| {
            let mut prefix = FINGERPRINT_OF_NOTHING;
            let mut prefixes = vec![prefix];
            for place in places {
                prefix = extended(prefix, checker.stored[*place].name);
                prefixes.push(prefix);
            }
            (*aggregate, prefixes)
        });
        Self(of_all.collect())
    }

    /// Only reads from the first version on have one.
    fn of_aggregate(&self, aggregate: u32, from: u64, upto: u64) -> Option<u64> {
        let upto = usize::try_from(upto).ok()?;
        match self.0.get(&aggregate) {
            Some(prefixes) if from == 1 => prefixes.get(upto).copied(),
            None if upto == 0 => Some(FINGERPRINT_OF_NOTHING),
            _ => None,
        }
    }
}

/// Enough to see what is wrong.
const FOUND_MAX: usize = 5;

#[cfg(test)]
mod tests;
