//! A log under test on a simulated disk: does what a workload says and keeps the history of it.
//!
//! It knows what each call must answer, so a wrong answer is found when it is given; what a crash leaves is judged
//! later, by the [`History`].

use std::collections::BTreeMap;
use std::time::Duration;

use annals_engine::{
    AggregateId, BackupMode, Batch, Direction, Durability, Error, Expected, Log, LogOptions,
    NewEvent, Query, Subscription,
};
use uuid::Uuid;

use crate::invariants::{
    Breach, Copied, End, Fact, Following, Found, History, Issued, Told, Truncation, breach,
};
use crate::sim_disk::{SimDisk, Snapshot, Spared};
use crate::{SeededRandom, WildClock, id, small_log};

/// Where the log lies.
pub const DIR: &str = "/log";
/// Where its backup lies.
pub const BACKUP_DIR: &str = "/backup";
/// Where what is made of the backup lies.
pub const RESTORED_DIR: &str = "/restored";

/// Why a workload does not go on.
#[derive(Debug)]
pub enum Stop {
    /// A promise was broken.
    Breach(Breach),
    /// A call failed, as it may when the disk does.
    Failed(Error),
}

impl From<Breach> for Stop {
    fn from(breach: Breach) -> Self {
        Self::Breach(breach)
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// Whether a workload goes on.
pub type Step<T = ()> = Result<T, Stop>;

/// A batch to be appended.
#[derive(Clone, Debug, Default)]
pub struct Draft {
    events: Vec<NewEvent>,
    facts: Vec<Fact>,
    is_buffered: bool,
    tracking: Option<(String, u64)>,
    expected: Vec<(AggregateId, Expected)>,
    without_match: Option<(Query, u64)>,
}

impl Draft {
    /// No event yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// One event of an aggregate with a payload of so many bytes.
    pub fn of(aggregate: &str, len: usize) -> Self {
        Self::new().and(aggregate, len)
    }

    /// One more event of an aggregate.
    #[must_use]
    pub fn and(self, aggregate: &str, len: usize) -> Self {
        self.event(Some(aggregate), "Happened", None, len)
    }

    /// One more event; of no aggregate when none is given.
    #[must_use]
    pub fn event(
        mut self,
        aggregate: Option<&str>,
        topic: &str,
        tag: Option<&str>,
        len: usize,
    ) -> Self {
        // What it holds follows from its place, so that no two are alike.
        let payload: Vec<u8> = (0..len)
            .map(|at| (at / 7 + self.facts.len() * 31 + len) as u8)
            .collect();
        let mut event = NewEvent::new(topic.to_owned(), payload.clone());
        if let Some(aggregate) = aggregate {
            event = event.aggregate(id(aggregate));
        }
        if let Some(tag) = tag {
            event = event.tag(tag);
        }
        self.events.push(event);
        self.facts.push(Fact {
            aggregate: aggregate.map(id),
            version: None,
            topic: topic.to_owned(),
            id: None,
            tags: tag.map(|tag| tag.as_bytes().to_vec()).into_iter().collect(),
            payload: payload.into(),
        });
        self
    }

    /// Acknowledged before it is durable.
    #[must_use]
    pub fn buffered(mut self) -> Self {
        self.is_buffered = true;
        self
    }

    /// Advances a tracking position.
    #[must_use]
    pub fn tracking(mut self, name: &str, position: u64) -> Self {
        self.tracking = Some((name.to_owned(), position));
        self
    }

    /// Expects this of an aggregate.
    #[must_use]
    pub fn expect(mut self, aggregate: &str, expected: Expected) -> Self {
        self.expected.push((id(aggregate), expected));
        self
    }

    /// Only when nothing matches behind a position.
    #[must_use]
    pub fn unless(mut self, query: Query, after: u64) -> Self {
        self.without_match = Some((query, after));
        self
    }

    fn batch(&self) -> Batch {
        let mut batch = self.events.iter().cloned().fold(Batch::new(), Batch::event);
        for (aggregate, expected) in &self.expected {
            batch = batch.expect(aggregate.clone(), *expected);
        }
        if let Some((name, position)) = &self.tracking {
            batch = batch.tracking(name.as_str(), *position);
        }
        if let Some((query, after)) = &self.without_match {
            batch = batch.fail_if_match(query.clone(), *after);
        }
        match self.is_buffered {
            true => batch.durability(Durability::Buffered),
            false => batch,
        }
    }
}

/// What a run has left to be judged: a part of it between two openings.
#[derive(Debug)]
pub struct Phase {
    /// What had been handed over and heard of up to its end.
    pub history: History,
    /// The disk before each change, and at the end.
    pub snapshots: Vec<Snapshot>,
    /// Count of changes at the first of them.
    pub start: u64,
}

/// A log under test. See the module.
pub struct Driver {
    /// The disk of the process that runs.
    pub disk: SimDisk,
    /// What was done so far.
    pub history: History,
    /// Finished parts of a recorded run.
    pub phases: Vec<Phase>,
    log: Option<Log>,
    follower: Option<Log>,
    subscription: Option<Subscription>,
    subscribed: u64,
    seed: u64,
    opened: u64,
    next_id: u128,
    jobs_wait: bool,
    is_clock_wild: bool,
    is_recorded: bool,
    phase_start: u64,
    /// How the process before ended.
    end: End,
}

impl std::fmt::Debug for Driver {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Driver")
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}

impl Driver {
    /// Nothing is there yet, and nothing open.
    pub fn new(seed: u64) -> Self {
        Self::on(SimDisk::default(), seed)
    }

    /// The same on a disk of one's own.
    pub fn on(disk: SimDisk, seed: u64) -> Self {
        Self {
            disk,
            history: History::default(),
            phases: Vec::new(),
            log: None,
            follower: None,
            subscription: None,
            subscribed: 0,
            seed,
            opened: 0,
            next_id: 1,
            jobs_wait: false,
            is_clock_wild: false,
            is_recorded: false,
            phase_start: 0,
            end: End::Kill,
        }
    }

    /// Keeps everything that a crash could meet on the way.
    pub fn record(&mut self) {
        self.is_recorded = true;
        self.phase_start = self.disk.change_count();
        self.disk.record();
    }

    /// The parts of a recorded run.
    pub fn finish(mut self) -> Vec<Phase> {
        self.end_phase();
        let _ = self.disk.end(None);
        std::mem::take(&mut self.phases)
    }

    fn end_phase(&mut self) {
        if self.is_recorded {
            self.phases.push(Phase {
                history: self.history.clone(),
                snapshots: self.disk.recorded(),
                start: self.phase_start,
            });
            self.record();
        }
    }

    /// Has the work of the background wait for [`Driver::housekeep`], from the next opening on.
    pub fn delay_housekeeping(&mut self) {
        self.jobs_wait = true;
    }

    /// Has the clock jump back and forth, from the next opening on.
    pub fn unsettle_clock(&mut self) {
        self.is_clock_wild = true;
    }

    /// The log.
    ///
    /// # Panics
    /// When none is open.
    pub fn log(&self) -> &Log {
        self.log.as_ref().expect("the workload opens a log first")
    }

    /// Whether a log is open.
    pub fn is_open(&self) -> bool {
        self.log.is_some()
    }

    fn now(&self) -> u64 {
        self.disk.change_count()
    }

    /// Opens the log, and judges what is there.
    pub fn open(&mut self) -> Step {
        self.opened += 1;
        // Every third run has the same salts in every opening: old frames then look like new ones, if anything does.
        let seed = match self.seed.is_multiple_of(3) {
            true => self.seed,
            false => self.seed.wrapping_mul(100) + self.opened,
        };
        let mut options = small_log(self.disk.clone(), seed);
        if self.is_clock_wild {
            options = options.clock(WildClock::new(seed));
        }
        if self.jobs_wait {
            options = options.housekeeping_when_asked();
        }
        let log = match options.open(DIR) {
            Ok(log) => log,
            Err(error) => {
                if self.disk.reads_wrong() {
                    // It may have dropped, and kept aside, what read wrong and had no witness, before it failed.
                    self.history.power_cut(self.disk.change_count());
                }
                return Err(error.into());
            }
        };
        if self.opened > 1 || !self.history.batches.is_empty() {
            if self.disk.reads_wrong() && log.recovery().torn.is_some() {
                // What it read was wrong, and no witness lay beside it: it was told, and is kept aside.
                self.history.forget_promises();
            }
            let found = self.history.check(&log, u64::MAX, self.end)?;
            self.end_phase();
            self.history.settle(self.now(), &found, &log);
        }
        self.log = Some(log);
        self.end = End::Kill;
        Ok(())
    }

    /// Appends a batch.
    pub fn append(&mut self, draft: Draft) -> Step {
        let mut draft = draft;
        let (batch, told) = self.issue(&mut draft)?;
        self.append_batch(batch, told, draft)
    }

    /// Appends a batch, and the same again: it must be recognised.
    pub fn append_twice(&mut self, draft: Draft) -> Step {
        let mut draft = draft;
        let (batch, told) = self.issue(&mut draft)?;
        self.append_batch(batch.clone(), told, draft.clone())?;
        let head = self.log().head();
        let again = self.log().append(batch)?;
        keep_step(
            "I3",
            again.last == head && self.log().head() == head,
            "a repetition was stored",
        )?;
        self.history.all_written(self.now());
        if !draft.is_buffered {
            self.history.all_durable(self.now());
        }
        Ok(())
    }

    /// Gives the events ids, and the model of the batch its versions. `None`: it is to be refused.
    fn issue(&mut self, draft: &mut Draft) -> Step<(Batch, bool)> {
        let count = self.history.batches.len();
        let mut versions: BTreeMap<AggregateId, u64> = self
            .history
            .versions(count)
            .into_iter()
            .map(|(aggregate, version)| (aggregate.clone(), version))
            .collect();
        let is_expected = draft.expected.iter().all(|(aggregate, expected)| {
            let found = versions.get(aggregate).copied();
            match expected {
                Expected::Any => true,
                Expected::NoEvents => found.is_none(),
                Expected::Exactly(version) => found == Some(*version),
            }
        });
        let tracked = self.history.tracking(count);
        let advances = draft.tracking.as_ref().is_none_or(|(name, position)| {
            tracked
                .get(name.as_str())
                .is_none_or(|found| found < position)
        });
        let matches = draft.without_match.as_ref().is_some_and(|(query, after)| {
            let facts = self.history.facts(count).skip(*after as usize);
            let mut facts = facts.filter(|fact| {
                query.items().iter().any(|item| {
                    item.tags().iter().all(|tag| fact.tags.contains(tag))
                        && (item.topics().is_empty() || item.topics().contains(&fact.topic))
                })
            });
            facts.next().is_some()
        });
        for (event, fact) in draft.events.iter_mut().zip(&mut draft.facts) {
            let id = Uuid::from_u128(self.next_id);
            self.next_id += 1;
            *event = event.clone().event_id(id);
            fact.id = Some(id);
            if let Some(aggregate) = &fact.aggregate {
                let version = versions.entry(aggregate.clone()).or_default();
                *version += 1;
                fact.version = Some(*version);
            }
        }
        Ok((draft.batch(), is_expected && advances && !matches))
    }

    fn append_batch(&mut self, batch: Batch, is_legal: bool, draft: Draft) -> Step {
        let first = self.history.head() + 1;
        let last = first + draft.facts.len() as u64 - 1;
        self.history.batches.push(Issued {
            at: self.now(),
            facts: draft.facts,
            tracking: draft.tracking,
            told: Told::Nothing,
        });
        match self.log().append(batch) {
            Ok(appended) => {
                keep_step("I9", is_legal, "a batch was taken that is in conflict")?;
                let is_there = (appended.first, appended.last) == (first, last);
                keep_step(
                    "I3",
                    is_there,
                    &format!("{appended:?}, expected {first}..={last}"),
                )?;
                let batch = self.history.batches.last_mut();
                batch.expect("it was just pushed").told = Told::Acknowledged;
                let now = self.now();
                match draft.is_buffered {
                    true => self.history.all_written(now),
                    false => self.history.all_durable(now),
                }
                Ok(())
            }
            // Nobody knows.
            Err(error @ Error::Indeterminate { .. }) => Err(error.into()),
            Err(error) => {
                // It was refused, and must never be seen. What rests on dropped events is refused for that.
                let is_refusal = error.is_conflict() || error.is_expired();
                self.history.batches.pop();
                keep_step(
                    "I9",
                    !(is_refusal && is_legal),
                    &format!("refused without a reason: {error}"),
                )?;
                match is_refusal || matches!(error, Error::Limit { .. }) {
                    true => Ok(()),
                    false => Err(error.into()),
                }
            }
        }
    }

    /// Makes what is buffered durable.
    pub fn sync(&mut self) -> Step {
        self.log().sync()?;
        self.history.all_durable(self.now());
        Ok(())
    }

    /// Closes the log.
    pub fn close(&mut self) -> Step {
        self.leave_readers();
        let log = self.log.take().expect("the workload opens a log first");
        log.close()?;
        self.history.all_durable(self.now());
        Ok(())
    }

    /// Ends the process, and leaves the rest to the next one.
    pub fn kill(&mut self) {
        self.end_process(None);
        self.end = End::Kill;
    }

    /// Cuts the power.
    pub fn cut_power(&mut self, spared: Spared<'_>) {
        let left = self.disk.snapshot().power_cut(spared);
        self.end_process(Some(&left));
        self.end = End::PowerCut;
        self.history.power_cut(self.now());
    }

    /// Ends the process, and spoils or removes a file that can be made anew, if there is one.
    pub fn spoil_derived(&mut self, random: &SeededRandom) {
        self.history.spoil_derived();
        let mut image = self.disk.snapshot().seen();
        let is_derived = |path: &&std::path::PathBuf| {
            let name = path
                .file_name()
                .map(|name| name.to_string_lossy().into_owned());
            let name = name.unwrap_or_default();
            name.ends_with(".idx") || name.ends_with(".tail") || name.starts_with("heads-")
        };
        let derived: Vec<_> = image.files.keys().filter(is_derived).cloned().collect();
        if !derived.is_empty() {
            let path = &derived[random.next_u64() as usize % derived.len()];
            let len = image.files[path].len();
            if len == 0 || random.next_u64().is_multiple_of(3) {
                image.files.remove(path);
            } else {
                let at = random.next_u64() % len;
                let byte = image.files[path].bytes_at(at, 1)[0];
                image
                    .file_mut(path)
                    .write(&[byte ^ 1 << (random.next_u64() % 8)], at);
            }
        }
        self.end_process(Some(&image));
        self.end = End::Kill;
    }

    fn end_process(&mut self, left: Option<&crate::sim_disk::Image>) {
        self.leave_readers();
        let next = self.disk.end(left);
        self.log = None;
        self.disk = next;
    }

    fn leave_readers(&mut self) {
        self.subscription = None;
        self.follower = None;
    }

    /// Does one job that waits, if there is one.
    pub fn housekeep(&mut self) -> bool {
        self.log().housekeep()
    }

    /// Drops what lies before a position.
    pub fn truncate(&mut self, before: u64) -> Step {
        let at = self.now();
        self.history.truncations.push(Truncation {
            at,
            before,
            done: None,
        });
        let truncated = match self.log().force_truncate_before(before) {
            Ok(truncated) => truncated,
            Err(Error::Limit { .. }) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let done = Some((self.now(), truncated.first_position));
        if let Some(last) = self.history.truncations.last_mut() {
            last.done = done;
        }
        Ok(())
    }

    /// Makes a backup, or brings the one that is there up to date, and judges it.
    pub fn back_up(&mut self, mode: BackupMode) -> Step {
        let durable = self.log().durable_head();
        self.copy_to(BACKUP_DIR, |log, _| {
            let report = log.backup(BACKUP_DIR, mode, |_, _| {})?;
            Ok((report.last_position, report.damages.is_empty()))
        })?;
        let last = self.history.copies.last().and_then(|copied| copied.done);
        keep_step(
            "I1",
            last.is_none_or(|(_, last)| last >= durable),
            &format!("a backup ends at {last:?}, {durable} was durable before"),
        )
    }

    /// Makes a log of the backup, and judges it.
    pub fn restore(&mut self) -> Step {
        let restored = self.copy_to(RESTORED_DIR, |_, options| {
            let report = options.restore(BACKUP_DIR, RESTORED_DIR, |_, _| {})?;
            Ok((report.last_position, true))
        });
        match restored {
            // It is the other log that takes nothing more then, not this one.
            Err(Stop::Failed(Error::Indeterminate { .. } | Error::Poisoned { .. }))
                if self.disk.struck() > 0 =>
            {
                Ok(())
            }
            restored => restored,
        }
    }

    fn copy_to(
        &mut self,
        dir: &'static str,
        copy: impl FnOnce(&Log, LogOptions) -> Result<(u64, bool), Error>,
    ) -> Step {
        if self.disk.reads_wrong() {
            // What is copied then is what was read: nobody can say what it is.
            self.history.copies.retain(|copied| copied.dir != dir);
            let options = small_log(self.disk.clone(), self.seed);
            return Ok(copy(self.log(), options).map(drop)?);
        }
        self.history.copies.push(Copied {
            dir,
            at: self.now(),
            done: None,
        });
        let (last, is_sound) = copy(self.log(), small_log(self.disk.clone(), self.seed))?;
        keep_step("I7", is_sound, "a backup of a sound log tells of damage")?;
        let done = Some((self.now(), last));
        if let Some(copied) = self.history.copies.last_mut() {
            copied.done = done;
        }
        self.check_copies(self.log().durable_head())
    }

    /// Judges the copies of the log, of which `head` events are durable.
    fn check_copies(&self, head: u64) -> Step {
        let open = |dir: &str| small_log(self.disk.clone(), self.seed).open_read_only(dir);
        Ok(self.history.check_copies(u64::MAX, head, open)?)
    }

    /// Sets a follower, or removes it.
    pub fn follow(&mut self, name: &str, position: Option<u64>) -> Step {
        self.history.followings.push(Following {
            at: self.now(),
            done: None,
            name: name.to_owned(),
            position,
        });
        match position {
            Some(position) => self.log().reset_follower(name, position)?,
            None => {
                let _ = self.log().remove_follower(name)?;
            }
        }
        let done = Some(self.now());
        if let Some(last) = self.history.followings.last_mut() {
            last.done = done;
        }
        Ok(())
    }

    /// Stores a snapshot of an aggregate at its last version, when it has events.
    pub fn put_snapshot(&mut self, aggregate: &str, len: usize) -> Step {
        let aggregate = id(aggregate);
        let versions = self.history.versions(self.history.batches.len());
        let Some(version) = versions.get(&aggregate).copied() else {
            return Ok(());
        };
        let payload = vec![version as u8; len];
        self.history
            .snapshots
            .push((aggregate.clone(), version, payload.clone()));
        let snapshot = NewEvent::new("State", payload);
        match self.log().snapshots().put(aggregate, version, snapshot) {
            // They are a cache: a disk that fails may take them, and that is no failure of the log.
            Err(_) if self.disk.struck() > 0 => Ok(()),
            put => Ok(put?),
        }
    }

    /// Another process looks at the log, and sees only what is durable.
    pub fn look(&mut self) -> Step {
        if self.follower.is_none() {
            let options = small_log(self.disk.clone(), 1);
            self.follower = Some(options.open_read_only(DIR)?);
        }
        let follower = self.follower.as_ref().expect("it was just opened");
        let head = follower.refresh()?;
        let now = self.now();
        let shown = self.history.check_read_only(follower, now)?;
        keep_step(
            "I4",
            shown >= head,
            &format!("a reader is shown {shown} of {head}"),
        )?;
        let durable = self.log.as_ref().map_or(u64::MAX, Log::durable_head);
        keep_step(
            "I4",
            shown <= durable,
            &format!("a reader is shown {shown}, durable is {durable}"),
        )?;
        self.history.saw(now, shown);
        Ok(())
    }

    /// A subscriber takes what is there for it.
    pub fn poll(&mut self) -> Step {
        let log = self.log().clone();
        let after = self.subscribed.max(log.first_position() - 1);
        let mut subscription = match self.subscription.take() {
            Some(subscription) => subscription,
            None => log.subscribe(after, Query::all()),
        };
        let mut expected = after;
        while expected < log.durable_head() {
            let Some(event) = subscription.next_timeout(Duration::ZERO) else {
                return Err(breach(
                    "I4",
                    format!(
                        "nothing for a subscriber behind {expected} of {}",
                        log.durable_head()
                    ),
                )
                .into());
            };
            let event = match event {
                Ok(event) => event,
                // Dropped while nobody looked: it starts anew.
                Err(Error::Expired { .. }) => {
                    self.subscribed = log.first_position() - 1;
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            };
            expected += 1;
            keep_step(
                "I4",
                event.position == expected,
                &format!(
                    "a subscriber sees {} behind {}",
                    event.position,
                    expected - 1
                ),
            )?;
        }
        self.subscribed = expected;
        self.subscription = Some(subscription);
        self.history.saw(self.now(), expected);
        Ok(())
    }

    /// Reads everything, and compares it with what was acknowledged.
    pub fn read_all(&mut self) -> Step {
        let log = self.log();
        let first = log.first_position();
        let facts: Vec<&Fact> = self.history.facts(self.history.batches.len()).collect();
        let mut position = first - 1;
        for event in log.read(first.., &Query::all(), Direction::Forward) {
            let event = event?;
            position += 1;
            let is_same = facts
                .get(position as usize - 1)
                .is_some_and(|fact| fact.payload[..] == event.payload[..]);
            keep_step(
                "I1",
                event.position == position && is_same,
                &format!("position {position}: {event:?}"),
            )?;
        }
        Ok(())
    }

    /// Judges what is there after the process has ended: opens it, and appends once more.
    pub fn judge(&mut self) -> Step<Found> {
        let found = {
            self.open()?;
            let count = self.history.batches.len();
            let head = self.history.head();
            if !self.disk.has_faults() {
                self.check_copies(head)?;
            }
            Found {
                batches: count,
                least: count,
                first: self.log().first_position(),
                head,
            }
        };
        self.append(Draft::of("after", 10))?;
        self.cut_power(Spared::Nothing);
        self.open()?;
        let head = self.log().head();
        keep_step(
            "I1",
            head == found.head + 1,
            &format!("head {head} behind {} and one more", found.head),
        )?;
        Ok(found)
    }
}

fn keep_step(invariant: &'static str, holds: bool, what: &str) -> Step {
    if holds {
        return Ok(());
    }
    Err(breach(invariant, what).into())
}
