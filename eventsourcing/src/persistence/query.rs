//! Which events a decision rests on: by topics and tags.
//!
//! Source: the specification of dynamic consistency boundaries, <https://dcb.events/specification/>.

use super::StoredEvent;
use crate::domain::{Event, topics_of};

/// Events that match any of its items; without items, every event.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Query {
    /// Joined by *or*.
    pub items: Vec<QueryItem>,
}

/// Events of any of its topics (none: any topic) that have all of its tags.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct QueryItem {
    /// Topics, each matched whole.
    pub topics: Vec<String>,
    /// Tags, each matched whole.
    pub tags: Vec<Vec<u8>>,
}

impl Query {
    /// Every event.
    pub fn all() -> Self {
        Self::default()
    }

    /// Adds an item: an event that matches it matches the query.
    #[must_use]
    pub fn or(mut self, item: QueryItem) -> Self {
        self.items.push(item);
        self
    }

    /// Whether an event matches.
    pub fn matches(&self, event: &StoredEvent) -> bool {
        self.items.is_empty() || self.items.iter().any(|item| item.matches(event))
    }
}

impl QueryItem {
    /// Every event.
    pub fn new() -> Self {
        Self::default()
    }

    /// Every event that is one of these, by today's name or an older one. None of what an event type with a variant
    /// marked `other` makes of unknown topics.
    pub fn of<E: Event>() -> Self {
        topics_of::<E>().iter().fold(Self::new(), Self::topic)
    }

    /// Adds a topic: an event needs to have one of them.
    #[must_use]
    pub fn topic(mut self, topic: impl Into<String>) -> Self {
        self.topics.push(topic.into());
        self
    }

    /// Adds a tag: an event needs to have all of them.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<Vec<u8>>) -> Self {
        self.tags.push(tag.into());
        self
    }

    /// Whether an event matches.
    pub fn matches(&self, event: &StoredEvent) -> bool {
        (self.topics.is_empty() || self.topics.contains(&event.topic))
            && self.tags.iter().all(|tag| event.tags.contains(tag))
    }
}

impl From<QueryItem> for Query {
    fn from(item: QueryItem) -> Self {
        Self::all().or(item)
    }
}

/// What must not have happened for an append to succeed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AppendCondition {
    /// No event may match this,
    pub fail_if_match: Query,
    /// behind this position; 0 means anywhere, a position beyond the last is legal.
    pub after: u64,
}

/// Events to be appended together, or not at all, and on what conditions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConditionalAppend {
    /// The events, in the order they are stored; at least one.
    pub events: Vec<StoredEvent>,
    /// All of them must hold; each has a reach of its own.
    pub conditions: Vec<AppendCondition>,
    /// How far an upstream has been processed with this.
    pub tracking: Option<super::Tracking>,
}

impl ConditionalAppend {
    /// Events without a condition.
    pub fn new(events: Vec<StoredEvent>) -> Self {
        Self {
            events,
            ..Self::default()
        }
    }

    /// Adds a condition: nothing that matches `query` may lie behind position `after`.
    #[must_use]
    pub fn fail_if_match(mut self, query: Query, after: u64) -> Self {
        self.conditions.push(AppendCondition {
            fail_if_match: query,
            after,
        });
        self
    }

    /// Records, in the same commit, how far an upstream has been processed.
    #[must_use]
    pub fn tracking(mut self, tracking: super::Tracking) -> Self {
        self.tracking = Some(tracking);
        self
    }
}

/// What a query found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The notifications, ascending by position.
    pub notifications: Vec<super::Notification>,
    /// The position that a condition on the same query begins behind: without a limit the last position of the
    /// store at the moment of the read, even when nothing matched; with one the last position answered.
    /// `None` when the store is empty, and with a limit when nothing was answered.
    pub head: Option<u64>,
}
