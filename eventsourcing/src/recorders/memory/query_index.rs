//! Where the events of a query lie: by tag and by topic, so that a query costs about its matches.
//!
//! An item is driven by the shortest of its lists: that of one of its tags, or those of its topics. What the
//! lists say is a candidate; whether it has the other tags too shows when its event is looked at.

use std::collections::HashMap;

use crate::persistence::{Query, QueryItem, StoredEvent};

/// Places of events, ascending, by what they are found by.
#[derive(Debug, Default)]
pub(super) struct QueryIndex {
    tags: HashMap<Vec<u8>, Vec<usize>>,
    topics: HashMap<String, Vec<usize>>,
}

impl QueryIndex {
    /// Notes the event at `place`, which is behind all others.
    pub(super) fn push(&mut self, event: &StoredEvent, place: usize) {
        for tag in &event.tags {
            match self.tags.get_mut(tag) {
                Some(places) => places.push(place),
                None => drop(self.tags.insert(tag.clone(), vec![place])),
            }
        }
        match self.topics.get_mut(&event.topic) {
            Some(places) => places.push(place),
            None => drop(self.topics.insert(event.topic.clone(), vec![place])),
        }
    }

    /// Places from `start` on, ascending, each once, of events that may match; `None` when all of them may.
    pub(super) fn candidates(&self, query: &Query, start: usize) -> Option<Candidates<'_>> {
        let is_all = |item: &QueryItem| item.tags.is_empty() && item.topics.is_empty();
        if query.items.is_empty() || query.items.iter().any(is_all) {
            return None;
        }
        let mut lists = Vec::new();
        for item in &query.items {
            self.drive(item, start, &mut lists);
        }
        Some(Candidates { lists })
    }

    /// Adds the lists of which an event has to be in one to match the item.
    fn drive<'i>(&'i self, item: &QueryItem, start: usize, lists: &mut Vec<&'i [usize]>) {
        let of_tags = item
            .tags
            .iter()
            .map(|tag| behind(self.tags.get(tag), start));
        let of_topics = item
            .topics
            .iter()
            .map(|topic| behind(self.topics.get(topic), start));
        let topics_len: usize = of_topics.clone().map(<[usize]>::len).sum();
        match of_tags.min_by_key(|places| places.len()) {
            Some(places) if item.topics.is_empty() || places.len() <= topics_len => {
                lists.push(places);
            }
            _ => lists.extend(of_topics),
        }
    }
}

/// The union of ascending lists.
#[derive(Debug)]
pub(super) struct Candidates<'i> {
    lists: Vec<&'i [usize]>,
}

impl Iterator for Candidates<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let heads = self.lists.iter().filter_map(|places| places.first());
        let next = *heads.min()?;
        for places in &mut self.lists {
            if let [first, rest @ ..] = places
                && *first == next
            {
                *places = rest;
            }
        }
        Some(next)
    }
}

fn behind(places: Option<&Vec<usize>>, start: usize) -> &[usize] {
    let places = places.map_or(&[][..], Vec::as_slice);
    &places[places.partition_point(|place| *place < start)..]
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn index() -> QueryIndex {
        let mut index = QueryIndex::default();
        for (place, (topic, tags)) in [("A", &["x"][..]), ("B", &["x", "y"]), ("A", &["y"])]
            .into_iter()
            .enumerate()
        {
            let mut event = StoredEvent::new(Uuid::nil(), topic, "");
            event.tags = tags.iter().map(|tag| tag.as_bytes().to_vec()).collect();
            index.push(&event, place);
        }
        index
    }

    fn candidates(query: impl Into<Query>, start: usize) -> Option<Vec<usize>> {
        let index = index();
        let candidates = index.candidates(&query.into(), start);
        candidates.map(Iterator::collect)
    }

    #[test]
    fn the_union_of_the_items_comes_once_and_in_order() {
        let query = Query::all()
            .or(QueryItem::new().tag("y"))
            .or(QueryItem::new().tag("x"))
            .or(QueryItem::new().topic("B"));
        assert_eq!(candidates(query.clone(), 0), Some(vec![0, 1, 2]));
        assert_eq!(candidates(query, 2), Some(vec![2]));
    }

    #[test]
    fn the_shortest_list_drives() {
        let item = QueryItem::new().tag("x").topic("B");
        assert_eq!(candidates(item, 0), Some(vec![1]));
        let item = QueryItem::new().tag("x").topic("A").topic("B");
        assert_eq!(candidates(item, 0), Some(vec![0, 1]));
        let item = QueryItem::new().tag("x").tag("z");
        assert_eq!(candidates(item, 0), Some(vec![]));
    }

    #[test]
    fn nothing_to_look_up_means_everything() {
        assert_eq!(candidates(Query::all(), 0), None);
        let query = Query::from(QueryItem::new()).or(QueryItem::new().tag("x"));
        assert_eq!(candidates(query, 0), None);
    }
}
