//! STUB: signatures only, being implemented.
#![allow(missing_docs, clippy::todo, unused_variables, dead_code, reason = "stub")]
use std::time::Duration;
use crate::*;
#[derive(Debug)]
pub struct Subscription;
#[derive(Clone, Debug)]
pub struct StopHandle;
impl StopHandle { pub fn stop(&self) { todo!() } }
impl Subscription {
    pub fn next_timeout(&mut self, timeout: Duration) -> Option<Result<RecordedEvent, Error>> { todo!() }
    pub fn stop_handle(&self) -> StopHandle { todo!() }
    pub fn position(&self) -> u64 { todo!() }
    pub fn is_stopped(&self) -> bool { todo!() }
}
impl Iterator for Subscription { type Item = Result<RecordedEvent, Error>; fn next(&mut self) -> Option<Self::Item> { todo!() } }
