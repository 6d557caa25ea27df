//! tephra: conditions on a tag that names the aggregate, in place of versions.
//!
//! It has no versions: the event's own is kept in front of its payload, and a writer says behind which position
//! nothing of the aggregate may lie. It has no buffered mode, and commits in groups by itself.

use std::path::Path;

use tephra::{
    AppendCondition, AppendError, Event, EventRef, EventType, Position, Query, QueryItem,
    SegmentConfig, SegmentSet, Tag, Tags, WriteCoordinator, WriteHandle, WriterConfig,
};

use super::aggregate_tag;
use crate::engine::{
    Buffered, Commit, Conditional, Durability, Engine, Failure, Form, Kind, NewEvent, Pipeline,
    Seen,
};

pub(super) const KIND: Kind = Kind {
    name: "tephra",
    package: "tephra",
    form: Form::EventStore,
    buffered: Buffered::Never,
    open,
};

fn open(dir: &Path, _durability: Durability, _events: u64) -> Result<Box<dyn Engine>, Failure> {
    let set = SegmentSet::open(dir, SegmentConfig::new(256 << 20))?;
    let (coordinator, handle) = WriteCoordinator::start(set, WriterConfig::default())?;
    Ok(Box::new(Tephra {
        coordinator,
        handle,
    }))
}

struct Tephra {
    coordinator: WriteCoordinator,
    handle: WriteHandle,
}

impl Tephra {
    fn read(&self, query: &Query, visit: &mut dyn FnMut(Seen<'_>)) -> Result<(), Failure> {
        let mut reads = self.handle.read(query, Position::ZERO, None);
        while let Some(read) = reads.next() {
            let read = read?;
            visit(seen(read.position.get(), &read.event)?);
        }
        Ok(())
    }
}

impl Engine for Tephra {
    fn append(&self, commit: Commit) -> Result<u64, Failure> {
        let (events, condition) = request(commit)?;
        let range = self.handle.append(events, Some(condition));
        Ok(range.map_err(refused)?.first.get())
    }

    fn read_aggregate(
        &self,
        aggregate: [u8; 16],
        visit: &mut dyn FnMut(Seen<'_>),
    ) -> Result<(), Failure> {
        let tag = Tag::new(aggregate_tag::encode(aggregate))?;
        self.read(&Query::item(QueryItem::with_tags(Tags::new([tag])?)), visit)
    }

    fn replay(&self, visit: &mut dyn FnMut(Seen<'_>)) -> Result<(), Failure> {
        self.read(&Query::all(), visit)
    }

    fn head(&self) -> Result<u64, Failure> {
        Ok(self.handle.head().get())
    }

    fn close(self: Box<Self>) -> Result<(), Failure> {
        drop(self.handle);
        self.coordinator.shutdown();
        Ok(())
    }

    fn pipeline(&self) -> Option<Box<dyn Pipeline + '_>> {
        let (reply, replies) = flume::unbounded();
        Some(Box::new(Submissions {
            handle: &self.handle,
            reply,
            replies,
            submitted: 0,
            answered: 0,
        }))
    }

    fn conditional(&self) -> Option<&dyn Conditional> {
        Some(self)
    }
}

impl Conditional for Tephra {
    fn append_if(&self, event: NewEvent, tags: &[String], after: u64) -> Result<u64, Failure> {
        let tags = tags.iter().map(|tag| Tag::new(tag.as_str()));
        let tags = Tags::new(tags.collect::<Result<Vec<_>, _>>()?)?;
        let item = QueryItem::new(vec![EventType::new(event.topic)?], tags);
        let condition = AppendCondition::new(Query::item(item)).after(Position::new(after));
        let range = self.handle.append(vec![encode(&event)?], Some(condition));
        Ok(range.map_err(refused)?.first.get())
    }
}

type Reply = (u64, Result<tephra::PositionRange, AppendError>);

struct Submissions<'a> {
    handle: &'a WriteHandle,
    reply: flume::Sender<Reply>,
    replies: flume::Receiver<Reply>,
    submitted: u64,
    answered: u64,
}

impl Pipeline for Submissions<'_> {
    fn submit(&mut self, commit: Commit) -> Result<(), Failure> {
        let (events, condition) = request(commit)?;
        let token = self.submitted;
        self.submitted += 1;
        let submitted =
            self.handle
                .append_submit(events, Some(condition), token, self.reply.clone());
        submitted.map_err(refused)
    }

    fn wait_oldest(&mut self) -> Result<u64, Failure> {
        // Its one writer answers in the order in which it was asked.
        let (token, range) = self.replies.recv()?;
        assert_eq!(token, self.answered, "tephra answered out of order");
        self.answered += 1;
        Ok(range.map_err(refused)?.first.get())
    }
}

/// Its condition has one reach, so what it guards in a commit is one aggregate.
fn request(commit: Commit) -> Result<(Vec<Event>, AppendCondition), Failure> {
    let [event] = commit.as_slice() else {
        return Err(Failure::broken("tephra: a commit over several aggregates"));
    };
    let tag = Tag::new(aggregate_tag::encode(event.aggregate))?;
    let condition = AppendCondition::new(Query::item(QueryItem::with_tags(Tags::new([tag])?)))
        .after(Position::new(event.known.after()));
    Ok((vec![encode(event)?], condition))
}

fn encode(event: &NewEvent) -> Result<Event, Failure> {
    let own = aggregate_tag::encode(event.aggregate);
    let tags = std::iter::once(own.as_str()).chain(event.tags.iter().map(String::as_str));
    let tags = tags.map(Tag::new).collect::<Result<Vec<_>, _>>()?;
    let mut payload = Vec::with_capacity(8 + event.payload.len());
    payload.extend_from_slice(&event.version.to_le_bytes());
    payload.extend_from_slice(&event.payload);
    Ok(Event::new(
        &EventType::new(event.topic)?,
        &Tags::new(tags)?,
        &payload,
    )?)
}

fn seen<'a>(position: u64, event: &EventRef<'a>) -> Result<Seen<'a>, Failure> {
    let aggregate = event.tags().find_map(aggregate_tag::decode);
    let (aggregate, (version, payload)) = aggregate
        .zip(event.data().split_first_chunk())
        .ok_or_else(|| Failure::broken("tephra: an event is cut"))?;
    Ok(Seen {
        position,
        aggregate,
        version: u64::from_le_bytes(*version),
        topic: event.event_type(),
        payload,
    })
}

fn refused(error: AppendError) -> Failure {
    match error {
        AppendError::Conflict { .. } => Failure::Conflict,
        error => error.into(),
    }
}
