//! `annals cat`: events as lines of JSON.

use std::io::Write;
use std::ops::Bound;

use annals_engine::{AggregateId, Direction, Event, EventsIn, Log, Query, QueryItem, View};

use crate::args::CatArgs;
use crate::commands::Outcome;
use crate::damage_run::{DamageRun, say_damage};
use crate::error::CliError;
use crate::event_line::write_event;
use crate::log_report::say_what_may_be_missing;

pub(crate) fn run(args: &CatArgs, out: &mut impl Write) -> Result<Outcome, CliError> {
    // Without --follow one moment is shown, and nobody looks for more.
    let options = Log::options().background(args.follow);
    let log = options.open_read_only(&args.dir)?;
    let view = log.view();
    say_what_may_be_missing(&args.dir, log.recovery());
    let aggregate = args.aggregate.as_deref().map(AggregateId::parse);
    let mut printer = Printer {
        query: query(args),
        positions: positions(args),
        aggregate: aggregate.transpose()?,
        left: args.limit.unwrap_or(u64::MAX),
        damage_found: false,
    };
    let events = match &printer.aggregate {
        Some(id) => events_of_aggregate(args, &view, id)?,
        None => view.read(printer.positions, &printer.query, direction(args)),
    };
    printer.print(events, out)?;
    if args.follow {
        let before_first = args.from.map_or(0, |from| from.saturating_sub(1));
        printer.follow(&log, view.durable_head().max(before_first), out)?;
    }
    Ok(Outcome::of_damage(printer.damage_found))
}

/// Prints what was asked for and no more.
struct Printer {
    query: Query,
    positions: Positions,
    aggregate: Option<AggregateId>,
    /// How many events may still be printed.
    left: u64,
    damage_found: bool,
}

impl Printer {
    fn print(&mut self, events: EventsIn<'_>, out: &mut impl Write) -> Result<(), CliError> {
        let mut damage = None;
        for event in events {
            if self.left == 0 {
                break;
            }
            match event {
                Ok(event) => {
                    if !self.is_wanted(&event) {
                        continue;
                    }
                    // In its place among the events, for whoever reads both streams in one terminal.
                    if damage.is_some() {
                        out.flush()?;
                        say_damage(&mut damage);
                    }
                    write_event(out, &event)?;
                    out.write_all(b"\n")?;
                    self.left -= 1;
                }
                Err(error) if error.is_corrupt() || error.is_expired() => {
                    self.damage_found |= error.is_corrupt();
                    let other = match &mut damage {
                        Some(run) => run.join(error),
                        None => Some(error),
                    };
                    if let Some(other) = other {
                        out.flush()?;
                        say_damage(&mut damage);
                        damage = Some(DamageRun::of(other));
                    }
                }
                Err(error) => {
                    say_damage(&mut damage);
                    return Err(error.into());
                }
            }
        }
        if damage.is_some() {
            out.flush()?;
            say_damage(&mut damage);
        }
        Ok(())
    }

    /// Whether an event of the right topic and tags, or of the right aggregate, is all else that was asked for.
    fn is_wanted(&self, event: &Event<'_>) -> bool {
        let Some(aggregate) = &self.aggregate else {
            return true;
        };
        contains(self.positions, event.position())
            && event.aggregate_id().as_ref() == Some(aggregate)
            && self.query.matches(event)
    }

    /// Prints what becomes durable behind position `shown`, until enough is printed or somebody ends it.
    fn follow(&mut self, log: &Log, mut shown: u64, out: &mut impl Write) -> Result<(), CliError> {
        while self.left > 0 {
            out.flush()?;
            let Some(next) = log.subscribe(shown, Query::all()).next() else {
                break;
            };
            let view = log.view();
            // An error in the place of an event is met there; any other says why there is no more.
            if view.durable_head() <= shown {
                next?;
            }
            let new = (Bound::Excluded(shown), Bound::Unbounded);
            let events = view.read(new, &self.query, Direction::Forward);
            shown = view.durable_head().max(shown);
            self.print(events, out)?;
        }
        Ok(())
    }
}

fn events_of_aggregate<'v>(
    args: &CatArgs,
    view: &'v View,
    aggregate: &AggregateId,
) -> Result<EventsIn<'v>, CliError> {
    match view.version(aggregate) {
        // It may be about to begin.
        Ok(None) if args.follow => {}
        Ok(None) => {
            return Err(CliError::UnknownAggregate {
                dir: args.dir.clone(),
                id: aggregate.to_string(),
            });
        }
        // Where events are damaged nobody can say; what can be read of it is shown.
        Err(error) if error.is_corrupt() => {}
        other => drop(other?),
    }
    Ok(view.read_aggregate(aggregate, .., direction(args)))
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
