//! STUB: signatures only, being implemented.
#![allow(missing_docs, clippy::todo, unused_variables, dead_code, reason = "stub")]
use std::ops::RangeBounds;
use std::path::Path;
use uuid::Uuid;
use crate::*;
#[derive(Clone, Debug)]
pub struct Log;
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended { pub first: u64, pub last: u64 }
impl Log {
    pub fn open(dir: impl AsRef<Path>) -> Result<Log, Error> { todo!() }
    pub fn open_read_only(dir: impl AsRef<Path>) -> Result<Log, Error> { todo!() }
    pub fn in_memory() -> Result<Log, Error> { todo!() }
    pub fn options() -> LogOptions { LogOptions::default() }
    pub fn append(&self, batch: impl Into<Batch>) -> Result<Appended, Error> { todo!() }
    pub fn view(&self) -> View { todo!() }
    pub fn read(&self, positions: impl RangeBounds<u64>, query: &Query, direction: Direction) -> Events { todo!() }
    pub fn read_aggregate(&self, id: &AggregateId, versions: impl RangeBounds<u64>, direction: Direction) -> Events { todo!() }
    pub fn get(&self, event_id: Uuid) -> Result<Option<RecordedEvent>, Error> { todo!() }
    pub fn version(&self, id: &AggregateId) -> Result<Option<u64>, Error> { todo!() }
    pub fn head(&self) -> u64 { todo!() }
    pub fn durable_head(&self) -> u64 { todo!() }
    pub fn tracking(&self, name: &str) -> Option<u64> { todo!() }
    pub fn subscribe(&self, after: u64, query: Query) -> Subscription { todo!() }
    pub fn sync(&self) -> Result<u64, Error> { todo!() }
    pub fn recovery(&self) -> &RecoveryReport { todo!() }
    pub fn stats(&self) -> Result<Stats, Error> { todo!() }
    pub fn verify(&self, progress: impl FnMut(u64, u64)) -> Result<VerifyReport, Error> { todo!() }
    pub fn dir(&self) -> &Path { todo!() }
    pub fn close(&self) -> Result<(), Error> { todo!() }
    pub(crate) fn open_with(dir: &Path, options: LogOptions) -> Result<Log, Error> { todo!() }
    pub(crate) fn open_read_only_with(dir: &Path, options: LogOptions) -> Result<Log, Error> { todo!() }
}
