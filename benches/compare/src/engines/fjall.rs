//! fjall: a keyspace by position, a keyspace from aggregate and version to position, one batch over both.
//!
//! One writer at a time, behind a lock, checks versions and gives positions. Durable is `SyncData`, buffered is
//! `Buffer`: the journal is handed to the system and not synced.

use std::path::Path;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use parking_lot::Mutex;

use super::CACHE_LEN;
use super::stored_event::{decode, encode, version_key};
use crate::engine::{Buffered, Commit, Durability, Engine, Failure, Form, GroupCommit, Kind, Seen};

pub(super) const KIND: Kind = Kind {
    name: "fjall",
    package: "fjall",
    form: Form::Database,
    buffered: Buffered::SurvivesKill,
    open,
};

fn open(dir: &Path, durability: Durability, _events: u64) -> Result<Box<dyn Engine>, Failure> {
    let database = Database::builder(dir).cache_size(CACHE_LEN as u64).open()?;
    let events = database.keyspace("events", KeyspaceCreateOptions::default)?;
    let versions = database.keyspace("versions", KeyspaceCreateOptions::default)?;
    let head = head(&events)?;
    Ok(Box::new(Fjall {
        database,
        events,
        versions,
        head: Mutex::new(head),
        persist: match durability {
            Durability::Durable => PersistMode::SyncData,
            Durability::Buffered => PersistMode::Buffer,
        },
    }))
}

fn head(events: &Keyspace) -> Result<u64, Failure> {
    let Some(last) = events.last_key_value() else {
        return Ok(0);
    };
    position(&last.key()?)
}

fn position(key: &[u8]) -> Result<u64, Failure> {
    Ok(u64::from_be_bytes(key.try_into()?))
}

struct Fjall {
    database: Database,
    events: Keyspace,
    versions: Keyspace,
    head: Mutex<u64>,
    persist: PersistMode,
}

impl Engine for Fjall {
    fn append(&self, commit: Commit) -> Result<u64, Failure> {
        self.append_alone(&commit)
    }

    fn read_aggregate(
        &self,
        aggregate: [u8; 16],
        visit: &mut dyn FnMut(Seen<'_>),
    ) -> Result<(), Failure> {
        for entry in self.versions.prefix(aggregate) {
            let key = entry.value()?;
            let value = self.events.get(&key)?.ok_or_else(missing)?;
            visit(decode(position(&key)?, &value).ok_or_else(missing)?);
        }
        Ok(())
    }

    fn replay(&self, visit: &mut dyn FnMut(Seen<'_>)) -> Result<(), Failure> {
        for entry in self.events.iter() {
            let (key, value) = entry.into_inner()?;
            visit(decode(position(&key)?, &value).ok_or_else(missing)?);
        }
        Ok(())
    }

    fn head(&self) -> Result<u64, Failure> {
        head(&self.events)
    }

    fn close(self: Box<Self>) -> Result<(), Failure> {
        Ok(self.database.persist(PersistMode::SyncAll)?)
    }

    fn group(&self) -> Option<&dyn GroupCommit> {
        Some(self)
    }
}

impl GroupCommit for Fjall {
    fn append_group(&self, commits: &[Commit]) -> Result<Vec<Result<u64, Failure>>, Failure> {
        let mut committed = self.head.lock();
        let mut head = *committed;
        let mut batch = self.database.batch().durability(Some(self.persist));
        // A batch is not seen before it is committed: what it takes has to be remembered.
        let mut taken = std::collections::HashSet::new();
        let mut value = Vec::new();
        let mut append = |commit: &Commit| -> Result<u64, Failure> {
            let keys = || {
                commit
                    .iter()
                    .map(|event| version_key(event.aggregate, event.version))
            };
            for key in keys() {
                if (commits.len() > 1 && taken.contains(&key)) || self.versions.contains_key(key)? {
                    return Err(Failure::Conflict);
                }
            }
            if commits.len() > 1 {
                taken.extend(keys());
            }
            let first = head + 1;
            for event in commit {
                head += 1;
                encode(event, &mut value);
                batch.insert(&self.events, head.to_be_bytes(), value.as_slice());
                let key = version_key(event.aggregate, event.version);
                batch.insert(&self.versions, key, head.to_be_bytes());
            }
            Ok(first)
        };
        let outcomes = commits.iter().map(&mut append).collect();
        batch.commit()?;
        *committed = head;
        Ok(outcomes)
    }
}

fn missing() -> Failure {
    Failure::broken("fjall: an event is missing or cut")
}
