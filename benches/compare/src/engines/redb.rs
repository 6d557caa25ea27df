//! redb: a table by position, a table from aggregate and version to position.
//!
//! Durable is its `Immediate`. Buffered is its `None`, the only other one: what it acknowledges is lost with
//! the process until a durable commit follows.

use std::path::Path;
use std::sync::Arc;

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use super::CACHE_LEN;
use super::stored_event::{decode, encode, version_key};
use crate::engine::{Buffered, Commit, Durability, Engine, Failure, Form, GroupCommit, Kind, Seen};

pub(super) const KIND: Kind = Kind {
    name: "redb",
    package: "redb",
    form: Form::Database,
    buffered: Buffered::LostOnKill,
    open,
};

const EVENTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("events");
const VERSIONS: TableDefinition<'_, &[u8; 24], u64> = TableDefinition::new("versions");

fn open(dir: &Path, durability: Durability, _events: u64) -> Result<Box<dyn Engine>, Failure> {
    let database = Database::builder()
        .set_cache_size(CACHE_LEN)
        .create(dir.join("events.redb"))?;
    if database.begin_read()?.list_tables()?.next().is_none() {
        let write = database.begin_write()?;
        write.open_table(EVENTS)?;
        write.open_table(VERSIONS)?;
        write.commit()?;
    }
    Ok(Box::new(Redb {
        database: Arc::new(database),
        durability: match durability {
            Durability::Durable => redb::Durability::Immediate,
            Durability::Buffered => redb::Durability::None,
        },
    }))
}

struct Redb {
    database: Arc<Database>,
    durability: redb::Durability,
}

impl Engine for Redb {
    fn append(&self, commit: Commit) -> Result<u64, Failure> {
        self.append_alone(&commit)
    }

    fn read_aggregate(
        &self,
        aggregate: [u8; 16],
        visit: &mut dyn FnMut(Seen<'_>),
    ) -> Result<(), Failure> {
        let read = self.database.begin_read()?;
        let (events, versions) = (read.open_table(EVENTS)?, read.open_table(VERSIONS)?);
        let (first, last) = (version_key(aggregate, 0), version_key(aggregate, u64::MAX));
        for entry in versions.range::<&[u8; 24]>(&first..=&last)? {
            let position = entry?.1.value();
            let value = events.get(position)?.ok_or_else(missing)?;
            visit(decode(position, value.value()).ok_or_else(missing)?);
        }
        Ok(())
    }

    fn replay(&self, visit: &mut dyn FnMut(Seen<'_>)) -> Result<(), Failure> {
        let events = self.database.begin_read()?.open_table(EVENTS)?;
        for entry in events.iter()? {
            let (position, value) = entry?;
            visit(decode(position.value(), value.value()).ok_or_else(missing)?);
        }
        Ok(())
    }

    fn head(&self) -> Result<u64, Failure> {
        let events = self.database.begin_read()?.open_table(EVENTS)?;
        Ok(events.last()?.map_or(0, |(position, _)| position.value()))
    }

    fn settle(&self) -> Result<(), Failure> {
        // A commit of nothing, which is durable and takes those before it along.
        Ok(self.database.begin_write()?.commit()?)
    }

    fn close(self: Box<Self>) -> Result<(), Failure> {
        self.settle()?;
        let database = Arc::into_inner(self.database);
        Ok(database.expect("nobody else has it").close()?)
    }

    fn group(&self) -> Option<&dyn GroupCommit> {
        Some(self)
    }
}

impl GroupCommit for Redb {
    fn append_group(&self, commits: &[Commit]) -> Result<Vec<Result<u64, Failure>>, Failure> {
        let mut write = self.database.begin_write()?;
        write.set_durability(self.durability)?;
        let outcomes = {
            let mut events = write.open_table(EVENTS)?;
            let mut versions = write.open_table(VERSIONS)?;
            let mut head = events.last()?.map_or(0, |(position, _)| position.value());
            let mut value = Vec::new();
            let mut append = |commit: &Commit| -> Result<u64, Failure> {
                for event in commit {
                    let key = version_key(event.aggregate, event.version);
                    if versions.get(&key)?.is_some() {
                        return Err(Failure::Conflict);
                    }
                }
                let first = head + 1;
                for event in commit {
                    head += 1;
                    encode(event, &mut value);
                    events.insert(head, value.as_slice())?;
                    versions.insert(&version_key(event.aggregate, event.version), head)?;
                }
                Ok(first)
            };
            commits.iter().map(&mut append).collect()
        };
        write.commit()?;
        Ok(outcomes)
    }
}

fn missing() -> Failure {
    Failure::broken("redb: an event is missing or cut")
}
