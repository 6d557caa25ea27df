//! Errors that stand in the place of events side by side, said as one: a file that has lost its end would else be told
//! once for each event in it.

use annals_engine::Error;

use crate::error;
use crate::figures::counted;

/// Errors about one file, one after the other.
#[derive(Debug)]
pub(crate) struct DamageRun {
    /// The first of them, about the positions of all.
    error: Error,
    /// How many there are.
    count: u64,
}

impl DamageRun {
    pub(crate) fn of(error: Error) -> Self {
        Self { error, count: 1 }
    }

    /// Takes one more, when that is about the same file and of the same kind; else answers it.
    pub(crate) fn join(&mut self, next: Error) -> Option<Error> {
        let is_joined = match (&mut self.error, &next) {
            (
                Error::Corrupt {
                    path,
                    offset,
                    first,
                    last,
                    ..
                },
                Error::Corrupt {
                    path: next_path,
                    offset: next_offset,
                    first: next_first,
                    last: next_last,
                    ..
                },
            ) if path == next_path => {
                *offset = (*offset).min(*next_offset);
                widen(first, last, *next_first, *next_last);
                true
            }
            (
                Error::Quarantined {
                    path,
                    first,
                    last,
                    quarantine,
                },
                Error::Quarantined {
                    path: next_path,
                    first: next_first,
                    last: next_last,
                    quarantine: next_quarantine,
                },
            ) if path == next_path && quarantine == next_quarantine => {
                widen(first, last, *next_first, *next_last);
                true
            }
            _ => false,
        };
        match is_joined {
            true => {
                self.count += 1;
                None
            }
            false => Some(next),
        }
    }

    fn in_words(&self) -> String {
        let said = error::one_line(&self.error);
        match self.count {
            1 => said,
            count => format!("{} cannot be read: {said}", counted(count, "event")),
        }
    }
}

/// Says what has come together, if anything has.
pub(crate) fn say_damage(run: &mut Option<DamageRun>) {
    if let Some(run) = run.take() {
        eprintln!("annals: {}", run.in_words());
    }
}

/// Positions of which none is affected are no part of any others.
fn widen(first: &mut u64, last: &mut u64, next_first: u64, next_last: u64) {
    if next_first > next_last {
        return;
    }
    match *first > *last {
        true => (*first, *last) = (next_first, next_last),
        false => (*first, *last) = ((*first).min(next_first), (*last).max(next_last)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(path: &str, position: u64) -> Error {
        Error::Quarantined {
            path: path.into(),
            first: position,
            last: position,
            quarantine: None,
        }
    }

    #[test]
    fn those_of_one_file_are_one_and_others_are_not() {
        let mut run = DamageRun::of(lost("1.seg", 7));
        assert!(!run.in_words().contains("cannot be read"));
        // Newest first, too.
        assert!(run.join(lost("1.seg", 6)).is_none());
        assert!(run.join(lost("1.seg", 9)).is_none());
        let said = run.in_words();
        assert!(
            said.starts_with("3 events cannot be read: 1.seg: positions 6 to 9 "),
            "{said}"
        );
        assert!(run.join(lost("2.seg", 10)).unwrap().is_quarantined());
        assert!(run.join(Error::Expired { first: 3 }).unwrap().is_expired());
        assert_eq!(run.count, 3);
    }
}
