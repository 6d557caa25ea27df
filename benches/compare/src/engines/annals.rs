//! Annals, through its log: expected versions, borrowed reads, group commit of its own.

use std::collections::VecDeque;
use std::path::Path;

use annals_engine::{
    AggregateId, Batch, Direction, Error, Event, Expected, Log, Query, QueryItem, Ticket,
};
use uuid::Uuid;

use crate::engine::{
    Buffered, Commit, Conditional, Durability, Engine, Failure, Form, Kind, Known, NewEvent,
    Pipeline, Seen,
};

pub(super) const KIND: Kind = Kind {
    name: "annals",
    package: "annals-engine",
    form: Form::EventStore,
    buffered: Buffered::SurvivesKill,
    open,
};

fn open(dir: &Path, durability: Durability, _events: u64) -> Result<Box<dyn Engine>, Failure> {
    Ok(Box::new(Annals {
        log: Log::open(dir)?,
        durability: match durability {
            Durability::Durable => annals_engine::Durability::Sync,
            Durability::Buffered => annals_engine::Durability::Buffered,
        },
    }))
}

struct Annals {
    log: Log,
    durability: annals_engine::Durability,
}

impl Annals {
    fn batch(&self, commit: Commit) -> Batch {
        let batch = Batch::new().durability(self.durability);
        commit.into_iter().fold(batch, |batch, event| {
            let id = Uuid::from_bytes(event.aggregate);
            let batch = match event.known {
                Known::Nothing => batch.expect(id, Expected::NoEvents),
                Known::At(_) => batch.expect(id, Expected::Exactly(event.version - 1)),
                Known::InThisCommit => batch,
            };
            batch.event(annals_event(event).aggregate(id))
        })
    }
}

impl Engine for Annals {
    fn append(&self, commit: Commit) -> Result<u64, Failure> {
        Ok(self.log.append(self.batch(commit)).map_err(refused)?.first)
    }

    fn read_aggregate(
        &self,
        aggregate: [u8; 16],
        visit: &mut dyn FnMut(Seen<'_>),
    ) -> Result<(), Failure> {
        let id = AggregateId::from(Uuid::from_bytes(aggregate));
        for event in self.log.view().read_aggregate(&id, .., Direction::Forward) {
            visit(seen(&event?)?);
        }
        Ok(())
    }

    fn replay(&self, visit: &mut dyn FnMut(Seen<'_>)) -> Result<(), Failure> {
        for event in self.log.view().read(.., &Query::all(), Direction::Forward) {
            visit(seen(&event?)?);
        }
        Ok(())
    }

    fn head(&self) -> Result<u64, Failure> {
        Ok(self.log.head())
    }

    fn close(self: Box<Self>) -> Result<(), Failure> {
        Ok(self.log.close()?)
    }

    fn pipeline(&self) -> Option<Box<dyn Pipeline + '_>> {
        Some(Box::new(Submissions {
            annals: self,
            tickets: VecDeque::new(),
        }))
    }

    fn conditional(&self) -> Option<&dyn Conditional> {
        Some(self)
    }
}

impl Conditional for Annals {
    fn append_if(&self, event: NewEvent, tags: &[String], after: u64) -> Result<u64, Failure> {
        let id = Uuid::from_bytes(event.aggregate);
        let item = tags
            .iter()
            .fold(QueryItem::new().topic(event.topic), |item, tag| {
                item.tag(tag.as_str())
            });
        let batch = Batch::new()
            .durability(self.durability)
            .fail_if_match(Query::from(item), after)
            .event(annals_event(event).aggregate(id));
        Ok(self.log.append(batch).map_err(refused)?.first)
    }
}

struct Submissions<'a> {
    annals: &'a Annals,
    tickets: VecDeque<Ticket>,
}

impl Pipeline for Submissions<'_> {
    fn submit(&mut self, commit: Commit) -> Result<(), Failure> {
        let ticket = self.annals.log.submit(self.annals.batch(commit));
        self.tickets.push_back(ticket.map_err(refused)?);
        Ok(())
    }

    fn wait_oldest(&mut self) -> Result<u64, Failure> {
        let ticket = self.tickets.pop_front();
        let ticket = ticket.ok_or_else(|| Failure::broken("nothing is under way"))?;
        Ok(ticket.wait().map_err(refused)?.first)
    }
}

fn annals_event(event: NewEvent) -> annals_engine::NewEvent {
    annals_engine::NewEvent::new(event.topic, event.payload).tags(event.tags)
}

fn seen<'a>(event: &Event<'a>) -> Result<Seen<'a>, Failure> {
    let Some(AggregateId::Uuid(aggregate)) = event.aggregate_id() else {
        return Err(Failure::broken("an event without an aggregate"));
    };
    Ok(Seen {
        position: event.position(),
        aggregate: aggregate.into_bytes(),
        version: event.version().unwrap_or(0),
        topic: event.topic(),
        payload: event.payload(),
    })
}

fn refused(error: Error) -> Failure {
    match error.is_conflict() {
        true => Failure::Conflict,
        false => error.into(),
    }
}
