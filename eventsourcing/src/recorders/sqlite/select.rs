//! Finding events: which positions match a query, and what is at them.
//!
//! A query is answered from two sorted lists, the positions of a tag and those of a topic, by leaping from one to the
//! other: each list is asked for its next position that is at least the greatest one that another list has named. So
//! the work is bounded by the shortest list of an item, whichever that is, and no shape of a query is worse than its
//! parts. A list is fetched a few positions at a time, more while they are used one after the other.

use std::collections::VecDeque;
use std::ops::{ControlFlow, RangeInclusive};

use rusqlite::{Connection, Row};

use super::database::Reading;
use super::error::failure;
use super::rows::{Id, clamped, not_as_written, notification, unsigned};
use super::tables::Statements;
use crate::domain::AggregateId;
use crate::persistence::{Notification, PersistenceError, Query, QueryItem, SelectEvents};

impl Reading<'_> {
    /// Shows `visit` the events of an aggregate, until it breaks.
    pub(super) fn visit_events_of(
        &self,
        aggregate_id: &AggregateId,
        select: SelectEvents,
        mut visit: impl FnMut(Notification) -> ControlFlow<()>,
    ) -> Result<(), PersistenceError> {
        let sql = match select.desc {
            false => &self.statements.events_of_aggregate,
            true => &self.statements.events_of_aggregate_desc,
        };
        let failed = failure(READ_EVENTS);
        let mut statement = self.transaction.prepare_cached(sql).map_err(&failed)?;
        let limit = select.limit.map_or(-1, |limit| clamped(limit as u64));
        // Versions begin at 0.
        let (gt, lte) = (
            select.gt.map_or(-1, clamped),
            select.lte.map_or(i64::MAX, clamped),
        );
        let mut rows = statement
            .query((Id(aggregate_id), gt, lte, limit))
            .map_err(&failed)?;
        while let Some(row) = rows.next().map_err(&failed)? {
            if visit(notification(row)?).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Shows `visit` the events at these positions that match, ascending, until it breaks. An event that cannot be read
    /// is shown as an error.
    pub(super) fn visit(
        &self,
        query: &Query,
        positions: RangeInclusive<u64>,
        mut visit: impl FnMut(u64, Result<Notification, PersistenceError>) -> ControlFlow<()>,
    ) -> Result<(), PersistenceError> {
        let (mut next, last) = positions.into_inner();
        let mut matching = Matching::new(&self.transaction, self.statements, query, last);
        if matching.is_all() {
            return self.visit_all(next, last, visit);
        }
        while let Some(position) = matching.next(next)? {
            let is_over = visit(position, self.event_at(position)).is_break();
            match position.checked_add(1) {
                Some(behind) if !is_over => next = behind,
                _ => break,
            }
        }
        Ok(())
    }

    fn visit_all(
        &self,
        first: u64,
        last: u64,
        mut visit: impl FnMut(u64, Result<Notification, PersistenceError>) -> ControlFlow<()>,
    ) -> Result<(), PersistenceError> {
        let failed = failure(READ_EVENTS);
        let mut statement = self
            .transaction
            .prepare_cached(&self.statements.events_between)
            .map_err(&failed)?;
        let mut rows = statement
            .query((clamped(first), clamped(last)))
            .map_err(&failed)?;
        while let Some(row) = rows.next().map_err(&failed)? {
            let position = unsigned(row, 0).map_err(&failed)?;
            if visit(position, notification(row)).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn event_at(&self, position: u64) -> Result<Notification, PersistenceError> {
        let failed = failure(READ_EVENTS);
        let mut statement = self
            .transaction
            .prepare_cached(&self.statements.event_at)
            .map_err(&failed)?;
        let mut rows = statement.query([clamped(position)]).map_err(&failed)?;
        match rows.next().map_err(&failed)? {
            Some(row) => notification(row),
            None => Err(not_as_written("events", position, "a tag of no event")),
        }
    }
}

/// The last version of an aggregate; `None` when there is no such aggregate.
pub(super) fn last_version(
    connection: &Connection,
    statements: &Statements,
    id: &AggregateId,
) -> Result<Option<u64>, PersistenceError> {
    connection
        .prepare_cached(&statements.last_version)
        .and_then(|mut statement| statement.query_one([Id(id)], |row| row.get::<_, Option<i64>>(0)))
        .map(|last| last.map(i64::cast_unsigned))
        .map_err(failure(READ_EVENTS))
}

/// The positions that match a query, up to one.
pub(super) struct Matching<'a> {
    connection: &'a Connection,
    statements: &'a Statements,
    /// Joined by *or*; none: every position matches.
    items: Vec<Item>,
    upto: u64,
}

struct Item {
    /// All of them have to name a position,
    tags: Vec<List>,
    /// and one of these; none: any topic.
    topics: Vec<List>,
}

impl<'a> Matching<'a> {
    pub(super) fn new(
        connection: &'a Connection,
        statements: &'a Statements,
        query: &Query,
        upto: u64,
    ) -> Self {
        let is_all = |item: &QueryItem| item.topics.is_empty() && item.tags.is_empty();
        let items = match query.items.iter().any(is_all) {
            true => Vec::new(),
            false => query.items.iter().map(Item::new).collect(),
        };
        Self {
            connection,
            statements,
            items,
            upto,
        }
    }

    /// Whether every position matches.
    pub(super) fn is_all(&self) -> bool {
        self.items.is_empty()
    }

    /// The next position that matches, from `from` on. To be asked in ascending order.
    pub(super) fn next(&mut self, from: u64) -> Result<Option<u64>, PersistenceError> {
        if self.is_all() {
            return Ok(Some(from.max(1)).filter(|from| *from <= self.upto));
        }
        let mut least: Option<u64> = None;
        for item in &mut self.items {
            let found = item.next(self.connection, self.statements, from)?;
            least = least.into_iter().chain(found).min();
        }
        Ok(least.filter(|position| *position <= self.upto))
    }
}

impl Item {
    fn new(item: &QueryItem) -> Self {
        let lists = |keys: Vec<Key>| keys.into_iter().map(List::new).collect();
        Self {
            tags: lists(item.tags.iter().cloned().map(Key::Tag).collect()),
            topics: lists(item.topics.iter().cloned().map(Key::Topic).collect()),
        }
    }

    fn next(
        &mut self,
        connection: &Connection,
        statements: &Statements,
        mut from: u64,
    ) -> Result<Option<u64>, PersistenceError> {
        loop {
            let mut reached = from;
            for tag in &mut self.tags {
                match tag.next(connection, statements, reached)? {
                    Some(next) => reached = next,
                    None => return Ok(None),
                }
            }
            if !self.topics.is_empty() {
                let mut least: Option<u64> = None;
                for topic in &mut self.topics {
                    let found = topic.next(connection, statements, reached)?;
                    least = least.into_iter().chain(found).min();
                }
                match least {
                    Some(next) => reached = next,
                    None => return Ok(None),
                }
            }
            // All lists have been asked from here on, and none leapt: each names it.
            if reached == from {
                return Ok(Some(from));
            }
            from = reached;
        }
    }
}

enum Key {
    Tag(Vec<u8>),
    Topic(String),
}

/// The positions of a tag or topic, ascending.
struct List {
    key: Key,
    /// Those fetched and not yet passed.
    fetched: VecDeque<u64>,
    /// How many to fetch next.
    batch: i64,
    /// Nothing is behind those fetched.
    is_complete: bool,
}

impl List {
    fn new(key: Key) -> Self {
        Self {
            key,
            fetched: VecDeque::new(),
            batch: BATCH_MIN,
            is_complete: false,
        }
    }

    fn next(
        &mut self,
        connection: &Connection,
        statements: &Statements,
        from: u64,
    ) -> Result<Option<u64>, PersistenceError> {
        let fetched_before = self.fetched.len();
        while self
            .fetched
            .front()
            .is_some_and(|position| *position < from)
        {
            self.fetched.pop_front();
        }
        if self.fetched.is_empty() && !self.is_complete {
            // All of the last batch passed at one leap: the next one may be as useless.
            self.batch = match fetched_before {
                0 | 1 => (self.batch * 2).min(BATCH_MAX),
                _ => BATCH_MIN,
            };
            self.fetch(connection, statements, from)
                .map_err(failure("look for events"))?;
        }
        Ok(self.fetched.front().copied())
    }

    fn fetch(
        &mut self,
        connection: &Connection,
        statements: &Statements,
        from: u64,
    ) -> Result<(), rusqlite::Error> {
        let position = |row: &Row<'_>| unsigned(row, 0);
        let (from, batch) = (clamped(from), self.batch);
        self.fetched = match &self.key {
            Key::Tag(tag) => connection
                .prepare_cached(&statements.positions_of_tag)?
                .query_map((tag, from, batch), position)?
                .collect::<Result<_, _>>()?,
            Key::Topic(topic) => connection
                .prepare_cached(&statements.positions_of_topic)?
                .query_map((topic, from, batch), position)?
                .collect::<Result<_, _>>()?,
        };
        self.is_complete = (self.fetched.len() as i64) < batch;
        Ok(())
    }
}

pub(super) const READ_EVENTS: &str = "read events";

/// Positions fetched at once.
const BATCH_MIN: i64 = 4;
const BATCH_MAX: i64 = 512;
