//! `annals cat`: events as lines of JSON.

use std::io::Write;
use std::ops::Bound;

use annals_engine::{AggregateId, Direction, EventsIn, Log, Query, QueryItem, View};

use crate::args::CatArgs;
use crate::commands::Outcome;
use crate::error::{self, CliError};
use crate::event_line::write_event;
use crate::log_report::say_what_may_be_missing;

pub(crate) fn run(args: &CatArgs, out: &mut impl Write) -> Result<Outcome, CliError> {
    let log = Log::open_read_only(&args.dir)?;
    let view = log.view();
    say_what_may_be_missing(&args.dir, log.recovery());
    let (query, positions) = (query(args), positions(args));
    let limit = args.limit.unwrap_or(u64::MAX);
    // An aggregate is read by its versions, so what else was asked for is looked at event by event.
    let (events, sift) = match &args.aggregate {
        Some(id) => (events_of_aggregate(args, &view, id)?, true),
        None => (view.read(positions, &query, direction(args)), false),
    };

    let mut printed = 0;
    let mut damage_found = false;
    for event in events {
        if printed == limit {
            break;
        }
        match event {
            Ok(event) => {
                if sift && !(contains(positions, event.position()) && query.matches(&event)) {
                    continue;
                }
                write_event(out, &event)?;
                out.write_all(b"\n")?;
                printed += 1;
            }
            Err(error) if error.is_corrupt() || error.is_expired() => {
                damage_found |= error.is_corrupt();
                // In its place among the events, for whoever reads both streams in one terminal.
                out.flush()?;
                error::say(&error);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Outcome::of_damage(damage_found))
}

fn events_of_aggregate<'v>(
    args: &CatArgs,
    view: &'v View,
    id: &str,
) -> Result<EventsIn<'v>, CliError> {
    let aggregate = AggregateId::parse(id)?;
    match view.version(&aggregate) {
        Ok(None) => {
            return Err(CliError::UnknownAggregate {
                dir: args.dir.clone(),
                id: id.to_owned(),
            });
        }
        // Where events are damaged nobody can say; what can be read of it is shown.
        Err(error) if error.is_corrupt() => {}
        other => drop(other?),
    }
    Ok(view.read_aggregate(&aggregate, .., direction(args)))
}

fn query(args: &CatArgs) -> Query {
    if args.topics.is_empty() && args.tags.is_empty() {
        return Query::all();
    }
    let with_topics = args.topics.iter().fold(QueryItem::new(), QueryItem::topic);
    args.tags
        .iter()
        .fold(with_topics, |item, tag| item.tag(tag.as_bytes()))
        .into()
}

fn direction(args: &CatArgs) -> Direction {
    if args.reverse {
        Direction::Backward
    } else {
        Direction::Forward
    }
}

type Positions = (Bound<u64>, Bound<u64>);

/// `--from` is where reading starts, so it is the greatest position when the newest come first.
fn positions(args: &CatArgs) -> Positions {
    match (args.from, args.reverse) {
        (None, _) => (Bound::Unbounded, Bound::Unbounded),
        (Some(from), false) => (Bound::Included(from), Bound::Unbounded),
        (Some(from), true) => (Bound::Unbounded, Bound::Included(from)),
    }
}

fn contains(positions: Positions, position: u64) -> bool {
    std::ops::RangeBounds::contains(&positions, &position)
}
