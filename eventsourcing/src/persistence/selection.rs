//! Which stored events.

/// Which events of an aggregate, by version; all of them, ascending, by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SelectEvents {
    /// Only versions above this one.
    pub gt: Option<u64>,
    /// Only versions up to and including this one.
    pub lte: Option<u64>,
    /// Descending instead of ascending by version.
    pub desc: bool,
    /// At most so many events, the first in the order chosen; 0 selects nothing.
    pub limit: Option<usize>,
}

impl SelectEvents {
    /// All events of the aggregate, ascending.
    pub fn all() -> Self {
        Self::default()
    }

    /// Only versions above this one.
    #[must_use]
    pub fn gt(mut self, version: u64) -> Self {
        self.gt = Some(version);
        self
    }

    /// Only versions up to and including this one.
    #[must_use]
    pub fn lte(mut self, version: u64) -> Self {
        self.lte = Some(version);
        self
    }

    /// Descending by version.
    #[must_use]
    pub fn desc(mut self) -> Self {
        self.desc = true;
        self
    }

    /// At most so many events; 0 selects nothing.
    #[must_use]
    pub fn limit(mut self, events: usize) -> Self {
        self.limit = Some(events);
        self
    }
}

/// Which notifications; ascending by position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelectNotifications {
    /// Where to start; `None` and 0 are the beginning.
    pub start: Option<u64>,
    /// Whether the notification at `start` itself is selected; true by default.
    pub inclusive_of_start: bool,
    /// The last position selected; `None` is the end. Below `start` it selects nothing.
    pub stop: Option<u64>,
    /// At most so many notifications, counted after the choice by topic; 0 selects nothing.
    pub limit: usize,
    /// Only these topics, each matched whole; empty means every topic.
    pub topics: Vec<String>,
}

impl SelectNotifications {
    /// At most `limit` notifications from the beginning.
    pub fn first(limit: usize) -> Self {
        Self {
            start: None,
            inclusive_of_start: true,
            stop: None,
            limit,
            topics: Vec::new(),
        }
    }

    /// Starts at this position.
    #[must_use]
    pub fn start(mut self, position: u64) -> Self {
        self.start = Some(position);
        self.inclusive_of_start = true;
        self
    }

    /// Starts behind this position: what a follower asks for that has seen it.
    #[must_use]
    pub fn after(mut self, position: u64) -> Self {
        self.start = Some(position);
        self.inclusive_of_start = false;
        self
    }

    /// Stops at this position, which is selected too.
    #[must_use]
    pub fn stop(mut self, position: u64) -> Self {
        self.stop = Some(position);
        self
    }

    /// Only these topics.
    #[must_use]
    pub fn topics<T: Into<String>>(mut self, topics: impl IntoIterator<Item = T>) -> Self {
        self.topics = topics.into_iter().map(Into::into).collect();
        self
    }

    /// The positions from first to last, both included; `None` when nothing is selected.
    /// For those who write a recorder.
    pub fn positions(&self) -> Option<(u64, u64)> {
        let first = match self.start {
            None | Some(0) => 1,
            Some(start) if self.inclusive_of_start => start,
            Some(start) => start.checked_add(1)?,
        };
        let last = self.stop.unwrap_or(u64::MAX);
        (self.limit > 0 && first <= last).then_some((first, last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_follow_start_stop_and_inclusion() {
        let select = || SelectNotifications::first(1);
        assert_eq!(select().positions(), Some((1, u64::MAX)));
        assert_eq!(select().start(0).positions(), Some((1, u64::MAX)));
        assert_eq!(select().after(0).positions(), Some((1, u64::MAX)));
        assert_eq!(select().start(3).stop(3).positions(), Some((3, 3)));
        assert_eq!(select().after(3).stop(3).positions(), None);
        assert_eq!(select().start(3).stop(2).positions(), None);
        assert_eq!(select().after(u64::MAX).positions(), None);
        assert_eq!(SelectNotifications::first(0).positions(), None);
    }
}
