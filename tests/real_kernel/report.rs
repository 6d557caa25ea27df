//! What a child tells its parent: a line for each thing it does or sees, each in one write, so that a kill tears
//! at most the last.

use std::fmt;
use std::io::Write;

use annals_tests::history::{Append, History, Notification, Outcome, Read, Reading};

/// One line.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Line {
    /// The log is open; its head.
    Opened(u64),
    /// An append begins; its outcome is not known yet.
    Begins(Append),
    /// An append has ended: number, when, how.
    Ends(u64, u64, Outcome),
    Read(Read),
    Shown(Notification),
    /// The log refuses appends from here on, or could not be opened, as it should; why.
    Failed(String),
    /// Something that may not be.
    Wrong(String),
    /// All that was asked for is done.
    Done,
}

impl fmt::Display for Line {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Opened(head) => write!(formatter, "opened {head}"),
            Self::Begins(append) => {
                let Append {
                    number,
                    begun,
                    is_synced,
                    ..
                } = append;
                write!(
                    formatter,
                    "begins {number} {begun} {}",
                    u8::from(*is_synced)
                )?;
                // 0 stands for no expectation, so that one more is an expectation.
                let expected = append.expected.map_or(0, |expected| expected + 1);
                write!(formatter, " {expected}")?;
                let mut aggregates = append.aggregates.iter();
                aggregates.try_for_each(|aggregate| write!(formatter, " {aggregate}"))
            }
            Self::Ends(number, ended, outcome) => {
                write!(formatter, "ends {number} {ended} ")?;
                match outcome {
                    Outcome::Acknowledged(first, last) => {
                        write!(formatter, "acknowledged {first} {last}")
                    }
                    Outcome::Conflict(version) => write!(formatter, "conflict {version}"),
                    Outcome::Refused => formatter.write_str("refused"),
                    Outcome::Unknown => formatter.write_str("unknown"),
                }
            }
            Self::Read(read) => {
                let of = match read.of {
                    Reading::Durable => 0,
                    Reading::Aggregate(aggregate) => 1 + 2 * u64::from(aggregate),
                    Reading::DurableAggregate(aggregate) => 2 + 2 * u64::from(aggregate),
                };
                let Read {
                    begun,
                    ended,
                    from,
                    upto,
                    names,
                    ..
                } = read;
                write!(formatter, "read {of} {begun} {ended} {from} {upto} {names}")
            }
            Self::Shown(shown) => {
                let Notification {
                    follower,
                    at,
                    position,
                    name,
                    durable,
                } = shown;
                let (number, ordinal) = name;
                write!(
                    formatter,
                    "shown {follower} {at} {position} {number} {ordinal} {durable}"
                )
            }
            Self::Failed(what) => write!(formatter, "failed {}", what.replace('\n', " ")),
            Self::Wrong(what) => write!(formatter, "wrong {}", what.replace('\n', " ")),
            Self::Done => formatter.write_str("done"),
        }
    }
}

impl Line {
    /// Writes it to the parent. A parent that is gone is none of the child's business.
    pub(crate) fn tell(&self) {
        let line = format!("{self}\n");
        let _ = std::io::stdout().lock().write_all(line.as_bytes());
        let _ = std::io::stdout().lock().flush();
    }

    /// The line, if it is a whole one.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        let mut words = rest.split(' ');
        let mut number = || words.next()?.parse::<u64>().ok();
        Some(match word {
            "opened" => Self::Opened(number()?),
            "begins" => Self::Begins(Append {
                number: number()?,
                begun: number()?,
                ended: None,
                is_synced: number()? == 1,
                expected: number()?.checked_sub(1),
                outcome: Outcome::Unknown,
                aggregates: std::iter::from_fn(number).map(|id| id as u32).collect(),
            }),
            "ends" => {
                let (append, ended) = (number()?, number()?);
                let outcome = match words.next()? {
                    "acknowledged" => Outcome::Acknowledged(
                        words.next()?.parse().ok()?,
                        words.next()?.parse().ok()?,
                    ),
                    "conflict" => Outcome::Conflict(words.next()?.parse().ok()?),
                    "refused" => Outcome::Refused,
                    "unknown" => Outcome::Unknown,
                    _ => return None,
                };
                Self::Ends(append, ended, outcome)
            }
            "read" => Self::Read(Read {
                of: match number()? {
                    0 => Reading::Durable,
                    odd if odd % 2 == 1 => Reading::Aggregate((odd / 2) as u32),
                    even => Reading::DurableAggregate((even / 2 - 1) as u32),
                },
                begun: number()?,
                ended: number()?,
                from: number()?,
                upto: number()?,
                names: number()?,
            }),
            "shown" => Self::Shown(Notification {
                follower: number()? as u32,
                at: number()?,
                position: number()?,
                name: (number()?, number()? as u32),
                durable: number()?,
            }),
            "failed" => Self::Failed(rest.to_owned()),
            "wrong" => Self::Wrong(rest.to_owned()),
            "done" => Self::Done,
            _ => return None,
        })
    }
}

/// What the parent has of one child.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) history: History,
    /// Head at the open; `None` when it did not come so far.
    pub(crate) opened: Option<u64>,
    pub(crate) failed: Vec<String>,
    pub(crate) wrong: Vec<String>,
    pub(crate) is_done: bool,
    /// Places in the history of the appends under way.
    under_way: std::collections::HashMap<u64, usize>,
}

impl Told {
    pub(crate) fn take(&mut self, line: Line) {
        match line {
            Line::Opened(head) => self.opened = Some(head),
            Line::Begins(append) => {
                self.under_way
                    .insert(append.number, self.history.appends.len());
                self.history.appends.push(append);
            }
            Line::Ends(number, ended, outcome) => match self.under_way.remove(&number) {
                Some(place) => {
                    let append = &mut self.history.appends[place];
                    (append.ended, append.outcome) = (Some(ended), outcome);
                }
                None => self.wrong.push(format!("append {number} ends unbegun")),
            },
            Line::Read(read) => self.history.reads.push(read),
            Line::Shown(shown) => self.history.notifications.push(shown),
            Line::Failed(what) => self.failed.push(what),
            Line::Wrong(what) => self.wrong.push(what),
            Line::Done => self.is_done = true,
        }
    }
}

/// Adds what one child did to what those before it did.
pub(crate) fn add(history: &mut History, more: History) {
    history.appends.extend(more.appends);
    history.reads.extend(more.reads);
    history.notifications.extend(more.notifications);
}
