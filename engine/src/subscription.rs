//! Following the log: catch-up, then live, by notification.
//!
//! A subscription reads a segment at a time, each through a view of its own, and between two says how far
//! it has looked. Threads, iterators and streams differ only in how they wait for there to be more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::error::Error;
use crate::event::RecordedEvent;
use crate::housekeeping::Job;
use crate::log::Inner;
use crate::query::{Direction, Query};
use crate::view::{Events, View};

/// Blocking iterator over matching events, without end until it is stopped or the log is closed.
///
/// It holds no buffer: a slow follower costs nothing but its own delay. An error stands in the place of
/// an event and does not end it; to look at that place again, subscribe anew behind
/// [`Subscription::position`].
#[derive(Debug)]
pub struct Subscription {
    inner: Arc<Inner>,
    query: Query,
    visibility: Visibility,
    progress_every: u64,
    /// What is being shown: a part of the log that ends at `part_end`.
    events: Option<Events>,
    part_end: u64,
    matching: Option<Matching>,
    /// Everything up to here has been looked at.
    looked_at: u64,
    /// Where the follower was told last that it is.
    told: u64,
    has_caught_up: bool,
    /// The last failure to follow another process that was told.
    failure_told: u64,
    stop: StopHandle,
}

/// Which events a follower sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Visibility {
    /// Those that survive a loss of power.
    #[default]
    Durable,
    /// Those that are [buffered](crate::Durability::Buffered) too.
    ///
    /// Safe only for a follower that keeps what it makes of them, and how far it has come
    /// ([`Batch::tracking`](crate::Batch::tracking)), in the same log: a loss of power takes both back together. Any
    /// other would remember events that never were, and miss those that take their positions.
    Buffered,
}

/// What a follower is told by [`Subscription::next_update`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Update {
    /// A matching event. Everything up to it has been looked at.
    Event(RecordedEvent),
    /// Everything that is there has been looked at, up to `position`: what follows is new. Told once.
    CaughtUp {
        /// What was the head for this follower: the durable head, say. A subscription that starts beyond it is
        /// told where it starts.
        position: u64,
    },
    /// Everything up to `position` has been looked at, and nothing matched since the update before: a
    /// place to start from again.
    Progress {
        /// Last position looked at.
        position: u64,
    },
}

impl Update {
    /// Everything up to this position has been looked at.
    pub fn position(&self) -> u64 {
        match self {
            Self::Event(event) => event.position,
            Self::CaughtUp { position } | Self::Progress { position } => *position,
        }
    }
}

/// The only segments up to a number that may match, when a long way was ahead.
#[derive(Debug)]
struct Matching {
    /// Numbers of those segments, ascending; `None` when it was not worth knowing.
    numbers: Option<Vec<u64>>,
    upto: u64,
}

/// What there is to tell.
pub(crate) enum Look {
    Found(Result<Update, Error>),
    /// Nothing, before the log goes on.
    Waiting,
    /// Nothing ever again.
    Ended,
}

impl Subscription {
    pub(crate) fn new(inner: Arc<Inner>, after: u64, query: Query) -> Self {
        let stop = StopHandle {
            inner: inner.clone(),
            stopped: Arc::new(AtomicBool::new(false)),
        };
        Self {
            inner,
            query,
            visibility: Visibility::default(),
            progress_every: PROGRESS_EVERY,
            events: None,
            part_end: after,
            matching: None,
            looked_at: after,
            told: after,
            has_caught_up: false,
            failure_told: 0,
            stop,
        }
    }

    /// Which events it shows. Default [`Visibility::Durable`].
    #[must_use]
    pub fn visibility(mut self, visibility: Visibility) -> Self {
        self.visibility = visibility;
        self
    }

    /// How many positions without a match there are at least between two [`Update::Progress`]. Default 1,000;
    /// 0 counts as 1. Fewer updates cost a follower that starts again little: it goes through the indexes.
    /// They are told between two segments and at the head of the log: of segments that are passed at a bound,
    /// one is told, however many events they hold.
    #[must_use]
    pub fn progress_every(mut self, positions: u64) -> Self {
        self.progress_every = positions.max(1);
        self
    }

    /// The next matching event; `None` when none came within `timeout`, or the subscription is stopped.
    /// However many events come that do not match, it does not wait longer.
    pub fn next_timeout(&mut self, timeout: Duration) -> Option<Result<RecordedEvent, Error>> {
        self.next_event(Some(timeout))
    }

    /// The next matching event, or how far the subscription has come. `None` when there was nothing to tell within
    /// `timeout` (without end when there is none), or the subscription is stopped.
    pub fn next_update(&mut self, timeout: Option<Duration>) -> Option<Result<Update, Error>> {
        self.next_before(self.deadline(timeout))
    }

    /// As an iterator of what [`Subscription::next_update`] tells, without end until it is stopped or the log is
    /// closed.
    pub fn updates(self) -> Updates {
        Updates(self)
    }

    /// A handle that stops the subscription, from any thread. Take it before the subscription goes into a loop,
    /// an iterator or a stream.
    pub fn stop_handle(&self) -> StopHandle {
        self.stop.clone()
    }

    /// Everything up to this position has been looked at, whether it matched or not: a follower that
    /// restarts behind it misses nothing.
    pub fn position(&self) -> u64 {
        self.looked_at
    }

    /// Whether it has been stopped, or the log closed.
    pub fn is_stopped(&self) -> bool {
        self.stop.is_stopped() || self.inner.is_closed()
    }

    fn next_event(&mut self, timeout: Option<Duration>) -> Option<Result<RecordedEvent, Error>> {
        let deadline = self.deadline(timeout);
        loop {
            match self.next_before(deadline)? {
                Ok(Update::Event(event)) => return Some(Ok(event)),
                Ok(_) => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// When a wait that begins now is over.
    fn deadline(&self, timeout: Option<Duration>) -> Option<u64> {
        let timeout = u64::try_from(timeout?.as_nanos()).unwrap_or(u64::MAX);
        Some(self.now_ns().saturating_add(timeout))
    }

    fn now_ns(&self) -> u64 {
        self.inner.options.clock.monotonic_ns()
    }

    fn next_before(&mut self, deadline: Option<u64>) -> Option<Result<Update, Error>> {
        loop {
            match self.look() {
                Look::Found(update) => return Some(update),
                Look::Ended => return None,
                Look::Waiting => {}
            }
            let left = match deadline {
                None => None,
                Some(deadline) => Some(deadline.checked_sub(self.now_ns()).filter(|ns| *ns > 0)?),
            };
            let changed = self.inner.changed(self.visibility);
            changed.wait(left.map(Duration::from_nanos), || self.has_more());
        }
    }

    /// Whether looking again may find something; asked by who is about to wait. What is only buffered is then synced
    /// without waiting for the timer, which is for logs that nobody follows.
    pub(crate) fn has_more(&self) -> bool {
        let has_more = self.inner.head_for(self.visibility) > self.looked_at
            || self.is_stopped()
            || self.inner.follower.has_failed_since(self.failure_told);
        if !has_more && self.inner.head_for(Visibility::Buffered) > self.looked_at {
            self.inner.housekeeper.request(Job::SyncAwaited);
        }
        has_more
    }

    #[cfg(feature = "stream")]
    pub(crate) fn changed(&self) -> &crate::changed::Changed {
        self.inner.changed(self.visibility)
    }

    /// What there is to tell now, without waiting.
    pub(crate) fn look(&mut self) -> Look {
        loop {
            if self.is_stopped() {
                return Look::Ended;
            }
            match self.events.as_mut().map(Iterator::next) {
                Some(Some(event)) => {
                    if let Ok(event) = &event {
                        (self.looked_at, self.told) = (event.position, event.position);
                    }
                    return Look::Found(event.map(Update::Event));
                }
                Some(None) => {
                    self.events = None;
                    self.looked_at = self.part_end;
                }
                None => {}
            }
            let position = self.looked_at;
            let is_at_head = self.inner.head_for(self.visibility) <= position;
            if is_at_head && !self.has_caught_up {
                (self.has_caught_up, self.told) = (true, position);
                return Look::Found(Ok(Update::CaughtUp { position }));
            }
            if position - self.told >= self.progress_every {
                self.told = position;
                return Look::Found(Ok(Update::Progress { position }));
            }
            if is_at_head {
                let Some((number, error)) = self.inner.follower.failure_since(self.failure_told)
                else {
                    return Look::Waiting;
                };
                self.failure_told = number;
                return Look::Found(Err(error));
            }
            self.start_part();
        }
    }

    /// Goes over to what lies behind what has been looked at, to the end of its segment at most.
    fn start_part(&mut self) {
        let view = self.inner.view();
        let head = match self.visibility {
            Visibility::Durable => view.durable_head(),
            Visibility::Buffered => view.head(),
        };
        let next = self.looked_at.saturating_add(1);
        let segments = &view.set.segments;
        // Positions that were dropped belong to the first segment that is there.
        let place = view.set.place_of(next).unwrap_or(0);
        let later = self.next_match(&view, place);
        let end = segments
            .get(later.unwrap_or(place + 1))
            .map_or(u64::MAX, |later| later.base_position - 1);
        self.part_end = end.min(head).max(self.looked_at);
        match later {
            // Nothing to be read before it.
            Some(_) => self.looked_at = self.part_end,
            None => {
                let positions = next..=self.part_end;
                let forward = Direction::Forward;
                self.events = Some(Events::up_to(view, head, &positions, &self.query, forward));
            }
        }
    }

    /// The next place that may match, when the segment at `place` does not.
    fn next_match(&mut self, view: &View, place: usize) -> Option<usize> {
        let segments = &view.set.segments;
        let newest = segments.last()?.number;
        let number = segments[place].number;
        let is_known = |matching: &Matching| number <= matching.upto;
        if !self.matching.as_ref().is_some_and(is_known) && segments.len() - place > WIDE {
            // Should it fail, the segments are asked one by one, and tell why.
            let places = view.set.matching(&view.log, &self.query, place);
            let places = places.ok().flatten();
            let numbers = places.map(|places| {
                let numbers = places.iter().map(|place| segments[*place].number);
                numbers.collect()
            });
            // The newest is still written: it may match yet.
            let upto = newest - 1;
            self.matching = Some(Matching { numbers, upto });
        }
        let Matching { numbers, upto } = self.matching.as_ref().filter(|known| is_known(known))?;
        let numbers = numbers.as_ref()?;
        let next = numbers.partition_point(|matching| *matching < number);
        let next = numbers
            .get(next)
            .map_or(*upto + 1, |next| *next.min(&(upto + 1)));
        (next > number).then(|| segments.partition_point(|segment| segment.number < next))
    }
}

impl Iterator for Subscription {
    type Item = Result<RecordedEvent, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_event(None)
    }
}

/// Blocking iterator over [`Update`]s; see [`Subscription::updates`].
#[derive(Debug)]
pub struct Updates(pub(crate) Subscription);

impl Updates {
    /// The subscription, to go on in another way.
    pub fn into_subscription(self) -> Subscription {
        self.0
    }
}

impl Iterator for Updates {
    type Item = Result<Update, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next_update(None)
    }
}

/// Stops a [`Subscription`] from any thread.
#[derive(Clone, Debug)]
pub struct StopHandle {
    inner: Arc<Inner>,
    stopped: Arc<AtomicBool>,
}

impl StopHandle {
    /// Ends the iteration; a thread or a task that waits in it is woken. Stopping again does nothing.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        self.inner.wake_all();
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }
}

/// Positions without a match between two reports of progress, unless asked otherwise.
const PROGRESS_EVERY: u64 = 1_000;
/// Segments ahead beyond which those that match are looked for first.
const WIDE: usize = 8;
