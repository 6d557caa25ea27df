//! Any sequence of calls: the log answers as a plain vector of events does, also after it was closed,
//! killed, or robbed of its derived files, and after its oldest events were dropped.

use std::collections::BTreeMap;
use std::path::Path;

use annals_engine::{
    AggregateId, Batch, Direction, Durability, Error, Expected, Limit, Log, Query, QueryItem,
    RecordedEvent, RecoveryOutcome, Version,
};
use annals_segments::format::{
    parse_checkpoint_file_name, parse_heads_file_name, parse_index_file_name,
};
use annals_segments::{Disk, MemoryDisk};
use uuid::Uuid;

use super::input::Input;
use crate::{event, id, small_log};

/// A description of calls.
pub fn api_ops(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut run = Run::new();
    for _ in 0..OPS_MAX {
        if input.is_empty() {
            break;
        }
        run.step(&mut input);
    }
    run.check_everything();
    run.reopen_closed();
    run.check_everything();
    let report = run
        .log
        .verify(|_, _| {})
        .expect("a disk in memory can be read");
    assert_eq!(report.damages, []);
    assert_eq!(report.events, run.head() + 1 - run.model.first);
}

/// What the log must answer.
struct Model {
    /// Every event there ever was.
    events: Vec<ModelEvent>,
    /// Last version of each aggregate.
    versions: BTreeMap<AggregateId, u64>,
    tracking: BTreeMap<&'static str, u64>,
    /// Position up to which a sync has been acknowledged.
    synced: u64,
    /// First position that was not dropped.
    first: u64,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            events: Vec::new(),
            versions: BTreeMap::new(),
            tracking: BTreeMap::new(),
            synced: 0,
            first: 1,
        }
    }
}

impl Model {
    /// The events that were not dropped, each with its position.
    fn retained(&self) -> impl Iterator<Item = (u64, &ModelEvent)> {
        let dropped = self.first as usize - 1;
        (1..).zip(&self.events).skip(dropped)
    }
}

/// An event as it was given, with the version it must have got.
struct ModelEvent {
    aggregate: Option<AggregateId>,
    version: Option<u64>,
    topic: &'static str,
    event_id: Uuid,
    tag: Option<Vec<u8>>,
    payload: Vec<u8>,
}

impl ModelEvent {
    fn check(&self, position: u64, read: &RecordedEvent) {
        assert_eq!(read.position, position);
        assert_eq!(read.aggregate_id, self.aggregate);
        assert_eq!(read.version, self.version);
        assert_eq!(read.topic, self.topic);
        assert_eq!(read.event_id, self.event_id);
        assert!(read.tags.iter().eq(&self.tag));
        assert_eq!(read.payload, self.payload);
    }
}

struct Run {
    disk: MemoryDisk,
    log: Log,
    /// Follows the log, through closes and from the kill before.
    follower: Log,
    model: Model,
    /// Number of the event to come, of the whole run: ids follow from it.
    next_id: u128,
    opened: u64,
}

impl Run {
    fn new() -> Self {
        let disk = MemoryDisk::default();
        let log = small_log(disk.clone(), 0)
            .open(DIR)
            .expect("a new log opens");
        Self {
            follower: open_read_only(&disk),
            disk,
            log,
            model: Model::default(),
            next_id: 1,
            opened: 0,
        }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        match input.u8() {
            0..160 => self.append(input),
            160..170 => {
                assert_eq!(
                    self.log.sync().expect("a disk in memory syncs"),
                    self.head()
                );
                self.model.synced = self.head();
            }
            170..180 => self.reopen_closed(),
            180..190 => self.reopen_killed(),
            190..200 => self.reopen_robbed(input),
            200..210 => self.check_aggregate(&aggregate(input)),
            210..225 => self.check_range(input),
            225..240 => self.check_query(input),
            240..248 => self.check_get(input),
            248..252 => self.check_read_only(),
            _ => self.truncate(input),
        }
    }

    fn truncate(&mut self, input: &mut Input<'_>) {
        let position = input.number();
        let truncated = self.log.truncate_before(position);
        let truncated = truncated.expect("nothing is damaged, and nobody follows");
        let first = truncated.first_position;
        assert_eq!(self.log.first_position(), first);
        assert_eq!(truncated.segments == 0, truncated.bytes == 0);
        if truncated.segments == 0 {
            assert_eq!(first, self.model.first);
            return;
        }
        // A segment may have held no event at all.
        assert!((self.model.first..=position.min(self.head() + 1)).contains(&first));
        self.model.first = first;
        self.model.synced = self.head();
    }

    fn head(&self) -> u64 {
        self.model.events.len() as u64
    }

    fn append(&mut self, input: &mut Input<'_>) {
        let mut batch = Batch::new();
        let mut versions = self.model.versions.clone();
        let mut events = Vec::new();
        let mut is_conflict = false;
        if input.rarely(3) {
            let aggregate = aggregate(input);
            let found = versions.get(&aggregate).copied();
            let expected = match input.below(4) {
                0 => Expected::Any,
                1 => Expected::NoEvents,
                2 => found.map_or(Expected::NoEvents, Expected::Exactly),
                _ => Expected::Exactly(input.number()),
            };
            is_conflict |= match expected {
                Expected::Any => false,
                Expected::NoEvents => found.is_some(),
                Expected::Exactly(version) => found != Some(version),
            };
            batch = batch.expect(aggregate, expected);
        }
        let count = match input.below(8) {
            0..5 => 1,
            few => few - 4,
        };
        for _ in 0..count {
            let (given, modelled, ascends) = self.new_event(input, &mut versions);
            is_conflict |= !ascends;
            batch.push(given);
            events.push(modelled);
        }
        let mut advanced = None;
        if input.rarely(6) {
            let (name, position) = (input.one_of(&["upstream", "other"]), input.number());
            let found = self.model.tracking.get(name);
            is_conflict |= found.is_some_and(|found| position <= *found);
            batch = batch.tracking(name, position);
            advanced = Some((name, position));
        }
        let durability = match input.rarely(3) {
            true => Durability::Buffered,
            false => Durability::Sync,
        };
        let first = self.head() + 1;
        match self.log.append(batch.durability(durability)) {
            Ok(appended) => {
                assert!(!is_conflict, "a conflict went unnoticed");
                self.model.events.extend(events);
                self.model.versions = versions;
                self.model.tracking.extend(advanced);
                assert_eq!((appended.first, appended.last), (first, self.head()));
                if durability == Durability::Sync {
                    self.model.synced = self.head();
                }
            }
            Err(error @ (Error::VersionConflict { .. } | Error::TrackingConflict { .. })) => {
                assert!(is_conflict, "{error}");
            }
            // The versions were taken by events that are no more there to be compared.
            Err(Error::Expired { first }) => {
                assert!(is_conflict && first > 1);
                assert_eq!(first, self.model.first);
            }
            // A batch may fill a quarter of a segment at most.
            Err(Error::Limit {
                limit: Limit::Batch,
                ..
            }) => {}
            // The greatest number is no version: a range could not end behind it.
            Err(Error::Limit {
                limit: Limit::Version,
                ..
            }) => assert!(events.iter().any(|event| event.version == Some(u64::MAX))),
            Err(error) => panic!("{error}"),
        }
        assert_eq!(self.log.head(), self.head());
        assert!((self.model.synced..=self.head()).contains(&self.log.durable_head()));
    }

    /// An event, what the model keeps of it, and whether its version is above the last.
    fn new_event(
        &mut self,
        input: &mut Input<'_>,
        versions: &mut BTreeMap<AggregateId, u64>,
    ) -> (annals_engine::NewEvent, ModelEvent, bool) {
        let topic = input.one_of(&["Happened", "Registered", "Renamed"]);
        let payload = match input.u8() {
            short @ 0..200 => vec![b'p'; usize::from(short)],
            // A few of these fill a segment.
            long => vec![b'q'; usize::from(long) * 30],
        };
        let event_id = Uuid::from_u128(self.next_id);
        self.next_id += 1;
        let mut given = event("placeholder", topic, payload.clone()).event_id(event_id);
        let aggregate = (!input.rarely(8)).then(|| aggregate(input));
        let mut version = None;
        let mut ascends = true;
        match &aggregate {
            None => given = annals_engine::NewEvent::new(topic, payload.clone()).event_id(event_id),
            Some(aggregate) => {
                let last = versions.get(aggregate).copied();
                let next = last.map_or(1, |last| last.saturating_add(1));
                let chosen = match input.rarely(8) {
                    true => {
                        let number = input.number();
                        given = given.version(Version::Given(number));
                        number
                    }
                    false => next,
                };
                ascends = last.is_none_or(|last| last < chosen);
                given = given.aggregate(aggregate.clone());
                versions.insert(aggregate.clone(), chosen);
                version = Some(chosen);
            }
        }
        let tag = input.rarely(3).then(|| tag(input));
        if let Some(tag) = &tag {
            given = given.tag(tag.clone());
        }
        let modelled = ModelEvent {
            aggregate,
            version,
            topic,
            event_id,
            tag,
            payload,
        };
        (given, modelled, ascends)
    }

    /// Opens what a process that was killed has left.
    fn open_left(&mut self, disk: MemoryDisk) {
        self.follower = open_read_only(&disk);
        self.disk = disk;
        self.open();
    }

    fn open(&mut self) {
        self.opened += 1;
        let log = small_log(self.disk.clone(), self.opened).open(DIR);
        self.log = log.expect("what a log left behind opens");
        self.check_opened();
    }

    fn check_opened(&mut self) {
        assert_eq!(self.log.head(), self.head());
        assert_eq!(self.log.durable_head(), self.head());
        assert_eq!(self.log.first_position(), self.model.first);
        assert_eq!(self.log.recovery().torn, None);
        self.model.synced = self.head();
        for name in ["upstream", "other"] {
            assert_eq!(
                self.log.tracking(name),
                self.model.tracking.get(name).copied()
            );
        }
    }

    fn reopen_closed(&mut self) {
        self.log.close().expect("a disk in memory does not fail");
        assert!(matches!(
            self.log.append(event("dog", "Late", "")),
            Err(Error::Closed)
        ));
        self.open();
        assert_eq!(self.log.recovery().outcome, RecoveryOutcome::Clean);
    }

    /// What was written survives a kill, synced or not.
    fn reopen_killed(&mut self) {
        self.open_left(self.disk.fork());
    }

    fn reopen_robbed(&mut self, input: &mut Input<'_>) {
        let left = self.disk.fork();
        for entry in left.list(Path::new(DIR)).expect("the directory is there") {
            let is_derived = parse_index_file_name(&entry.name).is_some()
                || parse_checkpoint_file_name(&entry.name).is_some()
                || parse_heads_file_name(&entry.name).is_some();
            if is_derived && !input.rarely(2) {
                left.remove(&Path::new(DIR).join(entry.name))
                    .expect("it was just listed");
            }
        }
        self.open_left(left);
    }

    fn check_everything(&self) {
        for number in 0..AGGREGATES {
            self.check_aggregate(&id(&format!("aggregate-{number}")));
        }
        let seen = self.log.durable_head();
        let read = read(&self.log, .., &Query::all(), Direction::Forward);
        assert_eq!(read.len() as u64, seen + 1 - self.model.first);
        for (event, (position, modelled)) in read.iter().zip(self.model.retained()) {
            modelled.check(position, event);
            let got = self.log.get(modelled.event_id).expect("nothing is damaged");
            assert_eq!(got.as_ref(), Some(event));
        }
    }

    fn check_aggregate(&self, aggregate: &AggregateId) {
        let is_of = |event: &ModelEvent| event.aggregate.as_ref() == Some(aggregate);
        let expected: Vec<_> = self
            .model
            .retained()
            .filter(|(_, event)| is_of(event))
            .collect();
        let dropped = &self.model.events[..self.model.first as usize - 1];
        for direction in [Direction::Forward, Direction::Backward] {
            let read = self.log.read_aggregate(aggregate, .., direction);
            let mut read = self.retained(read, direction, dropped.iter().any(is_of));
            if direction == Direction::Backward {
                read.reverse();
            }
            assert_eq!(read.len(), expected.len());
            for (event, (position, modelled)) in read.iter().zip(&expected) {
                modelled.check(*position, event);
            }
        }
        let version = self.log.version(aggregate).expect("nothing is damaged");
        assert_eq!(version, self.model.versions.get(aggregate).copied());
    }

    fn check_range(&self, input: &mut Input<'_>) {
        let (start, end) = (input.number(), input.number());
        let seen = self.log.durable_head();
        let first = self.model.first;
        let expected: Vec<u64> = (start.max(first)..end.min(seen + 1)).collect();
        let is_told = start.max(1) < first && start < end;
        let read = |direction| {
            let read = self.log.read(start..end, &Query::all(), direction);
            self.retained(read, direction, is_told)
        };
        let forward = read(Direction::Forward);
        assert!(
            forward
                .iter()
                .map(|event| event.position)
                .eq(expected.iter().copied())
        );
        let backward = read(Direction::Backward);
        assert!(backward.iter().rev().eq(&forward));
    }

    fn check_query(&self, input: &mut Input<'_>) {
        let (topic, tag) = (
            input.one_of(&["Happened", "Registered", "Never"]),
            tag(input),
        );
        let from = input.number();
        let both = input.rarely(2);
        let query = match both {
            true => Query::from(QueryItem::new().topic(topic).tag(tag.clone())),
            false => {
                Query::from(QueryItem::new().topic(topic)).or(QueryItem::new().tag(tag.clone()))
            }
        };
        let matches = |event: &ModelEvent| {
            let (has_topic, has_tag) = (event.topic == topic, event.tag.as_ref() == Some(&tag));
            if both {
                has_topic && has_tag
            } else {
                has_topic || has_tag
            }
        };
        let seen = self.log.durable_head();
        let expected: Vec<u64> = self
            .model
            .retained()
            .take_while(|(position, _)| *position <= seen)
            .filter(|(position, event)| *position >= from && matches(event))
            .map(|(position, _)| position)
            .collect();
        let is_told = from.max(1) < self.model.first;
        let read = |direction| {
            let read = self.log.read(from.., &query, direction);
            self.retained(read, direction, is_told)
        };
        let forward = read(Direction::Forward);
        assert!(
            forward
                .iter()
                .map(|event| event.position)
                .eq(expected.iter().copied())
        );
        let backward = read(Direction::Backward);
        assert!(backward.iter().rev().eq(&forward));
    }

    fn check_get(&self, input: &mut Input<'_>) {
        let number = u128::from(input.u16());
        let mut retained = self.model.retained();
        let place = retained.find(|(_, event)| event.event_id.as_u128() == number);
        let got = self
            .log
            .get(Uuid::from_u128(number))
            .expect("nothing is damaged");
        assert_eq!(
            got.map(|event| event.position),
            place.map(|(position, _)| position)
        );
    }

    /// What was read, but for the error that stands for what was dropped: it is there when it `is_told`.
    fn retained(
        &self,
        read: impl Iterator<Item = Result<RecordedEvent, Error>>,
        direction: Direction,
        is_told: bool,
    ) -> Vec<RecordedEvent> {
        let mut read: Vec<_> = read.collect();
        if is_told {
            let told = match direction {
                Direction::Forward => read.remove(0),
                Direction::Backward => read.pop().expect("it stands at the end"),
            };
            assert!(matches!(told, Err(Error::Expired { first }) if first == self.model.first));
        }
        let read = read.into_iter();
        read.map(|event| event.expect("nothing is damaged"))
            .collect()
    }

    /// Readers beside the writer see a prefix, and at least what was acknowledged as durable.
    fn check_read_only(&self) {
        let reader = open_read_only(&self.disk);
        let followed = self.follower.refresh().expect("a sound log is followed");
        assert_eq!(followed, self.log.durable_head());
        for reader in [&reader, &self.follower] {
            assert!((self.model.synced..=self.head()).contains(&reader.head()));
            let read = read(reader, .., &Query::all(), Direction::Forward);
            assert_eq!(reader.first_position(), self.model.first);
            assert_eq!(read.len() as u64, reader.head() + 1 - self.model.first);
            for (event, (position, modelled)) in read.iter().zip(self.model.retained()) {
                modelled.check(position, event);
            }
        }
    }
}

fn open_read_only(disk: &MemoryDisk) -> Log {
    let reader = small_log(disk.clone(), 1).open_read_only(DIR);
    reader.expect("a log in use, or left by one that was killed, opens for reading")
}

fn read(
    log: &Log,
    positions: impl std::ops::RangeBounds<u64>,
    query: &Query,
    direction: Direction,
) -> Vec<RecordedEvent> {
    let events = log.read(positions, query, direction);
    events
        .map(|event| event.expect("nothing is damaged"))
        .collect()
}

fn aggregate(input: &mut Input<'_>) -> AggregateId {
    id(&format!("aggregate-{}", input.below(AGGREGATES)))
}

fn tag(input: &mut Input<'_>) -> Vec<u8> {
    vec![b't', input.below(4)]
}

const DIR: &str = "/log";
const AGGREGATES: u8 = 6;
/// Calls in a run: enough for several segments, few enough for many runs a second.
const OPS_MAX: usize = 300;

/// The same appends, and now and then the oldest events dropped.
fn dropping(rolling: &[u8]) -> Vec<u8> {
    let mut calls = Vec::new();
    for (number, append) in (0_u8..).zip(rolling.chunks(12)) {
        calls.extend_from_slice(append);
        if number % 7 == 6 {
            calls.extend_from_slice(&[255, number, 220, 0, 3, 245, 0, 200 + number % 8]);
        }
    }
    calls
}

pub(super) fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let random = crate::SeededRandom::new(11);
    let mut mixed = vec![0; 1200];
    annals_segments::Random::fill(&random, &mut mixed);
    // One append each, with a payload that fills segments, and now and then a call of another kind.
    let mut rolling = Vec::new();
    for number in 0..60_u8 {
        rolling.extend_from_slice(&[0, 0, 0, number % 3, 255, 0, number % 6, 0, 2, number, 0, 0]);
        if number % 8 == 7 {
            rolling.push(170 + 10 * (number / 8 % 8));
        }
    }
    vec![
        ("nothing", Vec::new()),
        ("appends", vec![0; 200]),
        (
            "close-kill-rob",
            vec![0, 0, 0, 0, 5, 0, 0, 0, 0, 175, 185, 195, 0, 0, 250],
        ),
        ("mixed", mixed),
        ("rolling-and-dropping", dropping(&rolling)),
        ("rolling", rolling),
    ]
}
