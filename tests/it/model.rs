//! T4: any sequence of calls, answered as a plain list of events answers; what fails is shrunk to the least that does.
//!
//! `ANNALS_TIER=full` runs 5,000 cases, else there are a few for every day.

use std::ops::Bound;

use annals_engine::{Direction, Expected, Query, QueryItem};
use annals_tests::harness::driver::{Draft, Driver, Step, Stop};
use annals_tests::id;
use annals_tests::invariants::Fact;
use annals_tests::sim_disk::Spared;
use proptest::collection::vec;
use proptest::prelude::*;

/// One call.
#[derive(Clone, Debug)]
enum Op {
    /// Events as aggregate, topic, tag and length; whether buffered; expected version of the first aggregate.
    Append(Vec<(u8, u8, Option<u8>, usize)>, bool, Option<u64>),
    Tracking(u8, u64),
    Sync,
    Close,
    Kill,
    PowerCut,
    Truncate(u64),
    Snapshot(u8),
    Read(u64, u64, bool, usize),
    Aggregate(u8, u64, bool),
    Tagged(u8, u64, bool),
    Look,
    Poll,
}

fn op() -> impl Strategy<Value = Op> {
    let len = prop_oneof![3 => 0..60usize, 1 => 1_000..12_000usize];
    let event = (0..4u8, 0..3u8, proptest::option::of(0..2u8), len);
    prop_oneof![
        10 => (vec(event, 1..4), any::<bool>(), proptest::option::weighted(0.2, 0..6u64))
            .prop_map(|(events, buffered, expected)| Op::Append(events, buffered, expected)),
        1 => (0..2u8, 0..30u64).prop_map(|(name, position)| Op::Tracking(name, position)),
        1 => Just(Op::Sync),
        1 => Just(Op::Close),
        1 => Just(Op::Kill),
        1 => Just(Op::PowerCut),
        1 => (0..60u64).prop_map(Op::Truncate),
        1 => (0..4u8).prop_map(Op::Snapshot),
        2 => (0..60u64, 0..60u64, any::<bool>(), 0..9usize)
            .prop_map(|(from, to, forward, limit)| Op::Read(from, to, forward, limit)),
        2 => (0..4u8, 0..20u64, any::<bool>())
            .prop_map(|(name, version, forward)| Op::Aggregate(name, version, forward)),
        2 => (0..2u8, 0..60u64, any::<bool>()).prop_map(|(tag, from, forward)| Op::Tagged(tag, from, forward)),
        1 => Just(Op::Look),
        1 => Just(Op::Poll),
    ]
}

fn name(number: u8) -> &'static str {
    ["a", "b", "c", "d"][usize::from(number)]
}

fn direction(forward: bool) -> Direction {
    if forward {
        Direction::Forward
    } else {
        Direction::Backward
    }
}

/// What a read must answer: positions, in order.
fn expected(facts: &[&Fact], forward: bool, is_asked: impl Fn(u64, &Fact) -> bool) -> Vec<u64> {
    let positions = (1..)
        .zip(facts)
        .filter(|(position, fact)| is_asked(*position, fact));
    let mut positions: Vec<u64> = positions.map(|(position, _)| position).collect();
    if !forward {
        positions.reverse();
    }
    positions
}

fn apply(run: &mut Driver, op: &Op) -> Step {
    if !run.is_open() {
        run.open()?;
    }
    let history = run.history.clone();
    let facts: Vec<&Fact> = history.facts(history.batches.len()).collect();
    let first = run.log().first_position();
    // Reads of everything show what is durable; those of one aggregate what is written, too.
    let durable = run.log().durable_head();
    match op {
        Op::Append(events, buffered, expects) => {
            let mut draft = Draft::new();
            for (aggregate, topic, tag, len) in events {
                let tag = tag.map(|tag| ["x", "y"][usize::from(tag)]);
                let aggregate = (*aggregate < 3).then(|| name(*aggregate));
                draft = draft.event(aggregate, name(*topic), tag, *len);
            }
            if let Some(version) = expects {
                let expects = match version {
                    0 => Expected::NoEvents,
                    version => Expected::Exactly(*version),
                };
                draft = draft.expect(name(events[0].0), expects);
            }
            run.append(if *buffered { draft.buffered() } else { draft })
        }
        Op::Tracking(upstream, position) => {
            run.append(Draft::new().tracking(name(*upstream), *position))
        }
        Op::Sync => run.sync(),
        Op::Close => run.close(),
        Op::Kill => {
            run.kill();
            Ok(())
        }
        Op::PowerCut => {
            run.cut_power(Spared::Nothing);
            Ok(())
        }
        Op::Truncate(before) => run.truncate(*before),
        Op::Snapshot(aggregate) => run.put_snapshot(name(*aggregate), 30),
        Op::Read(from, to, forward, limit) => {
            let from = (*from).max(first);
            let read = run
                .log()
                .read(from..=*to, &Query::all(), direction(*forward));
            let read: Result<Vec<u64>, _> =
                read.take(*limit).map(|event| Ok(event?.position)).collect();
            let read = read.map_err(Stop::Failed)?;
            let mut asked = expected(&facts, *forward, |position, _| {
                (from..=*to).contains(&position) && position <= durable
            });
            asked.truncate(*limit);
            assert_eq!(read, asked, "{op:?}");
            Ok(())
        }
        Op::Aggregate(aggregate, from, forward) => {
            let aggregate = id(name(*aggregate));
            let is_of_it = |fact: &Fact| fact.aggregate.as_ref() == Some(&aggregate);
            let last = facts.iter().rev().find(|fact| is_of_it(fact));
            assert_eq!(
                run.log().version(&aggregate).map_err(Stop::Failed)?,
                last.and_then(|fact| fact.version)
            );
            let asked = expected(&facts, *forward, |_, fact| {
                is_of_it(fact) && fact.version >= Some(*from)
            });
            let range = (Bound::Included(*from), Bound::Unbounded);
            let read = run
                .log()
                .read_aggregate(&aggregate, range, direction(*forward));
            let read: Result<Vec<u64>, annals_engine::Error> =
                read.map(|event| Ok(event?.position)).collect();
            match read {
                Ok(read) => assert_eq!(read, asked, "{op:?}"),
                Err(error) => assert!(
                    error.is_expired() && asked.iter().any(|position| *position < first),
                    "{error}"
                ),
            }
            Ok(())
        }
        Op::Tagged(tag, from, forward) => {
            let tag = ["x", "y"][usize::from(*tag)];
            let from = (*from).max(first);
            let query = Query::default().or(QueryItem::new().tag(tag));
            let read = run.log().read(from.., &query, direction(*forward));
            let read: Result<Vec<u64>, annals_engine::Error> =
                read.map(|event| Ok(event?.position)).collect();
            let is_asked = |position: u64, fact: &Fact| {
                (from..=durable).contains(&position)
                    && fact.tags.iter().any(|found| found == tag.as_bytes())
            };
            assert_eq!(
                read.map_err(Stop::Failed)?,
                expected(&facts, *forward, is_asked),
                "{op:?}"
            );
            Ok(())
        }
        Op::Look => run.look(),
        Op::Poll => run.poll(),
    }
}

fn cases() -> u32 {
    match std::env::var("ANNALS_TIER").as_deref() {
        Ok("full") => 5_000,
        _ => 100,
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: cases(),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_sequence_of_calls_is_answered_as_a_list_of_events_answers(
        seed in 1..1_000u64,
        late in any::<bool>(),
        ops in vec(op(), 1..50),
    ) {
        let mut run = Driver::new(seed);
        if late {
            run.delay_housekeeping();
        }
        for op in &ops {
            if let Err(stop) = apply(&mut run, op) {
                panic!("{op:?}: {stop:?}");
            }
        }
        run.kill();
        if let Err(stop) = run.judge() {
            panic!("at the end: {stop:?}");
        }
    }
}
