//! Which events: by topic and by tag, as the specification of dynamic consistency boundaries has it.
//!
//! Source: <https://dcb.events/specification/>.

use crate::event::Event;

/// A choice of events: those that match at least one item; without items, every event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    items: Vec<QueryItem>,
}

impl Query {
    /// Every event.
    pub fn all() -> Self {
        Self::default()
    }

    /// Adds an alternative.
    #[must_use]
    pub fn or(mut self, item: QueryItem) -> Self {
        self.items.push(item);
        self
    }

    /// The alternatives.
    pub fn items(&self) -> &[QueryItem] {
        &self.items
    }

    /// Whether every event matches.
    pub fn is_all(&self) -> bool {
        self.items.is_empty() || self.items.iter().any(QueryItem::is_all)
    }

    /// Whether `event` matches.
    pub fn matches(&self, event: &Event<'_>) -> bool {
        self.matches_parts(event.topic(), || event.tags())
    }

    /// Whether an event with this topic and these tags matches.
    pub(crate) fn matches_parts<'a, T: Iterator<Item = &'a [u8]>>(
        &self,
        topic: &str,
        tags: impl Fn() -> T,
    ) -> bool {
        self.items.is_empty() || self.items.iter().any(|item| item.matches(topic, &tags))
    }
}

impl From<QueryItem> for Query {
    fn from(item: QueryItem) -> Self {
        Self::all().or(item)
    }
}

/// One alternative of a query: the topic is one of its topics, if it names any, *and* all of its tags
/// are present.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueryItem {
    topics: Vec<String>,
    tags: Vec<Vec<u8>>,
}

impl QueryItem {
    /// An item that every event matches.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a topic to choose from.
    #[must_use]
    pub fn topic(mut self, topic: impl Into<String>) -> Self {
        self.topics.push(topic.into());
        self
    }

    /// Adds a tag that must be present.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<Vec<u8>>) -> Self {
        self.tags.push(tag.into());
        self
    }

    /// The topics to choose from; none means any.
    pub fn topics(&self) -> &[String] {
        &self.topics
    }

    /// The tags that must all be present.
    pub fn tags(&self) -> &[Vec<u8>] {
        &self.tags
    }

    /// Whether every event matches.
    pub fn is_all(&self) -> bool {
        self.topics.is_empty() && self.tags.is_empty()
    }

    fn matches<'a, T: Iterator<Item = &'a [u8]>>(&self, topic: &str, tags: impl Fn() -> T) -> bool {
        let topic_fits = self.topics.is_empty() || self.topics.iter().any(|own| own == topic);
        // An event has at most 64 tags, and most have fewer than five: a search beats a set.
        topic_fits
            && self
                .tags
                .iter()
                .all(|tag| tags().any(|other| other == tag.as_slice()))
    }
}

/// Order in which events are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// Oldest first.
    #[default]
    Forward,
    /// Newest first.
    Backward,
}
