//! Rules of [`View`].

use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;

use uuid::Uuid;

use super::{A_MOMENT, PATIENCE};
use crate::persistence::{DeadLetter, PersistenceError, Step, Tracking, View};

/// A view under test, and the ways to its rows.
struct Subject<'a, V: View> {
    view: Arc<V>,
    put: &'a dyn Fn(&mut V::Rows<'_>, u64),
    count: &'a dyn Fn(&V) -> u64,
}

type Check<V> = fn(&Subject<'_, V>);

pub(super) fn check<V: View>(
    make: impl Fn() -> Arc<V>,
    put: &dyn Fn(&mut V::Rows<'_>, u64),
    count: &dyn Fn(&V) -> u64,
) {
    macro_rules! cases {
        ($($name:ident)+) => {{
            let cases: &[(&'static str, Check<V>)] =
                &[$((stringify!($name), |subject| subject.$name()),)+];
            cases
        }};
    }
    let cases = cases! {
        rows_and_position_are_stored_together
        a_change_that_fails_leaves_no_trace
        a_change_that_panics_leaves_no_trace
        a_position_processed_already_leaves_no_trace
        an_upstream_name_has_limits
        a_checkpoint_advances_the_position_alone
        storing_rows_wakes_who_waits
        of_two_threads_that_process_a_position_one_succeeds
        a_dead_letter_is_kept_and_its_position_recorded
        dead_letters_are_told_by_upstream_and_position
        a_dead_letter_of_a_position_processed_already_is_refused
        a_dead_letter_resolved_is_gone_and_its_rows_are_there
        a_dead_letter_that_fails_again_is_kept
        a_dead_letter_that_is_not_there_is_not_resolved
        a_closed_view_takes_nothing
    };
    let fails = |case: &&(&'static str, Check<V>)| {
        let view = make();
        let subject = Subject { view, put, count };
        catch_unwind(AssertUnwindSafe(|| case.1(&subject))).is_err()
    };
    let failed: Vec<_> = cases.iter().filter(fails).map(|case| case.0).collect();
    assert!(
        failed.is_empty(),
        "{} of {} rules do not hold: {failed:#?}",
        failed.len(),
        cases.len()
    );
}

impl<V: View> Subject<'_, V> {
    fn rows_and_position_are_stored_together(&self) {
        self.advance(7, &[1, 2]).expect("the step is legal");
        assert_eq!(self.state(), (2, Some(7)));
        self.advance(9, &[]).expect("the step is legal");
        assert_eq!(self.state(), (2, Some(9)));
    }

    fn a_change_that_fails_leaves_no_trace(&self) {
        self.advance(7, &[1]).expect("the step is legal");
        let refused: Result<(), _> = self.view.transact(Step::Advance(&up(8)), |rows| {
            (self.put)(rows, 2);
            Err(Refused::ByChange)
        });
        assert!(matches!(refused, Err(Refused::ByChange)), "{refused:?}");
        assert_eq!(self.state(), (1, Some(7)));
        self.advance(8, &[2]).expect("the place was not lost");
        assert_eq!(self.state(), (2, Some(8)));
    }

    fn a_change_that_panics_leaves_no_trace(&self) {
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            self.view
                .transact(Step::Advance(&up(1)), |rows| -> Result<(), Refused> {
                    (self.put)(rows, 1);
                    panic!("what a projection does, on purpose")
                })
        }));
        assert!(panicked.is_err());
        assert_eq!(self.state(), (0, None));
        self.advance(1, &[1]).expect("the view goes on");
        assert_eq!(self.state(), (1, Some(1)));
    }

    fn a_position_processed_already_leaves_no_trace(&self) {
        self.advance(7, &[1]).expect("the step is legal");
        for position in [7, 6, 0] {
            let refused = self.advance(position, &[2]);
            assert!(
                matches!(
                    refused,
                    Err(Refused::ByView(PersistenceError::TrackingConflict {
                        recorded: 7,
                        ..
                    }))
                ),
                "{refused:?}"
            );
        }
        assert_eq!(self.state(), (1, Some(7)));
    }

    fn an_upstream_name_has_limits(&self) {
        for name in [String::new(), "n".repeat(256)] {
            let tracking = Tracking::new(name, 1);
            let refused = self
                .view
                .transact(Step::Advance(&tracking), |_| Ok::<_, Refused>(()));
            assert!(
                matches!(
                    refused,
                    Err(Refused::ByView(PersistenceError::Limit { .. }))
                ),
                "{refused:?}"
            );
        }
    }

    fn a_checkpoint_advances_the_position_alone(&self) {
        self.advance(7, &[1]).expect("the step is legal");
        self.view
            .insert_tracking(up(20))
            .expect("the position is above the last");
        assert_eq!(self.state(), (1, Some(20)));
    }

    fn storing_rows_wakes_who_waits(&self) {
        thread::scope(|scope| {
            let view = self.view.clone();
            let waiting = scope.spawn(move || view.wait(UPSTREAM, 2, PATIENCE));
            thread::sleep(A_MOMENT);
            self.advance(2, &[1]).expect("the step is legal");
            let waited = waiting.join().expect("waiting does not panic");
            waited.expect("the position has been reached");

            let view = self.view.clone();
            let waiting = scope.spawn(move || view.wait(UPSTREAM, 3, PATIENCE));
            thread::sleep(A_MOMENT);
            self.view
                .insert_dead_letter(letter(3))
                .expect("the step is legal");
            let waited = waiting.join().expect("waiting does not panic");
            waited.expect("a dead letter counts as processed");
        });
    }

    fn of_two_threads_that_process_a_position_one_succeeds(&self) {
        let wins: usize = thread::scope(|scope| {
            let threads: Vec<_> = (0..2)
                .map(|_| {
                    let view = self.view.clone();
                    scope.spawn(move || {
                        (1..=20)
                            .filter(|position| view.insert_tracking(up(*position)).is_ok())
                            .count()
                    })
                })
                .collect();
            let wins = threads.into_iter().map(|thread| thread.join());
            wins.map(|wins| wins.expect("recording does not panic"))
                .sum()
        });
        assert!((1..=20).contains(&wins), "{wins} of 20 positions");
        assert_eq!(self.state().1, Some(20));
    }

    fn a_dead_letter_is_kept_and_its_position_recorded(&self) {
        self.view
            .insert_dead_letter(letter(5))
            .expect("the step is legal");
        assert_eq!(self.letters(), [letter(5)]);
        assert_eq!(self.state(), (0, Some(5)));
    }

    fn dead_letters_are_told_by_upstream_and_position(&self) {
        let other = DeadLetter {
            name: "up2".to_owned(),
            ..letter(1)
        };
        for letter in [letter(3), other.clone(), letter(256), letter(300)] {
            self.view
                .insert_dead_letter(letter)
                .expect("the step is legal");
        }
        assert_eq!(self.letters(), [letter(3), letter(256), letter(300)]);
        assert_eq!(self.view.dead_letters("up2").expect("readable"), [other]);
        assert_eq!(self.view.dead_letters("none").expect("readable"), []);
    }

    fn a_dead_letter_of_a_position_processed_already_is_refused(&self) {
        self.advance(5, &[]).expect("the step is legal");
        let refused = self.view.insert_dead_letter(letter(5));
        assert!(
            matches!(refused, Err(PersistenceError::TrackingConflict { .. })),
            "{refused:?}"
        );
        assert_eq!(self.letters(), []);
    }

    fn a_dead_letter_resolved_is_gone_and_its_rows_are_there(&self) {
        self.view
            .insert_dead_letter(letter(5))
            .expect("the step is legal");
        self.advance(6, &[1]).expect("the step is legal");
        self.resolve(5, &[2]).expect("the letter is there");
        assert_eq!(self.letters(), []);
        assert_eq!(self.state(), (2, Some(6)), "the position does not go back");
    }

    fn a_dead_letter_that_fails_again_is_kept(&self) {
        self.view
            .insert_dead_letter(letter(5))
            .expect("the step is legal");
        let refused: Result<(), _> = self.view.transact(Step::Resolve(&up(5)), |rows| {
            (self.put)(rows, 1);
            Err(Refused::ByChange)
        });
        assert!(matches!(refused, Err(Refused::ByChange)), "{refused:?}");
        assert_eq!(self.letters(), [letter(5)]);
        assert_eq!(self.state(), (0, Some(5)));
    }

    fn a_dead_letter_that_is_not_there_is_not_resolved(&self) {
        self.advance(5, &[1]).expect("the step is legal");
        let refused = self.resolve(5, &[2]);
        assert!(
            matches!(
                refused,
                Err(Refused::ByView(PersistenceError::NoDeadLetter { .. }))
            ),
            "{refused:?}"
        );
        assert_eq!(self.state(), (1, Some(5)));
    }

    fn a_closed_view_takes_nothing(&self) {
        self.view.close().expect("closing an open view");
        for outcome in [self.advance(1, &[1]), self.resolve(1, &[])] {
            assert!(
                matches!(outcome, Err(Refused::ByView(PersistenceError::Closed))),
                "{outcome:?}"
            );
        }
        let outcome = self.view.insert_dead_letter(letter(1));
        assert!(
            matches!(outcome, Err(PersistenceError::Closed)),
            "{outcome:?}"
        );
    }

    fn advance(&self, position: u64, rows: &[u64]) -> Result<(), Refused> {
        self.transact(Step::Advance(&up(position)), rows)
    }

    fn resolve(&self, position: u64, rows: &[u64]) -> Result<(), Refused> {
        self.transact(Step::Resolve(&up(position)), rows)
    }

    fn transact(&self, step: Step<'_>, numbers: &[u64]) -> Result<(), Refused> {
        self.view.transact(step, |rows| {
            numbers.iter().for_each(|number| (self.put)(rows, *number));
            Ok(())
        })
    }

    fn state(&self) -> (u64, Option<u64>) {
        let position = self.view.max_tracking(UPSTREAM);
        (
            (self.count)(&self.view),
            position.expect("tracking can be read"),
        )
    }

    fn letters(&self) -> Vec<DeadLetter> {
        self.view
            .dead_letters(UPSTREAM)
            .expect("dead letters can be read")
    }
}

#[derive(Debug)]
enum Refused {
    ByChange,
    ByView(PersistenceError),
}

impl From<PersistenceError> for Refused {
    fn from(error: PersistenceError) -> Self {
        Self::ByView(error)
    }
}

fn up(position: u64) -> Tracking {
    Tracking::new(UPSTREAM, position)
}

fn letter(position: u64) -> DeadLetter {
    DeadLetter {
        name: UPSTREAM.to_owned(),
        position,
        topic: "Happened".to_owned(),
        event_id: Uuid::from_u128(u128::from(position)),
        error: "it would not: no room".to_owned(),
        attempts: 3,
        time_us: 1_700_000_000_000_000,
    }
}

const UPSTREAM: &str = "up";
