//! UmaDB's core: conditions on a tag that names the aggregate, in place of versions.
//!
//! Driven as its server drives it, without the network: one writer thread of its own takes what waits in a
//! queue and commits it together. It has no buffered mode. The event's version stands in front of its payload.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::{mpsc, oneshot, watch};
use umadb_core::db::{UmaDb, is_integrity_error};
use umadb_core::mvcc::{Mvcc, StorageOptions};
use umadb_core::writer_thread_blocking::writer_thread_blocking;
use umadb_core::writer_thread_request::WriterThreadRequest;
use umadb_dcb::{
    DcbAppendCondition, DcbError, DcbEvent, DcbEventStoreSync, DcbQuery, DcbQueryItem, DcbResult,
    DcbSequencedEvent,
};

use super::{CACHE_LEN, aggregate_tag};
use crate::engine::{
    Buffered, Commit, Conditional, Durability, Engine, Failure, Form, Kind, NewEvent, Pipeline,
    Seen,
};

pub(super) const KIND: Kind = Kind {
    name: "umadb",
    package: "umadb-core",
    form: Form::EventStore,
    buffered: Buffered::Never,
    open,
};

/// Requests that wait, and events that are committed together, at most: those of its server.
const QUEUE_LEN: usize = 1024;
const BATCH_LEN_MAX: usize = 2048;

/// Events that a replay asks for at once: it answers with a list.
const PAGE_LEN: u32 = 4096;

fn open(dir: &Path, _durability: Durability, _events: u64) -> Result<Box<dyn Engine>, Failure> {
    let options = StorageOptions::default()
        .db_path(dir)
        .page_cache_max_mb(CACHE_LEN >> 20);
    let mvcc = Arc::new(Mvcc::new(false, options)?);
    let store = UmaDb::from_arc(mvcc.clone());
    let (requests, queue) = mpsc::channel(QUEUE_LEN);
    let (head_tx, _) = watch::channel(store.head()?);
    let writer = std::thread::Builder::new()
        .name("umadb-writer".into())
        .spawn(move || writer_thread_blocking(mvcc, queue, head_tx, BATCH_LEN_MAX))?;
    Ok(Box::new(Umadb {
        store,
        requests,
        writer,
    }))
}

struct Umadb {
    store: UmaDb,
    requests: mpsc::Sender<WriterThreadRequest>,
    writer: JoinHandle<()>,
}

impl Umadb {
    fn submit(&self, event: &NewEvent, item: DcbQueryItem, after: u64) -> Result<Outcome, Failure> {
        let query = DcbQuery::new().item(item);
        let condition = DcbAppendCondition::new(query).after((after > 0).then_some(after));
        let (response_tx, outcome) = oneshot::channel();
        self.requests.blocking_send(WriterThreadRequest::Append {
            events: vec![encode(event)],
            condition: Some(condition),
            tracking_info: None,
            response_tx,
            cancel: None,
        })?;
        Ok(outcome)
    }

    /// Its condition has one reach, so what it guards in a commit is one aggregate.
    fn submit_commit(&self, commit: &Commit) -> Result<Outcome, Failure> {
        let [event] = commit.as_slice() else {
            return Err(Failure::broken("umadb: a commit over several aggregates"));
        };
        let item = DcbQueryItem::new().tags([aggregate_tag::encode(event.aggregate)]);
        self.submit(event, item, event.known.after())
    }
}

type Outcome = oneshot::Receiver<DcbResult<u64>>;

impl Engine for Umadb {
    fn append(&self, commit: Commit) -> Result<u64, Failure> {
        wait(self.submit_commit(&commit)?)
    }

    fn read_aggregate(
        &self,
        aggregate: [u8; 16],
        visit: &mut dyn FnMut(Seen<'_>),
    ) -> Result<(), Failure> {
        let item = DcbQueryItem::new().tags([aggregate_tag::encode(aggregate)]);
        for event in self
            .store
            .read(Some(DcbQuery::new().item(item)), None, false, None)?
        {
            visit(seen(&event?)?);
        }
        Ok(())
    }

    fn replay(&self, visit: &mut dyn FnMut(Seen<'_>)) -> Result<(), Failure> {
        let mut start = 1;
        loop {
            let mut count = 0;
            for event in self.store.read(None, Some(start), false, Some(PAGE_LEN))? {
                let event = event?;
                visit(seen(&event)?);
                start = event.position + 1;
                count += 1;
            }
            if count < PAGE_LEN {
                return Ok(());
            }
        }
    }

    fn head(&self) -> Result<u64, Failure> {
        Ok(self.store.head()?.unwrap_or(0))
    }

    fn close(self: Box<Self>) -> Result<(), Failure> {
        self.requests.blocking_send(WriterThreadRequest::Shutdown)?;
        let ended = self.writer.join();
        ended.map_err(|_| Failure::broken("umadb: its writer panicked"))
    }

    fn pipeline(&self) -> Option<Box<dyn Pipeline + '_>> {
        Some(Box::new(Submissions {
            umadb: self,
            outcomes: VecDeque::new(),
        }))
    }

    fn conditional(&self) -> Option<&dyn Conditional> {
        Some(self)
    }
}

impl Conditional for Umadb {
    fn append_if(&self, event: NewEvent, tags: &[String], after: u64) -> Result<u64, Failure> {
        let item = DcbQueryItem::new().types([event.topic]).tags(tags.to_vec());
        wait(self.submit(&event, item, after)?)
    }
}

struct Submissions<'a> {
    umadb: &'a Umadb,
    outcomes: VecDeque<Outcome>,
}

impl Pipeline for Submissions<'_> {
    fn submit(&mut self, commit: Commit) -> Result<(), Failure> {
        self.outcomes.push_back(self.umadb.submit_commit(&commit)?);
        Ok(())
    }

    fn wait_oldest(&mut self) -> Result<u64, Failure> {
        let outcome = self.outcomes.pop_front();
        wait(outcome.ok_or_else(|| Failure::broken("nothing is under way"))?)
    }
}

/// The position of the last event, which is the only one.
fn wait(outcome: Outcome) -> Result<u64, Failure> {
    outcome.blocking_recv()?.map_err(refused)
}

fn encode(event: &NewEvent) -> DcbEvent {
    let own = aggregate_tag::encode(event.aggregate);
    let mut payload = Vec::with_capacity(8 + event.payload.len());
    payload.extend_from_slice(&event.version.to_le_bytes());
    payload.extend_from_slice(&event.payload);
    DcbEvent::new()
        .event_type(event.topic)
        .tags(std::iter::once(own).chain(event.tags.iter().cloned()))
        .data(payload)
}

fn seen(stored: &DcbSequencedEvent) -> Result<Seen<'_>, Failure> {
    let event = &stored.event;
    let aggregate = event.tags.iter().find_map(|tag| aggregate_tag::decode(tag));
    let (aggregate, (version, payload)) = aggregate
        .zip(event.data.split_first_chunk())
        .ok_or_else(|| Failure::broken("umadb: an event is cut"))?;
    Ok(Seen {
        position: stored.position,
        aggregate,
        version: u64::from_le_bytes(*version),
        topic: &event.event_type,
        payload,
    })
}

fn refused(error: DcbError) -> Failure {
    match is_integrity_error(&error) {
        true => Failure::Conflict,
        false => error.into(),
    }
}
