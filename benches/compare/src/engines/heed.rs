//! LMDB through heed: a database by position, filled at its end, and one from aggregate and version to position.
//!
//! Durable is its default. Buffered is `NO_SYNC`: commits survive the end of the process, while a loss of power
//! may break the whole file where the file system does not keep the order of writes.

use std::path::Path;

use heed::byteorder::BigEndian;
use heed::types::{Bytes, U64};
use heed::{CommitOrAbort, Database, Env, EnvFlags, EnvOpenOptions, PutFlags, RoTxn};

use super::stored_event::{decode, encode, version_key};
use crate::engine::{Buffered, Commit, Durability, Engine, Failure, Form, GroupCommit, Kind, Seen};

pub(super) const KIND: Kind = Kind {
    name: "heed",
    package: "heed",
    form: Form::Database,
    buffered: Buffered::SurvivesKill,
    open,
};

type Position = U64<BigEndian>;

fn open(dir: &Path, durability: Durability, events: u64) -> Result<Box<dyn Engine>, Failure> {
    let mut options = EnvOpenOptions::new();
    // Address space, not disk: four times what the events take, at least a gigabyte.
    let map_len = (events * 2048).next_multiple_of(1 << 20).max(1 << 30);
    options.map_size(usize::try_from(map_len)?).max_dbs(2);
    if durability == Durability::Buffered {
        set_no_sync(&mut options);
    }
    let env = open_env(&options, dir)?;
    let (events, versions) = env
        .create_databases_and_commit(env.write_txn()?, |opener, write| {
            let events = opener.create_database(write, Some("events"))?;
            let versions = opener.create_database(write, Some("versions"))?;
            Ok::<_, heed::Error>(CommitOrAbort::<_, ()>::Commit((events, versions)))
        })?
        .unwrap_commit();
    Ok(Box::new(Heed {
        env,
        events,
        versions,
    }))
}

#[allow(
    unsafe_code,
    reason = "heed marks the flags that can lose data as unsafe"
)]
fn set_no_sync(options: &mut EnvOpenOptions) {
    // SAFETY: the flag gives up durability, which is what a buffered commit does; it breaks no memory.
    unsafe { options.flags(EnvFlags::NO_SYNC) };
}

#[allow(unsafe_code, reason = "heed maps the file")]
fn open_env(options: &EnvOpenOptions, dir: &Path) -> Result<Env, Failure> {
    // SAFETY: the directory belongs to this run; nobody else changes the file while it is mapped.
    Ok(unsafe { options.open(dir)? })
}

struct Heed {
    env: Env,
    events: Database<'static, Position, Bytes>,
    versions: Database<'static, Bytes, Position>,
}

impl Heed {
    fn last(&self, txn: &RoTxn<'_>) -> Result<u64, Failure> {
        Ok(self.events.last(txn)?.map_or(0, |(position, _)| position))
    }
}

impl Engine for Heed {
    fn append(&self, commit: Commit) -> Result<u64, Failure> {
        self.append_alone(&commit)
    }

    fn read_aggregate(
        &self,
        aggregate: [u8; 16],
        visit: &mut dyn FnMut(Seen<'_>),
    ) -> Result<(), Failure> {
        let read = self.env.read_txn()?;
        for entry in self.versions.prefix_iter(&read, &aggregate)? {
            let (_, position) = entry?;
            let value = self.events.get(&read, &position)?.ok_or_else(missing)?;
            visit(decode(position, value).ok_or_else(missing)?);
        }
        Ok(())
    }

    fn replay(&self, visit: &mut dyn FnMut(Seen<'_>)) -> Result<(), Failure> {
        let read = self.env.read_txn()?;
        for entry in self.events.iter(&read)? {
            let (position, value) = entry?;
            visit(decode(position, value).ok_or_else(missing)?);
        }
        Ok(())
    }

    fn head(&self) -> Result<u64, Failure> {
        self.last(&*self.env.read_txn()?)
    }

    fn close(self: Box<Self>) -> Result<(), Failure> {
        self.env.force_sync()?;
        self.env.prepare_for_closing().wait();
        Ok(())
    }

    fn group(&self) -> Option<&dyn GroupCommit> {
        Some(self)
    }
}

impl GroupCommit for Heed {
    fn append_group(&self, commits: &[Commit]) -> Result<Vec<Result<u64, Failure>>, Failure> {
        let mut write = self.env.write_txn()?;
        let mut head = self.last(&write)?;
        let mut value = Vec::new();
        let mut append = |commit: &Commit| -> Result<u64, Failure> {
            for event in commit {
                let key = version_key(event.aggregate, event.version);
                if self.versions.get(&write, &key)?.is_some() {
                    return Err(Failure::Conflict);
                }
            }
            let first = head + 1;
            for event in commit {
                head += 1;
                encode(event, &mut value);
                self.events
                    .put_with_flags(&mut write, PutFlags::APPEND, &head, &value)?;
                let key = version_key(event.aggregate, event.version);
                self.versions.put(&mut write, &key, &head)?;
            }
            Ok(first)
        };
        let outcomes = commits.iter().map(&mut append).collect();
        write.commit()?;
        Ok(outcomes)
    }
}

fn missing() -> Failure {
    Failure::broken("heed: an event is missing or cut")
}
