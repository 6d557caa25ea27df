//! Storing events: what is checked inside the transaction, and what is written.

use std::collections::HashMap;

use crate::domain::AggregateId;
use crate::persistence::{
    AppendCondition, Durability, Notification, PersistenceError, Recorded, StoredEvent, Tracking,
    recognise,
};

use rusqlite::OptionalExtension;

use super::database::Writing;
use super::error::failure;
use super::rows::{Id, bind_content, bits, notification, unsigned};
use super::select::{Matching, last_version};

impl Writing<'_> {
    /// Stores events behind the last one, if the conditions hold and the versions are free, and records a position
    /// with them.
    pub(super) fn insert(
        &self,
        events: &[StoredEvent],
        conditions: &[AppendCondition],
        tracked: Option<&Tracking>,
        now_us: u64,
    ) -> Result<Vec<Recorded>, PersistenceError> {
        let (last, last_time_us) = self.last_event()?;
        let checked = self.check(events, conditions, tracked, last);
        let may_be_there = match &checked {
            // Versions that are free say that it is not.
            Ok(()) => events.iter().any(|event| event.origin.is_none()),
            Err(error) => error.is_conflict() || error.is_processed(),
        };
        if may_be_there {
            let is_tracked = tracked.map(|tracked| self.check_tracking(tracked));
            let is_tracked = match is_tracked {
                Some(Err(error)) if error.is_processed() => Some(true),
                checked => checked.transpose()?.map(|()| false),
            };
            if let Some(there) = recognise(events, is_tracked, |event| self.find(event))? {
                return Ok(there);
            }
        }
        checked?;

        if let Some(tracked) = tracked {
            self.track(tracked)?;
        }
        let time_us = now_us.max(last_time_us);
        for (event, position) in events.iter().zip(last + 1..) {
            self.insert_event(event, position, time_us)
                .map_err(failure(STORE_EVENTS))?;
        }
        if self.durability == Durability::Buffered && !events.is_empty() {
            self.transaction
                .prepare_cached(&self.statements.mark_buffered)
                .and_then(|mut statement| statement.execute([bits(last + 1)]))
                .map_err(failure(STORE_EVENTS))?;
        }
        let time_us = Some(time_us);
        Ok((last + 1..)
            .take(events.len())
            .map(|position| Recorded { position, time_us })
            .collect())
    }

    fn check(
        &self,
        events: &[StoredEvent],
        conditions: &[AppendCondition],
        tracked: Option<&Tracking>,
        last: u64,
    ) -> Result<(), PersistenceError> {
        self.check_versions(events)?;
        tracked.map_or(Ok(()), |tracked| self.check_tracking(tracked))?;
        conditions
            .iter()
            .enumerate()
            .try_for_each(|(index, condition)| self.check_condition(index, condition, last))
    }

    /// The event at the version of this one, or, when it belongs to no aggregate, that of its id.
    fn find(&self, event: &StoredEvent) -> Result<Option<Notification>, PersistenceError> {
        let failed = failure(STORE_EVENTS);
        let sql = match event.origin {
            Some(_) => &self.statements.event_of_aggregate,
            None => &self.statements.event_of_no_aggregate,
        };
        let mut statement = self.transaction.prepare_cached(sql).map_err(&failed)?;
        let rows = match &event.origin {
            Some(origin) => statement.query((Id(&origin.aggregate_id), bits(origin.version))),
            None => statement.query([event.event_id.as_bytes().as_slice()]),
        };
        let mut rows = rows.map_err(&failed)?;
        let row = rows.next().map_err(&failed)?;
        row.map(notification).transpose()
    }

    /// Position and time of the last event; zeros when there is none.
    fn last_event(&self) -> Result<(u64, u64), PersistenceError> {
        let last = self
            .transaction
            .prepare_cached(&self.statements.last_event)
            .and_then(|mut statement| {
                statement
                    .query_one([], |row| Ok((unsigned(row, 0)?, unsigned(row, 1)?)))
                    .optional()
            })
            .map_err(failure(STORE_EVENTS))?;
        Ok(last.unwrap_or_default())
    }

    fn check_condition(
        &self,
        index: usize,
        condition: &AppendCondition,
        head: u64,
    ) -> Result<(), PersistenceError> {
        let AppendCondition {
            fail_if_match,
            after,
        } = condition;
        let mut matching = Matching::new(&self.transaction, self.statements, fail_if_match, head);
        let mut positions = Vec::new();
        let mut next = after.checked_add(1);
        while let Some(from) = next
            && positions.len() < POSITIONS_MAX
            && let Some(found) = matching.next(from)?
        {
            positions.push(found);
            next = found.checked_add(1);
        }
        match positions.is_empty() {
            true => Ok(()),
            false => Err(PersistenceError::ConditionConflict {
                condition: index,
                after: *after,
                positions,
                head,
            }),
        }
    }

    /// Each version must be above those its aggregate has, and those before it in the insert.
    fn check_versions(&self, events: &[StoredEvent]) -> Result<(), PersistenceError> {
        let mut last_versions: HashMap<&AggregateId, Option<u64>> = HashMap::new();
        for origin in events.iter().filter_map(|event| event.origin.as_ref()) {
            let id = &origin.aggregate_id;
            let last = match last_versions.get(id) {
                Some(last) => *last,
                None => last_version(&self.transaction, self.statements, id)?,
            };
            if last.is_some_and(|last| origin.version <= last) {
                return Err(PersistenceError::VersionConflict {
                    aggregate_id: id.clone(),
                    version: origin.version,
                    last,
                });
            }
            last_versions.insert(id, Some(origin.version));
        }
        Ok(())
    }

    fn insert_event(
        &self,
        event: &StoredEvent,
        position: u64,
        time_us: u64,
    ) -> Result<(), rusqlite::Error> {
        let mut tags: Vec<&[u8]> = event.tags.iter().map(Vec::as_slice).collect();
        tags.sort_unstable();
        tags.dedup();
        let mut statement = self
            .transaction
            .prepare_cached(&self.statements.insert_event)?;
        statement.raw_bind_parameter(1, bits(position))?;
        statement.raw_bind_parameter(2, bits(time_us))?;
        bind_content(&mut statement, 3, event, &tags)?;
        statement.raw_execute()?;

        if tags.is_empty() {
            return Ok(());
        }
        let mut statement = self
            .transaction
            .prepare_cached(&self.statements.insert_tag)?;
        for tag in tags {
            statement.execute((tag, bits(position)))?;
        }
        Ok(())
    }
}

const STORE_EVENTS: &str = "store events";

/// Positions that an error names at most.
const POSITIONS_MAX: usize = 16;
