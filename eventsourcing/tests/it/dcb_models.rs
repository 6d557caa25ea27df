//! Conditional appends and queries against what they mean: the memory recorder against a scan over a list, and the log
//! against the memory recorder, after the same random operations.

use annals::{
    AppendCondition, ConditionalAppend, DcbRecorder, Durability, LogRecorder, MemoryRecorder,
    Notification, PersistenceError, Query, QueryItem, StoredEvent, Tracking, TrackingRecorder,
};
use proptest::collection::vec;
use proptest::prelude::*;
use uuid::Uuid;

/// What is done, and asked.
#[derive(Clone, Debug)]
enum Operation {
    Append(ConditionalAppend),
    Read(Query, u64, Option<usize>),
    /// Shows what a subscription has to show at once.
    Follow(Query, u64),
}

/// The meaning of queries and conditions, word by word.
#[derive(Default)]
struct Scan {
    events: Vec<StoredEvent>,
    tracking: Option<u64>,
}

impl Scan {
    fn matching<'s>(&'s self, query: &'s Query, after: u64) -> impl Iterator<Item = u64> + 's {
        let numbered = (1..).zip(&self.events);
        numbered
            .filter(move |(position, event)| *position > after && matches(query, event))
            .map(|(position, _)| position)
    }

    fn head(&self) -> u64 {
        self.events.len() as u64
    }

    fn append(&mut self, append: ConditionalAppend) -> Answer {
        let ConditionalAppend {
            events,
            conditions,
            tracking,
        } = append;
        if events.is_empty() {
            return Answer::NoEvents;
        }
        let mut last_versions = Vec::new();
        for origin in self.events.iter().filter_map(|event| event.origin.clone()) {
            last_versions.push(origin);
        }
        let mut refusals = Vec::new();
        for origin in events.iter().filter_map(|event| event.origin.clone()) {
            let is_taken = last_versions.iter().any(|last| {
                last.aggregate_id == origin.aggregate_id && last.version >= origin.version
            });
            if is_taken {
                refusals.push(Answer::VersionConflict);
                break;
            }
            last_versions.push(origin);
        }
        if let Some(Tracking { position, .. }) = &tracking
            && Some(*position) <= self.tracking
        {
            refusals.push(Answer::TrackingConflict);
        }
        for (number, condition) in conditions.iter().enumerate() {
            let AppendCondition {
                fail_if_match,
                after,
            } = condition;
            let found: Vec<_> = self.matching(fail_if_match, *after).collect();
            if !found.is_empty() {
                refusals.push(Answer::ConditionConflict(
                    number,
                    *after,
                    found,
                    self.head(),
                ));
                break;
            }
        }
        match refusals.len() {
            0 => {}
            1 => return refusals.swap_remove(0),
            // Which of several is told is the recorder's choice.
            _ => return Answer::AnyOf(refusals),
        }
        let first = self.head() + 1;
        self.events.extend(events);
        self.tracking = tracking.map(|tracking| tracking.position).or(self.tracking);
        Answer::Stored((first..=self.head()).collect())
    }
}

/// As the specification says it, and not as the library does.
fn matches(query: &Query, event: &StoredEvent) -> bool {
    let mut is_match = query.items.is_empty();
    for item in &query.items {
        let has_topic = item.topics.is_empty() || item.topics.contains(&event.topic);
        let lacks_a_tag = item
            .tags
            .iter()
            .any(|tag| event.tags.iter().all(|t| t != tag));
        is_match |= has_topic && !lacks_a_tag;
    }
    is_match
}

/// What an append answers, where recorders have to agree.
#[derive(Clone, Debug)]
enum Answer {
    Stored(Vec<u64>),
    NoEvents,
    VersionConflict,
    TrackingConflict,
    /// Number and reach of the condition, all positions in its way, the head.
    ConditionConflict(usize, u64, Vec<u64>, u64),
    AnyOf(Vec<Answer>),
}

impl Answer {
    /// What `recorder` answers.
    fn of(recorder: &dyn DcbRecorder, append: ConditionalAppend) -> Self {
        match recorder.append(append, Durability::Buffered) {
            Ok(recorded) => {
                Self::Stored(recorded.iter().map(|recorded| recorded.position).collect())
            }
            Err(PersistenceError::NoEvents) => Self::NoEvents,
            Err(PersistenceError::VersionConflict { .. }) => Self::VersionConflict,
            Err(PersistenceError::TrackingConflict { .. }) => Self::TrackingConflict,
            Err(PersistenceError::ConditionConflict {
                condition,
                after,
                positions,
                head,
            }) => Self::ConditionConflict(condition, after, positions, head),
            Err(error) => panic!("{error:?}"),
        }
    }

    /// Whether a recorder may answer `found` where this is right: of many positions in the way it tells the first.
    fn allows(&self, found: &Self) -> bool {
        match (self, found) {
            (Self::Stored(expected), Self::Stored(found)) => expected == found,
            (Self::NoEvents, Self::NoEvents)
            | (Self::VersionConflict, Self::VersionConflict)
            | (Self::TrackingConflict, Self::TrackingConflict) => true,
            (
                Self::ConditionConflict(number, after, positions, head),
                Self::ConditionConflict(found_number, found_after, told, found_head),
            ) => {
                (number, after, head) == (found_number, found_after, found_head)
                    && !told.is_empty()
                    && positions.starts_with(told)
                    && (told.len() == positions.len() || told.len() >= 16)
            }
            (Self::AnyOf(answers), found) => answers.iter().any(|answer| answer.allows(found)),
            _ => false,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 300,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn memory_answers_as_a_scan_does(operations in operations()) {
        let memory = MemoryRecorder::new();
        check(&memory, &memory, operations)?;
    }

    #[test]
    fn the_log_answers_as_memory_and_a_scan_do(operations in operations()) {
        let log = LogRecorder::from(annals_engine::Log::in_memory().unwrap());
        let memory = MemoryRecorder::new();
        check(&log, &log, operations.clone())?;
        check(&memory, &memory, operations)?;
        prop_assert_eq!(all(&log), all(&memory));
    }
}

fn check(
    recorder: &dyn DcbRecorder,
    tracking: &dyn TrackingRecorder,
    operations: Vec<Operation>,
) -> Result<(), TestCaseError> {
    let mut scan = Scan::default();
    for operation in operations {
        match operation {
            Operation::Append(append) => {
                let (expected, found) = (scan.append(append.clone()), Answer::of(recorder, append));
                prop_assert!(
                    expected.allows(&found),
                    "{:?} instead of {:?}",
                    found,
                    expected
                );
            }
            Operation::Read(query, after, limit) => {
                let found = recorder.read(&query, after, limit).unwrap();
                let expected: Vec<_> = scan
                    .matching(&query, after)
                    .take(limit.unwrap_or(usize::MAX))
                    .collect();
                let head = match limit {
                    None => Some(scan.head()).filter(|head| *head > 0),
                    Some(_) => expected.last().copied(),
                };
                prop_assert_eq!(found.head, head);
                prop_assert_eq!(positions(&found.notifications), expected);
            }
            Operation::Follow(query, after) => {
                let expected: Vec<_> = scan.matching(&query, after).collect();
                // Buffered events are shown once they are durable, which this makes them.
                let barrier =
                    StoredEvent::new(Uuid::from_u128(u128::from(scan.head()) << 64), "Z", "");
                scan.events.push(barrier.clone());
                recorder
                    .append(ConditionalAppend::new(vec![barrier]), Durability::Sync)
                    .unwrap();
                let mut subscription = recorder.subscribe_query(&query, after).unwrap();
                let mut shown = Vec::new();
                while let Some(next) = subscription.next_timeout(std::time::Duration::ZERO) {
                    shown.push(next.unwrap().position);
                }
                let last = scan.head();
                prop_assert_eq!(subscription.position(), after.max(last));
                prop_assert_eq!(&shown[..expected.len()], expected.as_slice());
                let rest: Vec<_> = scan.matching(&query, after.max(last - 1)).collect();
                prop_assert_eq!(&shown[expected.len()..], rest);
            }
        }
        prop_assert_eq!(tracking.max_tracking("up").unwrap(), scan.tracking);
    }
    let found = all(recorder);
    let stored: Vec<_> = found.into_iter().map(|(_, event)| event).collect();
    prop_assert_eq!(stored, scan.events);
    Ok(())
}

fn all(recorder: &dyn DcbRecorder) -> Vec<(u64, StoredEvent)> {
    let found = recorder.read(&Query::all(), 0, None).unwrap();
    let parts = |notification: Notification| (notification.position, notification.event);
    found.notifications.into_iter().map(parts).collect()
}

fn positions(notifications: &[Notification]) -> Vec<u64> {
    notifications
        .iter()
        .map(|notification| notification.position)
        .collect()
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    vec(operation(), 1..40).prop_map(|mut operations| {
        // Every event has an id of its own: one appended again would be taken for a retry.
        let mut next_id = 1_u128;
        for operation in &mut operations {
            if let Operation::Append(append) = operation {
                for event in &mut append.events {
                    event.event_id = Uuid::from_u128(next_id);
                    next_id += 1;
                }
            }
        }
        operations
    })
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        6 => append().prop_map(Operation::Append),
        3 => (query(), 0..30_u64, limit()).prop_map(|(query, after, limit)| {
            Operation::Read(query, after, limit)
        }),
        1 => (query(), 0..30_u64).prop_map(|(query, after)| Operation::Follow(query, after)),
    ]
}

fn append() -> impl Strategy<Value = ConditionalAppend> {
    let condition = (query(), 0..30_u64).prop_map(|(fail_if_match, after)| AppendCondition {
        fail_if_match,
        after,
    });
    let tracking = proptest::option::weighted(0.2, 1..40_u64)
        .prop_map(|position| position.map(|position| Tracking::new("up", position)));
    (vec(event(), 0..5), vec(condition, 0..3), tracking).prop_map(
        |(events, conditions, tracking)| ConditionalAppend {
            events,
            conditions,
            tracking,
        },
    )
}

/// Of few topics, tags and aggregates, so that they meet.
fn event() -> impl Strategy<Value = StoredEvent> {
    let origin = proptest::option::weighted(0.2, ("[mn]", 0..20_u64));
    ("[A-D]", vec("[u-z]", 0..4), origin).prop_map(|(topic, tags, origin)| {
        let mut event = StoredEvent::new(Uuid::nil(), topic, "{}");
        event.tags = tags.into_iter().map(String::into_bytes).collect();
        event.tags.sort_unstable();
        event.tags.dedup();
        match origin {
            Some((id, version)) => event.of(annals::AggregateId::text(id).unwrap(), version),
            None => event,
        }
    })
}

fn query() -> impl Strategy<Value = Query> {
    let item = (vec("[A-E]", 0..3), vec("[t-z]", 0..3)).prop_map(|(topics, tags)| QueryItem {
        topics,
        tags: tags.into_iter().map(String::into_bytes).collect(),
    });
    vec(item, 0..4).prop_map(|items| Query { items })
}

fn limit() -> impl Strategy<Value = Option<usize>> {
    proptest::option::of(0..6_usize)
}
