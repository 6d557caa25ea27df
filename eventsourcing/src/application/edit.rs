//! Load, decide, save, and again when somebody else was faster.

use std::thread;
use std::time::Duration;

use annals_segments::Random;

use super::cache::Change;
use super::{Application, Error, Recording};
use crate::domain::{Aggregate, AggregateId, Root};
use crate::persistence::Durability;

/// What [`Application::edit`] does with an aggregate: any `FnMut(&mut Root<A>) -> Result<T, E>` whose error can be made
/// of an [`Error`], so that one `?` serves for both.
#[diagnostic::on_unimplemented(
    message = "this does not decide over the aggregate `{A}`",
    label = "expected a closure `|root: &mut Root<{A}>| -> Result<_, E>` with `E: From<annals::Error>`"
)]
pub trait Decide<A: Aggregate>:
    FnMut(&mut Root<A>) -> Result<<Self as Decide<A>>::Value, <Self as Decide<A>>::Error>
{
    /// What it answers.
    type Value;
    /// Why it refuses, or could not be asked.
    type Error: From<Error>;
}

impl<A: Aggregate, T, E: From<Error>, F: FnMut(&mut Root<A>) -> Result<T, E>> Decide<A> for F {
    type Value = T;
    type Error = E;
}

/// What an edit answered, and what it saved.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Edited<T> {
    /// What the decision answered.
    pub value: T,
    /// A recording for each new event; empty when nothing had to change.
    pub recordings: Vec<Recording>,
}

/// How often an [edit](Application::edit) or a [decision](crate::DcbApplication::decide) that is overtaken is made again,
/// and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retries {
    /// Attempts in all, at least 1. Default 10.
    pub attempts: u32,
    /// Wait before the third attempt, doubled for each one after; the second comes at once, for most conflicts are over
    /// when they are known. Default 1 ms. Between half and all of it is waited, by chance, so that two who met part.
    pub delay: Duration,
    /// The longest wait. Default 50 ms.
    pub delay_max: Duration,
}

impl Default for Retries {
    fn default() -> Self {
        Self {
            attempts: 10,
            delay: Duration::from_millis(1),
            delay_max: Duration::from_millis(50),
        }
    }
}

impl Retries {
    pub(super) fn check(self) -> Result<Self, Error> {
        match self.attempts {
            0 => Err(Error::InvalidOption {
                option: "retries",
                found: 0,
                min: 1,
            }),
            _ => Ok(self),
        }
    }

    /// Counts an attempt that was overtaken.
    ///
    /// # Errors
    /// When that was the last one; and errors that are no conflict.
    pub(super) fn overtaken(
        &self,
        id: &AggregateId,
        failed: &mut u32,
        error: Error,
    ) -> Result<(), Error> {
        let source = match error {
            Error::Persistence { source, .. } if source.is_conflict() => source,
            error => return Err(error),
        };
        *failed += 1;
        match *failed < self.attempts {
            true => Ok(()),
            false => Err(Error::Contended {
                id: id.clone(),
                attempts: *failed,
                source,
            }),
        }
    }

    /// Waits as long as is due when `failed` attempts were overtaken.
    pub(crate) fn back_off(&self, failed: u32, random: &dyn Random) {
        let wait = self.due(failed, random);
        if !wait.is_zero() {
            thread::sleep(wait);
        }
    }

    /// How long to wait when `failed` attempts were overtaken.
    pub(super) fn due(&self, failed: u32, random: &dyn Random) -> Duration {
        let mut chance = [0];
        random.fill(&mut chance);
        self.wait(failed, chance[0])
    }

    /// As [`Retries::due`]; `chance` of 0..=255 says how much of it.
    fn wait(&self, failed: u32, chance: u8) -> Duration {
        let Some(doublings) = failed.checked_sub(2) else {
            return Duration::ZERO;
        };
        let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
        let longest = self.delay.saturating_mul(factor).min(self.delay_max);
        longest / 2 + (longest / 2) * u32::from(chance) / 255
    }
}

impl Application {
    /// Loads an aggregate, lets `decide` trigger events on it, and saves them. When somebody else has saved the
    /// aggregate meanwhile, all of it is done again with the new state, up to a [limit](Retries): so `decide` may be
    /// called several times and should do nothing but decide.
    ///
    /// Without new events nothing is saved. With a [cache](crate::ApplicationBuilder::cache) the aggregate is not loaded
    /// again each time.
    ///
    /// ```
    /// # use annals::{Aggregate, AggregateId, Application, Error, Event, Root};
    /// # #[derive(serde::Serialize, serde::Deserialize)]
    /// # enum Counted { Zero, More { by: u32 } }
    /// # impl Event for Counted {}
    /// # struct Counter { value: u32 }
    /// # impl Aggregate for Counter {
    /// #     type Event = Counted;
    /// #     fn start(event: &Counted) -> Option<Self> {
    /// #         matches!(event, Counted::Zero).then(|| Counter { value: 0 })
    /// #     }
    /// #     fn apply(&mut self, event: &Counted) {
    /// #         if let Counted::More { by } = event { self.value += by }
    /// #     }
    /// # }
    /// # let app = Application::in_memory();
    /// let id = app.add(Root::<Counter>::new(app.new_id(), Counted::Zero)?)?;
    /// let value = app.edit::<Counter, _>(&id, |counter| {
    ///     counter.trigger(Counted::More { by: 3 });
    ///     Ok::<_, Error>(counter.value)
    /// })?;
    /// assert_eq!(value, 3);
    /// # Ok::<(), annals::Error>(())
    /// ```
    ///
    /// # Errors
    /// What `decide` answers: nothing was saved then. [`Error::Contended`] when every attempt was overtaken;
    /// [`Error::AggregateNotFound`], [`Error::Replay`], [`Error::Persistence`].
    ///
    /// Blocks until the events are as durable as the application was built to make them.
    pub fn edit<A: Aggregate, D: Decide<A>>(
        &self,
        id: &AggregateId,
        decide: D,
    ) -> Result<D::Value, D::Error> {
        self.edit_with(id, self.durability, decide)
            .map(|edited| edited.value)
    }

    /// As [`Application::edit`], with a durability for this edit; answers where the events lie, too.
    ///
    /// # Errors
    /// As [`Application::edit`].
    pub fn edit_with<A: Aggregate, D: Decide<A>>(
        &self,
        id: &AggregateId,
        durability: Durability,
        mut decide: D,
    ) -> Result<Edited<D::Value>, D::Error> {
        let mut failed = 0;
        loop {
            let (mut current, value) = self.current::<A>(id)?.decided(&mut decide)?;
            match self.store(&mut [&mut *current.root], durability) {
                Ok(recordings) => {
                    current.saved(&recordings);
                    return Ok(Edited { value, recordings });
                }
                Err(error) => {
                    // What was lent is forgotten, so that the next attempt reads the store.
                    drop(current);
                    self.retries.overtaken(id, &mut failed, error)?;
                    self.retries.back_off(failed, &*self.random);
                }
            }
        }
    }

    /// Saves a new aggregate and answers its id. It is cached, when there is a cache.
    ///
    /// # Errors
    /// As [`Application::save`]; a conflict when there is an aggregate with this id already. The root is gone then:
    /// whoever wants to try again with the same events saves it instead.
    pub fn add<A: Aggregate>(&self, root: Root<A>) -> Result<AggregateId, Error> {
        let mut root = Box::new(root);
        self.check_open("save")?;
        let lent = self.cache.as_ref().map(|cache| cache.lend::<A>(root.id()));
        self.store(&mut [&mut *root], self.durability)?;
        let id = root.id().clone();
        if let Some(lent) = lent {
            lent.give_back(root, Change::Saved);
        }
        Ok(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_vary_by_chance() {
        let retries = Retries {
            attempts: 99,
            delay: Duration::from_millis(2),
            delay_max: Duration::from_millis(6),
        };
        let waits =
            |chance| [1, 2, 3, 4, 90].map(|failed| retries.wait(failed, chance).as_millis());
        assert_eq!(waits(255), [0, 2, 4, 6, 6]);
        assert_eq!(waits(0), [0, 1, 2, 3, 3]);
    }
}
