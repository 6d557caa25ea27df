//! The group commit that an application can put in front of an engine with a single writer.
//!
//! Callers queue; one of them leads, commits all that wait in one transaction, hands the lead to the next that
//! came meanwhile and only then wakes those it served. No timers: the sync under way is the window.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::engine::{Commit, Engine, Failure, Seen};

/// An engine behind a group commit.
pub(crate) struct Grouped {
    engine: Box<dyn Engine>,
    queue: Mutex<Queue>,
}

impl Grouped {
    /// Puts the group commit in front of `engine`, which must have one to offer.
    pub(crate) fn new(engine: Box<dyn Engine>) -> Self {
        assert!(engine.group().is_some(), "the engine commits no groups");
        Self {
            engine,
            queue: Mutex::default(),
        }
    }

    fn lead(&self) {
        let (commits, callers): (Vec<_>, Vec<_>) = std::mem::take(&mut lock(&self.queue).waiting)
            .into_iter()
            .unzip();
        let group = self.engine.group().expect("asserted when it was made");
        let outcomes = group.append_group(&commits).unwrap_or_else(|failure| {
            let text = failure.to_string();
            callers
                .iter()
                .map(|_| Err(Failure::broken(text.clone())))
                .collect()
        });
        {
            let mut queue = lock(&self.queue);
            match queue.waiting.first() {
                Some((_, next)) => next.tell(News::Lead),
                None => queue.is_led = false,
            }
        }
        for (caller, outcome) in callers.iter().zip(outcomes) {
            caller.tell(News::Done(outcome));
        }
    }
}

impl Engine for Grouped {
    fn append(&self, commit: Commit) -> Result<u64, Failure> {
        let caller = Arc::new(Caller::default());
        let leads = {
            let mut queue = lock(&self.queue);
            queue.waiting.push((commit, caller.clone()));
            !std::mem::replace(&mut queue.is_led, true)
        };
        if leads {
            self.lead();
        }
        loop {
            match caller.wait() {
                News::Lead => self.lead(),
                News::Done(outcome) => return outcome,
            }
        }
    }

    fn read_aggregate(
        &self,
        aggregate: [u8; 16],
        visit: &mut dyn FnMut(Seen<'_>),
    ) -> Result<(), Failure> {
        self.engine.read_aggregate(aggregate, visit)
    }

    fn replay(&self, visit: &mut dyn FnMut(Seen<'_>)) -> Result<(), Failure> {
        self.engine.replay(visit)
    }

    fn head(&self) -> Result<u64, Failure> {
        self.engine.head()
    }

    fn close(self: Box<Self>) -> Result<(), Failure> {
        self.engine.close()
    }
}

#[derive(Default)]
struct Queue {
    waiting: Vec<(Commit, Arc<Caller>)>,
    is_led: bool,
}

#[derive(Default)]
struct Caller {
    news: Mutex<Option<News>>,
    has_news: Condvar,
}

enum News {
    Lead,
    Done(Result<u64, Failure>),
}

impl Caller {
    fn tell(&self, news: News) {
        *lock(&self.news) = Some(news);
        self.has_news.notify_one();
    }

    fn wait(&self) -> News {
        let mut news = lock(&self.news);
        loop {
            match news.take() {
                Some(news) => return news,
                None => {
                    news = self
                        .has_news
                        .wait(news)
                        .unwrap_or_else(PoisonError::into_inner)
                }
            }
        }
    }
}

/// Nothing that holds one of these locks can panic between two states that belong together.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
